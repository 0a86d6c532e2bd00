"""Rows of a layer's arrays as the parts of one neuron's record."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ffnscope.store.format import schema
from ffnscope.store.format.encoding import array_header, decode_array
from ffnscope.store.records import Context, Description, DetectedNgram, Ngram

Row = Callable[[str], np.ndarray]
"""Gives the neuron's row of an array, by the array's name."""


def three(values: np.ndarray) -> tuple[int, int, int]:
    """One row of [F, 3]: the numbers for n = 1, 2, 3."""
    return int(values[0]), int(values[1]), int(values[2])


def pairs(tokens: np.ndarray, values: np.ndarray) -> tuple[tuple[int, float], ...]:
    """Tokens [K] with their projections [K]."""
    return tuple(zip(tokens.tolist(), values.tolist(), strict=True))


def others(neurons: np.ndarray, cosines: np.ndarray) -> tuple[tuple[int, float], ...]:
    """Those of the neurons [R] that are there, with their cosines [R]."""
    present = neurons != schema.ABSENT
    return pairs(neurons[present], cosines[present])


def top_ngrams(row: Row) -> tuple[tuple[Ngram, ...], tuple[Ngram, ...], tuple[Ngram, ...]]:
    """The most frequent unigrams, bigrams, trigrams."""
    return _top(row, "top_unigrams"), _top(row, "top_bigrams"), _top(row, "top_trigrams")


def _top(row: Row, name: str) -> tuple[Ngram, ...]:
    tokens, counts, totals = row(name).tolist(), row(f"{name}_count").tolist(), row(f"{name}_total").tolist()
    return tuple(
        Ngram(tuple(ngram), count, total) for ngram, count, total in zip(tokens, counts, totals, strict=True) if count
    )


def contexts(windows: np.ndarray, positions: np.ndarray, values: np.ndarray | None) -> tuple[Context, ...]:
    """Those of the windows [C] that are there, with positions [C] and activations [C]."""
    present = windows != schema.ABSENT
    strengths = np.full(len(windows), np.nan) if values is None else values
    return tuple(
        Context(int(w), int(p), float(v))
        for w, p, v in zip(windows[present], positions[present], strengths[present], strict=True)
    )


def explained(row: Row) -> dict[str, Any]:
    """The fields of a record that say how much the token explains."""
    names = ("token_explained", "bigram_explained", "trigram_explained", "position_explained", "token_f1")
    numbers = {name: float(row(name)) for name in names}
    tokens = row("token_set")
    return {name: None if math.isnan(number) else number for name, number in numbers.items()} | {
        "token_set_size": int(row("token_set_size")),
        "token_set": tuple(tokens[tokens != schema.ABSENT].tolist()),
    }


def described(row: Row) -> dict[str, Any]:
    """The field of a record with the neuron's descriptions."""
    pairs = zip(row("concept_formula").tolist(), row("concept_figures").tolist(), strict=True)
    return {"descriptions": tuple(Description(tuple(formula), *figures) for formula, figures in pairs if formula[1])}


def thresholds(row: Row) -> dict[str, Any]:
    """The fields of a record that a run with thresholds has."""
    share = float(row("positive_share"))
    return {
        "threshold": float(row("threshold")),
        "positive_share": None if math.isnan(share) else share,
        "negative": contexts(row("negative_window"), row("negative_position"), row("negative_value")),
    }


def expert(row: Row) -> dict[str, Any]:
    """The field of a record with the neuron's routed expert."""
    number = int(row("expert"))
    return {"expert": None if number == schema.ABSENT else number}


def detected(raw: Callable[[str], memoryview], neuron: int, order: int) -> tuple[DetectedNgram, ...]:
    """The detected n-grams of one neuron; ``raw(name)`` gives the encoded array."""
    neurons = uncopied(raw("detected_neuron"))
    first, last = np.searchsorted(neurons, [neuron, neuron + 1])
    columns = ("detected_tokens", "detected_count", "detected_total", "detected_projection", "detected_rank")
    parts = [uncopied(raw(name))[first:last].tolist() for name in columns]
    return tuple(
        DetectedNgram(tuple(tokens[:order]), count, total, projection, rank)
        for tokens, count, total, projection, rank in zip(*parts, strict=True)
    )


def uncopied(value: memoryview) -> np.ndarray:
    """An encoded array as it lies there, its checksum not looked at. Raises DamagedValueError."""
    _, dtype, shape, offset = array_header(value)
    return np.frombuffer(value, dtype, offset=offset).reshape(shape)


def copied(value: memoryview) -> np.ndarray:
    """An encoded array, checked and out of the file. Raises DamagedValueError."""
    # A damaged length may reach beyond the file, where reading ends the process: the header is looked at first.
    array_header(value)
    return decode_array(bytes(value))
