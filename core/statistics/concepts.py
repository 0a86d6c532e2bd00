"""Descriptions of neurons: the formula of at most three concepts that best says where a neuron is activated.

core/DEFINITIONS.md, "Concepts"; the concepts' rules and how far the search goes are in core/CONCEPTS.md.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

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

    def packed(half: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The half's windows, its kept and its concepts' positions [1 + C, K, W], and these turned [K, W * 64, G]."""
        of_half = np.flatnonzero(windows % 2 == half)
        by_concept = np.zeros((1 + count, len(of_half), width), np.uint64)
        by_position = np.zeros((len(of_half), width * WORD, groups * 8), np.uint8)
        for first in range(0, len(of_half), WINDOWS_AT_ONCE):
            rows = of_half[first : first + WINDOWS_AT_ONCE]
            at = TextPositions(tokens[rows], bos_id, text_of, whole)
            concepts = concept_positions(at, domain_of[rows], domains)
            part = np.s_[first : first + len(rows)]
            by_concept[0, part] = words(np.packbits(at.real, axis=1, bitorder="little"))
            by_concept[1:, part] = words(np.packbits(concepts, axis=2, bitorder="little"))
            turned = np.packbits(concepts, axis=0, bitorder="little")
            by_position[part, : tokens.shape[1], : len(turned)] = np.moveaxis(turned, 0, 2)
        return windows[of_half], by_concept.reshape(1 + count, -1), by_position.view(np.uint64).reshape(-1, groups)

    even, positions, at = packed(0)
    single, pair, triple = (np.zeros((count,) * order, np.int64) for order in (1, 2, 3))
    kernel.sizes(positions[1:], single, pair, triple)
    chosen_by = kernel.EvenSets(even, positions[0], positions[1:], at, single, pair, triple, _ones(positions[0]))
    odd, positions, _ = packed(1)
    return chosen_by, kernel.OddSets(odd, positions[0], positions[1:], _ones(positions[0]))


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
