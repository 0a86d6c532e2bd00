"""The cells of an export: one column of some neurons of one layer, each cell as JSON text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ffnscope.store.concepts.descriptions import formula_texts
from ffnscope.store.escaping import json_text
from ffnscope.store.export.float_text import float_texts
from ffnscope.store.format.schema import ABSENT
from ffnscope.store.query import columns
from ffnscope.store.reader import Store

LISTS = ("detected_tokens", "top_unigrams", "top_bigrams", "top_trigrams", "promoted", "suppressed", "token_set")


class Tokens:
    """Token ids as JSON texts: the token's text, or with ``ids`` its number."""

    def __init__(self, store: Store, ids: bool = False):
        self._vocabulary, self._ids = store.vocabulary, ids
        self._texts: dict[int, str] = {}

    def __call__(self, tokens: Sequence[int]) -> list[str]:
        """One JSON text per token."""
        if self._ids:
            return [str(token) for token in tokens]
        known = self._texts
        try:
            return [known[token] for token in tokens]
        except KeyError:
            for token in set(tokens).difference(known):
                known[token] = json_text(self._vocabulary.text(token))
            return [known[token] for token in tokens]


def layer_cells(store: Store, layer: int, neurons: np.ndarray, column: str, tokens: Tokens) -> list[str]:
    """One JSON text for each of ``neurons`` [N]; "null" where the neuron has no such value.

    ``column`` is one of LISTS or a column of ``columns``.
    """
    if column in ("promoted", "suppressed"):
        return _projections(store, layer, neurons, column, tokens)
    if column.startswith("top_"):
        return _top(store, layer, neurons, column, tokens)
    if column == "token_set":
        return _token_set(store, layer, neurons, tokens)
    if column == "detected_tokens":
        return _detected(store, layer, neurons, tokens)
    if column == "concept":
        texts = formula_texts(store, layer)
        return [json_text(texts[neuron]) if texts[neuron] else "null" for neuron in neurons.tolist()]
    if column == "suppresses_triggers":
        return [("null", "false", "true")[code] for code in columns.values(store, layer, column)[neurons].tolist()]
    values = columns.values(store, layer, column)[neurons]
    if column == "expert":
        return ["null" if np.isnan(expert) else str(int(expert)) for expert in values.tolist()]
    words = columns.words(column)
    if words:
        texts = [f'"{word}"' if word else "null" for word in words]
        return [texts[code] for code in values.tolist()]
    if values.dtype.kind == "f":
        return float_texts(values)
    return [str(value) for value in values.tolist()]


def _rows(items: list[str], sizes: Sequence[int]) -> list[str]:
    """Consecutive items as JSON arrays of the given sizes."""
    rows, start = [], 0
    for size in sizes:
        rows.append("[" + ",".join(items[start : start + size]) + "]")
        start += size
    return rows


def _projections(store: Store, layer: int, neurons: np.ndarray, column: str, tokens: Tokens) -> list[str]:
    listed = store.column(layer, column)[neurons]
    values = store.column(layer, f"{column}_projection")[neurons]
    texts = tokens(listed.ravel().tolist())
    items = [f"[{text},{value}]" for text, value in zip(texts, float_texts(values), strict=True)]
    return _rows(items, [listed.shape[1]] * len(neurons))


def _top(store: Store, layer: int, neurons: np.ndarray, column: str, tokens: Tokens) -> list[str]:
    counts = store.column(layer, f"{column}_count")[neurons]
    mask = counts > 0
    totals = store.column(layer, f"{column}_total")[neurons][mask]
    rows = store.column(layer, column)[neurons][mask]
    shares = float_texts(counts[mask] / np.maximum(totals, 1))
    items = [
        f"[{text},{count},{share}]"
        for text, count, share in zip(_ngrams(rows, tokens), counts[mask].tolist(), shares, strict=True)
    ]
    return _rows(items, mask.sum(axis=1).tolist())


def _token_set(store: Store, layer: int, neurons: np.ndarray, tokens: Tokens) -> list[str]:
    if not store.has("token_set"):
        return ["null"] * len(neurons)
    rows = store.column(layer, "token_set")[neurons]
    mask = rows != ABSENT
    return _rows(tokens(rows[mask].tolist()), mask.sum(axis=1).tolist())


def _detected(store: Store, layer: int, neurons: np.ndarray, tokens: Tokens) -> list[str]:
    owner = store.column(layer, "detected_neuron")
    firsts, lasts = np.searchsorted(owner, neurons), np.searchsorted(owner, neurons, side="right")
    sizes = lasts - firsts
    at = np.repeat(firsts - (np.cumsum(sizes) - sizes), sizes) + np.arange(sizes.sum())
    rows = store.column(layer, "detected_tokens")[at]
    counts = store.column(layer, "detected_count")[at].tolist()
    totals = store.column(layer, "detected_total")[at].tolist()
    order = (rows != ABSENT).sum(axis=1)
    texts = np.empty(len(rows), object)
    for n in (1, 2, 3):
        texts[order == n] = _ngrams(rows[order == n][:, :n], tokens)
    items = [f"[{text},{count},{total}]" for text, count, total in zip(texts.tolist(), counts, totals, strict=True)]
    return _rows(items, sizes.tolist())


def _ngrams(listed: np.ndarray, tokens: Tokens) -> list[str]:
    """N-grams [M, n] as JSON: a token by itself, several as an array."""
    n = listed.shape[1]
    texts = tokens(listed.ravel().tolist())
    if n == 1:
        return texts
    return ["[" + ",".join(texts[start : start + n]) + "]" for start in range(0, len(texts), n)]
