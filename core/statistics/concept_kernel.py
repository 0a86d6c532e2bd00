"""The search for a neuron's description, compiled: which formula of concepts agrees best with where it is activated.

Concepts are numbered 0 .. C-1. A formula is four int16: its shape, and up to three literals, c + 1 for concept c,
-(c + 1) for its negation, 0 for none. Positions are bits of machine words: the kept windows of one half after each
other, W words each.

How many positions a formula holds at is known of the corpus beforehand, and from the hits of single concepts follows
what a formula of two can reach at most: only those that can still be among the best are counted. Hits are counted among
the positions where the neuron is activated; of a neuron that rarely is, these are put side by side first.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ffnscope.core.bit_words import WORD, set_bits, trailing_zeros, turn
from ffnscope.core.jit import compiled, jitable

NO_RANK = np.iinfo(np.int64).max
EVERY = np.uint64(0xFFFFFFFFFFFFFFFF)  # every bit set
ALL, ANY, ANY_AND = 0, 1, 2  # shapes: every literal holds; any of them; any of the first two, and the third
BEAM = 5  # formulas of one and two concepts that are extended by a third
FREQUENT = 6  # neurons activated at one position in so many, or more: all positions keep their bits
LEAST_ACTIVATIONS = 20  # in each half, for a description


class EvenSets(NamedTuple):
    """The concepts' positions in the even kept windows, by which descriptions are chosen, and how many they are.

    ``windows`` [K] int64: their numbers in the corpus. ``real`` [K * W] uint64: positions whose token is not BOS.
    ``concepts`` [C, K * W] uint64, and the same by position: ``at`` [K * W * 64, G] uint64, G = ceil(C / 64), has concept
    c in bit c % 64 of word c // 64. ``single`` [C], ``pair`` [C, C], ``triple`` [C, C, C] int64: positions where one,
    both, all three hold; ``total``: all kept positions.
    """

    windows: np.ndarray
    real: np.ndarray
    concepts: np.ndarray
    at: np.ndarray
    single: np.ndarray
    pair: np.ndarray
    triple: np.ndarray
    total: int


class OddSets(NamedTuple):
    """The concepts' positions in the odd kept windows, by which descriptions are tested: ``concepts`` [C, K * W] uint64,
    the others as in EvenSets."""

    windows: np.ndarray
    real: np.ndarray
    concepts: np.ndarray
    total: int


class Search(NamedTuple):
    """Arrays that a thread reuses from neuron to neuron, and what ``gather`` puts there of one.

    ``within`` [N] uint64: the positions where the neuron is activated, and ``active`` [G * 64, N] uint64: those where
    concept c holds too, in row c. Of a neuron that is rarely activated, only the positions where it is have a bit, one
    after the other. ``subset`` [N] uint64; ``square`` [G, 64] uint64; ``single`` [C] and ``pair`` [C, C] int64 (-1: not
    counted), ``bounds`` [C] float64; ``f1`` [BEAM] float64, ``rank`` [BEAM] int64, ``formulas`` [BEAM, 4] int16.
    """

    within: np.ndarray
    active: np.ndarray
    subset: np.ndarray
    square: np.ndarray
    single: np.ndarray
    pair: np.ndarray
    bounds: np.ndarray
    f1: np.ndarray
    rank: np.ndarray
    formulas: np.ndarray


@jitable
def gather(bits, sets, search):
    """Fill ``within`` and ``active`` of a neuron's ``bits`` [S, W]: (how many of their words, activations)."""
    width, places = bits.shape[1], len(sets.real)
    counted = np.uint64(0)
    for row in range(len(sets.windows)):
        window, first = sets.windows[row], row * width
        for index in range(width):
            word = bits[window, index] & sets.real[first + index]
            search.within[first + index] = word
            counted += set_bits(word)
    active = np.int64(counted)
    if active * FREQUENT >= places * WORD:
        for concept in range(len(sets.single)):
            for place in range(places):
                search.active[concept, place] = sets.concepts[concept, place] & search.within[place]
        return places, active
    number = np.int64(0)
    for place in range(places):
        word = search.within[place]
        while word:
            position = WORD * place + np.int64(trailing_zeros(word))
            word &= word - np.uint64(1)
            for group in range(search.square.shape[0]):
                search.square[group, number % WORD] = sets.at[position, group]
            number += 1
            if number % WORD == 0:
                put(search, number // WORD - 1)
    whole, rest = active // WORD, active % WORD
    for place in range(whole):
        search.within[place] = EVERY
    if rest:
        for group in range(search.square.shape[0]):
            for place in range(rest, WORD):
                search.square[group, place] = 0
        put(search, whole)
        search.within[whole] = (np.uint64(1) << np.uint64(rest)) - np.uint64(1)
    return whole + (rest > 0), active


@jitable
def put(search, column):
    """Put the concepts of 64 positions, in ``square``, into a column of ``active``."""
    for group in range(search.square.shape[0]):
        turn(search.square[group])
        for row in range(WORD):
            search.active[WORD * group + row, column] = search.square[group, row]


@jitable
def common(first, second, number):
    """How many bits the first ``number`` words of two rows have in common."""
    hits = np.uint64(0)
    for index in range(number):
        hits += set_bits(first[index] & second[index])
    return np.int64(hits)


@jitable
def fill(subset, formula, concepts, within, number):
    """Fill ``number`` words of ``subset`` with the positions of a formula, of ``concepts`` [C, N], among those ``within``."""
    for slot in range(1, 4):
        literal = formula[slot]
        if literal == 0:
            break
        row = concepts[abs(literal) - 1]
        flipped = EVERY if literal < 0 else np.uint64(0)
        if slot == 1:
            for index in range(number):
                subset[index] = row[index] ^ flipped
        elif formula[0] == ALL or (formula[0] == ANY_AND and slot == 3):
            for index in range(number):
                subset[index] &= row[index] ^ flipped
        else:
            for index in range(number):
                subset[index] |= row[index] ^ flipped
    for index in range(number):
        subset[index] &= within[index]


@jitable
def pair_size(a, b, sets):
    """Positions where two literals hold, of different concepts."""
    x, y = abs(a) - 1, abs(b) - 1
    both = sets.pair[x, y]
    if a > 0 and b > 0:
        return both
    if a > 0:
        return sets.single[x] - both
    if b > 0:
        return sets.single[y] - both
    return sets.total - sets.single[x] - sets.single[y] + both


@jitable
def long_size(shape, a, b, c, sets):
    """Positions where a formula of three concepts holds."""
    x, y, z = abs(a) - 1, abs(b) - 1, abs(c) - 1
    all_three = sets.triple[x, y, z]
    either_z = sets.pair[x, z] + sets.pair[y, z] - all_three
    if shape == ALL:
        # The third literal splits what the first two leave.
        with_z = all_three
        if a < 0 and b < 0:
            with_z = sets.single[z] - either_z
        elif a < 0:
            with_z = sets.pair[y, z] - all_three
        elif b < 0:
            with_z = sets.pair[x, z] - all_three
        return with_z if c > 0 else pair_size(a, b, sets) - with_z
    either = sets.single[x] + sets.single[y] - sets.pair[x, y]
    if shape == ANY:
        return either + sets.single[z] - either_z
    return either_z if c > 0 else either - either_z


@jitable
def keep(f1, rank, shape, a, b, c, search, size):
    """Put a formula among the best ``size``: the larger f1 first, of equals the lower rank."""
    slot = size
    while slot > 0 and (f1 > search.f1[slot - 1] or (f1 == search.f1[slot - 1] and rank < search.rank[slot - 1])):
        slot -= 1
    if slot == size:
        return
    for later in range(size - 1, slot, -1):
        search.f1[later] = search.f1[later - 1]
        search.rank[later] = search.rank[later - 1]
        for place in range(4):
            search.formulas[later, place] = search.formulas[later - 1, place]
    search.f1[slot] = f1
    search.rank[slot] = rank
    search.formulas[slot, 0] = shape
    search.formulas[slot, 1] = a
    search.formulas[slot, 2] = b
    search.formulas[slot, 3] = c


@jitable
def in_formula(formula, concept):
    """Whether a formula names a concept."""
    return abs(formula[1]) == concept + 1 or abs(formula[2]) == concept + 1 or abs(formula[3]) == concept + 1


@jitable
def search_short(number, active, sets, search, without, size):
    """The best ``size`` formulas of one and two concepts, all of them tried but those with a concept of ``without``.

    Ranks: a formula of fewer concepts before one of more, then by the concepts' order in the list.
    """
    single, pair, total = sets.single, sets.pair, sets.total
    concepts = len(single)
    search.f1[:] = 0
    search.rank[:] = NO_RANK
    search.formulas[:] = 0
    every, any_of, none = (
        np.int64(ALL),
        np.int64(ANY),
        np.int64(0),
    )  # not literals: ``keep`` is compiled for each of these
    for x in range(concepts):
        if not in_formula(without, x):
            hits = search.single[x]
            keep(2.0 * hits / (single[x] + active), 2 * x, every, x + 1, none, none, search, size)
            rest = 2.0 * (active - hits) / (total - single[x] + active)
            keep(rest, 2 * x + 1, every, -x - 1, none, none, search, size)
    for x in range(concepts):
        if in_formula(without, x):
            continue
        hits_x, size_x = search.single[x], single[x]
        for y in range(x + 1, concepts):
            # What the formulas reach at most, before the hits of both concepts together are counted.
            hits_y, size_y, here = search.single[y], single[y], pair[x, y]
            rest_size, some_size = total - size_x - size_y + here, size_x + size_y - here
            most = 2.0 * min(hits_x, hits_y, here) / (here + active)
            most = max(most, 2.0 * min(hits_x, size_x - here) / (size_x - here + active))
            most = max(most, 2.0 * min(hits_y, size_y - here) / (size_y - here + active))
            most = max(most, 2.0 * min(active - max(hits_x, hits_y), rest_size) / (rest_size + active))
            search.bounds[y] = max(most, 2.0 * min(hits_x + hits_y, active) / (some_size + active))
        for y in range(x + 1, concepts):
            if search.bounds[y] < search.f1[size - 1] or in_formula(without, y):
                continue
            hits_y, size_y, here = search.single[y], single[y], pair[x, y]
            rest_size, some_size = total - size_x - size_y + here, size_x + size_y - here
            if search.pair[x, y] < 0:
                search.pair[x, y] = common(search.active[x], search.active[y], number)
            both = search.pair[x, y]
            rank = 2 * concepts + 5 * (x * concepts + y)
            neither, some = active - hits_x - hits_y + both, hits_x + hits_y - both
            for kind in range(5):
                a, b = x + 1 if kind in (0, 1, 4) else -x - 1, y + 1 if kind in (0, 2, 4) else -y - 1
                shape = any_of if kind == 4 else every
                hits, of = both, here
                if kind == 1:
                    hits, of = hits_x - both, size_x - here
                elif kind == 2:
                    hits, of = hits_y - both, size_y - here
                elif kind == 3:
                    hits, of = neither, rest_size
                elif kind == 4:
                    hits, of = some, some_size
                keep(2.0 * hits / (of + active), rank + kind, shape, a, b, none, search, size)


@jitable
def search_long(number, active, sets, search, out):
    """Replace ``out``, the best formula of at most two concepts, by a better one of three: one of the BEAM best of two
    concepts and a third."""
    best = search.f1[0]
    for row in range(BEAM):
        base = search.formulas[row]
        shape, a, b = np.int64(base[0]), np.int64(base[1]), np.int64(base[2])
        if b == 0:
            continue
        fill(search.subset, base, search.active, search.within, number)
        hits = common(search.subset, search.subset, number)
        for z in range(len(sets.single)):
            if in_formula(base, z):
                continue
            most = min(hits, search.single[z])
            more, less, some = 0.0, 0.0, 0.0
            final = np.int64(ALL if shape == ALL else ANY_AND)
            size_more = long_size(final, a, b, z + 1, sets)
            size_less = long_size(final, a, b, -z - 1, sets)
            more = 2.0 * min(most, size_more) / (size_more + active)
            less = 2.0 * min(hits, size_less) / (size_less + active)
            if shape == ANY:
                size_some = long_size(np.int64(ANY), a, b, z + 1, sets)
                some = 2.0 * min(hits + search.single[z], active) / (size_some + active)
            if max(more, less, some) <= best:
                continue
            joint = common(search.subset, search.active[z], number)
            if shape == ANY:
                some = 2.0 * (hits + search.single[z] - joint) / (size_some + active)
                if some > best:
                    best = some
                    out[0], out[1], out[2], out[3] = ANY, a, b, z + 1
            more = 2.0 * joint / (size_more + active)
            if more > best:
                best = more
                out[0], out[1], out[2], out[3] = final, a, b, z + 1
            less = 2.0 * (hits - joint) / (size_less + active)
            if less > best:
                best = less
                out[0], out[1], out[2], out[3] = final, a, b, -z - 1


@jitable
def figures_of(formula, bits, sets, subset, figures):
    """Precision, recall and f1 of a formula into ``figures``; whether it says more than chance.

    More than chance: f1 above that of all positions taken together, and phi 4 standard errors above 0.
    """
    width, places = bits.shape[1], len(sets.real)
    fill(subset, formula, sets.concepts, sets.real, places)
    size = common(subset, subset, places)
    hits, active = np.int64(0), np.int64(0)
    for row in range(len(sets.windows)):
        own, first = bits[sets.windows[row]], row * width
        hits += common(own, subset[first : first + width], width)
        active += common(own, sets.real[first : first + width], width)
    figures[0] = hits / active if active > 0 else np.nan
    figures[1] = hits / size if size > 0 else np.nan
    figures[2] = 2.0 * hits / (size + active) if size + active > 0 else np.nan
    total = np.float64(sets.total)
    excess = total * hits - np.float64(size) * active
    spread = np.float64(size) * active * (total - active) * (total - size)
    significant = excess > 0 and spread > 0 and excess * excess * total > 16.0 * spread
    return active, significant and figures[2] > 2.0 * active / (total + active)


@compiled
def describe_block(bits, even, odd, search, formulas, figures, least_f1):
    """Describe neurons with ``bits`` [n, S, W] uint64: ``formulas`` [n, 2, 4] int16 and ``figures`` [n, 2, 3] float64
    are filled for the description and the runner-up, which shares no concept with it; zeros and NaN where there is none.
    """
    formula, without = np.zeros(4, np.int16), np.zeros(4, np.int16)
    for neuron in range(len(bits)):
        formulas[neuron] = 0
        figures[neuron] = np.nan
        number, active = gather(bits[neuron], even, search)
        if active < LEAST_ACTIVATIONS:
            continue
        for concept in range(len(even.single)):
            search.single[concept] = common(search.active[concept], search.active[concept], number)
        search.pair[:] = -1
        without[:] = 0
        for which in range(2):
            search_short(number, active, even, search, without, np.int64(1 if which else BEAM))
            for place in range(4):
                formula[place] = search.formulas[0, place]
            if which == 0:
                search_long(number, active, even, search, formula)
            in_odd, above = figures_of(formula, bits[neuron], odd, search.subset, figures[neuron, which])
            if which == 0 and (in_odd < LEAST_ACTIVATIONS or not above or figures[neuron, 0, 2] < least_f1):
                figures[neuron] = np.nan
                break
            for place in range(4):
                formulas[neuron, which, place] = without[place] = formula[place]


@compiled
def sizes(concepts, single, pair, triple):
    """Positions where one, two and three of ``concepts`` [C, N] uint64 hold."""
    count, number = concepts.shape
    both = np.empty(number, np.uint64)
    for x in range(count):
        for y in range(x, count):
            for index in range(number):
                both[index] = concepts[x, index] & concepts[y, index]
            hits = common(both, both, number)
            pair[x, y] = pair[y, x] = hits
            if x == y:
                single[x] = hits
            for z in range(y, count):
                all_three = common(both, concepts[z], number) if hits else np.int64(0)
                triple[x, y, z] = triple[x, z, y] = triple[y, x, z] = all_three
                triple[y, z, x] = triple[z, x, y] = triple[z, y, x] = all_three
