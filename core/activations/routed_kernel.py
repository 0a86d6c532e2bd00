"""Recording routed experts on a CPU in one pass over their activations, and the bits of one neuron from those of rows
(compiled)."""

from __future__ import annotations

import numpy as np

from ffnscope.core.bit_words import WORD, trailing_zeros, turn
from ffnscope.core.jit import compiled, jitable

GATHER, SEVEN_BYTES = np.uint64(0x0102040810204080), np.uint64(56)
COLUMNS = 64  # neurons of a row that are looked through for the strongest together


@compiled
def record(
    before: np.ndarray,
    after: np.ndarray,
    at: tuple[int, int],
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
    """Record one expert's rows of the activation function's input and output, [R, I] float32 each: columns ``at[0]`` .. of
    ``before``, ``at[1]`` .. of ``after``.

    ``order`` [R] int64: the rows sorted by window, expert and position, which ``counts`` [B, E] and ``positions``
    [B, T * k] describe. Fills the expert's part of ``bits``, ``sums`` and ``maxima`` as routed.RoutedRecord has them, and
    puts what the first ``counted`` windows hold among the strongest, ``values`` and ``places`` [E * I, C]. A NaN is passed
    on by the sums.
    """
    neurons = sums.shape[1] // counts.shape[1]
    base = expert * neurons
    total = np.empty(neurons, np.float64)
    largest = np.empty(neurons, np.float32)
    least = np.empty(neurons, np.float32)
    on = np.zeros(bits.shape[2] * 8, np.uint8)
    words = on.view(np.uint64)
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
            x, y = before[row, at[0] : at[0] + neurons], after[row, at[1] : at[1] + neurons]
            _add(x, y, on, total)
            out = bits[window, index]
            for byte in range(out.shape[0]):
                # Eight bytes of 0 or 1: the product gathers their lowest bits in its highest byte.
                out[byte] = words[byte] * GATHER >> SEVEN_BYTES
            place = (first_window + window) * length + positions[window, index]
            for start in range(0, neurons, COLUMNS):
                end = min(start + COLUMNS, neurons)
                if not _enlarge(x[start:end], y[start:end], largest[start:end], least[start:end]):
                    continue
                for column in range(start, end):
                    if x[column] > 0 and y[column] > least[column]:
                        _keep(y[column], place, values[base + column], places[base + column])
                        least[column] = values[base + column, -1]
        for column in range(neurons):
            sums[window, base + column] = total[column]
            maxima[window, base + column] = largest[column]


@jitable
def _add(x: np.ndarray, y: np.ndarray, on: np.ndarray, total: np.ndarray) -> None:
    """Add one row's outputs at open gates to ``total``, and write which gates are open to ``on``."""
    for column in range(len(x)):
        on[column] = x[column] > 0
    for column in range(len(x)):
        total[column] += np.float32(0) if x[column] <= 0 else y[column]


@jitable
def _enlarge(x: np.ndarray, y: np.ndarray, largest: np.ndarray, least: np.ndarray) -> bool:
    """Raise ``largest`` to one row's outputs at open gates. Returns whether one is above what is ``least`` among the
    strongest."""
    beyond = 0
    for column in range(len(x)):
        value = np.float32(0) if x[column] <= 0 else y[column]
        largest[column] = value if value > largest[column] else largest[column]
        beyond += value > least[column]
    return beyond > 0


@jitable
def _keep(value: np.float32, place: int, values: np.ndarray, places: np.ndarray) -> None:
    """Put an output at a place among the strongest: places ascend, so that a later equal never displaces an earlier."""
    slot = len(values) - 1
    while slot > 0 and value > values[slot - 1]:
        values[slot], places[slot] = values[slot - 1], places[slot - 1]
        slot -= 1
    values[slot], places[slot] = value, place


@compiled
def spread(rows: np.ndarray, positions: np.ndarray, first: int, out: np.ndarray) -> None:
    """Set the bits of the neurons ``first`` .. of one expert in one window, ``out`` [n, W] uint64, zero before, with position
    p in bit p % 64 of word p // 64, from those of its ``rows`` [m, ceil(I / 64)] uint64 at ``positions`` [m]."""
    last = first + out.shape[0]
    square = np.empty(WORD, np.uint64)
    for group in range(first // WORD, (last + WORD - 1) // WORD):
        neuron = group * WORD
        begin, end = max(first - neuron, 0), min(last - neuron, WORD)
        for start in range(0, len(rows), WORD):
            number = min(WORD, len(rows) - start)
            for row in range(number):
                square[row] = rows[start + row, group]
            square[number:] = 0
            turn(square)
            for column in range(begin, end):
                word = square[column]
                target = out[neuron + column - first]
                while word:
                    position = positions[start + np.int64(trailing_zeros(word))]
                    word &= word - np.uint64(1)
                    target[position >> 6] |= np.uint64(1) << np.uint64(position & 63)
