"""How many rows have each bit set: full adders on whole rows, 64 columns at a time."""

from __future__ import annotations

import numpy as np

CHUNK_BYTES = 1 << 20  # rows added at a time: they fit the cache
FEW = 24  # rows of one weight that are kept for later instead of being added


class ColumnSums:
    """Counts, for each of 64 W columns of bits, the rows [N, W] uint64 that have it set.

    Three rows of a weight become one of it and one of twice the weight, five operations on 64 columns at a time; the few
    rows that are left of each weight wait for the next, and are counted bit by bit in the end.
    """

    def __init__(self, words: int):
        self.words = words
        self.rows = max(64, CHUNK_BYTES // (8 * max(words, 1)))
        """How many rows are best added at a time."""
        self._left: list[np.ndarray] = []

    def add(self, rows: np.ndarray) -> None:
        """Count more rows. Overwrites them."""
        weight = 0
        while len(rows):
            if weight == len(self._left):
                self._left.append(np.zeros((0, self.words), np.uint64))
            level = np.concatenate([self._left[weight], rows])
            carries = []
            while len(level) >= FEW:
                third = len(level) // 3
                a, b, c = (level[part * third : (part + 1) * third] for part in range(3))
                either = a ^ b
                np.bitwise_and(a, b, out=a)
                np.bitwise_and(either, c, out=b)
                np.bitwise_or(a, b, out=a)
                np.bitwise_xor(either, c, out=c)
                carries.append(a)
                level = level[2 * third :]
            self._left[weight] = level.copy()
            rows = np.concatenate(carries) if carries else level[:0]
            weight += 1

    def total(self) -> np.ndarray:
        """[64 W] int64: the counts so far."""
        counts = np.zeros(64 * self.words, np.int64)
        for weight, rows in enumerate(self._left):
            bits = np.unpackbits(rows.view(np.uint8), axis=1, bitorder="little")
            counts += bits.sum(axis=0, dtype=np.uint8).astype(np.int64) << weight
        return counts


def column_sums(rows: np.ndarray) -> np.ndarray:
    """[64 W] int64: how many of ``rows`` [N, W] uint64 have each bit set."""
    sums = ColumnSums(rows.shape[1])
    for first in range(0, len(rows), sums.rows):
        sums.add(rows[first : first + sums.rows])
    return sums.total()
