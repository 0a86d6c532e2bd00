"""Descriptions of neurons: the formula of at most three concepts that best says where a neuron is activated.

core/DEFINITIONS.md, "Concepts"; the concepts' rules and how far the search goes are in core/CONCEPTS.md.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np

from ffnscope.core.statistics import concept_kernel as kernel
from ffnscope.core.statistics.bits import words
from ffnscope.store.concepts.rules import concept_names, concept_positions
from ffnscope.store.concepts.text_positions import TextPositions

LEAST_F1 = 0.2  # on the odd windows: no description below
WINDOWS_AT_ONCE = 256  # of which the concepts' positions are held in memory together


def describing_bytes(sets: tuple[kernel.Sets, kernel.Sets] | None) -> int:
    """Memory that a thread takes to describe neurons."""
    return 0 if sets is None else 24 * sets[0].concepts.shape[1] + 16 * len(sets[0].concepts) ** 2


def concept_sets(
    windows: np.ndarray,
    tokens: np.ndarray,
    bos_id: int | None,
    *,
    text_of: Callable[[int], str],
    whole: Callable[[int], bool],
    domain_of: np.ndarray,
    domains: Sequence[str],
) -> tuple[kernel.Sets, kernel.Sets]:
    """Where every concept holds, in the even and in the odd of the kept windows.

    ``windows`` [K]: numbers in the corpus of the kept windows; ``tokens`` [K, T]: their token ids; ``domain_of`` [K]:
    index of each one's domain among the counted ``domains``.
    """
    windows = np.asarray(windows, np.int64)
    halves = []
    for half in (0, 1):
        of_half = np.flatnonzero(windows % 2 == half)
        parts = []
        for first in range(0, len(of_half), WINDOWS_AT_ONCE):
            rows = of_half[first : first + WINDOWS_AT_ONCE]
            at = TextPositions(tokens[rows], bos_id, text_of, whole)
            positions = np.concatenate([at.real[None], concept_positions(at, domain_of[rows], domains)])
            parts.append(words(np.packbits(positions, axis=2, bitorder="little")))
        width = -(-tokens.shape[1] // 64)
        empty = np.zeros((1 + len(concept_names(domains)), 0, width), np.uint64)
        packed = np.concatenate(parts or [empty], axis=1).reshape(len(empty), -1)
        count = len(packed) - 1
        single, pair = np.zeros(count, np.int64), np.zeros((count, count), np.int64)
        triple = np.zeros((count, count, count) if half == 0 else (0, 0, 0), np.int64)
        kernel.sizes(packed[1:], single, pair, triple)
        total = int(np.bitwise_count(packed[0]).sum())
        halves.append(kernel.Sets(windows[of_half], packed[0], packed[1:], single, pair, triple, total))
    return halves[0], halves[1]


class Describer(threading.local):
    """Describes neurons of a layer, block by block; each thread has working arrays of its own."""

    def __init__(self, even: kernel.Sets, odd: kernel.Sets):
        self.even, self.odd = even, odd
        concepts, number = even.concepts.shape
        self._search = kernel.Search(
            words=np.empty(number, np.uint64),
            subset=np.empty(number, np.uint64),
            places=np.empty(number, np.int64),
            single=np.empty(concepts, np.int64),
            pair=np.empty((concepts, concepts), np.int64),
            f1=np.empty(kernel.BEAM, np.float64),
            rank=np.empty(kernel.BEAM, np.int64),
            formulas=np.empty((kernel.BEAM, 4), np.int16),
        )

    def describe(self, bits: np.ndarray, formulas: np.ndarray, figures: np.ndarray) -> None:
        """Fill ``formulas`` [n, 2, 4] int16 and ``figures`` [n, 2, 3] float64 (precision, recall, f1 on the odd
        windows) with the descriptions and runners-up of the neurons with ``bits`` [n, S, W] uint64."""
        kernel.describe_block(bits, self.even, self.odd, self._search, formulas, figures, LEAST_F1)
