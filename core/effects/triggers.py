"""Where detectors stand on what they detect."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from ffnscope.store.format.schema import ABSENT
from ffnscope.store.query.contexts import ngram_ends
from ffnscope.store.reader import Store


class Triggers:
    """The detected n-grams of a store's detectors, and where windows hold them. Raises UserError for damaged layers."""

    def __init__(self, store: Store):
        self._store = store
        self._layers = frozenset(store.layers())
        self._columns: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    def ngrams(self, layer: int, neuron: int) -> np.ndarray:
        """[m, n] int64: the detected n-grams of a neuron, n its order; [0, 1] for what is not a detector."""
        if layer not in self._layers:
            return np.zeros((0, 1), np.int64)
        if layer not in self._columns:
            names = ("order", "detected_neuron", "detected_tokens")
            order, owner, tokens = (self._store.column(layer, name) for name in names)
            self._columns = {layer: (order, owner, tokens)}
        order, owner, tokens = self._columns[layer]
        n = int(order[neuron])
        listed = tokens[slice(*np.searchsorted(owner, [neuron, neuron + 1]))]
        if not n or not len(listed) or (listed[:, :n] == ABSENT).any():
            return np.zeros((0, 1), np.int64)
        return listed[:, :n].astype(np.int64)

    def places(self, neurons: Collection[tuple[int, int]], tokens: np.ndarray) -> dict[tuple[int, int], np.ndarray]:
        """For each detector among ``neurons``: bool [M, T], whether one of its detected n-grams ends at a position of
        windows ``tokens`` [M, T]."""
        places = {}
        for key in sorted(neurons):
            ngrams = self.ngrams(*key)
            if len(ngrams):
                places[key] = ngram_ends(tokens, ngrams)
        return places
