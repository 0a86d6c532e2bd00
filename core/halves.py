"""Detectors found on one half of the windows and re-checked on the other (ours, beyond the paper).

The halves are the even and the odd windows, so that both hold every domain in equal parts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ffnscope.core.ngrams import NONE, NgramTable

TOO_RARE, FAILS, HOLDS = 0, 1, 2  # codes of the store's array `split_held`


@dataclass(frozen=True)
class Halves:
    """N(g) of every n-gram in the even and in the odd windows, for n = 1, 2, 3: [M] int64 each."""

    even: tuple[np.ndarray, ...]
    odd: tuple[np.ndarray, ...]


def halve(ngrams: tuple[NgramTable, ...]) -> Halves:
    """Count the n-grams of each half."""
    return Halves(*(tuple(_totals(table, first) for table in ngrams) for first in (0, 1)))


def _totals(table: NgramTable, first: int) -> np.ndarray:
    ids = table.ids[first::2]
    return np.bincount(ids[ids != NONE].ravel(), minlength=len(table.totals)).astype(np.int64)
