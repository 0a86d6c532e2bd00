"""One neuron's activation bits, walked a machine word at a time: its positions, its curve, a sample (compiled)."""

from __future__ import annotations

import numpy as np

from ffnscope.core.bit_words import WORD, set_bits, trailing_zeros
from ffnscope.core.jit import jitable


def words(bits: np.ndarray) -> np.ndarray:
    """Bits [..., B] uint8, position p in bit p % 8 of byte p // 8, as [..., ceil(B / 8)] uint64: position p in bit
    p % 64 of word p // 64. A view where B is a multiple of 8."""
    short = -bits.shape[-1] % 8
    if short:
        bits = np.pad(bits, [(0, 0)] * (bits.ndim - 1) + [(0, short)])
    return np.ascontiguousarray(bits).view("<u8")


@jitable
def scan(
    bits: np.ndarray,
    bos: np.ndarray,
    seq_len: int,
    edges: np.ndarray,
    counted: int,
    positions: np.ndarray,
    curves: np.ndarray,
    domains: np.ndarray,
) -> tuple[int, int, np.int64]:
    """Everything that one neuron's ``bits`` [S, W] uint64 say without the corpus's n-grams.

    Domain d is the windows edges[d] .. edges[d + 1] - 1. Of the first ``counted`` domains the activated positions
    (window * seq_len + position, ascending) go to ``positions`` and are added to ``curves`` [counted, T]; the
    activations of every domain are added to ``domains`` [D]. ``bos`` [S, W] has the bits of the positions whose token
    is BOS. Returns (positions written, how many of them in even windows, activations at BOS in all domains).
    """
    number = 0
    evens = 0
    at_bos = np.int64(0)
    for domain in range(len(edges) - 1):
        here = np.int64(0)
        for window in range(edges[domain], edges[domain + 1]):
            base = window * seq_len
            before = number
            for index in range(bits.shape[1]):
                word = bits[window, index]
                if word == 0:
                    continue
                here += np.int64(set_bits(word))
                at_bos += np.int64(set_bits(word & bos[window, index]))
                if domain >= counted:
                    continue
                while word:
                    position = index * WORD + np.int64(trailing_zeros(word))
                    word &= word - np.uint64(1)
                    positions[number] = base + position
                    number += 1
                    curves[domain, position] += 1
            if window % 2 == 0:
                evens += number - before
        domains[domain] += here
    return number, evens, at_bos


@jitable
def _mixed(state: np.uint64) -> np.uint64:
    """A random-looking uint64 from another (splitmix64's finisher)."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


@jitable
def draw(positions: np.ndarray, seed: int, out: np.ndarray) -> int:
    """A uniform sample without replacement of ``positions`` into ``out`` (Floyd's algorithm), the same for the same
    seed. Returns how many were drawn: all of them where there are no more than ``out`` holds."""
    count, size = len(positions), len(out)
    if count <= size:
        for index in range(count):
            out[index] = positions[index]
        return count
    state = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x632BE59BD9B4E019)
    for taken in range(size):
        last = count - size + taken
        state += np.uint64(0x9E3779B97F4A7C15)
        place = positions[np.int64(_mixed(state) % np.uint64(last + 1))]
        for before in range(taken):
            if out[before] == place:
                # Whatever was drawn so far came from before `last`, so this one is new.
                place = positions[last]
                break
        out[taken] = place
    return size


# What numba has ready as searchsorted and concatenate takes it seconds to compile.


@jitable
def lower_bound(ascending: np.ndarray, value: np.int64) -> int:
    """How many of ``ascending`` are below ``value``."""
    low, high = 0, len(ascending)
    while low < high:
        middle = (low + high) // 2
        if ascending[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@jitable
def append(found: np.ndarray, neuron: int, ids: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """``found`` [3, M] int64, neurons, ids and counts, with a detector's n-grams behind them."""
    size = found.shape[1]
    longer = np.empty((3, size + len(ids)), np.int64)
    for index in range(size):
        for row in range(3):
            longer[row, index] = found[row, index]
    for index in range(len(ids)):
        longer[0, size + index], longer[1, size + index], longer[2, size + index] = neuron, ids[index], counts[index]
    return longer
