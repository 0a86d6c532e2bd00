"""The counting loops over one neuron's bits, compiled; they hold no lock, so threads share the cores."""

from __future__ import annotations

import numpy as np
from numba import njit

# 100 * part >= 95 * whole: "covers 95%" is decided in integers.
PART, WHOLE = 100, 95


# The bits that are set in each byte, and how many: a look-up has no branches to mispredict.
SET_BITS = np.array(
    [[bit for bit in range(8) if byte >> bit & 1] + [0] * (8 - byte.bit_count()) for byte in range(256)]
)
NUMBER_SET = np.array([byte.bit_count() for byte in range(256)])


@njit(nogil=True, cache=True)
def set_positions(bits, seq_len, out):
    """Write the activated positions (window * seq_len + position, ascending) of one neuron into ``out``.

    ``bits`` [S, B] uint8, position p of a window in bit p % 8 of byte p // 8. Returns how many there are.
    """
    found = 0
    windows, width = bits.shape
    for window in range(windows):
        base = window * seq_len
        for byte in range(width):
            value = bits[window, byte]
            if value:
                number = NUMBER_SET[value]
                for index in range(number):
                    out[found + index] = base + byte * 8 + SET_BITS[value, index]
                found += number
    return found


@njit(nogil=True, cache=True)
def count_curve(positions, seq_len, edges, out):
    """Activated windows at each position: ``positions`` ascending int64 into ``out`` [D, T], windows of domain d
    being edges[d] .. edges[d+1]."""
    domain = 0
    for place in positions:
        window = place // seq_len
        while window >= edges[domain + 1]:
            domain += 1
        out[domain, place - window * seq_len] += 1


@njit(nogil=True, cache=True)
def count_ngrams(positions, ids, counts, touched):
    """Count the n-gram ids at ``positions`` into ``counts`` [M] int32 (zero on entry) and list those met.

    Returns (how many different, how many activations have an n-gram). ``clear`` undoes it.
    """
    distinct = 0
    total = 0
    for place in positions:
        ngram = ids[place]
        if ngram >= 0:
            if counts[ngram] == 0:
                touched[distinct] = ngram
                distinct += 1
            counts[ngram] += 1
            total += 1
    return distinct, total


@njit(nogil=True, cache=True)
def clear(counts, touched, distinct):
    """Set the counts of the first ``distinct`` touched ids back to zero."""
    for index in range(distinct):
        counts[touched[index]] = 0


@njit(nogil=True, cache=True)
def coverage(counts, touched, distinct, total, histogram):
    """The smallest m such that the m most frequent n-grams cover at least 95% of ``total``.

    No sort: n-grams are counted by their count (``histogram`` int64, zero on entry and on return, longer than the
    largest count), and taken from the largest count down.
    """
    if total == 0:
        return 0
    largest = 0
    for index in range(distinct):
        count = counts[touched[index]]
        histogram[count] += 1
        largest = max(largest, count)
    part = 0
    taken = 0
    count = largest
    while PART * part < WHOLE * total:
        here = histogram[count]
        if PART * (part + here * count) >= WHOLE * total:
            missing = WHOLE * total - PART * part
            step = PART * count
            taken += (missing + step - 1) // step
            break
        part += here * count
        taken += here
        count -= 1
    for index in range(distinct):
        histogram[counts[touched[index]]] = 0
    return taken


@njit(nogil=True, cache=True)
def most_frequent(counts, touched, distinct, out):
    """The ids of the most frequent n-grams into ``out`` [G] int64, ties by lower id. Returns how many."""
    size = len(out)
    kept = 0
    for index in range(distinct):
        ngram = touched[index]
        count = counts[ngram]
        if kept == size:
            last = out[size - 1]
            if count < counts[last] or (count == counts[last] and ngram > last):
                continue
            slot = size - 1
        else:
            slot = kept
            kept += 1
        while slot > 0:
            above = out[slot - 1]
            if counts[above] > count or (counts[above] == count and above < ngram):
                break
            out[slot] = above
            slot -= 1
        out[slot] = ngram
    return kept


@njit(nogil=True, cache=True)
def detected(counts, touched, distinct, total, totals, min_occurrences, out):
    """Rules 2 and 3 of a detector (definitions.md): ids g with P(active | g) >= 0.95 and N(g) >= min_occurrences
    into ``out``, and whether they account for at least 95% of ``total``. Returns (how many, whether)."""
    found = 0
    part = 0
    for index in range(distinct):
        ngram = touched[index]
        count = counts[ngram]
        if totals[ngram] >= min_occurrences and PART * count >= WHOLE * totals[ngram]:
            out[found] = ngram
            found += 1
            part += count
    return found, PART * part >= WHOLE * total


@njit(nogil=True, cache=True)
def draw(positions, seed, out):
    """A uniform sample without replacement of ``positions`` into ``out`` (reservoir), the same for the same seed.

    Returns how many were drawn.
    """
    state = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x632BE59BD9B4E019)
    size = len(out)
    for index in range(len(positions)):
        if index < size:
            out[index] = positions[index]
            continue
        state += np.uint64(0x9E3779B97F4A7C15)
        mixed = state
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed = mixed ^ (mixed >> np.uint64(31))
        slot = np.int64(mixed % np.uint64(index + 1))
        if slot < size:
            out[slot] = positions[index]
    return min(len(positions), size)


@njit(nogil=True, cache=True)
def count_order(
    positions,
    ids,
    totals,
    few,
    min_occurrences,
    counts,
    touched,
    histogram,
    top,
    top_count,
    top_total,
    found,
    found_count,
):
    """Everything about one neuron's n-grams of one order.

    ``few`` is rule 1's limit on the coverage. ``top`` [G], ``top_count`` [G], ``top_total`` [G] receive the most
    frequent n-grams, ``found`` and ``found_count`` the ids detected where the neuron is a detector of this order.
    Returns (distinct, activations with an n-gram, coverage, how many detected; 0 for no detector).
    """
    distinct, total = count_ngrams(positions, ids, counts, touched)
    covering = coverage(counts, touched, distinct, total, histogram)
    kept = most_frequent(counts, touched, distinct, top)
    for index in range(kept):
        top_count[index] = counts[top[index]]
        top_total[index] = totals[top[index]]
    number = 0
    if 1 <= covering <= few:
        number, whole = detected(counts, touched, distinct, total, totals, min_occurrences, found)
        if not whole:
            number = 0
        for index in range(number):
            found_count[index] = counts[found[index]]
    clear(counts, touched, distinct)
    return distinct, total, covering, number
