"""Two stores of equal shape, neuron by neuron: kinds, token detectors and positional types before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ffnscope.store.definitions import KINDS, POSITION_STRENGTHS, POSITION_TYPES
from ffnscope.store.errors import UserError
from ffnscope.store.reader import Store


@dataclass(frozen=True)
class DetectorChange:
    """A token detector of either store. ``change`` is stayed, appeared or vanished; texts of its detected tokens."""

    layer: int
    neuron: int
    change: str
    kind_before: str
    kind_after: str
    tokens_before: tuple[str, ...]
    tokens_after: tuple[str, ...]

    @property
    def common(self) -> int:
        """Detected tokens of both, by their texts."""
        return len(set(self.tokens_before) & set(self.tokens_after))


@dataclass(frozen=True)
class PositionChange:
    """A neuron whose positional type or strength differs; ("", "") where it is not positional."""

    layer: int
    neuron: int
    before: tuple[str, str]
    after: tuple[str, str]


@dataclass(frozen=True)
class Changes:
    """``kinds`` [6, 6] and ``types`` [5, 5] int64 count neurons: a row the code before, a column the code after."""

    layers: tuple[int, ...]
    neurons: int
    kinds: np.ndarray
    types: np.ndarray
    detectors: tuple[DetectorChange, ...]
    positions: tuple[PositionChange, ...]

    def count(self, change: str) -> int:
        """Token detectors that stayed, appeared or vanished."""
        return sum(detector.change == change for detector in self.detectors)


def equal_shape(before: Store, after: Store) -> bool:
    """Whether two stores are of models with as many layers, and as many neurons in each."""
    one, other = (
        [model.neurons_of(layer) for layer in range(model.layers)] for model in (before.run.model, after.run.model)
    )
    return one == other


def changes(before: Store, after: Store, layers: Sequence[int]) -> Changes:
    """Every neuron of ``layers``, which both stores hold. Raises UserError where the shapes differ."""
    if not equal_shape(before, after):
        a, b = before.run.model, after.run.model
        raise UserError(
            f"{before.path} has {a.layers} x {a.neurons} neurons and {after.path} {b.layers} x {b.neurons}: "
            "neurons are compared between stores of equal shape only"
        )
    kinds = np.zeros((len(KINDS),) * 2, np.int64)
    types = np.zeros((len(POSITION_TYPES),) * 2, np.int64)
    detectors: list[DetectorChange] = []
    positions: list[PositionChange] = []
    for layer in layers:
        for table, name in ((kinds, "kind"), (types, "position_type")):
            np.add.at(table, (before.column(layer, name), after.column(layer, name)), 1)
        detectors += _detectors(before, after, layer)
        positions += _positions(before, after, layer)
    return Changes(tuple(layers), int(kinds.sum()), kinds, types, tuple(detectors), tuple(positions))


def _detectors(before: Store, after: Store, layer: int) -> list[DetectorChange]:
    orders = [store.column(layer, "order") for store in (before, after)]
    kinds = [store.column(layer, "kind") for store in (before, after)]
    texts = [_tokens(store, layer, order) for store, order in zip((before, after), orders, strict=True)]
    detectors = []
    for neuron in np.flatnonzero((orders[0] == 1) | (orders[1] == 1)).tolist():
        was, is_ = orders[0][neuron] == 1, orders[1][neuron] == 1
        change = "stayed" if was and is_ else "vanished" if was else "appeared"
        words = (KINDS[kinds[0][neuron]], KINDS[kinds[1][neuron]])
        detectors.append(
            DetectorChange(layer, neuron, change, *words, texts[0].get(neuron, ()), texts[1].get(neuron, ()))
        )
    return detectors


def _tokens(store: Store, layer: int, order: np.ndarray) -> dict[int, tuple[str, ...]]:
    """The texts that each token detector detects, by neuron."""
    owners, tokens = store.column(layer, "detected_neuron"), store.column(layer, "detected_tokens")[:, 0]
    rows = np.flatnonzero(order[owners] == 1)
    texts: dict[int, tuple[str, ...]] = {}
    for neuron, token in zip(owners[rows].tolist(), tokens[rows].tolist(), strict=True):
        texts[neuron] = (*texts.get(neuron, ()), store.vocabulary.text(token))
    return texts


def _positions(before: Store, after: Store, layer: int) -> list[PositionChange]:
    stores = (before, after)
    types, strengths = ([store.column(layer, f"position_{name}") for store in stores] for name in ("type", "strength"))
    differs = (types[0] != types[1]) | (strengths[0] != strengths[1])
    return [
        PositionChange(
            layer,
            neuron,
            *((POSITION_TYPES[types[i][neuron]], POSITION_STRENGTHS[strengths[i][neuron]]) for i in (0, 1)),
        )
        for neuron in np.flatnonzero(differs).tolist()
    ]
