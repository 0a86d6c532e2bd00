"""Kept activation bits as bytes: which windows are kept, and how the bits of a layer lie in the database ``bits``."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ffnscope.store.format.encoding import DamagedValueError

BLOCK = 512  # neurons a block: a row of 64 bytes is one cache line
TILE = 1 << 18  # kept positions a tile: at most 16 MiB a value
WORD = 64  # neurons a word
LEAST_WINDOWS = 16  # fewer are kept only where asked for
BITS_KEY = struct.Struct(">HHI")  # layer, block, tile
COUNTS_BLOCK = 0xFFFF  # in a key, in place of a block: the layer's activations over the kept positions
LABELS_LAYER = 0xFFFF  # in a key, in place of a layer: the positions of a label
MOST_LABELS = 1 << 16
HEAD_BYTES = 48  # behind LMDB's page header of 16 bytes, rows then begin at a cache line
_HEAD = struct.Struct("<IIQ")  # crc32 of all that follows, words a row, rows


def windows_kept(sizes: Sequence[int], keep: int) -> tuple[int, ...]:
    """How many windows of each domain are kept of ``keep`` in all; ``sizes`` are the counted domains' windows.

    In proportion to the domains' sizes, but at least one of each where there are as many as domains. All of a domain where
    ``keep`` is the number of windows; never more than there are.
    """
    total = sum(sizes)
    keep = min(keep, total)
    least = 1 if keep >= len(sizes) else 0
    spare, room = keep - least * len(sizes), total - least * len(sizes)
    edges, before = [0], 0
    for size in sizes:
        before += size - least
        edges.append(spare * before // room if room else 0)
    return tuple(least + end - start for start, end in pairwise(edges))


def kept_windows(sizes: Sequence[int], keep: int) -> np.ndarray:
    """[K] int64, ascending: the kept windows' numbers in the corpus; windows floor(i * W / K) of each domain."""
    first, parts = 0, [np.zeros(0, np.int64)]
    for size, kept in zip(sizes, windows_kept(sizes, keep), strict=True):
        if kept:
            parts.append(first + np.arange(kept, dtype=np.int64) * size // kept)
        first += size
    return np.concatenate(parts)


def blocks(neurons: int) -> int:
    """Blocks of a layer."""
    return -(-neurons // BLOCK)


def row_words(neurons: int, block: int) -> int:
    """Words of a block's row; the last block's is shorter."""
    return -(-min(BLOCK, neurons - block * BLOCK) // WORD)


def position_bytes(neurons: int) -> int:
    """Bytes that one kept position of a layer takes."""
    return 8 * -(-neurons // WORD)


def tiles(positions: int) -> list[tuple[int, int]]:
    """First and end row of every tile."""
    return [(start, min(start + TILE, positions)) for start in range(0, positions, TILE)]


def label_key(index: int) -> bytes:
    """Key of a label's positions, an array [ceil(P / 8)] u1 of their bits."""
    return BITS_KEY.pack(LABELS_LAYER, 0, index)


def new_tile(rows: int, words: int) -> tuple[bytearray, np.ndarray]:
    """A value of zeros and its rows, [rows, words] uint64, to be filled in place and then sealed."""
    value = bytearray(HEAD_BYTES + 8 * rows * words)
    return value, np.frombuffer(value, "<u8", offset=HEAD_BYTES).reshape(rows, words)


def seal_tile(value: bytearray, rows: int, words: int) -> None:
    """Write the header, checksum included."""
    _HEAD.pack_into(value, 0, 0, words, rows)
    struct.pack_into("<I", value, 0, zlib.crc32(memoryview(value)[4:]))


def tile_rows(value: bytes | memoryview, rows: int, words: int) -> np.ndarray:
    """[rows, words] uint64 of a value, in place: neuron n of the block is bit n % 64 of word n // 64.

    The checksum covers all rows and isn't looked at: ``ffnscope verify`` does. Raises DamagedValueError for another size.
    """
    if len(value) != HEAD_BYTES + 8 * rows * words or _HEAD.unpack_from(value)[1:] != (words, rows):
        raise DamagedValueError(f"is not the bits of {rows:,} positions")
    return np.frombuffer(value, "<u8", offset=HEAD_BYTES).reshape(rows, words)


def check_tile(value: bytes | memoryview) -> None:
    """Raise DamagedValueError where the checksum differs."""
    if len(value) < HEAD_BYTES or zlib.crc32(memoryview(value)[4:]) != _HEAD.unpack_from(value)[0]:
        raise DamagedValueError("checksum differs")
