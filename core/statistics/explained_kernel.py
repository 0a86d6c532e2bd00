"""The loops behind explained.py, compiled: one pass over a neuron's bits, one over the n-grams that it is activated on.

Each activated position is counted once, at the longest n-gram of the tree that ends there; counts of shorter n-grams are
sums over the branches below them. Probabilities that no activation has touched are those of a whole branch, scaled: where
they are small, their logarithms are summed as a power series whose coefficients are known once per run (``Tree.powers``),
and only the touched n-grams are corrected. So the cost goes with the activations, not with the corpus.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ffnscope.core.jit import compiled
from ffnscope.core.statistics.bits import WORD, set_bits, trailing_zeros

ROOT = 0  # the node of positions whose token no even window has
TINY = 1e-200  # a product of probabilities is turned into its logarithm before it is smaller
FEW_TIMES = 4  # that a factor is multiplied rather than its logarithm added
TERMS = 12  # of the power series: with p <= SMALL, halved at least by N + 1, they leave less than 5e-15 of the sum
SMALL = 0.125
EVEN, ODD = 0, 1
# Counts of both halves stand in one int64, so that one load, addition and store count an activation.
ONE = np.array([1, 1 << 32])
LOW = (1 << 32) - 1


class Tree(NamedTuple):
    """N-grams that even windows have and odd windows ask for, each below the next shorter one that it ends in.

    Node 0 is the root; then tokens, bigrams, trigrams, the children of a node side by side. X nodes, of which Y are no
    trigrams, P positions of the counted windows.

    ``leaves`` [P] int32: the deepest node of the n-grams at each position. ``tokens`` [tokens + 1] int32: the token of
    each node that is one, ascending. ``parents`` [X] int32. ``first`` [Y + 1] int32: node's children are first[node] ..
    first[node + 1] - 1 (from 1 on; the root's are the tokens). ``even`` [X] int32: N(g); ``inverse`` [X] float64:
    1 / (N(g) + 1); ``odd`` [X] int32: N'(g); ``here`` [X] int32: odd positions whose deepest node it is.

    ``rows`` [Y] int32: the row of ``powers`` that is the node's, -1 where so few n-grams are below it that a sum over
    them costs less. ``powers`` [rows, 2, TERMS] float64: coefficients of p, p**2, ... in - sum of w ln(1 - p a) over the
    nodes below, a being the product of their ``inverse``; w is what the bigram and the trigram model ask of them. Behind
    the root's row stands that of the token model (its first half).
    ``positions`` [2, T] int64: even and odd windows that have a unigram at each position.
    """

    leaves: np.ndarray
    tokens: np.ndarray
    parents: np.ndarray
    first: np.ndarray
    even: np.ndarray
    inverse: np.ndarray
    odd: np.ndarray
    here: np.ndarray
    rows: np.ndarray
    powers: np.ndarray
    positions: np.ndarray


class Space(NamedTuple):
    """Arrays that a thread reuses. Zero between neurons: ``at`` [X] int64, activations whose deepest node it is, and
    ``counts`` [X] int64, activations on the n-gram, both odd << 32 | even; ``curves`` [2, T] int32. Anything: ``met``
    [X + 1] int32, ``visited`` [X] int32, nodes; ``chances`` [Y, 3] float64, their p, 1 - p and the p by which their branch
    was summed before (0 for none); ``by_series`` [Y] bool, whether it is summed by their own; ``chosen`` [tokens + 1] int32.
    """

    at: np.ndarray
    counts: np.ndarray
    curves: np.ndarray
    met: np.ndarray
    visited: np.ndarray
    chances: np.ndarray
    by_series: np.ndarray
    chosen: np.ndarray


class Explained(NamedTuple):
    """Rows of counts.LayerCounts that a block of neurons fills, by the same names."""

    code_lengths: np.ndarray
    token_set: np.ndarray
    token_set_size: np.ndarray
    token_f1: np.ndarray


@compiled
def count_leaves(bits, bos, seq_len, tree, space):
    """Count the activated positions of ``bits`` [S, W] that have a unigram at their leaves and positions, even and odd
    windows apart, and sum them up the tree.

    Returns how many there are in the even and in the odd windows, and how many nodes were met: they stand in
    ``space.met``.
    """
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
    counts, parents = space.counts, tree.parents
    nodes = touched
    for index in range(touched):
        leaf = met[index]
        count = at[leaf]
        node = np.int64(leaf)
        while node != ROOT:
            before = counts[node]
            if before == 0 and at[node] == 0:
                met[nodes] = node
                nodes += 1
            counts[node] = before + count
            node = np.int64(parents[node])
    return totals[EVEN], totals[ODD], nodes


@compiled
def add(product, total, factor, times):
    """Add ``times`` * ln(``factor``) to ln(product) + total. Few times are multiplied, which is faster than a logarithm.
    Returns (product, total)."""
    if times > FEW_TIMES:
        return product, total + times * np.log(factor)
    for _ in range(times):
        product *= factor
    if product < TINY or product > 1 / TINY:
        return 1.0, total + np.log(product)
    return product, total


@compiled
def series(powers, row, p):
    """Sums of w ln(1 - p a) over the nodes below the one whose ``powers`` stand in a row, of the bigram and of the trigram
    model."""
    bigram = trigram = 0.0
    for term in range(TERMS - 1, -1, -1):
        bigram = (bigram + powers[row, 0, term]) * p
        trigram = (trigram + powers[row, 1, term]) * p
    return -bigram, -trigram


@compiled
def code_lengths(tree, space, met, active, out):
    """D of p0, of the token, bigram and trigram into ``out`` [5]; ``met`` and ``space`` as ``count_leaves`` leaves them.

    ``active``: (activations, positions) in the even windows, (activations, positions) in the odd ones.

    Tokens, then bigrams, then trigrams. Where a node's branch was summed as a series, with a ``reference`` for its p, only
    the nodes met in it are visited, and the reference's part is taken out of the sum; otherwise all of its children are.
    p and q = 1 - p are carried side by side, so that neither loses digits near 1.
    """
    # Looked up once: a function that is given all of them would count their references each time.
    inverse, even, odd, here, first, parents = tree.inverse, tree.even, tree.odd, tree.here, tree.first, tree.parents
    rows, powers, counts, at = tree.rows, tree.powers, space.counts, space.at
    chances, by_series, visited = space.chances, space.by_series, space.visited
    base, rest = active[0] / np.float64(active[1]), (active[1] - active[0]) / np.float64(active[1])
    log_p, log_q = np.log(base), np.log(rest)
    out[0] = -(active[2] * log_p + (active[3] - active[2]) * log_q)
    odd_active = at[ROOT] >> 32
    out[1:4] = -(odd_active * log_p + (here[ROOT] - odd_active) * log_q)

    by_series[ROOT] = base <= SMALL
    chances[ROOT, 0], chances[ROOT, 1], chances[ROOT, 2] = base, rest, base if by_series[ROOT] else 0.0
    bigrams = trigrams = 0.0  # what series add to each
    size = 0
    if by_series[ROOT]:
        out[1] -= series(powers, rows[ROOT] + 1, base)[0]
        bigrams, trigrams = series(powers, rows[ROOT], base)
    else:
        size = len(tree.tokens) - 1
        visited[:size] = np.arange(1, size + 1)
    bounds = (1, len(tree.tokens), len(rows), len(even))
    begin = 0
    for level in range(3):
        for node in met:
            if bounds[level] <= node < bounds[level + 1] and by_series[parents[node]]:
                visited[size] = node
                size += 1
        end = size
        product = product_here = 1.0
        total = total_here = 0.0
        for index in range(begin, end):
            node = np.int64(visited[index])
            if not odd[node]:
                continue
            parent = parents[node]
            count, odd_active, ends = counts[node] & LOW, counts[node] >> 32, at[node] >> 32
            reference = chances[parent, 2] * inverse[node]
            p, q = (
                (count + chances[parent, 0]) * inverse[node],
                (even[node] - count + chances[parent, 1]) * inverse[node],
            )
            against = q / (1 - reference)
            if odd[node] == 1:
                factor = p / (1 - reference) if odd_active else against
                product, total = add(product, total, factor, 1)
                if here[node]:
                    product_here, total_here = add(product_here, total_here, factor, 1)
            else:
                if odd_active:
                    odds = p / q
                    product, total = add(product, total, odds, odd_active)
                    product_here, total_here = add(product_here, total_here, odds, ends)
                if here[node] > FEW_TIMES:
                    log_q = np.log(against)
                    total += odd[node] * log_q
                    total_here += here[node] * log_q
                else:
                    product, total = add(product, total, against, np.int64(odd[node]))
                    product_here, total_here = add(product_here, total_here, against, np.int64(here[node]))
            if level == 2:
                continue
            wide = rows[node] >= 0
            if wide and reference:
                bigram, trigram = series(powers, rows[node], reference)
                bigrams -= bigram
                trigrams -= trigram
            by_series[node] = wide and p <= SMALL
            if by_series[node]:
                bigram, trigram = series(powers, rows[node], p)
                bigrams += bigram
                trigrams += trigram
            else:
                for child in range(first[node], first[node + 1]):
                    visited[size] = child
                    size += 1
            chances[node, 0], chances[node, 1] = p, q
            chances[node, 2] = p if by_series[node] else 0.0 if wide else reference
        begin = end
        out[1 + level] -= total + np.log(product)
        for longer in range(2 + level, 4):
            out[longer] -= total_here + np.log(product_here)
    out[2] -= bigrams
    out[3] -= trigrams


@compiled
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


@compiled
def choose_tokens(tree, space, met, active, listed):
    """The token set into ``listed`` [TOP_NGRAMS] (token ids). Returns (its size, its f1 on the odd windows, NaN where
    there is none).

    Along the order of P(active | t), f1 rises exactly while 2 P(active | t) is above it, so the best prefix is all tokens
    with 2 P(active | t) > f1 of it: no sort is needed. The comparison is made in integers.
    """
    size = 0
    chosen = space.chosen
    part = occurrences = np.int64(0)
    for node in met:
        if ROOT < node < len(tree.tokens) and space.counts[node] & LOW >= 2:
            chosen[size] = node
            size += 1
            part += space.counts[node] & LOW
            occurrences += tree.even[node]
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
            count, whole = space.counts[node] & LOW, np.int64(tree.even[node])
            if count * union > hits * whole:
                chosen[size] = node
                size += 1
            else:
                part -= count
                occurrences -= whole
    active_count = odd_count = np.int64(0)
    kept = 0
    for index in range(size):
        node = chosen[index]
        active_count += space.counts[node] >> 32
        odd_count += tree.odd[node]
        kept = insert_node(space.counts, node, listed, kept)
    for slot in range(kept):
        listed[slot] = tree.tokens[listed[slot]]
    union = odd_count + active[2]
    return size, (2 * active_count / union if union else np.nan)


@compiled
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


@compiled
def explain_block(bits, bos, seq_len, windows, tree, space, out):
    """What explains the neurons whose ``bits`` [N, S, W] uint64 are given, over the first ``windows`` windows, into
    ``out`` (rows 0 .. N-1; code_lengths NaN, token_set -1, sizes 0, token_f1 NaN)."""
    even_positions, odd_positions = tree.positions[EVEN].sum(), tree.positions[ODD].sum()
    for neuron in range(len(bits)):
        even, odd, nodes = count_leaves(bits[neuron, :windows], bos, seq_len, tree, space)
        if even + odd == 0:
            continue
        met = space.met[:nodes]
        active = (even, even_positions, odd, odd_positions)
        if 0 < even < even_positions and odd_positions:
            lengths = out.code_lengths[neuron]
            code_lengths(tree, space, met, active, lengths)
            lengths[4] = position_code_length(space.curves, tree.positions, active)
        size, f1 = choose_tokens(tree, space, met, active, out.token_set[neuron])
        out.token_set_size[neuron], out.token_f1[neuron] = size, f1
        for node in met:
            space.at[node] = space.counts[node] = 0
        space.curves[:] = 0
