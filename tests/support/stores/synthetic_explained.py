"""How much the token explains, for drawn neurons: every position's probability at once, in plain numpy."""

from __future__ import annotations

from typing import Any

import numpy as np

from ffnscope.store.format.schema import ABSENT, TOP_NGRAMS

NAMES = ("token_explained", "bigram_explained", "trigram_explained", "position_explained")


class Halves:
    """The positions that have a unigram, by half, and the occurrences of every n-gram in the even windows.

    ``corpus``: windows' ``ids`` [n][P] of each order (-1 for none), ``seq_len``.
    """

    def __init__(self, corpus: Any):
        size = len(corpus.ids[0])
        self.window, self.position = np.arange(size) // corpus.seq_len, np.arange(size) % corpus.seq_len
        has = corpus.ids[0] >= 0
        self.even, self.odd = has & (self.window % 2 == 0), has & (self.window % 2 == 1)
        self.keys = [*corpus.ids, self.position]
        self.sizes = [len(grams) for grams in corpus.grams] + [corpus.seq_len]
        self.totals = [self.count(key, self.even, n) for key, n in zip(self.keys, self.sizes, strict=True)]
        self.tokens = corpus.grams[0][:, 0]
        self.odd_totals = self.count(self.keys[0], self.odd, self.sizes[0])

    @staticmethod
    def count(keys: np.ndarray, mask: np.ndarray, size: int) -> np.ndarray:
        """How often each key is among the positions of a mask."""
        return np.bincount(keys[mask & (keys >= 0)], minlength=size)

    def explain(self, fired: np.ndarray, out: dict[str, np.ndarray], i: int) -> None:
        """Write row ``i`` of the arrays of the group for a neuron activated at flat positions ``fired``."""
        active = np.zeros(len(self.even), bool)
        active[fired] = True
        A, n = np.count_nonzero(active & self.even), np.count_nonzero(self.even)
        counts = [self.count(k, active & self.even, s) for k, s in zip(self.keys, self.sizes, strict=True)]
        if 0 < A < n and self.odd.any():
            base = np.full(len(active), A / n)
            rows = [base]
            for index, (keys, count, total) in enumerate(zip(self.keys, counts, self.totals, strict=True)):
                shorter = base if index in (0, 3) else rows[-1]
                rows.append(np.where(keys >= 0, (count[keys] + shorter) / (total[keys] + 1), shorter))
            chances = np.where(active, np.stack(rows), 1 - np.stack(rows))[:, self.odd]
            lengths = -np.log(chances).sum(axis=1)
            out["code_lengths"][i] = lengths
            for name, length in zip(NAMES, lengths[1:], strict=True):
                out[name][i] = 1 - length / lengths[0]
        self._choose(counts[0], A, active, out, i)

    def _choose(self, count: np.ndarray, A: int, active: np.ndarray, out: dict[str, np.ndarray], i: int) -> None:
        ids = np.flatnonzero(count >= 2)
        if not len(ids):
            return
        total = self.totals[0]
        ids = ids[np.lexsort((ids, -count[ids] / total[ids]))]
        f1 = 2 * np.cumsum(count[ids]) / (np.cumsum(total[ids]) + A)
        chosen = ids[: int(np.argmax(f1)) + 1]
        found = self.count(self.keys[0], active & self.odd, self.sizes[0])
        union = self.odd_totals[chosen].sum() + found.sum()
        out["token_set_size"][i] = len(chosen)
        out["token_f1"][i] = 2 * found[chosen].sum() / union if union else np.nan
        chosen = chosen[np.lexsort((chosen, -count[chosen]))][:TOP_NGRAMS]
        out["token_set"][i, : len(chosen)] = self.tokens[chosen]


def empty(neurons: int) -> dict[str, np.ndarray]:
    """The arrays of the group without a value, and ``code_lengths`` [F, 5] float64 beside them."""
    nothing = np.full(neurons, np.nan, np.float32)
    return {name: nothing.copy() for name in (*NAMES, "token_f1")} | {
        "token_set": np.full((neurons, TOP_NGRAMS), ABSENT, np.uint32),
        "token_set_size": np.zeros(neurons, np.uint32),
        "code_lengths": np.full((neurons, 5), np.nan),
    }


def sums(lengths: np.ndarray) -> np.ndarray:
    """[5] float64: a layer's sums of ``code_lengths`` [F, 5]."""
    return lengths[lengths[:, 0] > 0].sum(axis=0)
