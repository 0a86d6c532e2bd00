"""Recording on a CPU in one pass over the activations (compiled): bits, sums, maxima and the strongest."""

from __future__ import annotations

import numpy as np

from ffnscope.core.jit import compiled, jitable

COLUMNS = 256  # neurons looked at together: eight of their positions stay in a core's nearest cache


@compiled
def record(
    before: np.ndarray,
    after: np.ndarray,
    counted: int,
    first_window: int,
    columns: tuple[int, int],
    bits: np.ndarray,
    sums: np.ndarray,
    maxima: np.ndarray,
    values: np.ndarray,
    places: np.ndarray,
) -> None:
    """Record windows ``before`` and ``after`` [B, T, F] float32, the activation function's input and output, for the
    neurons ``columns[0]`` .. ``columns[1] - 1``.

    Fills ``bits`` [B, F, ceil(T / 8)] uint8, ``sums`` and ``maxima`` [B, F] float32 as recorder.BatchRecord has them,
    and puts what the first ``counted`` windows hold among the strongest, ``values`` and ``places`` [F, C] as Recorder
    has them; the first window is number ``first_window``. A NaN is passed on by the sums.
    """
    windows, length, _ = before.shape
    packed = np.empty((bits.shape[2], COLUMNS), np.uint8)
    total = np.empty(COLUMNS, np.float64)
    largest = np.empty(COLUMNS, np.float32)
    peak = np.empty(COLUMNS, np.float32)
    least = np.empty(COLUMNS, np.float32)
    for first in range(columns[0], columns[1], COLUMNS):
        number = min(COLUMNS, columns[1] - first)
        for window in range(windows):
            total[:] = 0
            largest[:] = 0
            for column in range(number):
                least[column] = values[first + column, -1] if window < counted else np.inf
            for byte in range(bits.shape[2]):
                start = byte * 8
                rows = min(8, length - start)
                x = before[window, start : start + rows, first : first + number]
                y = after[window, start : start + rows, first : first + number]
                if rows == 8:
                    _eight(x, y, packed[byte], total, peak, number)
                else:
                    _fewer(x, y, packed[byte], total, peak, number)
                beyond = 0
                for column in range(number):
                    largest[column] = max(largest[column], peak[column])
                    beyond += peak[column] > least[column]
                if beyond:
                    place = (first_window + window) * length + start
                    for column in range(number):
                        if peak[column] > least[column]:
                            _keep(x[:, column], y[:, column], place, values[first + column], places[first + column])
                            least[column] = values[first + column, -1]
            for column in range(number):
                sums[window, first + column] = total[column]
                maxima[window, first + column] = largest[column]
                for byte in range(bits.shape[2]):
                    bits[window, first + column, byte] = packed[byte, column]


@jitable
def _open(x: np.float32, y: np.float32) -> np.float32:
    """The output where the neuron is activated, or its input is no number; else 0."""
    return y if x > 0 or x != x else np.float32(0)


@jitable
def _eight(x: np.ndarray, y: np.ndarray, packed: np.ndarray, total: np.ndarray, peak: np.ndarray, number: int) -> None:
    """Eight positions of ``number`` neurons: their bits, their sum added to ``total``, the largest output."""
    for column in range(number):
        byte = np.uint8(0)
        part = np.float32(0)
        most = np.float32(0)
        for row in range(8):
            byte |= np.uint8(x[row, column] > 0) << np.uint8(row)
            value = _open(x[row, column], y[row, column])
            part += value
            most = max(most, value)
        packed[column] = byte
        total[column] += part
        peak[column] = most


@jitable
def _fewer(x: np.ndarray, y: np.ndarray, packed: np.ndarray, total: np.ndarray, peak: np.ndarray, number: int) -> None:
    """The same for the positions that a window's last byte holds."""
    for column in range(number):
        byte = np.int64(0)
        part = np.float32(0)
        most = np.float32(0)
        for row in range(len(x)):
            byte |= np.int64(x[row, column] > 0) << row
            value = _open(x[row, column], y[row, column])
            part += value
            most = max(most, value)
        packed[column] = byte
        total[column] += part
        peak[column] = most


@jitable
def _keep(x: np.ndarray, y: np.ndarray, place: int, values: np.ndarray, places: np.ndarray) -> None:
    """Put one neuron's outputs at consecutive places among its strongest: positions ascend, so that a later equal never
    displaces an earlier."""
    for row in range(len(x)):
        value = _open(x[row], y[row])
        slot = len(values) - 1
        if not value > values[slot]:
            continue
        while slot > 0 and value > values[slot - 1]:
            values[slot], places[slot] = values[slot - 1], places[slot - 1]
            slot -= 1
        values[slot], places[slot] = value, place + row
