"""The loops behind explained.py, compiled: one pass over a neuron's bits, one over the tree of n-grams.

Each activated position is counted once, at the longest n-gram of the tree that ends there; counts of shorter n-grams are
sums over the branches below them. Odd windows are read off the same tree, so an n-gram costs one or two logarithms.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ffnscope.core.jit import compiled
from ffnscope.core.statistics.bits import WORD, set_bits, trailing_zeros

ROOT = 0  # the node of positions whose token no even window has
TINY = 1e-200  # a product of probabilities is turned into its logarithm before it is smaller


class Tree(NamedTuple):
    """N-grams that even windows have and odd windows ask for, each below the next shorter one that it ends in.

    Node 0 is the root; then tokens, bigrams, trigrams, the children of a node side by side. X nodes, of which Y are no
    trigrams, P positions of the counted windows.

    ``leaves`` [P] int32: the deepest node of the n-grams at each position. ``tokens`` [tokens + 1] int32: the token of
    each node that is one, ascending. ``first`` [Y + 1] int32: node's children are first[node] .. first[node + 1] - 1
    (from 1 on; the root's are the tokens). ``even`` [X] int32: N(g); ``inverse`` [X] float64: 1 / (N(g) + 1); ``odd``
    [X] int32: N'(g); ``here`` [X] int32: odd positions whose deepest node it is. ``positions`` [2, T] int64: even and
    odd windows that have a unigram at each position.
    """

    leaves: np.ndarray
    tokens: np.ndarray
    first: np.ndarray
    even: np.ndarray
    inverse: np.ndarray
    odd: np.ndarray
    here: np.ndarray
    positions: np.ndarray


class Space(NamedTuple):
    """Arrays that a thread reuses, int32, zero between neurons: ``even`` and ``odd`` [X], activations at each node in
    the two halves; ``asked`` [X], activations on the n-gram in odd windows; ``curves`` [2, T]."""

    even: np.ndarray
    odd: np.ndarray
    asked: np.ndarray
    curves: np.ndarray


class Explained(NamedTuple):
    """Rows of counts.LayerCounts that a block of neurons fills, by the same names."""

    code_lengths: np.ndarray
    token_set: np.ndarray
    token_set_size: np.ndarray
    token_f1: np.ndarray


@compiled
def count_leaves(bits, bos, seq_len, leaves, space):
    """Count the activated positions of ``bits`` [S, W] that have a unigram at their leaves and positions, even and odd
    windows apart. Returns how many there are in the even and in the odd windows."""
    even = odd = np.int64(0)
    for window in range(len(bits)):
        base = window * seq_len
        half = window % 2
        counts, curve = (space.odd if half else space.even), space.curves[half]
        for index in range(bits.shape[1]):
            word = bits[window, index] & ~bos[window, index]
            if half:
                odd += np.int64(set_bits(word))
            else:
                even += np.int64(set_bits(word))
            while word:
                position = index * WORD + np.int64(trailing_zeros(word))
                word &= word - np.uint64(1)
                curve[position] += 1
                counts[leaves[base + position]] += 1
    return even, odd


@compiled
def multiply(product, total, factor, times):
    """Add ``times`` * ln(``factor``) to ln(product) + total; few times are multiplied, as that is faster than a
    logarithm. Returns (product, total)."""
    if times > 4:
        return product, total + times * np.log(factor)
    for _ in range(times):
        product *= factor
    if product < TINY:
        total += np.log(product)
        product = 1.0
    return product, total


@compiled
def sum_up(tree, space, node):
    """Turn the counts at the leaves below a token's ``node`` into ``even`` counts of each n-gram and ``asked``."""
    even, odd, asked = space.even, space.odd, space.asked
    even_here, odd_here = even[node], odd[node]
    for pair in range(tree.first[node], tree.first[node + 1]):
        even_pair, odd_pair = even[pair], odd[pair]
        for triple in range(tree.first[pair], tree.first[pair + 1]):
            even_pair += even[triple]
            odd_pair += odd[triple]
        even[pair], asked[pair] = even_pair, odd_pair
        even_here += even_pair
        odd_here += odd_pair
    even[node], asked[node] = even_here, odd_here


@compiled
def code_lengths(tree, space, active, out):
    """D of p0, of the token, bigram and trigram into ``out`` [4]; ``space`` as ``sum_up`` leaves it.

    ``active``: (activations, positions) in the even windows, (activations, positions) in the odd ones. p and 1 - p are
    carried side by side, so that neither loses digits near 1.
    """
    even, odd, asked = space.even, space.odd, space.asked
    total = np.float64(active[1])
    base, rest = active[0] / total, (active[1] - active[0]) / total
    log_base, log_rest = np.log(base), np.log(rest)
    out[0] = -(active[2] * log_base + (active[3] - active[2]) * log_rest)
    root = odd[ROOT] * log_base + (tree.here[ROOT] - odd[ROOT]) * log_rest
    product2 = product3 = 1.0
    total1 = total2 = total3 = 0.0
    shared = root
    for node in range(1, len(tree.tokens)):
        inverse = tree.inverse[node]
        p, q = (even[node] + base) * inverse, (tree.even[node] - even[node] + rest) * inverse
        count, others = np.int64(asked[node]), np.int64(tree.odd[node] - asked[node])
        log_p = log_q = 0.0
        if count:
            log_p = np.log(p)
        if others:
            log_q = np.log(q)
        total1 += count * log_p + others * log_q
        shared += odd[node] * log_p + (tree.here[node] - odd[node]) * log_q
        for pair in range(tree.first[node], tree.first[node + 1]):
            inverse = tree.inverse[pair]
            p2, q2 = (even[pair] + p) * inverse, (tree.even[pair] - even[pair] + q) * inverse
            if asked[pair]:
                product2, total2 = multiply(product2, total2, p2, np.int64(asked[pair]))
                product3, total3 = multiply(product3, total3, p2, np.int64(odd[pair]))
            product2, total2 = multiply(product2, total2, q2, np.int64(tree.odd[pair] - asked[pair]))
            product3, total3 = multiply(product3, total3, q2, np.int64(tree.here[pair] - odd[pair]))
            for triple in range(tree.first[pair], tree.first[pair + 1]):
                inverse = tree.inverse[triple]
                p3 = (even[triple] + p2) * inverse
                q3 = (tree.even[triple] - even[triple] + q2) * inverse
                if odd[triple]:
                    product3, total3 = multiply(product3, total3, p3, np.int64(odd[triple]))
                product3, total3 = multiply(product3, total3, q3, np.int64(tree.odd[triple] - odd[triple]))
    out[1] = -(root + total1)
    out[2] = -(shared + total2 + np.log(product2))
    out[3] = -(shared + total3 + np.log(product3))


@compiled
def position_code_length(curves, positions, active):
    """D of the position: activations ``curves`` [2, T] of the windows' halves, of ``positions`` [2, T] there are."""
    total = np.float64(active[1])
    base, rest = active[0] / total, (active[1] - active[0]) / total
    length = 0.0
    for position in range(curves.shape[1]):
        count, of = np.int64(curves[0, position]), positions[0, position]
        there = np.int64(curves[1, position])
        missing = positions[1, position] - there
        if there:
            length -= there * np.log((count + base) / (of + 1))
        if missing:
            length -= missing * np.log((of - count + rest) / (of + 1))
    return length


@compiled
def choose_tokens(tree, space, active, listed):
    """The token set into ``listed`` [TOP_NGRAMS] (token ids). Returns (its size, its f1 on the odd windows, NaN where
    there is none).

    Along the order of P(active | t) f1 rises exactly while 2 P(active | t) is above it, so the best prefix is all tokens
    with 2 P(active | t) > f1 of it: no sort is needed. The comparison is made in integers.
    """
    counts, whole = space.even, tree.even
    part = occurrences = np.int64(0)
    size = 0
    last = -1
    # Starting from f1 = 0 (all candidates), each round drops the tokens that lower f1, until none does.
    while size != last:
        last = size
        hits, union = part, occurrences + active[0]
        part = occurrences = np.int64(0)
        size = 0
        for node in range(1, len(tree.tokens)):
            count = np.int64(counts[node])
            if count >= 2 and count * union > hits * whole[node]:
                part += count
                occurrences += whole[node]
                size += 1
    if not size:
        return 0, np.nan
    found_part = found_all = np.int64(0)
    kept = 0
    kept_counts = np.zeros(len(listed), np.int64)
    for node in range(1, len(tree.tokens)):
        count = np.int64(counts[node])
        if count >= 2 and count * union > hits * whole[node]:
            found_part += space.asked[node]
            found_all += tree.odd[node]
            if kept == len(listed) and count <= kept_counts[kept - 1]:
                continue
            slot = min(kept, len(listed) - 1)
            while slot > 0 and kept_counts[slot - 1] < count:
                listed[slot], kept_counts[slot] = listed[slot - 1], kept_counts[slot - 1]
                slot -= 1
            listed[slot], kept_counts[slot] = tree.tokens[node], count
            kept = min(kept + 1, len(listed))
    odd_union = found_all + active[2]
    return size, (2 * found_part / odd_union if odd_union else np.nan)


@compiled
def explain_block(bits, bos, seq_len, windows, tree, space, out):
    """What explains the neurons whose ``bits`` [N, S, W] uint64 are given, over the first ``windows`` windows, into
    ``out`` (rows 0 .. N-1; code_lengths NaN, token_set -1, sizes 0, token_f1 NaN)."""
    even_positions, odd_positions = tree.positions[0].sum(), tree.positions[1].sum()
    for neuron in range(len(bits)):
        even, odd = count_leaves(bits[neuron, :windows], bos, seq_len, tree.leaves, space)
        if even + odd == 0:
            continue
        active = (even, even_positions, odd, odd_positions)
        for node in range(1, len(tree.tokens)):
            sum_up(tree, space, node)
        if 0 < even < even_positions and odd_positions:
            lengths = out.code_lengths[neuron]
            code_lengths(tree, space, active, lengths)
            lengths[4] = position_code_length(space.curves, tree.positions, active)
        size, f1 = choose_tokens(tree, space, active, out.token_set[neuron])
        out.token_set_size[neuron], out.token_f1[neuron] = size, f1
        space.even[:] = 0
        space.odd[:] = 0
        space.asked[:] = 0
        space.curves[:] = 0
