"""``--activated share:Q``: thresholds and all that is counted by them, against the reference on the same values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models as tm
from exact import compare, run, sources_of
from exact_case import Case, windows_of
from same_store import differing

from ffnscope.store.errors import UserError
from ffnscope.store.reader import Store
from ffnscope.store.verify.check import verify

CASE = Case(13, (9, 7, 5), count_only=1, min_occurrences=1, batch_size=4)
CASES: dict[str, tuple[str, Case, str, dict[str, Any]]] = {
    "gated": ("llama", CASE, "share:0.05", {}),
    "plain": ("gpt2", CASE, "share:0.013", {}),
    "relu": ("opt", CASE, "share:0.1", {}),
    "no-bos": ("gemma2", Case(13, (14,), bos_id=None, batch_size=5), "share:0.1", {}),
    "offloaded": ("phi3", CASE, "share:0.2", {"offload": True, "group_layers": 2}),
    "half": ("llama", CASE, "share:0.05", {"dtype": "bfloat16"}),
    "some-layers": ("llama", CASE, "share:0.05", {"layers": "1"}),
    "more-windows-than-thresholds": ("llama", Case(3, (200, 73), batch_size=50), "share:0.03", {"layers": "1"}),
}


def collect(folder: Path, family: str, case: Case, rule: str, **options: Any) -> tuple[Path, Path, np.ndarray]:
    """(store, model, tokens) of a run."""
    domains = windows_of(case, tm.VOCAB)
    model = tm.tiny(family, folder)
    store = run(
        model,
        sources_of(folder / "data", domains, list(domains)[len(domains) - case.count_only :]),
        folder / "run.ffn",
        bos_id=case.bos_id,
        batch_size=case.batch_size,
        min_occurrences=case.min_occurrences,
        activated=rule,
        **options,
    )
    return store, model, np.concatenate(list(domains.values()))


@pytest.mark.parametrize("name", CASES)
def test_every_number_by_thresholds(name: str, tmp_path: Path) -> None:
    family, case, rule, options = CASES[name]
    store, model, tokens = collect(tmp_path, family, case, rule, **options)
    layers = (1,) if options.get("layers") else None
    compare(store, model, tokens, layers=layers)
    with Store.open(store) as opened:
        assert str(opened.run.activated) == rule
        assert not list(verify(opened))
        if family != "opt":  # where some neurons are 0 nearly everywhere
            n = int(opened.run.corpus.counted_windows * (case.seq_len - (case.bos_id is not None)))
            assert (opened.column(1, "activations") >= int(float(rule[6:]) * n * 0.5)).all()


def test_a_run_by_thresholds_is_resumed_to_the_same_bytes(tmp_path: Path) -> None:
    whole, _, _ = collect(tmp_path / "whole", "llama", CASE, "share:0.05", group_layers=1)
    lines: list[str] = []

    def stop(event: Any) -> None:
        if getattr(event, "layers_done", 0) == 1:
            raise KeyboardInterrupt

    domains = windows_of(CASE, tm.VOCAB)
    model, data = tmp_path / "whole" / "llama-0", tmp_path / "whole" / "data"
    sources = sources_of(data, domains, list(domains)[-1:])
    options = {"bos_id": 0, "batch_size": 4, "min_occurrences": 1, "group_layers": 1}
    with pytest.raises(KeyboardInterrupt):
        run(model, sources, tmp_path / "part.ffn", stop, activated="share:0.05", **options)
    with pytest.raises(UserError, match=r"--activated \(share:0.05\)"):
        run(model, sources, tmp_path / "part.ffn", resume=True, **options)
    run(model, sources, tmp_path / "part.ffn", lines.append, activated="share:0.05", resume=True, **options)
    assert not differing(whole, tmp_path / "part.ffn")


@pytest.mark.parametrize("rule", ["share:0", "share:0.3", "share:nan", "share:1/9", "share:", "negative", "share:-0.1"])
def test_an_unknown_rule_is_refused(rule: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--activated .* give positive, or share:Q"):
        collect(tmp_path, "opt", CASE, rule)
