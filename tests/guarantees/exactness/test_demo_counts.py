"""The demo's store against the reference: its windows, and neurons of every kind of every layer."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import reference as ref
from exact import DEMO, DEMO_DOMAINS, collect_demo, compare
from transformers import AutoTokenizer

from ffnscope.store.reader import Store


def sample(store: Path, count: int) -> dict[int, list[int]]:
    """Neurons of each layer, some of every kind."""
    rng = random.Random(0)
    with Store.open(store) as opened:
        found = {}
        for layer in opened.layers():
            kinds = opened.column(layer, "kind")
            groups = [np.flatnonzero(kinds == kind).tolist() for kind in np.unique(kinds)]
            share = -(-count // (len(opened.layers()) * len(groups)))
            chosen = {n for group in groups for n in rng.sample(group, min(share, len(group)))}
            rest = sorted(set(range(len(kinds))) - chosen)
            found[layer] = sorted(chosen | set(rng.sample(rest, max(0, count // len(opened.layers()) - len(chosen)))))
        return found


def demo_tokens(store: Path) -> np.ndarray:
    """[S, T] of the demo's windows, cut by the reference from its corpus."""
    tokenizer = AutoTokenizer.from_pretrained(DEMO / "model")
    parts = []
    with Store.open(store) as opened:
        limits = [domain.windows for domain in opened.run.corpus.domains]
    for name, limit in zip(DEMO_DOMAINS, limits, strict=True):
        lines = (DEMO / "corpus" / f"{name}.jsonl").read_text(encoding="utf-8").split("\n")
        texts = [json.loads(line)["text"] for line in lines if line.strip()]
        ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
        parts.append(ref.cut_windows(ids, 512, tokenizer.bos_token_id)[0][:limit])
    return np.concatenate(parts)


def test_the_demo_counts_right(demo_store: Path) -> None:
    tokens = demo_tokens(demo_store)
    assert len(tokens) == 4 * 25
    met = compare(demo_store, DEMO / "model", tokens, neurons=sample(demo_store, 24))
    assert sum(met.kinds.values()) >= 24
    assert {"token", "other"} <= set(met.kinds)


@pytest.mark.slow
def test_the_whole_demo_counts_right(tmp_path: Path) -> None:
    store = collect_demo(tmp_path / "demo.ffn")
    met = compare(store, DEMO / "model", demo_tokens(store), neurons=sample(store, 200))
    assert {"dead", "token", "bigram", "positional", "other"} <= set(met.kinds)
