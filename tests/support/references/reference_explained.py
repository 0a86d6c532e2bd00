"""How much the token explains and the token set, by the definitions' second part: loops and Counters.

It shares no code with the product. Windows are numbered in the corpus; only those of counted domains are looked at.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from reference import Gram, Grams, grams_of


@dataclass
class Explained:
    """One neuron. ``lengths`` are D of p0, token, bigram, trigram and position, None where p0 is 0 or 1 or D(p0) is 0."""

    lengths: tuple[float, ...] | None
    explained: tuple[float, ...] | None  # token, bigram, trigram, position
    token_set: list[int]  # most activations on even windows first
    token_f1: float | None


class Halves:
    """Occurrences of every n-gram, and the positions that have a unigram, in the even and the odd windows."""

    def __init__(self, tokens: np.ndarray, full: Sequence[int], bos_id: int | None, grams: Grams | None = None):
        self.grams = grams_of(tokens, bos_id, full) if grams is None else grams
        self.places = [
            [place for place, found in self.grams.items() if place[0] % 2 == half and found] for half in (0, 1)
        ]
        self.total = [self.count(places) for places in self.places]

    def count(self, places: list[tuple[int, int]]) -> tuple[Counter[Gram], Counter[int]]:
        """How often each n-gram, and each position, is among some places."""
        return (
            Counter(gram for place in places for gram in self.grams[place]),
            Counter(position for _, position in places),
        )


def explain(active: np.ndarray, halves: Halves) -> Explained:
    """What explains a neuron that is ``active`` [S, T] bool."""
    even, odd = halves.places
    fired = [[place for place in places if active[place]] for places in (even, odd)]
    (c, c_position), (c_odd, _) = (halves.count(places) for places in fired)
    (N, N_position), (N_odd, _) = halves.total
    A, n = len(fired[0]), len(even)
    return Explained(
        *_lengths(active, halves, c, c_position, N, N_position, A, n), *_set(c, N, A, c_odd, N_odd, fired[1])
    )


def _lengths(
    active: np.ndarray,
    halves: Halves,
    c: Counter[Gram],
    c_position: Counter[int],
    N: Counter[Gram],
    N_position: Counter[int],
    A: int,
    n: int,
) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    if A in (0, n):
        return None, None
    # Of every chance p, the other one, 1 - p, is computed by itself: nothing is lost near 1.
    p0 = (A / n, (n - A) / n)
    known: dict[Gram, tuple[float, float]] = {}

    def p_of(gram: Gram) -> tuple[float, float]:
        if gram not in known:
            known[gram] = _mixed(c[gram], N[gram], p_of(gram[1:]) if len(gram) > 1 else p0)
        return known[gram]

    at = {position: _mixed(c_position[position], N_position[position], p0) for position in range(active.shape[1])}
    terms: list[list[float]] = [[] for _ in range(5)]
    for window, position in halves.places[1]:
        fires, grams = active[window, position], halves.grams[window, position]
        # Where the window has no room for an n-gram, the longest that there is.
        chances = (p0, *(p_of(grams[min(n, len(grams)) - 1]) for n in (1, 2, 3)), at[position])
        for row, (p, q) in zip(terms, chances, strict=True):
            row.append(-_log(p, q) if fires else -_log(q, p))
    lengths = tuple(math.fsum(row) for row in terms)
    if lengths[0] == 0:
        return None, None
    return lengths, tuple(1 - length / lengths[0] for length in lengths[1:])


def _mixed(c: int, N: int, shorter: tuple[float, float]) -> tuple[float, float]:
    """(c + p) / (N + 1) and what it lacks to 1, for p and 1 - p of ``shorter``."""
    return (c + shorter[0]) / (N + 1), (N - c + shorter[1]) / (N + 1)


def _log(chance: float, other: float) -> float:
    """ln of a probability, near 1 too: ``other`` is what it lacks to 1."""
    return math.log1p(-other) if chance > 0.5 else math.log(chance)


def _set(
    c: Counter[Gram], N: Counter[Gram], A: int, c_odd: Counter[Gram], N_odd: Counter[Gram], fired_odd: list
) -> tuple[list[int], float | None]:
    candidates = [gram for gram in c if len(gram) == 1 and c[gram] >= 2]
    candidates.sort(key=lambda gram: (-Fraction(c[gram], N[gram]), gram))
    best, size, part, whole = Fraction(0), 0, 0, 0
    for number, gram in enumerate(candidates, start=1):
        part += c[gram]
        whole += N[gram]
        f1 = Fraction(2 * part, whole + A)
        if f1 > best:
            best, size = f1, number
    chosen = candidates[:size]
    union = sum(N_odd[gram] for gram in chosen) + len(fired_odd)
    f1 = float(Fraction(2 * sum(c_odd[gram] for gram in chosen), union)) if chosen and union else None
    chosen.sort(key=lambda gram: (-c[gram], gram))
    return [gram[0] for gram in chosen], f1


def layer_figure(neurons: Sequence[Explained]) -> tuple[float, ...]:
    """The sums over a layer's alive neurons of D(p0) and the four D(p), of those that have one."""
    rows = [neuron.lengths for neuron in neurons if neuron.lengths is not None]
    return tuple(math.fsum(column) for column in zip(*rows, strict=True)) if rows else (0.0,) * 5
