"""The most extreme of a row, both ways of finding them, against a plain sort."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ffnscope.core.statistics.row_extremes import CHUNK, ROWS_PER_THREAD, _by_chunks, extremes


def sorted_out(row: np.ndarray, kept: int, sign: int) -> list[tuple[float, int]]:
    """(value, column) of the most extreme, ties by lower column, padded with (nan, -1)."""
    there = np.flatnonzero(~np.isnan(row))
    order = there[np.lexsort((there, -sign * row[there]))][:kept]
    return [(float(row[column]), int(column)) for column in order] + [(np.nan, -1)] * (kept - len(order))


def chunked(values: torch.Tensor, kept: int) -> tuple[np.ndarray, ...]:
    """What is done where the values are not on a CPU."""
    return (*_by_chunks(values, kept, True), *_by_chunks(values, kept, False))


@pytest.mark.parametrize("way", [extremes, chunked])
@given(
    rows=st.integers(1, 70),
    columns=st.integers(1, 3 * CHUNK),
    kept=st.integers(1, 2 * CHUNK),
    levels=st.integers(0, 5),
    missing=st.sampled_from([0.0, 0.2, 1.0]),
    seed=st.integers(0, 999),
)
@settings(max_examples=60)
def test_against_a_plain_sort(way, rows: int, columns: int, kept: int, levels: int, missing: float, seed: int) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(seed)
    values = rng.integers(-levels, levels + 1, (rows, columns)).astype(np.float32)
    values[:, columns // 2 :] += rng.normal(size=(rows, columns - columns // 2)).astype(np.float32)
    values[rng.random(values.shape) < missing] = np.nan
    found = way(torch.from_numpy(values), kept)
    for best, which, sign in ((*found[:2], 1), (*found[2:], -1)):
        for row in range(rows):
            listed = list(zip(best[row].tolist(), which[row].tolist(), strict=True))
            assert repr(listed) == repr(sorted_out(values[row], kept, sign))


@pytest.mark.parametrize("rows", [ROWS_PER_THREAD, ROWS_PER_THREAD + 1, 5 * ROWS_PER_THREAD])
def test_rows_are_shared_among_threads(rows: int) -> None:
    values = torch.from_numpy(np.random.default_rng(rows).integers(-9, 10, (rows, 200)).astype(np.float32))
    alone = extremes(values, 7)
    try:
        torch.set_num_threads(3)
        together = extremes(values, 7)
    finally:
        torch.set_num_threads(1)
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)
