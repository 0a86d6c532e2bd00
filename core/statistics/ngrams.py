"""One id per position for its unigram, bigram and trigram (core/DEFINITIONS.md, "N-grams"; paper 4.1 and 4.5)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NONE = -1  # a position that has no n-gram


@dataclass(frozen=True)
class NgramTable:
    """Every n-gram of one order in a corpus.

    ``ids`` [S, T] int32: the n-gram at each position, NONE where it has none. Ids are numbered in the order of the
    n-grams' token ids, so that a tie between n-grams goes to the lower id. ``tokens`` [M, n] int32: the tokens of
    each id. ``totals`` [M] int64: N(g), how often each occurs.
    """

    order: int
    ids: np.ndarray
    tokens: np.ndarray
    totals: np.ndarray

    def slots(self) -> tuple[np.ndarray, np.ndarray]:
        """Where each position's n-gram is counted, and whose count that is (kernels.Ngrams): ``slots`` [S * T] int32
        and ``repeated`` [R] int32, the ids of the n-grams that occur more than once."""
        repeated = np.flatnonzero(self.totals > 1).astype(np.int32)
        slot_of = np.full(len(self.totals) + 1, len(repeated), np.int32)
        slot_of[repeated] = np.arange(len(repeated), dtype=np.int32)
        slot_of[NONE] = len(repeated) + 1
        return slot_of[self.ids.reshape(-1)], repeated


def ngram_tables(tokens: np.ndarray, bos_id: int | None, vocabulary: int) -> tuple[NgramTable, NgramTable, NgramTable]:
    """The tables for n = 1, 2, 3 of windows ``tokens`` [S, T] (any integer type, ids below ``vocabulary``).

    An n-gram lies inside its window and holds no BOS. A unigram's id is its token id.
    """
    tokens = np.asarray(tokens)
    ids = tokens.astype(np.int32)
    if bos_id is not None:
        ids[tokens == bos_id] = NONE
    totals = np.bincount(ids[ids != NONE].ravel(), minlength=vocabulary).astype(np.int64)
    unigrams = NgramTable(1, ids, np.arange(vocabulary, dtype=np.int32)[:, None], totals)
    bigrams = _longer(unigrams, unigrams)
    return unigrams, bigrams, _longer(bigrams, unigrams)


def _longer(shorter: NgramTable, unigrams: NgramTable) -> NgramTable:
    """N-grams of one order more: the shorter n-gram at the position before, and the token here."""
    before, here = shorter.ids[:, :-1], unigrams.ids[:, 1:]
    inside = (before != NONE) & (here != NONE)
    vocabulary = len(unigrams.totals)
    keys = before[inside].astype(np.int64) * vocabulary + here[inside]
    distinct, index, totals = np.unique(keys, return_inverse=True, return_counts=True)
    ids = np.full(unigrams.ids.shape, NONE, np.int32)
    ids[:, 1:][inside] = index
    tokens = np.concatenate([shorter.tokens[distinct // vocabulary], (distinct % vocabulary)[:, None]], axis=1)
    return NgramTable(shorter.order + 1, ids, tokens.astype(np.int32), totals.astype(np.int64))


@dataclass(frozen=True)
class Halves:
    """N(g) of every n-gram in the even and in the odd windows, for n = 1, 2, 3: [M] int64 each."""

    even: tuple[np.ndarray, ...]
    odd: tuple[np.ndarray, ...]


def halve(ngrams: tuple[NgramTable, ...]) -> Halves:
    """Count the n-grams of each half."""
    return Halves(*(tuple(_totals(table, first) for table in ngrams) for first in (0, 1)))


def _totals(table: NgramTable, first: int) -> np.ndarray:
    ids = table.ids[first::2]
    return np.bincount(ids[ids != NONE].ravel(), minlength=len(table.totals)).astype(np.int64)
