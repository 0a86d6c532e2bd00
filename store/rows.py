"""Rows of a layer's arrays as the parts of one neuron's record."""

from __future__ import annotations

from typing import Any

import numpy as np

from ffnscope.store import schema
from ffnscope.store.records import Context, DetectedNgram, Ngram
from ffnscope.store.values import array_header


def three(values: np.ndarray) -> tuple[int, int, int]:
    return int(values[0]), int(values[1]), int(values[2])


def pairs(tokens: np.ndarray, values: np.ndarray) -> tuple[tuple[int, float], ...]:
    return tuple(zip(tokens.tolist(), values.tolist(), strict=True))


def top(row: Any, name: str) -> tuple[Ngram, ...]:
    tokens, counts, totals = row(name).tolist(), row(f"{name}_count").tolist(), row(f"{name}_total").tolist()
    return tuple(
        Ngram(tuple(ngram), count, total) for ngram, count, total in zip(tokens, counts, totals, strict=True) if count
    )


def contexts(windows: np.ndarray, positions: np.ndarray, values: np.ndarray | None) -> tuple[Context, ...]:
    kept = windows != schema.ABSENT
    strengths = np.full(len(windows), np.nan) if values is None else values
    return tuple(
        Context(int(w), int(p), float(v))
        for w, p, v in zip(windows[kept], positions[kept], strengths[kept], strict=True)
    )


def detected(raw: Any, neuron: int, order: int) -> tuple[DetectedNgram, ...]:
    neurons = uncopied(raw("detected_neuron"))
    first, last = np.searchsorted(neurons, [neuron, neuron + 1])
    columns = ("detected_tokens", "detected_count", "detected_total", "detected_projection", "detected_rank")
    parts = [uncopied(raw(name))[first:last].tolist() for name in columns]
    return tuple(
        DetectedNgram(tuple(tokens[:order]), count, total, projection, rank)
        for tokens, count, total, projection, rank in zip(*parts, strict=True)
    )


def uncopied(value: memoryview) -> np.ndarray:
    _, dtype, shape, offset = array_header(value)
    return np.frombuffer(value, dtype, offset=offset).reshape(shape)
