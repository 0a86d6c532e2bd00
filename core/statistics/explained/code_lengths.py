"""How many nats a neuron's activations take when its token, or the tokens before too, predict them, compiled.

Probabilities that no activation has touched are those of a whole branch, scaled: where they are small, their logarithms
are summed as a power series whose coefficients are known once per run (``Tree.powers``), and only the touched n-grams are
corrected. So the cost goes with the activations, not with the corpus. The n-grams' own logarithms are taken many at a time,
in loops without branches, by an arithmetic that gives the same bits on every machine.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ffnscope.core.jit import jitable

ROOT = 0  # the node of positions whose token no even window has
TERMS = 12  # of the power series: with p <= SMALL, halved at least by N + 1, they leave less than 5e-15 of the sum
SMALL = 0.125
FEWER_TERMS, FEWER_BELOW = 6, 0.004  # as exact where p is smaller
LOW = (1 << 32) - 1  # of a count: the even windows' half
IN_EVEN, ALL_ODD, HERE_ODD, PARENT = 0, 1, 2, 3  # columns of Tree.nodes
CHUNK = 256  # n-grams whose logarithms are taken together
LN_2 = (6.93147180369123816490e-01, 1.90821492927058770002e-10)  # a sum of two, of which the first has few digits
# ln(1 + f) = 2 s + s (SERIES[0] s**2 + SERIES[1] s**4 + ...)
SERIES = (
    6.666666666666735130e-01,
    3.999999999940941908e-01,
    2.857142874366239149e-01,
    2.222219843214978396e-01,
    1.818357216161805012e-01,
    1.531383769920937332e-01,
    1.479819860511658591e-01,
)
A, B, C, OWN, WHOLE, OWN_HERE, WHOLE_HERE = range(7)  # rows of Space.terms


class Tree(NamedTuple):
    """N-grams that even windows have and odd windows ask for, each below the next shorter one that it ends in.

    Node 0 is the root; then tokens, bigrams, trigrams, the children of a node side by side. X nodes, of which Y are no
    trigrams, P positions of the counted windows.

    ``leaves`` [P] int32: the deepest node of the n-grams at each position. ``tokens`` [tokens + 1] int32: the token of
    each node that is one, ascending. ``first`` [Y + 1] int32: node's children are first[node] .. first[node + 1] - 1 (from 1
    on; the root's are the tokens). ``nodes`` [X, 4] int32: N(g), occurrences in the even windows; N'(g), those in the odd
    ones; odd positions whose deepest node it is; the parent.

    ``rows`` [Y] int32: the row of ``powers`` that is the node's, -1 where so few n-grams are below it that a sum over
    them costs less. ``powers`` [rows, TERMS, 2] float64: coefficients of p, p**2, ... in - sum of w ln(1 - p a) over the
    nodes below, a being the product of their 1 / (N + 1); w is what the bigram and the trigram model ask of them. Behind
    the root's row stands that of the token model (its first half).
    ``positions`` [2, T] int64: even and odd windows that have a unigram at each position.
    """

    leaves: np.ndarray
    tokens: np.ndarray
    first: np.ndarray
    nodes: np.ndarray
    rows: np.ndarray
    powers: np.ndarray
    positions: np.ndarray


class Space(NamedTuple):
    """Arrays that a thread reuses. Zero between neurons: ``at`` [X] int64, activations whose deepest node it is, and
    ``counts`` [Y] int64, activations on the n-gram (those of trigrams are in ``at``), both odd << 32 | even; ``marks``
    [X / 64] uint64, a bit per node; ``curves`` [2, T] int32. Anything: ``sums`` [8 W] uint64, W words of bits
    per window; ``targets`` and ``numbers`` int32, what is counted in each stretch of the n-grams' order; ``met`` [X + 1]
    int32, ``visited`` [X] int32, nodes;
    ``chances`` [Y, 3] float64, their p, 1 - p and the p by which their branch was summed before (0 for none);
    ``by_series`` [Y] bool, whether it is summed by their own; ``chosen`` [tokens + 1] int32; ``terms`` [7, CHUNK] float64.
    """

    at: np.ndarray
    counts: np.ndarray
    marks: np.ndarray
    curves: np.ndarray
    sums: np.ndarray
    targets: np.ndarray
    numbers: np.ndarray
    met: np.ndarray
    visited: np.ndarray
    chances: np.ndarray
    by_series: np.ndarray
    chosen: np.ndarray
    terms: np.ndarray


@intrinsic
def bits_of(typing: Any, number: Any) -> Any:
    """The bits of a float64 as uint64."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.uint64(types.float64), code


@intrinsic
def float_of(typing: Any, bits: Any) -> Any:
    """The float64 with these bits, a uint64."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.uint64), code


@jitable
def log(x):
    """ln(x) of a normal positive float64, to less than one unit in the last place; loops over it become vector
    instructions. The method is that of FreeBSD's e_log.c: x = 2**k (1 + f), sqrt(1/2) < 1 + f < sqrt(2), and a
    polynomial in s = f / (2 + f)."""
    shifted = bits_of(x) - np.uint64(0x3FE6A09E667F3BCD) + np.uint64(1024 << 52)
    exponent = shifted >> np.uint64(52)  # k + 1024
    f = float_of(bits_of(x) - (exponent << np.uint64(52)) + np.uint64(1024 << 52)) - 1.0
    # An integer below 2**52 as a float: behind the leading bit of 2**52.
    k = float_of(exponent | np.uint64(0x4330000000000000)) - (4503599627370496.0 + 1024.0)
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    odd = w * (SERIES[1] + w * (SERIES[3] + w * SERIES[5]))
    even = SERIES[0] + w * (SERIES[2] + w * (SERIES[4] + w * SERIES[6]))
    half = 0.5 * f * f
    return k * LN_2[0] - ((half - (s * (half + (odd + z * even)) + k * LN_2[1])) - f)


@jitable
def series(powers, row, p, reference):
    """By how much p instead of ``reference`` raises the sums of w ln(1 - p a) over the nodes below the one whose ``powers``
    stand in a row, of the bigram and of the trigram model."""
    bigram = trigram = bigram_before = trigram_before = 0.0
    terms = FEWER_TERMS if max(p, reference) < FEWER_BELOW else TERMS
    for term in range(terms - 1, -1, -1):
        of_bigram, of_trigram = powers[row, term, 0], powers[row, term, 1]
        bigram = (bigram + of_bigram) * p
        trigram = (trigram + of_trigram) * p
        bigram_before = (bigram_before + of_bigram) * reference
        trigram_before = (trigram_before + of_trigram) * reference
    return bigram_before - bigram, trigram_before - trigram


@jitable
def gather(nodes, level, tree, space):
    """What the code lengths of ``nodes`` [n <= CHUNK] of a level (0 tokens, 1 bigrams, 2 trigrams) need, into
    ``space.terms``: p = A / (N + 1), 1 - p = B / (N + 1), 1 - reference = C / (N + 1); activations and occurrences in the
    odd windows, and those of them whose deepest node it is."""
    table, at, counts, chances, terms = tree.nodes, space.at, space.counts, space.chances, space.terms
    for index in range(len(nodes)):
        node = nodes[index]
        parent = table[node, PARENT]
        whole = np.float64(table[node, IN_EVEN])
        both = at[node] if level == 2 else counts[node]
        count = np.float64(both & LOW)
        terms[A, index] = count + chances[parent, 0]
        terms[B, index] = whole - count + chances[parent, 1]
        terms[C, index] = whole + 1.0 - chances[parent, 2]
        terms[OWN, index] = np.float64(both >> 32)
        terms[WHOLE, index] = np.float64(table[node, ALL_ODD])
        if level < 2:
            terms[OWN_HERE, index] = np.float64(at[node] >> 32)
            terms[WHOLE_HERE, index] = np.float64(table[node, HERE_ODD])


@jitable
def add_up(terms, number, level):
    """The sums of c' ln p + (N' - c') ln(1 - p) - N' ln(1 - reference) over what ``gather`` left, for the level's own model
    and for the longer ones."""
    a, b, c = terms[A], terms[B], terms[C]
    for index in range(number):
        odds = log(a[index] / b[index])
        against = log(b[index] / c[index])
        a[index], b[index] = odds, against
    total = total_here = 0.0
    own, whole = terms[OWN], terms[WHOLE]
    for index in range(number):
        total += own[index] * a[index] + whole[index] * b[index]
    if level < 2:
        own, whole = terms[OWN_HERE], terms[WHOLE_HERE]
        for index in range(number):
            total_here += own[index] * a[index] + whole[index] * b[index]
    return total, total_here


@jitable
def code_lengths(tree, space, bounds, active, out):
    """D of p0, of the token, bigram and trigram into ``out`` [5]; ``bounds`` and ``space`` as ``sum_up`` leaves them.

    ``active``: (activations, positions) in the even windows, (activations, positions) in the odd ones.

    Tokens, then bigrams, then trigrams. Where a node's branch was summed as a series, with a ``reference`` for its p, only
    the nodes met in it are visited, and the reference's part is taken out of the sum; otherwise all of its children are.
    p and q = 1 - p are carried side by side, so that neither loses digits near 1.
    """
    nodes, first, rows, powers = tree.nodes, tree.first, tree.rows, tree.powers
    chances, by_series, visited, met, terms = space.chances, space.by_series, space.visited, space.met, space.terms
    base, rest = active[0] / np.float64(active[1]), (active[1] - active[0]) / np.float64(active[1])
    log_p, log_q = np.log(base), np.log(rest)
    out[0] = -(active[2] * log_p + (active[3] - active[2]) * log_q)
    odd_active = space.at[ROOT] >> 32
    out[1:4] = -(odd_active * log_p + (nodes[ROOT, HERE_ODD] - odd_active) * log_q)

    by_series[ROOT] = base <= SMALL
    chances[ROOT, 0], chances[ROOT, 1], chances[ROOT, 2] = base, rest, base if by_series[ROOT] else 0.0
    bigrams = trigrams = 0.0  # what series add to each
    size = 0
    if by_series[ROOT]:
        out[1] -= series(powers, np.int64(rows[ROOT]) + 1, base, 0.0)[0]
        bigrams, trigrams = series(powers, np.int64(rows[ROOT]), base, 0.0)
    else:
        for node in range(1, len(tree.tokens)):
            visited[size] = node
            size += nodes[node, ALL_ODD] > 0
    begin = 0
    for level in range(3):
        for index in range(bounds[2 - level], bounds[3 - level]):
            node = met[index]
            visited[size] = node
            size += by_series[nodes[node, PARENT]] and nodes[node, ALL_ODD] > 0
        end = size
        for start in range(begin, end, CHUNK):
            chunk = visited[start : min(start + CHUNK, end)]
            gather(chunk, level, tree, space)
            if level < 2:
                for index in range(len(chunk)):
                    node = chunk[index]
                    child, last = first[node], first[node + 1]
                    if child == last:
                        continue
                    inverse = 1.0 / (nodes[node, IN_EVEN] + 1.0)
                    p = terms[A, index] * inverse
                    reference = chances[nodes[node, PARENT], 2] * inverse
                    wide = rows[node] >= 0
                    by_series[node] = wide and p <= SMALL
                    if wide:
                        bigram, trigram = series(powers, np.int64(rows[node]), p if by_series[node] else 0.0, reference)
                        bigrams += bigram
                        trigrams += trigram
                    if not by_series[node]:
                        while child < last:
                            visited[size] = child
                            size += 1
                            child += 1
                    chances[node, 0], chances[node, 1] = p, terms[B, index] * inverse
                    chances[node, 2] = p if by_series[node] else 0.0 if wide else reference
            total, total_here = add_up(terms, len(chunk), level)
            out[1 + level] -= total
            for longer in range(2 + level, 4):
                out[longer] -= total_here
        begin = end
    out[2] -= bigrams
    out[3] -= trigrams
