"""What a count out of a number of trials says of the underlying share (ours, beyond the paper)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

Z95 = 1.959963984540054  # of the two-sided 95% interval


def wilson(successes: ArrayLike, trials: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's 95% interval (low, high), float64 of the shape that the two integer arrays broadcast to.

    Without trials it is (0, 1). The trials are taken as independent: neighbouring positions of a text are not, so for
    frequencies it is narrower than the truth. Raises ValueError unless 0 <= successes <= trials.
    """
    part, whole = np.broadcast_arrays(np.asarray(successes, np.float64), np.asarray(trials, np.float64))
    if np.any((part < 0) | (part > whole)):
        raise ValueError("successes must lie in 0 .. trials")
    n = np.maximum(whole, 1)
    share, z2 = part / n, Z95 * Z95
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * np.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    # At the ends the interval reaches exactly 0 and 1; rounding must not take it past them.
    low = np.where((part == 0) | (whole == 0), 0.0, np.maximum(centre - half, 0.0))
    high = np.where((part == whole) | (whole == 0), 1.0, np.minimum(centre + half, 1.0))
    return low, high


def interval(successes: int, trials: int) -> tuple[float, float]:
    """``wilson`` of one share."""
    low, high = wilson(successes, trials)
    return float(low), float(high)


def rule_of_three(trials: int) -> float:
    """3 / trials, at most 1: what was never seen in that many trials has a frequency below it with 95% confidence."""
    return min(3 / trials, 1.0) if trials > 0 else 1.0


def rank_correlation(x: ArrayLike, y: ArrayLike) -> float:
    """Spearman's correlation of two [N] sequences, ties by mean rank; NaN where one is constant or N < 2."""
    ranks = [_ranks(np.asarray(values, np.float64)) for values in (x, y)]
    if len(ranks[0]) < 2 or any(np.ptp(series) == 0 for series in ranks):
        return math.nan
    a, b = (series - series.mean() for series in ranks)
    return float((a * b).sum() / math.sqrt(float((a * a).sum() * (b * b).sum())))


def _ranks(values: np.ndarray) -> np.ndarray:
    _, at, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[at]
