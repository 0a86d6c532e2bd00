"""Token detectors of one store re-checked on the data of another (ours): found on one half, confirmed on the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ffnscope.store.definitions import COVERED_PERCENT, WHOLE_PERCENT
from ffnscope.store.figures.changes import equal_shape
from ffnscope.store.reader import Store


@dataclass(frozen=True)
class Recheck:
    """A token detector of one store in another: its detected tokens there.

    ``checked`` are those that occur at least ``min_occurrences`` times and whose activations the other store keeps: it
    does for the 20 tokens that trigger a neuron most. ``occurrences`` are theirs, ``on_them`` the activations on these,
    ``activations`` all that have a unigram, ``covered`` those known to be on any of the detected tokens.
    """

    layer: int
    neuron: int
    tokens: int
    checked: int
    occurrences: int
    on_them: int
    activations: int
    covered: int
    holds: bool | None  # None where no token occurs often enough, or too little is kept to say

    @property
    def probability(self) -> float | None:
        """P(active | one of the checked tokens)."""
        return self.on_them / self.occurrences if self.occurrences else None


def comparable(store: Store, other: Store) -> bool:
    """Whether neurons and token ids mean the same in both: equal shape and as many tokens."""
    return equal_shape(store, other) and store.run.model.vocabulary == other.run.model.vocabulary


def recheck(store: Store, other: Store, layers: Sequence[int]) -> tuple[Recheck, ...]:
    """Every token detector of ``store`` in ``layers``, which both hold, on the data of ``other``.

    It holds where each of its detected tokens that occurs ``min_occurrences`` times there activates it 95% of the time,
    and all of them together account for 95% of its activations. A token that is not among the 20 that trigger it most
    there activates it at most as often as the last of these, and as these leave: it is None where that leaves both
    possible. Empty where the stores are not ``comparable``; tokens whose texts differ are taken as never occurring.
    """
    if not comparable(store, other):
        return ()
    totals = other.unigram_totals().astype(np.int64)
    least = max(int(store.run.settings.get("min_occurrences", 1)), 1)
    same = np.zeros(len(totals), np.int8)  # whether a token's texts agree: 0 not looked at, 1 yes, -1 no
    checks: list[Recheck] = []
    for layer in layers:
        order = store.column(layer, "order")
        owners, tokens = store.column(layer, "detected_neuron"), store.column(layer, "detected_tokens")[:, 0]
        detecting = order[owners] == 1
        owners, tokens = owners[detecting].astype(np.int64), tokens[detecting].astype(np.int64)
        for token in np.unique(tokens[same[tokens] == 0]).tolist():
            same[token] = 1 if store.vocabulary.text(token) == other.vocabulary.text(token) else -1
        agree = same[tokens] > 0
        listed, counts = other.column(layer, "top_unigrams")[:, :, 0], other.column(layer, "top_unigrams_count")
        is_it = listed[owners] == tokens[:, None]
        part = np.where(is_it, counts[owners], 0).sum(axis=1, dtype=np.int64) * agree
        total = totals[tokens] * agree
        # One that is not listed has no more than the last that is, and than the listed ones leave.
        left = np.maximum(other.column(layer, "ngram_activations")[:, 0] - counts.sum(axis=1, dtype=np.int64), 0)
        most = np.where(is_it.any(axis=1) | ~agree, part, np.minimum(np.minimum(counts[:, -1], left)[owners], total))
        checks += _layer(layer, np.flatnonzero(order == 1), owners, (part, most), total, total >= least, other)
    return tuple(checks)


def _layer(
    layer: int,
    neurons: np.ndarray,
    owners: np.ndarray,
    parts: tuple[np.ndarray, np.ndarray],
    total: np.ndarray,
    often: np.ndarray,
    other: Store,
) -> list[Recheck]:
    """The token detectors ``neurons`` [N]; of each detected token [M] its neuron, the least and the most activations it
    can have, occurrences, whether it occurs often enough."""
    least, most = parts
    checked = often & (least == most)
    whole = other.column(layer, "ngram_activations")[neurons, 0].astype(np.int64)

    def summed(values: np.ndarray) -> np.ndarray:
        # bincount adds doubles, exact up to 2**53.
        return np.bincount(owners, values, minlength=int(neurons[-1]) + 1 if len(neurons) else 0)[neurons].astype(
            np.int64
        )

    def holding(part: np.ndarray) -> np.ndarray:
        fails = summed(often & (WHOLE_PERCENT * part < COVERED_PERCENT * total))
        return (fails == 0) & (WHOLE_PERCENT * summed(part) >= COVERED_PERCENT * whole)

    columns = (
        *(neurons, summed(np.ones(len(owners))), summed(checked), summed(total * checked), summed(least * checked)),
        *(whole, summed(least), summed(often) > 0, holding(least), holding(most)),
    )
    made = []
    for neuron, n, k, occurrences, on_them, activations, on_any, any_often, surely, maybe in zip(
        *map(np.ndarray.tolist, columns), strict=True
    ):
        verdict = bool(surely) if any_often and surely == maybe else None
        made.append(Recheck(layer, neuron, n, k, occurrences, on_them, activations, on_any, verdict))
    return made
