"""The order of a corpus's positions in which those of every n-gram lie side by side, for n = 1, 2, 3."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from typing import NamedTuple

import numpy as np

from ffnscope.core.statistics.bits import WORD
from ffnscope.core.statistics.explained.code_lengths import PARENT, ROOT, Tree
from ffnscope.core.statistics.kernels import Ngrams
from ffnscope.core.statistics.ngrams import NONE, NgramTable
from ffnscope.core.statistics.suffix_kernel import NEURONS, Runs, by_position, in_order

KEYS = 1 << 63  # that one integer can tell apart


class SuffixOrder(NamedTuple):
    """``places`` [Q] int32: the positions (window * T + position) that have a unigram, in order. ``orders``: the n-grams of
    n = 1, 2, 3 that occur more than once, counting for their slots (kernels.Ngrams). ``leaves``: the leaves of the explained
    tree, even and odd windows apart, counting for leaf * 2 + half."""

    places: np.ndarray
    orders: tuple[Runs, Runs, Runs]
    leaves: Runs


_NO_RUNS = Runs(*(np.zeros(0, dtype) for dtype in (np.uint64, np.int32, np.int32, np.uint64, np.uint64)))
NO_ORDER = SuffixOrder(np.zeros(0, np.int32), (_NO_RUNS, _NO_RUNS, _NO_RUNS), _NO_RUNS)


def make_suffix_order(tables: tuple[NgramTable, ...], orders: tuple[Ngrams, ...], tree: Tree) -> SuffixOrder:
    """The order for the n-grams of n = 1, 2, 3 and the ``tree``.

    By token, then by the tree's bigram and trigram, then by half, then by the others. An n-gram that the tree has not, below
    one that it has, occurs in one half only, so its positions stay together too.
    """
    unigrams, bigrams, trigrams = (table.ids.reshape(-1) for table in tables)
    length = tables[0].ids.shape[1]
    places = np.flatnonzero(unigrams != NONE).astype(np.int32)
    leaf, half = tree.leaves[places], places // length % 2
    branches = _branches(tree, len(tables[0].totals))
    pairs, triples = len(tables[1].totals) + 1, len(tables[2].totals) + 1
    # In place: for a large corpus, each of these arrays weighs.
    key = branches[np.where(leaf == ROOT, len(tree.nodes) + unigrams[places], leaf)]
    key *= 2
    key += half
    key *= pairs
    key += bigrams[places]
    key += 1
    if 2 * len(branches) * pairs * triples < KEYS:
        key *= triples
        key += trigrams[places]
        key += 1
        sorting = np.argsort(key)
    else:
        sorting = np.lexsort((trigrams[places], key))
    del key
    places = places[sorting]
    leaf *= 2
    leaf += half
    leaf = leaf[sorting]
    del sorting, half
    runs = [_runs(order.slots[places], len(order.repeated)) for order in orders]
    return SuffixOrder(places, (runs[0], runs[1], runs[2]), _runs(leaf, 2 * len(tree.nodes)))


def _branches(tree: Tree, vocabulary: int) -> np.ndarray:
    """Where each node of the tree stands in the order [X + V] int64, its token before it; behind the X nodes, where each token
    does that has none."""
    parents, tokens, inner = tree.nodes[:, PARENT], len(tree.tokens), len(tree.rows)
    nodes = np.arange(len(tree.nodes))
    pair = np.where(nodes >= inner, parents, np.where(nodes >= tokens, nodes, 0))
    token = np.where(nodes >= tokens, parents[pair], nodes)
    ids = np.concatenate([tree.tokens[token], np.arange(vocabulary)])
    nothing = np.zeros(vocabulary, np.int64)
    triple = np.where(nodes >= inner, nodes, 0)
    sorting = np.lexsort((np.concatenate([triple, nothing]), np.concatenate([pair, nothing]), ids))
    ranks = np.empty(len(ids), np.int64)
    ranks[sorting] = np.arange(len(ids))
    return ranks


def _runs(targets: np.ndarray, number: int) -> Runs:
    """The runs of equal ``targets`` [Q], of which ``number`` is that of positions whose n-gram occurs once, and any above it
    that of positions without one."""
    starts = np.ones(len(targets), bool)
    starts[1:] = targets[1:] != targets[:-1]
    begins = (
        np.add.reduceat(starts, np.arange(0, len(starts), WORD), dtype=np.int64) if len(starts) else np.zeros(0, int)
    )
    return Runs(
        starts=_words(starts),
        ranks=(np.cumsum(begins) - begins).astype(np.int32),
        targets=targets[starts],
        counted=_words(targets < number),
        single=_words(targets == number),
    )


def _words(mask: np.ndarray) -> np.ndarray:
    """[Q] bool as bits of ceil(Q / 64) words."""
    packed = np.packbits(mask, bitorder="little")
    return np.pad(packed, (0, -len(packed) % 8)).view("<u8")


class Reordering:
    """Puts the bits of blocks of at most ``neurons`` neurons into an order, with memory that it reuses."""

    def __init__(self, order: SuffixOrder, positions: int, seq_len: int, neurons: int):
        self._order, self._positions, self._seq_len = order, positions, seq_len
        self._table = np.empty(positions * -(-neurons // NEURONS), np.uint64)
        self._out = np.empty((neurons, -(-len(order.places) // WORD)), np.uint64)

    @staticmethod
    def bytes_needed(positions: int, neurons: int) -> int:
        """Memory that it takes at most."""
        return positions * (8 * -(-neurons // NEURONS) + -(-neurons // 8))

    def __call__(self, bits: np.ndarray, pool: Executor, threads: int) -> np.ndarray:
        """Bits [n, S, W] uint64, of the counted windows first, as [n, V] uint64; valid until the next call."""
        out, groups = self._out[: len(bits)], -(-len(bits) // NEURONS)
        table = self._table[: self._positions * groups].reshape(-1, groups)
        windows = self._positions // self._seq_len
        _in_parts(pool, threads, windows, lambda first, last: by_position(bits, first, last, self._seq_len, table))
        _in_parts(
            pool, threads, out.shape[1], lambda first, last: in_order(table, self._order.places, first, last, out)
        )
        return out


def _in_parts(pool: Executor, threads: int, number: int, work: Callable[[int, int], None]) -> None:
    """``work`` on first .. last - 1 of ``number``, by all threads."""
    step = max(1, -(-number // threads))
    for _ in pool.map(lambda first: work(first, min(first + step, number)), range(0, number, step)):
        pass
