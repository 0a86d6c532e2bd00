"""How much of a neuron its token, the tokens before and its position explain (DEFINITIONS.md, "How much of a neuron the
token explains"): what the compiled loops need of the corpus, and the figures of a layer."""

from __future__ import annotations

import math

import numpy as np

from ffnscope.core.statistics.bits import WORD
from ffnscope.core.statistics.explained.code_lengths import CHUNK, ROOT, TERMS, Space, Tree
from ffnscope.core.statistics.ngrams import NONE, NgramTable

MODELS = ("token", "bigram", "trigram", "position")  # what may explain a neuron, in the order of its sums
FEW_BELOW = 8  # n-grams below a node that cost less one by one than as a series
SUMS = 1 + len(MODELS)  # D(p0), then D of each


def make_tree(ngrams: tuple[NgramTable, ...], even: tuple[np.ndarray, ...], odd: tuple[np.ndarray, ...]) -> Tree:
    """The tree of the n-grams by which odd windows are predicted from even ones.

    ``ngrams``: the tables for n = 1, 2, 3; ``even`` and ``odd``: N(g) of each n-gram [M] int64 in the even and the odd
    windows. An n-gram that no even window has predicts what the next shorter one does, and what no odd window has is
    never asked for, so the nodes are the unigrams of even windows and the bigrams and trigrams of both halves.
    """
    unigrams, bigrams, trigrams = ngrams
    vocabulary = len(unigrams.totals)
    tokens = np.flatnonzero(even[0])
    token_nodes = _numbered(tokens, vocabulary, 1)

    pairs = np.flatnonzero((even[1] > 0) & (odd[1] > 0))
    parents = token_nodes[bigrams.tokens[pairs, 1]]
    order = np.argsort(parents, kind="stable")
    pairs, pair_parents = pairs[order], parents[order]
    pair_nodes = _numbered(pairs, len(bigrams.totals), 1 + len(tokens))

    triples = np.flatnonzero((even[2] > 0) & (odd[2] > 0))
    keys = bigrams.tokens[:, 0].astype(np.int64) * vocabulary + bigrams.tokens[:, 1]
    suffixes = trigrams.tokens[triples, 1].astype(np.int64) * vocabulary + trigrams.tokens[triples, 2]
    parents = pair_nodes[np.searchsorted(keys, suffixes)]
    order = np.argsort(parents, kind="stable")
    triples, triple_parents = triples[order], parents[order]
    triple_nodes = _numbered(triples, len(trigrams.totals), 1 + len(tokens) + len(pairs))

    leaves = token_nodes[unigrams.ids]
    for nodes, table in ((pair_nodes, bigrams), (triple_nodes, trigrams)):
        deeper = nodes[table.ids]
        np.copyto(leaves, deeper, where=deeper != ROOT)
    parents = np.concatenate([np.zeros(1 + len(tokens), np.int32), pair_parents, triple_parents])
    inner = 1 + len(tokens) + len(pairs)
    present = unigrams.ids != NONE
    columns = (
        np.concatenate([[0], even[0][tokens], even[1][pairs], even[2][triples]]),
        np.concatenate([[0], odd[0][tokens], odd[1][pairs], odd[2][triples]]),
        np.bincount(leaves[1::2][present[1::2]], minlength=inner + len(triples)),
        parents,
    )
    nodes = np.stack(columns, axis=1).astype(np.int32)
    rows, powers = _powers(nodes, 1 + len(tokens), inner)
    return Tree(
        leaves=leaves.reshape(-1),
        tokens=np.concatenate([[NONE], tokens]).astype(np.int32),
        first=(1 + len(tokens) + np.searchsorted(parents[1 + len(tokens) :], np.arange(inner + 1))).astype(np.int32),
        nodes=nodes,
        rows=rows,
        powers=powers,
        positions=np.stack([present[::2].sum(axis=0), present[1::2].sum(axis=0)]).astype(np.int64),
    )


def _powers(nodes: np.ndarray, tokens: int, inner: int) -> tuple[np.ndarray, np.ndarray]:
    """``rows`` and ``powers`` of a tree with these ``nodes``: the root and tokens before ``tokens``, bigrams before ``inner``,
    then trigrams."""
    even, odd, here, parents = nodes.T
    pairs, triples = slice(tokens, inner), slice(inner, len(nodes))
    children = np.bincount(parents[tokens:], minlength=inner)
    below = children + np.bincount(parents[pairs], children[pairs], minlength=inner)
    wide = np.flatnonzero(below > FEW_BELOW)
    rows = np.full(inner, -1, np.int32)
    rows[ROOT], rows[wide] = 0, np.arange(2, 2 + len(wide))
    powers = np.zeros((2 + len(wide), TERMS, 2))
    inverse, scaled = 1 / (even + 1.0), np.ones(len(nodes))
    for term in range(TERMS):
        scaled *= inverse
        below_pairs = np.bincount(parents[triples], odd[triples] * scaled[triples], minlength=inner)
        weights = here[pairs] + below_pairs[pairs]
        bigram = np.bincount(parents[pairs], odd[pairs] * scaled[pairs], minlength=inner)
        trigram = below_pairs + np.bincount(parents[pairs], weights * scaled[pairs], minlength=inner)
        powers[2:, term, 0], powers[2:, term, 1] = bigram[wide], trigram[wide]
        at_tokens = scaled[1:tokens]
        powers[0, term, 0] = np.dot(here[1:tokens] + bigram[1:tokens], at_tokens)
        powers[0, term, 1] = np.dot(here[1:tokens] + trigram[1:tokens], at_tokens)
        powers[1, term, 0] = np.dot(odd[1:tokens], at_tokens)
        powers[:, term] /= term + 1
    return rows, powers


def _numbered(ids: np.ndarray, number: int, first: int) -> np.ndarray:
    """[number + 1] int32: the node of each n-gram id, ROOT where it has none (and at the end, for NONE)."""
    nodes = np.full(number + 1, ROOT, np.int32)
    nodes[ids] = np.arange(first, first + len(ids), dtype=np.int32)
    return nodes


def make_space(tree: Tree, stretches: int) -> Space:
    """The arrays that one thread reuses from neuron to neuron; ``stretches``: of the leaves in the n-grams' order."""
    nodes, inner = len(tree.nodes), len(tree.rows)
    return Space(
        at=np.zeros(nodes, np.int64),
        counts=np.zeros(inner, np.int64),
        marks=np.zeros(nodes // 64 + 1, np.uint64),
        curves=np.zeros(tree.positions.shape, np.int32),
        sums=np.empty(8 * -(-tree.positions.shape[1] // WORD), np.uint64),
        targets=np.empty(stretches, np.int32),
        numbers=np.empty(stretches, np.int32),
        met=np.empty(nodes + 1, np.int32),  # one place more, as a node is written before it is known to be new
        visited=np.empty(nodes + 1, np.int32),
        chances=np.empty((inner, 3)),
        by_series=np.empty(inner, np.bool_),
        chosen=np.empty(len(tree.tokens), np.int32),
        terms=np.empty((7, CHUNK)),
    )


def space_bytes(tree: Tree, stretches: int) -> int:
    """Memory that ``make_space`` takes."""
    inner = 33 * len(tree.rows) + 4 * (tree.positions.size + len(tree.tokens))
    return 17 * len(tree.nodes) + 8 * stretches + inner + 7 * 8 * CHUNK


def explained(sums: np.ndarray) -> np.ndarray:
    """[F, 4] float64: 1 - D(p) / D(p0) for each of MODELS, from the code lengths ``sums`` [F, SUMS]; NaN where there
    is no D(p0)."""
    base = sums[:, :1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(base > 0, 1 - sums[:, 1:] / base, np.nan)


def layer_sums(sums: np.ndarray) -> np.ndarray:
    """[SUMS] float64: the sums over a layer's neurons that can be explained, correctly rounded, so that they do not
    depend on how the neurons were divided."""
    known = sums[sums[:, 0] > 0]
    return np.array([math.fsum(column) for column in known.T.tolist()] or [0.0] * SUMS)
