"""What a device that has counted n-grams (device_counts.py) leaves to the host, compiled."""

from __future__ import annotations

import numpy as np

from ffnscope.core.jit import compiled
from ffnscope.core.statistics.bits import append
from ffnscope.core.statistics.kernels import (
    FEW,
    Counted,
    Ngrams,
    Space,
    detect,
    forget,
    list_most_frequent,
    scan_neuron,
    split,
    tally,
)


@compiled
def complete_block(
    bits: np.ndarray,
    bos: np.ndarray,
    seed: int,
    seq_len: int,
    edges: np.ndarray,
    counted: int,
    orders: tuple[Ngrams, ...],
    min_occurrences: int,
    lists: np.ndarray,
    possible: np.ndarray,
    space: Space,
    out: Counted,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``kernels.count_block`` of neurons whose ngram_activations, ngrams_distinct, coverage and most of the top lists stand
    in ``out`` already; ``lists`` and ``possible`` [N, 3] bool as NgramCounts has them."""
    found = np.empty((3, 0), np.int64)
    for neuron in range(len(bits)):
        number, _ = scan_neuron(neuron, bits, bos, seed, seq_len, edges, counted, space, out)
        if not number:
            continue
        positions = space.positions[:number]
        for index in range(3):
            few = 1 <= out.coverage[neuron, index] <= FEW[index] and not out.order[neuron]
            if not few and not lists[neuron, index]:
                continue
            ngrams = orders[index]
            tallies = tally(positions, ngrams, space)
            if lists[neuron, index]:
                list_most_frequent(neuron, index, positions, ngrams, space, tallies, out)
            if few:
                ids, counts = detect(
                    positions, ngrams, ngrams.totals, space, tallies, number - tallies[2], min_occurrences
                )
                if len(ids):
                    out.order[neuron] = index + 1
                    found = append(found, neuron, ids, counts)
            forget(tallies[0], space)
        if possible[neuron, 0] or possible[neuron, 1] or possible[neuron, 2]:
            out.split_order[neuron], out.split_held[neuron] = split(
                positions, seq_len, orders, possible[neuron], min_occurrences, space
            )
    return found[0], found[1], found[2]
