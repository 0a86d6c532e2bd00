"""The neurons that a filter keeps, in the order of a column."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from ffnscope.store.notes import Notes
from ffnscope.store.query import columns as registry
from ffnscope.store.query.filter import Filter
from ffnscope.store.reader import Store


def select(
    store: Store,
    where: Filter | None = None,
    sort: str | None = None,
    marks: Collection[tuple[int, int]] = (),
    notes: Collection[tuple[int, int]] = (),
) -> np.ndarray:
    """[N, 2] int64 (layer, neuron) of the neurons that a filter holds for.

    By layer, then neuron; with ``sort`` by that column, descending with a ``-`` before its name, neurons without a
    number last, ties by layer and neuron; words in the order of their codes. Raises UserError for an unknown column.
    """
    name = None if sort is None else registry.resolve(sort.removeprefix("-"), registry.domain_names(store))
    layers = store.layers()
    parts, keys = [np.zeros((0, 2), np.int64)], [np.zeros(0)]
    for layer in layers if where is None else where.layers(layers):
        mask = where.mask(store, layer, marks, notes) if where else np.ones(store.neurons(layer), np.bool_)
        neurons = np.flatnonzero(mask)
        parts.append(np.stack([np.full(len(neurons), layer), neurons], axis=1))
        if name is not None:
            keys.append(registry.values(store, layer, name)[neurons].astype(np.float64))
    selected = np.concatenate(parts)
    if name is None or sort is None:
        return selected
    key = np.concatenate(keys)
    return selected[np.argsort(-key if sort.startswith("-") else key, kind="stable")]


def own_marks(store: Store, where: Filter | None) -> tuple[Collection[tuple[int, int]], Collection[tuple[int, int]]]:
    """The reader's marks and notes, read where a filter asks for them."""
    if where is None or not ("marked" in where.text.lower() or "noted" in where.text.lower()):
        return (), ()
    with Notes.open(store.path) as own:
        return own.marks(), own.notes()
