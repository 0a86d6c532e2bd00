"""Token detectors of one store re-checked on the data of another (ours): found on one half, confirmed on the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ffnscope.store.figures_changes import equal_shape
from ffnscope.store.reader import Store

PERCENT = 95


@dataclass(frozen=True)
class Recheck:
    """A token detector of one store in another: its detected tokens there.

    ``occurrences`` of those that occur at least ``min_occurrences`` times, ``on_them`` the activations on these,
    ``activations`` all that have a unigram, ``covered`` those on any of the detected tokens.
    """

    layer: int
    neuron: int
    tokens: int
    checked: int  # detected tokens that occur often enough
    occurrences: int
    on_them: int
    activations: int
    covered: int
    holds: bool | None  # None where no token occurs often enough to say

    @property
    def probability(self) -> float | None:
        """P(active | one of the checked tokens)."""
        return self.on_them / self.occurrences if self.occurrences else None

    @property
    def covered_share(self) -> float | None:
        """Share of the activations on the detected tokens."""
        return self.covered / self.activations if self.activations else None


def comparable(found: Store, other: Store) -> bool:
    """Whether neurons and token ids mean the same in both: equal shape and as many tokens."""
    return equal_shape(found, other) and found.run.model.vocabulary == other.run.model.vocabulary


def recheck(found: Store, other: Store) -> tuple[Recheck, ...]:
    """Every token detector of ``found`` in the layers of both, on the data of ``other``.

    It holds where each of its detected tokens that occurs ``min_occurrences`` times there activates it 95% of the time,
    and all of them together account for 95% of its activations. A token that is not among the 20 that trigger it most
    there counts as without activations. Empty where the stores are not ``comparable``; tokens whose texts differ are
    taken as never occurring.
    """
    if not comparable(found, other):
        return ()
    totals = other.unigram_totals().astype(np.int64)
    least = max(int(found.run.settings.get("min_occurrences", 1)), 1)
    same = np.zeros(len(totals), np.int8)  # whether a token's texts agree: 0 not looked at, 1 yes, -1 no
    made: list[Recheck] = []
    for layer in sorted(set(found.layers()) & set(other.layers())):
        order = found.column(layer, "order")
        owners, tokens = found.column(layer, "detected_neuron"), found.column(layer, "detected_tokens")[:, 0]
        kept = order[owners] == 1
        owners, tokens = owners[kept].astype(np.int64), tokens[kept].astype(np.int64)
        for token in np.unique(tokens[same[tokens] == 0]).tolist():
            same[token] = 1 if found.vocabulary.text(token) == other.vocabulary.text(token) else -1
        agree = same[tokens] > 0
        listed, counts = other.column(layer, "top_unigrams")[:, :, 0], other.column(layer, "top_unigrams_count")
        part = np.where(listed[owners] == tokens[:, None], counts[owners], 0).sum(axis=1, dtype=np.int64) * agree
        total = totals[tokens] * agree
        made += _layer(layer, np.flatnonzero(order == 1), owners, part, total, total >= least, other)
    return tuple(made)


def _layer(
    layer: int,
    neurons: np.ndarray,
    owners: np.ndarray,
    part: np.ndarray,
    total: np.ndarray,
    checked: np.ndarray,
    other: Store,
) -> list[Recheck]:
    """The token detectors ``neurons`` [N]; of each detected token [M] its neuron, activations, occurrences, whether
    it occurs often enough."""
    whole = other.column(layer, "ngram_activations")[neurons, 0].astype(np.int64)

    def summed(values: np.ndarray) -> np.ndarray:
        # bincount adds doubles, exact up to 2**53.
        return np.bincount(owners, values, minlength=int(neurons[-1]) + 1 if len(neurons) else 0)[neurons].astype(
            np.int64
        )

    tokens, often, covered = summed(np.ones(len(owners))), summed(checked), summed(part)
    fails = summed(checked & (100 * part < PERCENT * total))
    holds = (fails == 0) & (100 * covered >= PERCENT * whole)
    columns = (neurons, tokens, often, summed(total * checked), summed(part * checked), whole, covered, holds)
    made = []
    for neuron, n, k, occurrences, on_them, activations, on_any, held in zip(
        *map(np.ndarray.tolist, columns), strict=True
    ):
        verdict = bool(held) if k else None
        made.append(Recheck(layer, neuron, n, k, occurrences, on_them, activations, on_any, verdict))
    return made
