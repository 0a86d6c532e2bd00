"""Kept bits of a synthetic store, from where its neurons fire."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ffnscope.store.bits.column_sums import column_sums
from ffnscope.store.errors import UserError
from ffnscope.store.format import kept_bits as layout
from ffnscope.store.format.encoding import encode_array
from ffnscope.store.format.keys import INDEX_KEY
from ffnscope.store.vocabulary import RAW_PARTS, TEXT_PARTS, Vocabulary, pack_chunks, pack_raw


def piece_bytes(piece: str) -> bytes:
    """The bytes that a piece of byte-level BPE stands for."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    table = {chr(byte): byte for byte in printable} | {chr(0x100 + n): byte for n, byte in enumerate(others)}
    return bytes(table[letter] for letter in piece)


def byte_vocabulary() -> Vocabulary:
    """A vocabulary of the 256 bytes, as byte-level BPE falls back to; those from 128 on are no text by themselves."""
    pieces = {
        piece_bytes(chr(code))[0]: chr(code) for code in (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x144))
    }
    texts = tuple(chr(byte) if byte < 128 else pieces[byte] for byte in range(256))
    whole = np.arange(256) < 128
    raw = [b"" if byte < 128 else bytes([byte]) for byte in range(256)]
    stored = {
        INDEX_KEY.pack(index) + part: array
        for index, arrays in enumerate(zip(pack_chunks(texts, whole), pack_raw(raw), strict=True))
        for part, array in zip(TEXT_PARTS + RAW_PARTS, [*arrays[0], *arrays[1]], strict=True)
    }
    return Vocabulary(stored.get, UserError, len(texts), raw=True)


def kept_rows(windows: np.ndarray, bos: int, sizes: Sequence[int], keep: int) -> tuple[np.ndarray, np.ndarray]:
    """Flat positions (window * T + position) [P] of the kept positions of windows [S, T], and [P] bool: in an even window."""
    chosen = layout.kept_windows(sizes, keep)
    places = np.zeros(windows.shape, np.bool_)
    places[chosen] = windows[chosen] != bos
    flat = np.flatnonzero(places)
    return flat, flat // windows.shape[1] % 2 == 0


def bits_of(layer: int, active: np.ndarray, even: np.ndarray) -> Iterator[tuple[bytes, bytes | bytearray]]:
    """What the database `bits` holds of a layer: ``active`` [P, F] bool at the kept positions, ``even`` [P] bool."""
    positions, neurons = active.shape
    for block in range(layout.blocks(neurons)):
        words = layout.row_words(neurons, block)
        part = active[:, block * layout.BLOCK : (block + 1) * layout.BLOCK]
        packed = np.zeros((positions, 8 * words), np.uint8)
        packed[:, : -(-part.shape[1] // 8)] = np.packbits(part, axis=1, bitorder="little")
        for tile, (start, end) in enumerate(layout.tiles(positions)):
            value, rows = layout.new_tile(end - start, words)
            rows[:] = packed[start:end].view("<u8")
            layout.seal_tile(value, end - start, words)
            yield layout.BITS_KEY.pack(layer, block, tile), value
    counts = np.stack([active[even].sum(axis=0), active[~even].sum(axis=0)], axis=1).astype(np.uint32)
    yield layout.BITS_KEY.pack(layer, layout.COUNTS_BLOCK, 0), encode_array(counts)


def random_bits(
    rng: np.random.Generator, layer: int, neurons: int, even: np.ndarray, density: int
) -> Iterator[tuple[bytes, bytes | bytearray]]:
    """The same of neurons that are activated at random, at one position of 2**``density``: fast, for benchmarks. Blocks are
    one drawn block, turned."""
    drawn = np.bitwise_and.reduce(rng.integers(0, 1 << 64, (density, len(even), layout.BLOCK // 64), np.uint64))
    sums = np.stack([column_sums(drawn[even]), column_sums(drawn[~even])], axis=1)
    counts = np.zeros((layout.blocks(neurons) * layout.BLOCK, 2), np.uint32)
    for block in range(layout.blocks(neurons)):
        words = layout.row_words(neurons, block)
        turned = np.roll(drawn, block, axis=1)
        counts[block * layout.BLOCK : (block + 1) * layout.BLOCK] = np.roll(sums, block * 64, axis=0)
        for tile, (start, end) in enumerate(layout.tiles(len(even))):
            value, rows = layout.new_tile(end - start, words)
            rows[:] = turned[start:end, :words]
            layout.seal_tile(value, end - start, words)
            yield layout.BITS_KEY.pack(layer, block, tile), value
    yield layout.BITS_KEY.pack(layer, layout.COUNTS_BLOCK, 0), encode_array(counts[:neurons])
