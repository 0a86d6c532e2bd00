"""From recorded bits, neuron by neuron, to the kept bits of the store, position by position."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from ffnscope.core.bit_words import set_bits, trailing_zeros, turn
from ffnscope.core.jit import compiled
from ffnscope.core.statistics.bits import words
from ffnscope.store.format import kept_bits as layout
from ffnscope.store.format.encoding import encode_array

BATCH_BYTES = 4 << 20  # recorded bits that are transposed at a time


class WindowBits(Protocol):
    """The activation bits of one layer, readable a window at a time."""

    neurons: int

    def window(self, window: int, first: int, last: int) -> np.ndarray:
        """Bits of neurons first .. last - 1 in one window: [last - first, B] uint8, position p in bit p % 8 of byte
        p // 8, unused bits zero."""


@dataclass(frozen=True)
class KeptWindows:
    """The windows whose bits are kept: their numbers in the corpus, ``windows`` [K] int64 ascending, and ``bits`` [K, W]
    uint64: the positions whose token is not BOS, position p in bit p % 64 of word p // 64."""

    windows: np.ndarray
    bits: np.ndarray

    @classmethod
    def choose(cls, tokens: np.ndarray, sizes: tuple[int, ...], keep: int, bos_id: int | None) -> KeptWindows:
        """``keep`` windows of the counted domains, which have ``sizes`` windows; ``tokens`` [S, T] are the corpus's."""
        windows = layout.kept_windows(sizes, keep)
        chosen = tokens[windows]
        kept = np.ones(chosen.shape, np.bool_) if bos_id is None else chosen != bos_id
        return cls(windows, words(np.packbits(kept, axis=1, bitorder="little")))

    def members(self, places: np.ndarray, seq_len: int) -> np.ndarray:
        """[P] bool: which kept positions are among ``places`` (window * T + p, of all windows)."""
        kept = np.unpackbits(self.bits.view(np.uint8), axis=1, bitorder="little")[:, :seq_len].view(np.bool_)
        everywhere = self.windows[:, None] * seq_len + np.arange(seq_len)
        return np.isin(everywhere[kept], places)

    @cached_property
    def starts(self) -> np.ndarray:
        """[K + 1] int64: the rows starts[i] .. starts[i + 1] - 1 are those of window i."""
        sizes = np.bitwise_count(self.bits).sum(axis=1, dtype=np.int64)
        return np.concatenate([[0], np.cumsum(sizes)])


def kept_values(
    layer: int, bits: WindowBits, kept: KeptWindows, threads: int = 1, proceed: Callable[[], None] = lambda: None
) -> Iterator[tuple[bytes, bytes | bytearray]]:
    """Key and value of everything that the database ``bits`` holds of a layer, in the keys' order; about ``threads`` + 1
    tiles of at most 16 MiB are in memory at a time. ``proceed`` is called before each; what it raises ends the work."""
    tiles = layout.tiles(int(kept.starts[-1]))
    jobs = [(block, tile) for block in range(layout.blocks(bits.neurons)) for tile in range(len(tiles))]
    counts = np.zeros((bits.neurons, 2), np.int64)

    def make(block: int, tile: int) -> tuple[bytes, bytearray]:
        start, end = tiles[tile]
        first, last = block * layout.BLOCK, min((block + 1) * layout.BLOCK, bits.neurons)
        width = layout.row_words(bits.neurons, block)
        value, rows = layout.new_tile(end - start, width)
        sums = _fill(bits, kept, first, last, start, rows)
        parts.append((first, last, sums))
        layout.seal_tile(value, end - start, width)
        return layout.BITS_KEY.pack(layer, block, tile), value

    parts: list[tuple[int, int, np.ndarray]] = []
    pending: deque[Future[tuple[bytes, bytearray]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for job in jobs:
                proceed()
                pending.append(pool.submit(make, *job))
                if len(pending) > threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
    for first, last, sums in parts:
        counts[first:last] += sums[: last - first]
    yield layout.BITS_KEY.pack(layer, layout.COUNTS_BLOCK, 0), encode_array(counts.astype(np.uint32))


def _fill(bits: WindowBits, kept: KeptWindows, first: int, last: int, start: int, rows: np.ndarray) -> np.ndarray:
    """Fill the rows from number ``start`` on, [R, words] uint64, with the bits of neurons first .. last - 1; their
    activations [64 words, 2] int64 over the even and odd windows that begin in these rows."""
    counts = np.zeros((rows.shape[1] * layout.WORD, 2), np.int64)
    low = int(np.searchsorted(kept.starts, start, "right")) - 1
    high = int(np.searchsorted(kept.starts, start + len(rows), "left"))
    size = max(1, BATCH_BYTES // (8 * kept.bits.shape[1] * len(counts)))
    for begin in range(low, high, size):
        part = range(begin, min(begin + size, high))
        batch = np.zeros((len(part), len(counts), kept.bits.shape[1]), np.uint64)
        for index, window in enumerate(kept.windows[part.start : part.stop].tolist()):
            batch[index, : last - first] = words(bits.window(window, first, last))
        here = slice(part.start, part.stop)
        _transpose(batch, kept.bits[here], kept.starts[here] - start, kept.windows[here] % 2, rows, counts)
    return counts


@compiled
def _transpose(
    bits: np.ndarray, kept: np.ndarray, starts: np.ndarray, odd: np.ndarray, rows: np.ndarray, counts: np.ndarray
) -> None:
    """Neuron-major bits of windows [N, F, W] to position-major ``rows`` [R, F / 64], all uint64.

    ``kept`` [N, W] has the bits of the positions that are kept, ``starts`` [N] the row of each window's first (some lie
    before row 0 or behind the last, and are left out). Activations are added to ``counts`` [F, 2] by ``odd`` [N], of the
    windows that begin in these rows.
    """
    square = np.empty(64, np.uint64)
    for window in range(bits.shape[0]):
        row = starts[window]
        begins = 0 <= row < len(rows)
        for index in range(bits.shape[2]):
            mask = kept[window, index]
            if mask == 0:
                continue
            for group in range(rows.shape[1]):
                some = np.uint64(0)
                for neuron in range(64):
                    word = bits[window, group * 64 + neuron, index] & mask
                    square[neuron] = word
                    some |= word
                if some == 0:
                    continue
                if begins:
                    for neuron in range(64):
                        counts[group * 64 + neuron, odd[window]] += np.int64(set_bits(square[neuron]))
                turn(square)
                place = row
                left = mask
                while left:
                    if 0 <= place < len(rows):
                        rows[place, group] = square[np.int64(trailing_zeros(left))]
                    left &= left - np.uint64(1)
                    place += 1
            row += np.int64(set_bits(mask))
