"""Where stored neurons are on: the position ranges of the strong oscillatory ones (paper Figure 9)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ffnscope.core.statistics.positional import active_ranges
from ffnscope.store.definitions import POSITION_STRENGTHS, POSITION_TYPES
from ffnscope.store.errors import DamagedStoreError
from ffnscope.store.reader import Store


@dataclass(frozen=True)
class NeuronRanges:
    """Position ranges (first, one past the last) in which a neuron is on, in order."""

    layer: int
    neuron: int
    ranges: tuple[tuple[int, int], ...]


def strong_oscillatory(store: Store, layer: int) -> np.ndarray:
    """int64 [N]: the strong oscillatory neurons of a layer, ascending. Raises UserError for a layer that is missing or
    damaged."""
    oscillatory = store.column(layer, "position_type") == POSITION_TYPES.index("oscillatory")
    strong = store.column(layer, "position_strength") == POSITION_STRENGTHS.index("strong")
    return np.flatnonzero(oscillatory & strong)


def position_ranges(store: Store, layer: int, neurons: Iterable[int]) -> tuple[NeuronRanges, ...]:
    """The ranges of some neurons of a layer, from their curves over the counted windows. Raises DamagedStoreError for a
    curve that counts more windows than the store has."""
    windows = max(store.run.corpus.counted_windows, 1)
    rows = []
    for neuron in map(int, neurons):
        curve = store.curves(layer, neuron).sum(axis=0)
        if curve.max(initial=0) > windows:
            raise DamagedStoreError(
                f"{store.path}: damaged, the position curve of L{layer}N{neuron} counts more windows than there are; "
                "`ffnscope verify` finds what else is wrong"
            )
        rows.append(NeuronRanges(layer, neuron, tuple(active_ranges(curve, windows))))
    return tuple(rows)
