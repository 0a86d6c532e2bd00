"""The neurons that come closest to detecting a token: those that fire mostly at it, over the whole model."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from threading import Lock

import numpy as np

from ffnscope.store.definitions import KINDS
from ffnscope.store.query.detector_index import parse_search
from ffnscope.store.query.pattern import matching_tokens
from ffnscope.store.reader import Store

SHOWN = 8  # of a neuron's triggers


@dataclass(frozen=True)
class TriggerHit:
    """A neuron with a matching token among its most frequent triggers, or in its token set.

    Of the matching tokens it is the one with the highest f1 of ``probability`` and ``share``. The numbers are None where
    the store keeps no count of the token: it is in the token set, and not among the most frequent triggers.
    """

    layer: int
    neuron: int
    kind: str
    token: int
    text: str  # of the token
    probability: float | None  # P(active | token)
    share: float | None  # of the activations that have a unigram, those on the token
    f1: float | None
    activations: int
    in_set: bool  # the token is in its token set
    texts: tuple[str, ...]  # of its most frequent triggers


@dataclass(frozen=True)
class _Layer:
    """F neurons with G = TOP_NGRAMS triggers each, most frequent first; V in place of a token that is not there."""

    triggers: np.ndarray  # [F, G]
    counts: np.ndarray  # [F, G] uint32
    whole: np.ndarray  # [F] int64, activations that have a unigram
    token_set: np.ndarray  # [F, G]
    kinds: np.ndarray
    activations: np.ndarray


class TriggerIndex:
    """The triggers of every neuron, in memory (about 200 bytes per neuron).

    One thread may search while another refreshes.
    """

    def __init__(self, store: Store):
        self._store = store
        self._layers: dict[int, _Layer] = {}
        self._totals: np.ndarray | None = None
        self._reading = Lock()

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that have been read."""
        return tuple(sorted(self._layers))

    def refresh(self) -> None:
        """Read the layers that have been finished since. Raises UserError where one is damaged."""
        with self._reading:
            if self._totals is None:
                self._totals = np.append(self._store.unigram_totals().astype(np.int64), 0)
            for layer in self._store.layers():
                if layer not in self._layers:
                    self._layers[layer] = self._read(layer)

    def _read(self, layer: int) -> _Layer:
        store, vocabulary = self._store, self._store.run.model.vocabulary
        small = np.uint16 if vocabulary < 1 << 16 else np.uint32

        def tokens(name: str) -> np.ndarray:
            listed = store.column(layer, name)
            return np.minimum(listed.reshape(len(listed), -1), vocabulary).astype(small)

        return _Layer(
            triggers=tokens("top_unigrams"),
            counts=store.column(layer, "top_unigrams_count"),
            whole=store.column(layer, "ngram_activations")[:, 0].astype(np.int64),
            token_set=tokens("token_set"),
            kinds=store.column(layer, "kind"),
            activations=store.column(layer, "activations"),
        )

    def search(self, text: str, limit: int, leave_out: Collection[tuple[int, int]] = ()) -> list[TriggerHit]:
        """The neurons with a token that a text fits (see ``detector_index.parse_search``), but those (layer, neuron) that
        are left out: by f1, then by layer and neuron; at most ``limit``. Raises UserError for a bad regular expression."""
        pattern = parse_search(text)
        if not pattern.text or self._totals is None:
            return []
        wanted = matching_tokens(self._store.vocabulary, pattern)
        parts = sorted(self._layers.copy().items())
        entries: list[tuple[float, int, int, int]] = []
        for layer, part in parts:
            scores, tokens = _best(part, wanted, self._totals)
            out = [neuron for at, neuron in leave_out if at == layer]
            scores[out] = -1
            neurons = np.flatnonzero(scores >= 0)
            if len(neurons) > limit:
                neurons = neurons[np.argsort(-scores[neurons], kind="stable")[:limit]]
            ranked = zip(scores[neurons].tolist(), neurons.tolist(), tokens[neurons].tolist(), strict=True)
            entries += [(-score, layer, neuron, token) for score, neuron, token in ranked]
        return [self._hit(layer, neuron, token) for _, layer, neuron, token in sorted(entries)[:limit]]

    def _hit(self, layer: int, neuron: int, token: int) -> TriggerHit:
        assert self._totals is not None
        part = self._layers[layer]
        place = np.flatnonzero(part.triggers[neuron] == token)
        count = int(part.counts[neuron, place[0]]) if len(place) else None
        total, activations = int(self._totals[token]), int(part.whole[neuron])
        shown = part.triggers[neuron, :SHOWN]
        return TriggerHit(
            layer=layer,
            neuron=neuron,
            kind=KINDS[part.kinds[neuron]],
            token=token,
            text=self._store.vocabulary.text(token),
            probability=None if count is None else count / total,
            share=None if count is None else count / activations,
            f1=None if count is None else 2 * count / (total + activations),
            activations=int(part.activations[neuron]),
            in_set=bool((part.token_set[neuron] == token).any()),
            texts=tuple(self._store.vocabulary.texts(shown[part.counts[neuron, :SHOWN] > 0].tolist())),
        )


def _best(part: _Layer, wanted: np.ndarray, totals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each neuron the highest f1 [F] float64 of a wanted token, 0 for one that is in its token set alone, -1 for none;
    and the token [F]."""
    matching = wanted[part.triggers]
    scores, tokens = np.full(len(matching), -1.0), np.zeros(len(matching), np.int64)
    rows = np.flatnonzero(wanted[part.token_set].any(axis=1))
    listed = part.token_set[rows]
    scores[rows], tokens[rows] = 0, listed[np.arange(len(rows)), np.argmax(wanted[listed], axis=1)]
    rows = np.flatnonzero(matching.any(axis=1))
    listed, counts = part.triggers[rows], part.counts[rows].astype(np.int64)
    f1 = np.where(matching[rows], 2 * counts / (totals[listed] + part.whole[rows, None]), -1)
    best = np.argmax(f1, axis=1)
    at = np.arange(len(rows))
    scores[rows], tokens[rows] = f1[at, best], listed[at, best]
    return scores, tokens
