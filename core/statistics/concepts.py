"""Descriptions of neurons: the formula of at most three concepts that best says where a neuron is activated.

core/DEFINITIONS.md, "Concepts"; the concepts' rules and how far the search goes are in core/CONCEPTS.md.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ffnscope.core.bit_words import WORD
from ffnscope.core.statistics import concept_kernel as kernel
from ffnscope.core.statistics.bits import words
from ffnscope.store.concepts.rules import concept_names, concept_positions
from ffnscope.store.concepts.text_positions import TextPositions

LEAST_F1 = 0.2  # on the odd windows: no description below
WINDOWS_AT_ONCE = 256  # of which the concepts' positions are held in memory together


def describing_bytes(sets: tuple[kernel.EvenSets, kernel.OddSets] | None) -> int:
    """Memory that a thread takes to describe neurons."""
    if sets is None:
        return 0
    even, odd = sets
    number = len(even.real)
    return 8 * (number * (WORD * even.at.shape[1] + 1) + max(number, len(odd.real))) + even.pair.nbytes


def concept_sets(
    windows: np.ndarray,
    tokens: np.ndarray,
    bos_id: int | None,
    *,
    text_of: Callable[[int], str],
    whole: Callable[[int], bool],
    domain_of: np.ndarray,
    domains: Sequence[str],
) -> tuple[kernel.EvenSets, kernel.OddSets]:
    """Where every concept holds, in the even and in the odd of the kept windows.

    ``windows`` [K]: numbers in the corpus of the kept windows; ``tokens`` [K, T]: their token ids; ``domain_of`` [K]:
    index of each one's domain among the counted ``domains``.
    """
    windows = np.asarray(windows, np.int64)
    count = len(concept_names(domains))
    width, groups = -(-tokens.shape[1] // WORD), -(-count // WORD)

    def parts(half: int) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Some windows of a half at a time, by their rows in it: the kept positions [n, T], and the concepts' [C, n, T]."""
        of_half = np.flatnonzero(windows % 2 == half)
        for first in range(0, len(of_half), WINDOWS_AT_ONCE):
            rows = of_half[first : first + WINDOWS_AT_ONCE]
            at = TextPositions(tokens[rows], bos_id, text_of, whole)
            yield slice(first, first + len(rows)), at.real, concept_positions(at, domain_of[rows], domains)

    numbers = [windows[windows % 2 == half] for half in (0, 1)]
    packed = [np.zeros((1 + count, len(each), width), np.uint64) for each in numbers]
    by_position = np.zeros((len(numbers[0]), width * WORD, groups * 8), np.uint8)
    for half in (0, 1):
        for rows, real, concepts in parts(half):
            packed[half][0, rows] = words(np.packbits(real, axis=1, bitorder="little"))
            packed[half][1:, rows] = words(np.packbits(concepts, axis=2, bitorder="little"))
            if half == 0:
                turned = np.packbits(concepts, axis=0, bitorder="little")
                by_position[rows, : tokens.shape[1], : len(turned)] = np.moveaxis(turned, 0, 2)
    even, odd = (each.reshape(1 + count, -1) for each in packed)
    at = by_position.view(np.uint64).reshape(-1, groups)
    single, pair, triple = (np.zeros((count,) * order, np.int64) for order in (1, 2, 3))
    kernel.sizes(even[1:], single, pair, triple)
    return (
        kernel.EvenSets(numbers[0], even[0], even[1:], at, single, pair, triple, _ones(even[0])),
        kernel.OddSets(numbers[1], odd[0], odd[1:], _ones(odd[0])),
    )


def _ones(bits: np.ndarray) -> int:
    return int(np.bitwise_count(bits).sum())


class Describer(threading.local):
    """Describes neurons of a layer, block by block; each thread has working arrays of its own."""

    def __init__(self, even: kernel.EvenSets, odd: kernel.OddSets):
        self.even, self.odd = even, odd
        concepts, groups, number = len(even.single), even.at.shape[1], len(even.real)
        self._search = kernel.Search(
            within=np.empty(number, np.uint64),
            active=np.empty((groups * WORD, number), np.uint64),
            subset=np.empty(max(number, len(odd.real)), np.uint64),
            square=np.empty((groups, WORD), np.uint64),
            single=np.empty(concepts, np.int64),
            pair=np.empty((concepts, concepts), np.int64),
            bounds=np.empty(concepts, np.float64),
            f1=np.empty(kernel.BEAM, np.float64),
            rank=np.empty(kernel.BEAM, np.int64),
            formulas=np.empty((kernel.BEAM, 4), np.int16),
        )

    def describe(self, bits: np.ndarray, formulas: np.ndarray, figures: np.ndarray) -> None:
        """Fill ``formulas`` [n, 2, 4] int16 and ``figures`` [n, 2, 3] float64 (precision, recall, f1 on the odd
        windows) with the descriptions and runners-up of the neurons with ``bits`` [n, S, W] uint64."""
        kernel.describe_block(bits, self.even, self.odd, self._search, formulas, figures, LEAST_F1)
