"""Random corpora with neurons of every kind, as they are counted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from ffnscope.core.statistics.ngrams import ngram_tables
from ffnscope.core.statistics.tables import CorpusTables

CORPORA = ((60, 24, 40, 48, 0), (120, 64, 300, 40, 0), (37, 13, 9, 16, None), (150, 32, 2000, 40, 0), (3, 5, 4, 6, 0))


def corpus(seed: int, windows: int, length: int, vocabulary: int, neurons: int, bos: int | None) -> Any:
    """Tables of a random corpus whose last two windows are count-only, and bits: neurons of all frequencies, detectors of
    tokens and longer n-grams with and without noise, neurons that are never or always active."""
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, vocabulary + 1) ** 1.1
    tokens = rng.choice(vocabulary, (windows, length), p=weights / weights.sum())
    if bos is not None:
        tokens[:, 0] = bos
    active = rng.random((neurons, windows, length)) < rng.choice([0, 0.001, 0.01, 0.06, 0.5, 1], (neurons, 1, 1))
    for neuron in range(0, neurons, 3):
        hits = np.isin(tokens, rng.choice(vocabulary, rng.integers(1, 4)))
        if neuron % 2:
            hits[:, 1:] &= np.isin(tokens[:, :-1], rng.choice(vocabulary, 3))
        kept, noise = rng.choice([1, 0.97, 0.9]), rng.choice([0, 0.0005])
        active[neuron] = hits & (rng.random(hits.shape) < kept) | (rng.random(hits.shape) < noise)
    edges, counted = np.array([0, windows // 3, windows - 2, windows]), 2
    is_bos = tokens == bos if bos is not None else np.zeros(tokens.shape, bool)
    tables = CorpusTables(
        length,
        edges,
        counted,
        ngram_tables(tokens[: edges[counted]], bos, vocabulary),
        np.packbits(is_bos, axis=1, bitorder="little"),
    )
    bits = np.packbits(active, axis=2, bitorder="little")
    return tables, SimpleNamespace(neurons=neurons, block=lambda first, last: bits[first:last])
