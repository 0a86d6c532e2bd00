"""Mixtures of experts against the reference: every number of every neuron, which is activated only where its expert was
chosen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_models as tm
from exact import compare, run, sources_of
from tiny_experts import CHOSEN, EXPERTS, KINDS, SIZE, tiny_experts

from ffnscope.store.format.schema import ABSENT
from ffnscope.store.reader import Store


def domains_of(sizes: tuple[int, ...] = (7, 5, 4), length: int = 16) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {f"d{i}": tm.random_windows(rng, size, length, tm.VOCAB, tm.BOS_ID) for i, size in enumerate(sizes)}


@pytest.mark.parametrize("kind", KINDS)
def test_every_number_of_every_kind(kind: str, tmp_path: Path) -> None:
    folder, domains = tiny_experts(kind, tmp_path), domains_of()
    store = run(
        folder,
        sources_of(tmp_path / "data", domains, ["d2"]),
        tmp_path / "run.ffn",
        bos_id=tm.BOS_ID,
        batch_size=5,
        min_occurrences=1,
        group_layers=2,
    )
    met = compare(store, folder, np.concatenate(list(domains.values())))
    assert met.kinds["dead"] > 0 and len(met.kinds) > 1
    with Store.open(store) as opened:
        model = opened.run.model
        assert (model.experts, model.experts_per_token) == (EXPERTS, CHOSEN)
        for layer in opened.layers():
            expert, chosen = opened.column(layer, "expert"), opened.column(layer, "expert_positions")
            if not len(chosen):
                assert (expert == ABSENT).all()
                continue
            first = opened.neurons(layer) - EXPERTS * SIZE
            assert (expert[:first] == ABSENT).all()
            assert np.array_equal(expert[first:], np.repeat(np.arange(EXPERTS), SIZE))
            assert chosen.sum(axis=0).tolist() == [CHOSEN * windows.size for windows in domains.values()]
