"""Recording routed experts on a CPU in one pass over their activations, and the bits of one neuron from those of rows
(compiled)."""

from __future__ import annotations

import numpy as np

from ffnscope.core.jit import compiled


@compiled
def record(
    before: np.ndarray,
    after: np.ndarray,
    order: np.ndarray,
    counts: np.ndarray,
    positions: np.ndarray,
    counted: int,
    first_window: int,
    length: int,
    expert: int,
    bits: np.ndarray,
    sums: np.ndarray,
    maxima: np.ndarray,
    values: np.ndarray,
    places: np.ndarray,
) -> None:
    """Record one expert's rows of ``before`` and ``after`` [R, I] float32, the activation function's input and output.

    ``order`` [R] int64: the rows sorted by window, expert and position, which ``counts`` [B, E] and ``positions``
    [B, T * k] describe. Fills the expert's part of ``bits``, ``sums`` and ``maxima`` as routed.RoutedRecord has them, and
    puts what the first ``counted`` windows hold among the strongest, ``values`` and ``places`` [E * I, C]. A NaN is passed
    on by the sums.
    """
    neurons = before.shape[1]
    base = expert * neurons
    total = np.empty(neurons, np.float64)
    largest = np.empty(neurons, np.float32)
    least = np.empty(neurons, np.float32)
    per_window = positions.shape[1]
    for window in range(counts.shape[0]):
        first = 0
        for lower in range(expert):
            first += counts[window, lower]
        total[:] = 0
        largest[:] = 0
        for column in range(neurons):
            least[column] = values[base + column, -1] if window < counted else np.inf
        for index in range(first, first + counts[window, expert]):
            row = order[window * per_window + index]
            x, y = before[row], after[row]
            out = bits[window, index]
            beyond = 0
            for byte in range(out.shape[0]):
                packed = np.uint8(0)
                start = byte * 8
                for column in range(start, min(start + 8, neurons)):
                    packed |= np.uint8(x[column] > 0) << np.uint8(column - start)
                out[byte] = packed
            for column in range(neurons):
                value = y[column] if x[column] > 0 or x[column] != x[column] else np.float32(0)
                total[column] += value
                largest[column] = max(largest[column], value)
                beyond += value > least[column]
            if beyond:
                place = (first_window + window) * length + positions[window, index]
                for column in range(neurons):
                    if x[column] > 0 and y[column] > least[column]:
                        _keep(y[column], place, values[base + column], places[base + column])
                        least[column] = values[base + column, -1]
        for column in range(neurons):
            sums[window, base + column] = total[column]
            maxima[window, base + column] = largest[column]


@compiled
def _keep(value: np.float32, place: int, values: np.ndarray, places: np.ndarray) -> None:
    """Put an output at a place among the strongest: places ascend, so that a later equal never displaces an earlier."""
    slot = len(values) - 1
    while slot > 0 and value > values[slot - 1]:
        values[slot], places[slot] = values[slot - 1], places[slot - 1]
        slot -= 1
    values[slot], places[slot] = value, place


@compiled
def spread(rows: np.ndarray, positions: np.ndarray, first: int, out: np.ndarray) -> None:
    """The bits of the neurons ``first`` .. of one expert in one window, [n, B] uint8 with position p in bit p % 8 of byte
    p // 8, from those of its ``rows`` [m, ceil(I / 8)] uint8 at ``positions`` [m]."""
    out[:] = 0
    last = first + out.shape[0]
    for row in range(len(rows)):
        place = positions[row] >> 3
        bit = np.uint8(1) << np.uint8(positions[row] & 7)
        for byte in range(first >> 3, (last + 7) >> 3):
            left = rows[row, byte]
            neuron = byte * 8
            while left:
                if left & 1 and first <= neuron < last:
                    out[neuron - first, place] |= bit
                left >>= np.uint8(1)
                neuron += 1
