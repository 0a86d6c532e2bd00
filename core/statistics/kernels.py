"""The counting loops over a block of neurons, compiled; they hold no lock, so threads share the cores.

An n-gram that occurs once in the corpus is not worth a counter of its own: all of one order share a slot, and are told
apart again only where they could be among the most frequent or the detected. Most trigrams occur once, so the counters
that remain stay in a core's cache.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ffnscope.core.jit import compiled, jitable
from ffnscope.core.statistics.bits import append, draw, lower_bound, scan
from ffnscope.core.statistics.suffix_kernel import Runs, tally_runs
from ffnscope.store.definitions import (
    COVERED_PERCENT,
    MOST_COVERING,
    SPLIT_FAILS,
    SPLIT_HOLDS,
    SPLIT_TOO_RARE,
    WHOLE_PERCENT,
)

FEW = np.array(MOST_COVERING)  # rule 1 of a detector


class Ngrams(NamedTuple):
    """The n-grams of one order as they are counted: P positions, M n-grams, R of them that occur more than once.

    ``slots`` [P] int32: where the n-gram at a position is counted: 0 .. R-1, R for all that occur once, R + 1 for
    positions without one. ``ids`` [P] int32: its id. ``repeated`` [R] int32: the id of each slot, ascending.
    ``totals``, ``even``, ``odd`` [M] int64: N(g) in all windows, and in the even and the odd ones.
    """

    slots: np.ndarray
    ids: np.ndarray
    repeated: np.ndarray
    totals: np.ndarray
    even: np.ndarray
    odd: np.ndarray


class Space(NamedTuple):
    """Arrays that a thread reuses from neuron to neuron: ``positions`` and ``halves`` [P], ``counts``, ``touched`` and
    ``kept`` [R + 3], ``histogram`` [P + 2], all int32 but positions, which are int64 where there are many.
    ``counts`` and ``histogram`` are zero between uses."""

    positions: np.ndarray
    halves: np.ndarray
    counts: np.ndarray
    touched: np.ndarray
    kept: np.ndarray
    histogram: np.ndarray


class Counted(NamedTuple):
    """Rows of counts.LayerCounts that a block of neurons fills, by the same names."""

    activations: np.ndarray
    bos_activations: np.ndarray
    domain_activations: np.ndarray
    curves: np.ndarray
    ngram_activations: np.ndarray
    ngrams_distinct: np.ndarray
    coverage: np.ndarray
    order: np.ndarray
    split_order: np.ndarray
    split_held: np.ndarray
    drawn: np.ndarray
    top: np.ndarray
    top_count: np.ndarray
    top_total: np.ndarray


@jitable
def tally(positions: np.ndarray, ngrams: Ngrams, space: Space) -> tuple[int, np.int64, np.int64, np.int64]:
    """Count the n-grams at ``positions`` [n] int32. Leaves in the space the slots met (``touched``), their counts (``kept``)
    and how many n-grams have each count (``histogram``; ``forget`` undoes it). Returns (how many slots, n-grams met that
    occur once in the corpus, positions without an n-gram, the largest count)."""
    slots, counts, touched, kept = ngrams.slots, space.counts, space.touched, space.kept
    plain = len(ngrams.repeated)
    met = 0
    for place in positions:
        slot = slots[place]
        touched[met] = slot
        met += counts[slot] == 0
        counts[slot] += 1
    once, without = np.int64(counts[plain]), np.int64(counts[plain + 1])
    counts[plain] = counts[plain + 1] = 0
    distinct = 0
    largest = np.int64(once > 0)
    for index in range(met):
        slot = touched[index]
        if slot < plain:
            count = counts[slot]
            counts[slot] = 0
            touched[distinct] = slot
            kept[distinct] = count
            distinct += 1
            space.histogram[count] += 1
            largest = max(largest, np.int64(count))
    space.histogram[1] += once
    return distinct, once, without, largest


@jitable
def forget(distinct: int, space: Space) -> None:
    """Make the histogram zero again after a ``tally``."""
    space.histogram[1] = 0
    for index in range(distinct):
        space.histogram[space.kept[index]] = 0


@jitable
def coverage(histogram: np.ndarray, largest: np.int64, total: np.int64) -> np.int64:
    """The smallest m such that the m most frequent n-grams cover at least 95% of ``total``.

    No sort: ``histogram`` [P + 2] int32 says how many n-grams have each count, and they are taken from the ``largest`` down.
    """
    part = distinct = np.int64(0)
    count = largest
    while WHOLE_PERCENT * part < COVERED_PERCENT * total:
        here = np.int64(histogram[count])
        if WHOLE_PERCENT * (part + here * count) >= COVERED_PERCENT * total:
            missing = COVERED_PERCENT * total - WHOLE_PERCENT * part
            step = WHOLE_PERCENT * count
            return distinct + (missing + step - 1) // step
        part += here * count
        distinct += here
        count -= 1
    return distinct


@jitable
def of_the_largest(histogram: np.ndarray, largest: np.int64, number: np.int64) -> np.int64:
    """What the ``number`` most frequent n-grams count together."""
    part = np.int64(0)
    count = largest
    while number > 0 and count > 0:
        here = min(np.int64(histogram[count]), number)
        part += here * count
        number -= here
        count -= 1
    return part


@jitable
def _insert(ngram: int, count: int, ids: np.ndarray, counts: np.ndarray, size: int) -> int:
    """Put an n-gram among the most frequent, ties by lower id; returns how many there are."""
    if size == len(ids):
        if count < counts[size - 1] or (count == counts[size - 1] and ngram > ids[size - 1]):
            return size
        size -= 1
    slot = size
    while slot > 0 and (counts[slot - 1] < count or (counts[slot - 1] == count and ids[slot - 1] > ngram)):
        ids[slot], counts[slot] = ids[slot - 1], counts[slot - 1]
        slot -= 1
    ids[slot], counts[slot] = ngram, count
    return size + 1


@jitable
def most_frequent(
    positions: np.ndarray,
    ngrams: Ngrams,
    space: Space,
    tallies: tuple[int, np.int64, np.int64, np.int64],
    ids: np.ndarray,
    counts: np.ndarray,
) -> np.int64:
    """The most frequent n-grams of a tally that returned ``tallies`` into ``ids`` and ``counts`` [G] int64, ties by lower
    id. Returns how many."""
    distinct, once, _, largest = tallies
    least, above = largest, np.int64(space.histogram[largest])
    while least > 1 and above < len(ids):
        least -= 1
        above += space.histogram[least]
    size = np.int64(0)
    for index in range(distinct):
        if space.kept[index] >= least:
            ngram, count = np.int64(ngrams.repeated[space.touched[index]]), np.int64(space.kept[index])
            size = _insert(ngram, count, ids, counts, size)
    if least == 1 and once:
        plain = len(ngrams.repeated)
        for place in positions:
            if ngrams.slots[place] == plain:
                size = _insert(np.int64(ngrams.ids[place]), np.int64(1), ids, counts, size)
    return size


@jitable
def detect(
    positions: np.ndarray,
    ngrams: Ngrams,
    totals: np.ndarray,
    space: Space,
    tallies: tuple[int, np.int64, np.int64, np.int64],
    total: np.int64,
    min_occurrences: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Rules 2 and 3 of a detector (core/DEFINITIONS.md): the ids g with P(active | g) >= 0.95 and N(g) >= min_occurrences,
    N being ``totals``, and their counts, [M] int64 each; none unless they account for at least 95% of ``total``.

    An n-gram met that occurs once in the corpus has P = 1.
    """
    distinct, once, _, _ = tallies
    number = part = np.int64(0)
    for index in range(distinct):
        count = np.int64(space.kept[index])
        all_of_it = totals[ngrams.repeated[space.touched[index]]]
        if all_of_it >= min_occurrences and WHOLE_PERCENT * count >= COVERED_PERCENT * all_of_it:
            number += 1
            part += count
    if min_occurrences <= 1:
        number += once
        part += once
    if WHOLE_PERCENT * part < COVERED_PERCENT * total:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    ids, counts = np.empty(number, np.int64), np.empty(number, np.int64)
    counts[:] = 1
    number = np.int64(0)
    for index in range(distinct):
        ngram, count = ngrams.repeated[space.touched[index]], np.int64(space.kept[index])
        if totals[ngram] >= min_occurrences and WHOLE_PERCENT * count >= COVERED_PERCENT * totals[ngram]:
            ids[number], counts[number] = ngram, count
            number += 1
    if min_occurrences <= 1 and once:
        for place in positions:
            if ngrams.slots[place] == len(ngrams.repeated):
                ids[number] = ngrams.ids[place]
                number += 1
    return ids, counts


@jitable
def split(
    positions: np.ndarray,
    seq_len: int,
    orders: tuple[Ngrams, ...],
    possible: np.ndarray,
    min_occurrences: int,
    space: Space,
) -> tuple[int, int]:
    """The detector found on the even windows, and what the odd windows say of it.

    Only orders that are ``possible`` [3] are looked at. Returns (its order, one of the codes SPLIT_*); order 0 for none.
    """
    evens = 0
    odds = len(positions)
    for place in positions:
        if place // seq_len % 2 == 0:
            space.halves[evens] = place
            evens += 1
        else:
            odds -= 1
            space.halves[odds] = place
    even, odd = space.halves[:evens], space.halves[evens : len(positions)]
    for index in range(3):
        if not possible[index]:
            continue
        ngrams = orders[index]
        tallies = tally(even, ngrams, space)
        total = evens - tallies[2]
        covering = coverage(space.histogram, tallies[3], total)
        ids = np.empty(0, np.int64)
        if 1 <= covering <= FEW[index]:
            ids, _ = detect(even, ngrams, ngrams.even, space, tallies, total, min_occurrences)
        forget(tallies[0], space)
        if len(ids):
            return index + 1, holds(ids, odd, ngrams, min_occurrences, space)
    return 0, SPLIT_TOO_RARE


@jitable
def holds(detected: np.ndarray, odd: np.ndarray, ngrams: Ngrams, min_occurrences: int, space: Space) -> int:
    """What the odd windows, activated at ``odd``, say of a detector's n-grams, ``detected`` ids: a code SPLIT_*.

    SPLIT_HOLDS where each of them that occurs often enough there activates the neuron at least 95% of the time, and all of
    them account for at least 95% of its activations; SPLIT_FAILS where not, SPLIT_TOO_RARE where none does.
    """
    counts, plain = space.counts, len(ngrams.repeated)
    for place in odd:
        counts[ngrams.slots[place]] += 1
    total = len(odd) - np.int64(counts[plain + 1])
    part = np.int64(0)
    often = False
    covered = True
    for ngram in detected:
        # One that occurs once in the corpus does so in the even windows.
        slot = lower_bound(ngrams.repeated, ngram)
        if slot == plain or ngrams.repeated[slot] != ngram:
            continue
        count = np.int64(counts[slot])
        part += count
        if ngrams.odd[ngram] >= min_occurrences:
            often = True
            covered &= WHOLE_PERCENT * count >= COVERED_PERCENT * ngrams.odd[ngram]
    for place in odd:
        counts[ngrams.slots[place]] = 0
    if not often:
        return SPLIT_TOO_RARE
    return SPLIT_HOLDS if covered and total > 0 and WHOLE_PERCENT * part >= COVERED_PERCENT * total else SPLIT_FAILS


@jitable
def scan_neuron(
    neuron: int,
    bits: np.ndarray,
    bos: np.ndarray,
    seed: int,
    seq_len: int,
    edges: np.ndarray,
    counted: int,
    space: Space,
    out: Counted,
) -> tuple[int, int]:
    """What the bits of one neuron say without n-grams into its row of ``out``, and its activated positions into those of
    ``space``. Returns (positions, how many of them in even windows)."""
    number, evens, at_bos = scan(
        bits[neuron], bos, seq_len, edges, counted, space.positions, out.curves[neuron], out.domain_activations[neuron]
    )
    total = np.int64(0)
    for count in out.domain_activations[neuron]:
        total += count
    out.activations[neuron] = total
    out.bos_activations[neuron] = at_bos
    draw(space.positions[:number], seed + neuron, out.drawn[neuron])
    return number, evens


@jitable
def list_most_frequent(
    neuron: int,
    index: int,
    positions: np.ndarray,
    ngrams: Ngrams,
    space: Space,
    tallies: tuple[int, np.int64, np.int64, np.int64],
    out: Counted,
) -> None:
    """The most frequent n-grams of order ``index`` + 1 into the neuron's row of ``out``."""
    ids, counts = out.top[neuron, index], out.top_count[neuron, index]
    for place in range(most_frequent(positions, ngrams, space, tallies, ids, counts)):
        out.top_total[neuron, index, place] = ngrams.totals[ids[place]]


@compiled
def count_block(
    bits: np.ndarray,
    bos: np.ndarray,
    seed: int,
    seq_len: int,
    edges: np.ndarray,
    counted: int,
    orders: tuple[Ngrams, ...],
    min_occurrences: int,
    ordered: np.ndarray,
    runs: tuple[Runs, ...],
    space: Space,
    out: Counted,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count everything about the neurons whose ``bits`` [N, S, W] uint64 are given, as ``scan`` takes them, into
    ``out`` (rows 0 .. N-1, zero, or -1 for ``drawn`` and ``top``). ``orders`` are the Ngrams of n = 1, 2, 3, ``runs`` theirs in
    the bits as they are ``ordered`` [N, V] (suffix_order.py; V = 0: they are not). Returns (neuron, id, count) of every n-gram
    that a detector among them detects."""
    found = np.empty((3, 0), np.int64)
    possible = np.zeros(3, np.bool_)
    for neuron in range(len(bits)):
        number, evens = scan_neuron(neuron, bits, bos, seed, seq_len, edges, counted, space, out)
        if not number:
            continue
        positions = space.positions[:number]
        for index in range(3):
            ngrams = orders[index]
            in_order = (ordered[neuron], number, runs[index], space)
            tallies = tally_runs(*in_order) if ordered.shape[1] else tally(positions, ngrams, space)
            total = number - tallies[2]
            covering = coverage(space.histogram, tallies[3], total)
            out.ngrams_distinct[neuron, index] = tallies[0] + tallies[1]
            out.ngram_activations[neuron, index] = total
            out.coverage[neuron, index] = covering
            list_most_frequent(neuron, index, positions, ngrams, space, tallies, out)
            if 1 <= covering <= FEW[index] and not out.order[neuron]:
                ids, counts = detect(positions, ngrams, ngrams.totals, space, tallies, total, min_occurrences)
                if len(ids):
                    out.order[neuron] = index + 1
                    found = append(found, neuron, ids, counts)
            # On the even windows no n-gram counts more than on all, and no fewer positions than this have one: most
            # neurons cannot be detectors there, and need not be counted again.
            most = of_the_largest(space.histogram, tallies[3], FEW[index])
            possible[index] = WHOLE_PERCENT * most >= COVERED_PERCENT * (evens - tallies[2])
            forget(tallies[0], space)
        if possible[0] or possible[1] or possible[2]:
            out.split_order[neuron], out.split_held[neuron] = split(
                positions, seq_len, orders, possible, min_occurrences, space
            )
    return found[0], found[1], found[2]
