"""Windows of every length up to the paper's 2,048, whole bytes of positions or not, against the reference."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models as tm
from exact import compare, run, sources_of
from exact_case import Case, windows_of

from ffnscope.store.reader import Store

LONGEST = 2048
LENGTHS = (9, 31, 100, 255, 513, 1021, 1536)
DOMAINS = {"one": ((3,), 0), "many": ((2, 1, 1), 1)}
SAMPLE = 3  # neurons of a layer: the reference looks at every position of each


def some(*families: str) -> list[Any]:
    """All families, the others only with --slow: `test_every_length` meets most of them."""
    return [pytest.param(f, marks=[] if f in families else [pytest.mark.slow]) for f in tm.FAMILIES]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of every family with 2,048 positions, and two layers: one with windows that slide where there are such."""
    folder = tmp_path_factory.mktemp("models")
    made = {}
    for family in tm.FAMILIES:
        old = family in ("gpt2", "gptj")
        settings: dict[str, Any] = {"n_layer" if old or family == "bloom" else "num_hidden_layers": 2}
        if family != "bloom":
            settings["n_positions" if old else "max_position_embeddings"] = LONGEST
        if family == "gemma2":  # whose attention is slow
            settings |= {"num_attention_heads": 2, "num_key_value_heads": 1}
        if family == "gemma3":
            settings["layer_types"] = ["sliding_attention", "full_attention"]
        made[family] = tm.tiny(family, folder, **settings)
    return made


def check(model: Path, case: Case, folder: Path) -> None:
    """Collect what a case says; compare some neurons of every layer and, in the store, what all of them share."""
    domains = windows_of(case, tm.VOCAB)
    count_only = list(domains)[len(domains) - case.count_only :]
    store = run(
        model,
        sources_of(folder / "data", domains, count_only),
        folder / "run.ffn",
        bos_id=case.bos_id,
        min_occurrences=2,
        batch_size=2,
    )
    rng = random.Random(case.seq_len)
    with Store.open(store) as opened:
        assert opened.run.corpus.seq_len == case.seq_len
        neurons = {layer: sorted(rng.sample(range(opened.neurons(layer)), SAMPLE)) for layer in opened.layers()}
    met = compare(store, model, np.concatenate(list(domains.values())), neurons=neurons)
    assert met.kinds.total() == SAMPLE * len(neurons) > met.kinds["dead"]


@pytest.mark.parametrize("family", some("opt", "llama", "gemma3", "falcon", "bloom"))
def test_the_longest_windows_of_every_family(models: dict[str, Path], family: str, tmp_path: Path) -> None:
    check(models[family], Case(LONGEST, (2,)), tmp_path)


@pytest.mark.parametrize("family", some("gpt2", "gemma2", "qwen3"))
def test_one_less_without_bos_in_many_domains(models: dict[str, Path], family: str, tmp_path: Path) -> None:
    check(models[family], Case(LONGEST - 1, (1, 1, 1), count_only=1, bos_id=None), tmp_path)


@pytest.mark.parametrize("domains", DOMAINS)
@pytest.mark.parametrize("length", LENGTHS)
def test_every_length(models: dict[str, Path], length: int, domains: str, tmp_path: Path) -> None:
    windows, count_only = DOMAINS[domains]
    # With and without BOS in turns: each is met with one domain and with many.
    bos_id = tm.BOS_ID if (LENGTHS.index(length) + (domains == "many")) % 2 else None
    # Another family for each length: all of them are met.
    family = tm.FAMILIES[(2 * LENGTHS.index(length) + (domains == "many")) % len(tm.FAMILIES)]
    check(models[family], Case(length, windows, count_only=count_only, bos_id=bos_id), tmp_path)
