"""Sums of bits by full adders are the sums of the bits."""

from __future__ import annotations

import numpy as np
import pytest

from ffnscope.store.bits.column_sums import FEW, ColumnSums, column_sums


@pytest.mark.parametrize("count", [0, 1, 2, FEW - 1, FEW, 100, 3000])
@pytest.mark.parametrize("words", [1, 3])
def test_columns_are_summed(count, words):
    rng = np.random.default_rng(count)
    rows = rng.integers(0, 1 << 64, (count, words), np.uint64) | np.uint64(5)
    bits = np.unpackbits(rows.view(np.uint8), axis=1, bitorder="little").reshape(count, 64 * words)
    before = rows.copy()
    assert np.array_equal(column_sums(rows), bits.sum(axis=0, dtype=np.int64))
    parts = ColumnSums(words)
    for part in np.array_split(before, 7):
        parts.add(part.copy())
    assert np.array_equal(parts.total(), bits.sum(axis=0, dtype=np.int64))
