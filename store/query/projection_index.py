"""Finding the neurons that promote or suppress a token over the whole model, as fast as one types."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from threading import Lock

import numpy as np

from ffnscope.store.definitions import KINDS
from ffnscope.store.query.detector_index import parse_search
from ffnscope.store.query.pattern import matching_tokens
from ffnscope.store.reader import Store

TOP = 10  # of a neuron's promoted, or suppressed, tokens
MANY = 1 << 12  # entries of a layer that are looked at one by one


@dataclass(frozen=True)
class ProjectionHit:
    """A neuron with a matching token among the TOP that it promotes, or suppresses, most."""

    layer: int
    neuron: int
    kind: str
    token: int  # the strongest that matches
    projection: float  # its projection
    rank: int  # its place among the neuron's, from 0
    texts: tuple[str, ...]  # of all TOP tokens


@dataclass(frozen=True)
class _Layer:
    """The tokens of a layer in two orders. Entry is neuron * K + rank, K = TOP or how many are listed; place is its
    position by projection."""

    entries: np.ndarray  # strongest projection first
    projections: np.ndarray  # in the same order
    places: np.ndarray  # by token, then by place
    starts: np.ndarray  # [V + 1] where each token's are
    listed: np.ndarray  # [F, TOP] tokens by rank
    kinds: np.ndarray  # of its neurons


class ProjectionIndex:
    """The TOP tokens of every neuron, in memory (about 140 bytes per neuron). ``name`` is promoted or suppressed."""

    def __init__(self, store: Store, name: str):
        self.name = name
        self._store = store
        self._sign = -1 if name == "promoted" else 1
        self._layers: dict[int, _Layer] = {}
        self._reading = Lock()

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that have been read."""
        return tuple(sorted(self._layers))

    def refresh(self) -> Iterator[tuple[int, int]]:
        """Read the layers that are not read yet, and yield after each how many of how many are. Raises UserError."""
        with self._reading:
            layers = self._store.layers()
            for layer in layers:
                if layer not in self._layers:
                    self._layers[layer] = self._read(layer)
                    yield len(self._layers), len(layers)

    def _read(self, layer: int) -> _Layer:
        vocabulary = self._store.run.model.vocabulary
        small = np.uint16 if vocabulary <= 1 << 16 else np.uint32
        listed = self._store.column(layer, self.name)[:, :TOP].astype(small)
        values = self._store.column(layer, f"{self.name}_projection")[:, :TOP].ravel()
        entries = np.argsort(self._sign * values, kind="stable")
        tokens = listed.ravel()[entries]
        places = np.argsort(tokens, kind="stable").astype(np.uint32)
        starts = np.concatenate([[0], np.cumsum(np.bincount(tokens, minlength=vocabulary))]).astype(np.uint32)
        kinds = self._store.column(layer, "kind")
        return _Layer(entries.astype(np.uint32), values[entries], places, starts, listed, kinds)

    def search(self, text: str, limit: int) -> list[ProjectionHit]:
        """The neurons with a token that a text fits (see ``detector_index.parse_search``) among their TOP, those with the
        strongest projection of it first, ties by layer and neuron; of the layers that have been read. At most ``limit``.
        """
        pattern = parse_search(text)
        if not pattern.text:
            return []
        wanted = matching_tokens(self._store.vocabulary, pattern)
        tokens = np.flatnonzero(wanted)
        parts = sorted(self._layers.copy().items())
        looked = [_strongest(part, wanted, tokens) for _, part in parts]
        keys = [self._sign * part.projections[places] for (_, part), (places, _) in zip(parts, looked, strict=True)]
        values = np.sort(np.concatenate([np.zeros(0, np.float32), *keys]))
        worst = values[limit - 1] if len(values) >= limit else np.inf
        entries: list[tuple[float, int, int, int, int]] = []
        for (layer, part), (places, every) in zip(parts, looked, strict=True):
            if not every and self._sign * part.projections[MANY - 1] <= worst:
                places = _all(part, tokens)
            places = places[:limit]
            neurons, ranks = np.divmod(part.entries[places].astype(np.int64), part.listed.shape[1])
            entries += zip(
                (self._sign * part.projections[places]).tolist(),
                [layer] * len(places),
                neurons.tolist(),
                ranks.tolist(),
                part.listed[neurons, ranks].tolist(),
                strict=True,
            )
        return [self._hit(*entry) for entry in sorted(entries)[:limit]]

    def _hit(self, key: float, layer: int, neuron: int, rank: int, token: int) -> ProjectionHit:
        part = self._layers[layer]
        texts = tuple(self._store.vocabulary.texts(part.listed[neuron].tolist()))
        return ProjectionHit(layer, neuron, KINDS[part.kinds[neuron]], token, self._sign * key, rank, texts)


def _strongest(part: _Layer, wanted: np.ndarray, tokens: np.ndarray) -> tuple[np.ndarray, bool]:
    """The places of wanted tokens, the strongest of each neuron, ascending; and whether these are all of the layer: where
    very many match, only the first MANY places are looked at. ``wanted`` [V + 1] bool and ``tokens`` say the same."""
    matching = int((part.starts[tokens + 1].astype(np.int64) - part.starts[tokens]).sum())
    if matching <= MANY or len(part.entries) <= MANY:
        return _all(part, tokens), True
    return _one_per_neuron(part, np.flatnonzero(wanted[part.listed.ravel()[part.entries[:MANY]]])), False


def _all(part: _Layer, tokens: np.ndarray) -> np.ndarray:
    """The places of tokens, the strongest of each neuron, ascending."""
    starts = part.starts[tokens].astype(np.int64)
    sizes = part.starts[tokens + 1] - starts
    at = np.repeat(starts - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())
    return _one_per_neuron(part, np.sort(part.places[at]))


def _one_per_neuron(part: _Layer, places: np.ndarray) -> np.ndarray:
    """Of ascending places the first of every neuron."""
    _, first = np.unique(part.entries[places] // part.listed.shape[1], return_index=True)
    return places[np.sort(first)]
