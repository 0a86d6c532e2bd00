"""The loops behind tree.py, compiled: one pass over a neuron's bits, one over the n-grams that it is activated on.

Each activated position is counted once, at the longest n-gram of the tree that ends there; counts of shorter n-grams are
sums over the branches below them, taken in the nodes' order, as is everything else (code_lengths.py).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ffnscope.core.jit import compiled, jitable
from ffnscope.core.statistics.bits import WORD, set_bits, trailing_zeros
from ffnscope.core.statistics.explained.code_lengths import ALL_ODD, IN_EVEN, LOW, PARENT, ROOT, code_lengths
from ffnscope.core.statistics.suffix_kernel import count_runs

EVEN, ODD = 0, 1
# Counts of both halves stand in one int64, so that one load, addition and store count an activation.
ONE = np.array([1, 1 << 32])
BYTE = 255  # the most that one counts
# Bit i of a byte as byte i of a word.
SPREAD = np.array([sum((byte >> bit & 1) << 8 * bit for bit in range(8)) for byte in range(256)], np.uint64)


class Explained(NamedTuple):
    """Rows of counts.LayerCounts that a block of neurons fills, by the same names."""

    code_lengths: np.ndarray
    token_set: np.ndarray
    token_set_size: np.ndarray
    token_f1: np.ndarray


@jitable
def count_leaves(bits, bos, seq_len, tree, space):
    """Count the activated positions of ``bits`` [S, W] that have a unigram at their leaves and positions, even and odd
    windows apart, and mark the leaves. Returns how many there are in the even and in the odd windows."""
    at, met, leaves = space.at, space.met, tree.leaves
    totals = np.zeros(2, np.int64)
    touched = 0
    for window in range(len(bits)):
        base = window * seq_len
        half = window % 2
        curve, one = space.curves[half], ONE[half]
        for index in range(bits.shape[1]):
            word = bits[window, index] & ~bos[window, index]
            totals[half] += np.int64(set_bits(word))
            while word:
                position = index * WORD + np.int64(trailing_zeros(word))
                word &= word - np.uint64(1)
                curve[position] += 1
                leaf = leaves[base + position]
                count = at[leaf]
                met[touched] = leaf
                touched += count == 0
                at[leaf] = count + one
    for index in range(touched):
        mark(space.marks, met[index])
    return totals[EVEN], totals[ODD]


@jitable
def count_ordered(bits, ordered, bos, leaves, tree, space):
    """``count_leaves`` and ``sum_up`` from the neuron's bits in the n-grams' order too: ``ordered`` [V], whose stretches are
    ``leaves``. Returns what both return."""
    return add_curve(bits, bos, EVEN, space), add_curve(bits, bos, ODD, space), sum_runs(ordered, leaves, tree, space)


@jitable
def add_curve(bits, bos, half, space):
    """Add the activations at each position in the even or the odd windows to the ``half``'s curve; returns their sum. Eight
    positions are counted in the bytes of a word, whatever number of them is activated."""
    sums, curve = space.sums, space.curves[half]
    total = np.int64(0)
    for begin in range(half, len(bits), 2 * BYTE):
        sums[:] = 0
        for window in range(begin, min(begin + 2 * BYTE, len(bits)), 2):
            for index in range(bits.shape[1]):
                word = bits[window, index] & ~bos[window, index]
                total += np.int64(set_bits(word))
                for part in range(8):
                    sums[8 * index + part] += SPREAD[(word >> np.uint64(8 * part)) & np.uint64(BYTE)]
        for position in range(len(curve)):
            shift = np.uint64(8 * (position & 7))
            curve[position] += np.int32((sums[position >> 3] >> shift) & np.uint64(BYTE))
    return total


@jitable
def sum_runs(ordered, leaves, tree, space):
    """``sum_up`` of bits in the n-grams' order. In it a node's positions come before those of the nodes below it, and the nodes
    of each level are ascending."""
    nodes, at, counts, met = tree.nodes, space.at, space.counts, space.met
    tokens, inner, bigrams, unigrams = len(tree.tokens), len(tree.rows), space.visited, space.chosen
    number, _ = count_runs(ordered, leaves, space.targets, space.numbers)
    bounds = np.zeros(4, np.int64)
    of_trigrams = of_bigrams = of_tokens = 0
    leaf = bigram = token = ROOT
    for index in range(number):
        target = space.targets[index]
        count = np.int64(space.numbers[index]) << (32 * (target & 1))
        before, leaf = leaf, target >> 1
        at[leaf] += count
        if leaf == ROOT:
            continue
        node = leaf
        if node >= inner:
            if node != before:
                met[of_trigrams] = node
                of_trigrams += 1
            node = nodes[node, PARENT]
        if node >= tokens:
            if node != bigram:
                bigrams[of_bigrams] = node
                of_bigrams += 1
                bigram = node
            counts[node] += count
            node = nodes[node, PARENT]
        if node != token:
            unigrams[of_tokens] = node
            of_tokens += 1
            token = node
        counts[node] += count
    bounds[1], bounds[2] = of_trigrams, of_trigrams + of_bigrams
    bounds[3] = bounds[2] + of_tokens
    for index in range(of_bigrams):
        met[bounds[1] + index] = bigrams[index]
    for index in range(of_tokens):
        met[bounds[2] + index] = unigrams[index]
    return bounds


@jitable
def mark(marks, node):
    """Set the node's bit."""
    marks[node >> 6] |= np.uint64(1) << np.uint64(node & 63)


@jitable
def list_marked(marks, begin, end, listed, size):
    """Append the marked nodes of begin .. end - 1, ascending, to the ``size`` of ``listed``, and take their marks away.
    Returns how many are listed then."""
    every = ~np.uint64(0)
    first, last = begin >> 6, (end - 1) >> 6
    for index in range(first, last + 1):
        word = marks[index]
        if word == 0:
            continue
        if index == first:
            word &= every << np.uint64(begin & 63)
        if index == last:
            word &= every >> np.uint64(63 - ((end - 1) & 63))
        marks[index] ^= word
        while word:
            listed[size] = index * WORD + np.int64(trailing_zeros(word))
            word &= word - np.uint64(1)
            size += 1
    return size


@jitable
def sum_up(tree, space):
    """Sum the marked leaves' counts up the tree. Returns bounds [4]: ``space.met`` lists the trigrams met between the first
    two of them, then bigrams, then tokens, each ascending."""
    nodes, at, counts, met, marks = tree.nodes, space.at, space.counts, space.met, space.marks
    tokens, inner = len(tree.tokens), len(tree.rows)
    bounds = np.zeros(4, np.int64)
    bounds[1] = list_marked(marks, inner, len(nodes), met, np.int64(0))
    for index in range(bounds[1]):
        node = met[index]
        parent = nodes[node, PARENT]
        counts[parent] += at[node]
        mark(marks, parent)
    bounds[2] = list_marked(marks, tokens, inner, met, bounds[1])
    for index in range(bounds[1], bounds[2]):
        node = met[index]
        parent = nodes[node, PARENT]
        counts[node] += at[node]
        counts[parent] += counts[node]
        mark(marks, parent)
    bounds[3] = list_marked(marks, np.int64(1), tokens, met, bounds[2])
    for index in range(bounds[2], bounds[3]):
        node = met[index]
        counts[node] += at[node]
    marks[0] = 0  # the root's own
    return bounds


@jitable
def total_of(numbers):
    """Their sum. numpy's takes longer to compile."""
    total = np.int64(0)
    for number in numbers:
        total += number
    return total


@jitable
def position_code_length(curves, positions, active):
    """D of the position: activations ``curves`` [2, T] of the windows' halves, of ``positions`` [2, T] there are."""
    total = np.float64(active[1])
    base, rest = active[0] / total, (active[1] - active[0]) / total
    length = log_q = 0.0
    known = known_of = np.int64(-1)  # what log_q is for: most positions of a sparse neuron are alike
    for position in range(curves.shape[1]):
        count, of = np.int64(curves[EVEN, position]), positions[EVEN, position]
        odd_active = np.int64(curves[ODD, position])
        missing = positions[ODD, position] - odd_active
        if odd_active:
            length -= odd_active * np.log((count + base) / (of + 1))
        if missing:
            if count != known or of != known_of:
                log_q = np.log((of - count + rest) / (of + 1))
                known, known_of = count, of
            length -= missing * log_q
    return length


@jitable
def choose_tokens(tree, space, bounds, active, listed):
    """The token set into ``listed`` [TOP_NGRAMS] (token ids). Returns (its size, its f1 on the odd windows, NaN where
    there is none).

    Along the order of P(active | t), f1 rises exactly while 2 P(active | t) is above it, so the best prefix is all tokens
    with 2 P(active | t) > f1 of it: no sort is needed. The comparison is made in integers.
    """
    size = 0
    chosen = space.chosen
    part = occurrences = np.int64(0)
    for index in range(bounds[2], bounds[3]):
        node = space.met[index]
        if space.counts[node] & LOW >= 2:
            chosen[size] = node
            size += 1
            part += space.counts[node] & LOW
            occurrences += tree.nodes[node, IN_EVEN]
    if not size:
        return 0, np.nan
    # All candidates to begin with: each round drops the tokens that lower f1, until none does.
    last = -1
    while size != last:
        last = size
        hits, union = part, occurrences + active[0]
        size = 0
        for index in range(last):
            node = chosen[index]
            count, whole = space.counts[node] & LOW, np.int64(tree.nodes[node, IN_EVEN])
            if count * union > hits * whole:
                chosen[size] = node
                size += 1
            else:
                part -= count
                occurrences -= whole
    active_count = odd_count = np.int64(0)
    kept = np.int64(0)
    for index in range(size):
        node = chosen[index]
        active_count += space.counts[node] >> 32
        odd_count += tree.nodes[node, ALL_ODD]
        kept = insert_node(space.counts, node, listed, kept)
    for slot in range(kept):
        listed[slot] = tree.tokens[listed[slot]]
    union = odd_count + active[2]
    return size, (2 * active_count / union if union else np.nan)


@jitable
def insert_node(counts, node, listed, kept):
    """Put a node among the ``kept`` of ``listed`` with most activations on even windows, ties by lower node; returns how
    many there are."""
    count = counts[node] & LOW
    if kept == len(listed):
        last = listed[kept - 1]
        least = counts[last] & LOW
        if least > count or (least == count and last < node):
            return kept
        kept -= 1
    slot = kept
    while slot > 0:
        before = listed[slot - 1]
        more = counts[before] & LOW
        if more > count or (more == count and before < node):
            break
        listed[slot] = before
        slot -= 1
    listed[slot] = node
    return kept + 1


@jitable
def clear(space, bounds):
    """Make what was counted zero again."""
    for index in range(bounds[3]):
        space.at[space.met[index]] = 0
    for index in range(bounds[1], bounds[3]):
        space.counts[space.met[index]] = 0
    space.at[ROOT] = 0
    space.curves[:] = 0


@compiled
def explain_block(bits, ordered, bos, windows, tree, leaves, space, out):
    """What explains the neurons whose ``bits`` [N, S, W] uint64 are given, over the first ``windows`` windows, into
    ``out`` (rows 0 .. N-1; code_lengths NaN, token_set -1, sizes 0, token_f1 NaN). ``ordered`` [N, V]: the bits in the n-grams'
    order, whose stretches are ``leaves``."""
    for neuron in range(len(bits)):
        even, odd, bounds = count_ordered(bits[neuron, :windows], ordered[neuron], bos, leaves, tree, space)
        explain(neuron, even, odd, tree, space, bounds, out)


@compiled
def explain_unordered_block(bits, bos, seq_len, windows, tree, space, out):
    """``explain_block`` of bits that are not in the n-grams' order."""
    for neuron in range(len(bits)):
        even, odd = count_leaves(bits[neuron, :windows], bos, seq_len, tree, space)
        explain(neuron, even, odd, tree, space, sum_up(tree, space), out)


@jitable
def explain(neuron, even, odd, tree, space, bounds, out):
    """What explains a neuron with ``even`` and ``odd`` activations, into its row of ``out``; ``bounds`` and ``space`` as
    ``sum_up`` leaves them."""
    if even + odd == 0:
        return
    even_positions, odd_positions = total_of(tree.positions[EVEN]), total_of(tree.positions[ODD])
    active = (even, even_positions, odd, odd_positions)
    if 0 < even < even_positions and odd_positions:
        lengths = out.code_lengths[neuron]
        code_lengths(tree, space, bounds, active, lengths)
        lengths[4] = position_code_length(space.curves, tree.positions, active)
    size, f1 = choose_tokens(tree, space, bounds, active, out.token_set[neuron])
    out.token_set_size[neuron], out.token_f1[neuron] = size, f1
    clear(space, bounds)
