"""The largest and the smallest of every row of a matrix: on a CPU in one pass over the row, elsewhere by chunks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from ffnscope.core.jit import compiled, jitable

if TYPE_CHECKING:
    import torch

CHUNK = 64  # columns whose maximum and minimum are taken together
ROWS_PER_THREAD = 16  # fewer are not worth another thread


def extremes(values: torch.Tensor, kept: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The ``kept`` largest and the ``kept`` smallest values of each row of ``values`` [R, N] float32, ties by lower column.

    Returns (largest [R, kept] float32, their columns [R, kept] int64, smallest, their columns), the most extreme first.
    Values are finite, or NaN, which is none: where a row has fewer, the rest is NaN and column -1.
    """
    if values.device.type != "cpu":
        above, below = (_by_chunks(values, kept, largest) for largest in (True, False))
        return *above, *below
    import torch

    return extremes_of_rows(values.numpy(), kept, torch.get_num_threads())


def extremes_of_rows(
    values: np.ndarray, kept: int, threads: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """``extremes`` of an array."""
    rows = len(values)
    out = tuple(np.full((rows, kept), fill, dtype) for fill, dtype in 2 * [(np.nan, np.float32), (-1, np.int64)])
    share = max(ROWS_PER_THREAD, -(-rows // threads))
    parts = [slice(first, first + share) for first in range(0, rows, share)]
    if len(parts) == 1:
        _by_rows(values, *out)
    else:
        with ThreadPoolExecutor(len(parts)) as pool:
            list(pool.map(lambda part: _by_rows(values[part], *(array[part] for array in out)), parts))
    return out[0], out[1], out[2], out[3]


@compiled
def _by_rows(
    values: np.ndarray, largest: np.ndarray, largest_at: np.ndarray, smallest: np.ndarray, smallest_at: np.ndarray
) -> None:
    """``extremes`` of rows; the lists come filled with NaN and -1."""
    rows, columns = values.shape
    kept = largest.shape[1]
    for row in range(rows):
        above = below = np.int64(0)  # how many are listed
        for first in range(0, columns, CHUNK):
            last = min(first + CHUNK, columns)
            high, low = _range(values[row, first:last])
            if above < kept or high > largest[row, kept - 1]:
                for column in range(first, last):
                    above = _list(values[row, column], column, largest[row], largest_at[row], above, np.int64(1))
            if below < kept or low < smallest[row, kept - 1]:
                for column in range(first, last):
                    below = _list(values[row, column], column, smallest[row], smallest_at[row], below, np.int64(-1))


@jitable
def _range(values: np.ndarray) -> tuple[np.float32, np.float32]:
    """The largest and the smallest of ``values``, NaN passed over."""
    high, low = np.float32(-np.inf), np.float32(np.inf)
    for column in range(len(values)):
        value = values[column]
        high = value if value > high else high
        low = value if value < low else low
    return high, low


@jitable
def _list(value: np.float32, column: int, best: np.ndarray, at: np.ndarray, size: int, sign: int) -> int:
    """Put a value among the ``size`` listed, unless it is not extreme enough or NaN; columns come ascending, so that a
    later equal stands behind. Returns how many are listed."""
    if value != value:
        return size
    if size == len(best):
        if not sign * value > sign * best[size - 1]:
            return size
        size -= 1
    slot = size
    while slot > 0 and sign * value > sign * best[slot - 1]:
        best[slot], at[slot] = best[slot - 1], at[slot - 1]
        slot -= 1
    best[slot], at[slot] = value, column
    return size + 1


def _by_chunks(values: torch.Tensor, kept: int, largest: bool) -> tuple[np.ndarray, np.ndarray]:
    """One side of ``extremes`` with torch's own operations.

    Every one of them lies in one of the ``kept`` chunks of columns with the most extreme values, so that one pass for
    those and a look at the chunks is enough; rows where a tie could be cut are sorted whole.
    """
    import torch

    rows, columns = values.shape
    least = -torch.inf if largest else torch.inf
    number = max(columns, kept)
    whole = torch.full((rows, number + -number % CHUNK), least, device=values.device)
    whole[:, :columns] = torch.where(values.isnan(), least, values)
    chunks = whole.view(rows, -1, CHUNK)
    peaks = chunks.amax(dim=2) if largest else chunks.amin(dim=2)
    chosen = peaks.topk(min(kept, peaks.shape[1]), dim=1, largest=largest).indices
    candidates = chunks.gather(1, chosen[:, :, None].expand(-1, -1, CHUNK)).view(rows, -1)
    best, places = candidates.topk(kept, dim=1, largest=largest)
    which = chosen.gather(1, places // CHUNK) * CHUNK + places % CHUNK
    which, by_column = which.sort(dim=1)
    best, by_value = best.gather(1, by_column).sort(dim=1, descending=largest, stable=True)
    which = which.gather(1, by_value)
    last = best[:, -1:]
    beyond = [each >= last if largest else each <= last for each in (candidates, peaks, peaks.gather(1, chosen))]
    within, everywhere, looked_at = (each.sum(dim=1) for each in beyond)
    tied = ((within > kept) | (everywhere > looked_at)).nonzero()[:, 0]
    if len(tied):
        again = whole[tied].sort(dim=1, descending=largest, stable=True)
        best[tied], which[tied] = again.values[:, :kept], again.indices[:, :kept]
    finite = torch.isfinite(best)
    return (
        torch.where(finite, best, torch.nan).cpu().numpy(),
        torch.where(finite, which, -1).cpu().numpy(),
    )
