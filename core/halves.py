"""Detectors found on one half of the windows and re-checked on the other (ours, beyond the paper).

The halves are the even and the odd windows, so that both hold every domain in equal parts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ffnscope.core import kernels
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


def split_positions(positions: np.ndarray, seq_len: int) -> tuple[np.ndarray, np.ndarray]:
    """Activated positions (window * seq_len + position) in the even and in the odd windows."""
    odd = positions // seq_len & 1 == 1
    return positions[~odd], positions[odd]


def holds(detected: np.ndarray, counts: np.ndarray, total: int, totals: np.ndarray, min_occurrences: int) -> int:
    """What the odd windows say of a detector found on the even ones.

    ``detected`` [m] n-gram ids, ``counts`` [m] activations on each and ``total`` activations that have an n-gram, in
    the odd windows; ``totals`` [M] N(g) there. It holds where each detected n-gram that occurs often enough activates
    the neuron at least 95% of the time, and all of them account for at least 95% of its activations.
    Returns HOLDS, FAILS, or TOO_RARE where no detected n-gram occurs ``min_occurrences`` times.
    """
    often = totals[detected] >= min_occurrences
    if not often.any():
        return TOO_RARE
    each = kernels.PART * counts[often] >= kernels.WHOLE * totals[detected][often]
    together = total > 0 and kernels.PART * int(counts.sum()) >= kernels.WHOLE * total
    return HOLDS if together and bool(each.all()) else FAILS


def _totals(table: NgramTable, first: int) -> np.ndarray:
    ids = table.ids[first::2]
    return np.bincount(ids[ids != NONE].ravel(), minlength=len(table.totals)).astype(np.int64)
