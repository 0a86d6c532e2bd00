"""The search for a neuron's description, compiled: which formula of concepts agrees best with where it is activated.

Concepts are numbered 0 .. C-1. A formula is four int16: its shape, and up to three literals, c + 1 for concept c,
-(c + 1) for its negation, 0 for none. Positions are bits of machine words: the kept windows of one half after each
other, W words each.

How many positions a formula holds at is known of the corpus beforehand, and from the hits of single concepts follows
what a formula of two can reach at most: only those that can still be among the best are counted.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ffnscope.core.bit_words import set_bits
from ffnscope.core.jit import compiled, jitable

NO_RANK = np.iinfo(np.int64).max
ALL, ANY, ANY_AND = 0, 1, 2  # shapes: every literal holds; any of them; any of the first two, and the third
BEAM = 5  # formulas of one and two concepts that are extended by a third
LEAST_ACTIVATIONS = 20  # in each half, for a description


class Sets(NamedTuple):
    """The concepts' positions in one half of the kept windows, and in the even half how many they are.

    ``windows`` [K] int64: their numbers in the corpus. ``real`` [K * W] uint64: positions whose token is not BOS.
    ``concepts`` [C, K * W] uint64. ``single`` [C], ``pair`` [C, C], ``triple`` [C, C, C] int64: positions where one, both,
    all three hold (``triple`` is empty for the odd half); ``total``: all kept positions.
    """

    windows: np.ndarray
    real: np.ndarray
    concepts: np.ndarray
    single: np.ndarray
    pair: np.ndarray
    triple: np.ndarray
    total: int


class Search(NamedTuple):
    """Arrays that a thread reuses from neuron to neuron: ``words`` and ``subset`` [N] uint64, ``places`` [N] int64,
    ``single`` [C] and ``pair`` [C, C] int64 (-1: not counted), ``f1`` [BEAM] float64, ``rank`` [BEAM] int64,
    ``formulas`` [BEAM, 4] int16."""

    words: np.ndarray
    subset: np.ndarray
    places: np.ndarray
    single: np.ndarray
    pair: np.ndarray
    f1: np.ndarray
    rank: np.ndarray
    formulas: np.ndarray


@jitable
def gather(bits, sets, search):
    """The words of a neuron's ``bits`` [S, W] that have a bit set at a kept position: (how many words, bits)."""
    width = bits.shape[1]
    number = 0
    active = np.int64(0)
    for row in range(len(sets.windows)):
        window = sets.windows[row]
        for index in range(width):
            word = bits[window, index] & sets.real[row * width + index]
            if word:
                search.words[number] = word
                search.places[number] = row * width + index
                number += 1
                active += np.int64(set_bits(word))
    return number, active


@jitable
def common(words, places, number, concept):
    """How many bits the first ``number`` of ``words`` have in common with a concept."""
    hits = np.int64(0)
    for index in range(number):
        hits += np.int64(set_bits(words[index] & concept[places[index]]))
    return hits


@jitable
def common_of_two(words, places, number, first, second):
    """How many bits they have in common with two concepts at once."""
    hits = np.int64(0)
    for index in range(number):
        place = places[index]
        hits += np.int64(set_bits(words[index] & first[place] & second[place]))
    return hits


@jitable
def at_formula(formula, concepts, place):
    """The word of a formula's positions at one place."""
    one = np.uint64(0xFFFFFFFFFFFFFFFF)
    some = np.uint64(0)
    every = one
    for slot in range(1, 4):
        literal = formula[slot]
        if literal == 0:
            break
        word = concepts[literal - 1, place] if literal > 0 else ~concepts[-literal - 1, place]
        if formula[0] == ANY_AND and slot == 3:
            return some & word
        some |= word
        every &= word
    return every if formula[0] == ALL else some


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
            if in_formula(without, y):
                continue
            hits_y, size_y, here = search.single[y], single[y], pair[x, y]
            # What each formula's hits are at most, before the hits of both concepts together are counted.
            most_both = min(hits_x, hits_y, here)
            most = 2.0 * most_both / (here + active)
            most = max(most, 2.0 * min(hits_x, size_x - here) / (size_x - here + active))
            most = max(most, 2.0 * min(hits_y, size_y - here) / (size_y - here + active))
            rest_size = total - size_x - size_y + here
            most = max(most, 2.0 * min(active - max(hits_x, hits_y), rest_size) / (rest_size + active))
            some_size = size_x + size_y - here
            most = max(most, 2.0 * min(hits_x + hits_y, active) / (some_size + active))
            if most < search.f1[size - 1]:
                continue
            if search.pair[x, y] < 0:
                search.pair[x, y] = common_of_two(
                    search.words, search.places, number, sets.concepts[x], sets.concepts[y]
                )
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
        hits = np.int64(0)
        for index in range(number):
            word = search.words[index] & at_formula(base, sets.concepts, search.places[index])
            search.subset[index] = word
            hits += np.int64(set_bits(word))
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
            joint = common(search.subset, search.places, number, sets.concepts[z])
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
def figures_of(formula, bits, sets, figures):
    """Precision, recall and f1 of a formula into ``figures``; whether it says more than chance.

    More than chance: f1 above that of all positions taken together, and phi 4 standard errors above 0.
    """
    width = bits.shape[1]
    hits, size, active = np.int64(0), np.int64(0), np.int64(0)
    for row in range(len(sets.windows)):
        for index in range(width):
            place = row * width + index
            where = at_formula(formula, sets.concepts, place) & sets.real[place]
            word = bits[sets.windows[row], index]
            size += np.int64(set_bits(where))
            hits += np.int64(set_bits(where & word))
            active += np.int64(set_bits(word & sets.real[place]))
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
    nothing = np.zeros(4, np.int16)
    formula = np.zeros(4, np.int16)
    for neuron in range(len(bits)):
        formulas[neuron] = 0
        figures[neuron] = np.nan
        number, active = gather(bits[neuron], even, search)
        if active < LEAST_ACTIVATIONS:
            continue
        for concept in range(len(even.single)):
            search.single[concept] = common(search.words, search.places, number, even.concepts[concept])
        search.pair[:] = -1
        search_short(number, active, even, search, nothing, np.int64(BEAM))
        for place in range(4):
            formula[place] = search.formulas[0, place]
        search_long(number, active, even, search, formula)
        in_odd, above = figures_of(formula, bits[neuron], odd, figures[neuron, 0])
        if in_odd < LEAST_ACTIVATIONS or not above or figures[neuron, 0, 2] < least_f1:
            figures[neuron] = np.nan
            continue
        search_short(number, active, even, search, formula, np.int64(1))
        for place in range(4):
            formulas[neuron, 0, place] = formula[place]
            formulas[neuron, 1, place] = search.formulas[0, place]
        figures_of(formulas[neuron, 1], bits[neuron], odd, figures[neuron, 1])


@compiled
def sizes(concepts, single, pair, triple):
    """Positions where one, two and three of ``concepts`` [C, N] uint64 hold; ``triple`` is left out where it is empty."""
    count, number = concepts.shape
    both = np.empty(number, np.uint64)
    for x in range(count):
        for y in range(x, count):
            hits = np.int64(0)
            for index in range(number):
                both[index] = concepts[x, index] & concepts[y, index]
                hits += np.int64(set_bits(both[index]))
            pair[x, y] = pair[y, x] = hits
            if x == y:
                single[x] = hits
            if triple.size == 0:
                continue
            for z in range(y, count):
                hits = np.int64(0)
                if pair[x, y] > 0:
                    for index in range(number):
                        hits += np.int64(set_bits(both[index] & concepts[z, index]))
                triple[x, y, z] = triple[x, z, y] = triple[y, x, z] = hits
                triple[y, z, x] = triple[z, x, y] = triple[z, y, x] = hits
