"""Activation bits in the order of the n-grams that end at their positions, and what is counted along them (compiled).

All positions of an n-gram lie side by side in that order, for every n at once (suffix_order.py). So an n-gram's activations
are the bits set in a stretch of a neuron's bits: nothing is looked up position by position, which for a large corpus means
reading its tables from main memory for every neuron.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ffnscope.core.jit import compiled, jitable
from ffnscope.core.statistics.bits import WORD, set_bits

NEURONS = 64  # that share a machine word while bits are put in order


class Runs(NamedTuple):
    """Stretches of the order's Q positions that are counted together. W = ceil(Q / 64) words.

    ``starts`` [W] uint64: a bit where one begins; ``ranks`` [W] int32: how many begin before a word; ``targets`` [R] int32:
    what each counts for. ``counted`` [W] uint64: the positions that are in one; ``single`` [W] uint64: those that are in none
    because their n-gram occurs once.
    """

    starts: np.ndarray
    ranks: np.ndarray
    targets: np.ndarray
    counted: np.ndarray
    single: np.ndarray


@jitable
def transpose(rows: np.ndarray) -> None:
    """Make bit c of word r bit r of word c, of ``rows`` [64] uint64."""
    shift = np.uint64(32)
    mask = np.uint64(0xFFFFFFFF)
    while shift:
        step = np.int64(shift)
        for begin in range(0, 64, 2 * step):
            for row in range(begin, begin + step):
                change = ((rows[row] >> shift) ^ rows[row + step]) & mask
                rows[row] ^= change << shift
                rows[row + step] ^= change
        shift >>= np.uint64(1)
        mask ^= mask << shift


@compiled
def by_position(bits: np.ndarray, begin: int, end: int, seq_len: int, table: np.ndarray) -> None:
    """Bits [n, S, W] uint64 of the windows begin .. end - 1 into ``table`` [S * T, ceil(n / 64)] uint64, whose rows hold those
    of all neurons at a position."""
    rows = np.zeros(NEURONS, np.uint64)
    for group in range(table.shape[1]):
        first = group * NEURONS
        number = min(NEURONS, len(bits) - first)
        for window in range(begin, end):
            for index in range(bits.shape[2]):
                for row in range(number):
                    rows[row] = bits[first + row, window, index]
                for row in range(number, NEURONS):
                    rows[row] = 0
                transpose(rows)
                place = window * seq_len + index * WORD
                for row in range(min(WORD, seq_len - index * WORD)):
                    table[place + row, group] = rows[row]


@compiled
def in_order(table: np.ndarray, places: np.ndarray, begin: int, end: int, out: np.ndarray) -> None:
    """The words begin .. end - 1 of the neurons' bits in the order of ``places`` [Q] int32, into ``out`` [n, ceil(Q / 64)]
    uint64."""
    rows = np.zeros(NEURONS, np.uint64)
    for word in range(begin, end):
        number = min(WORD, len(places) - word * WORD)
        for group in range(table.shape[1]):
            for row in range(number):
                rows[row] = table[places[word * WORD + row], group]
            for row in range(number, WORD):
                rows[row] = 0
            transpose(rows)
            first = group * NEURONS
            for row in range(min(NEURONS, len(out) - first)):
                out[first + row, word] = rows[row]


@jitable
def count_runs(bits: np.ndarray, runs: Runs, targets: np.ndarray, counts: np.ndarray) -> tuple[int, np.int64]:
    """The targets of the runs that have any of ``bits`` [W], and how many they have, into ``targets`` and ``counts``, in order.
    Returns (how many runs, bits at n-grams that occur once)."""
    number = 0
    once = total = np.int64(0)
    current = np.int64(-1)
    every = ~np.uint64(0)
    starts, ranks, counted, single, run_targets = runs.starts, runs.ranks, runs.counted, runs.single, runs.targets
    for index in range(len(bits)):
        word = bits[index]
        if word == 0:
            continue
        once += np.int64(set_bits(word & single[index]))
        word &= counted[index]
        if word == 0:
            continue
        begins = starts[index]
        before = np.int64(ranks[index]) - 1
        while word:
            lowest = word & (~word + np.uint64(1))
            upto = lowest | (lowest - np.uint64(1))
            run = before + np.int64(set_bits(begins & upto))
            later = begins & ~upto
            stretch = (later & (~later + np.uint64(1))) - np.uint64(1) if later else every
            part = np.int64(set_bits(word & stretch))
            word &= ~stretch
            if run == current:
                total += part
            else:
                if total:
                    targets[number] = run_targets[current]
                    counts[number] = total
                    number += 1
                current, total = run, part
    if total:
        targets[number] = run_targets[current]
        counts[number] = total
        number += 1
    return number, once


@jitable
def tally_runs(bits: np.ndarray, activations: int, runs: Runs, space: Any) -> tuple[int, np.int64, np.int64, np.int64]:
    """``kernels.tally`` of a neuron's ``activations`` positions, from its bits in the n-grams' order."""
    kept, histogram = space.kept, space.histogram
    distinct, once = count_runs(bits, runs, space.touched, kept)
    largest = np.int64(once > 0)
    total = once
    for index in range(distinct):
        count = np.int64(kept[index])
        histogram[count] += 1
        largest = max(largest, count)
        total += count
    histogram[1] += once
    return distinct, once, activations - total, largest
