"""What a report reads from one store: its figures, position ranges and the detectors that are shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ffnscope.core.statistics.position_ranges import NeuronRanges, position_ranges, strong_oscillatory
from ffnscope.store.figures.layers import ModelFigures, model_figures
from ffnscope.store.query.columns import covered
from ffnscope.store.reader import Store

if TYPE_CHECKING:
    from ffnscope.core.effects.causal import Causal

EXAMPLES = 100  # token detectors listed
EXAMPLE_TOKENS = 5  # promoted and suppressed tokens of each
RANGE_ROWS = 40  # neurons of Figure 9 drawn for a layer


@dataclass(frozen=True)
class Example:
    """A token detector with its texts (paper Figure 5)."""

    layer: int
    neuron: int
    activations: int
    covered: float
    tokens: tuple[str, ...]
    trigger_projection: float
    promoted: tuple[str, ...]
    suppressed: tuple[str, ...]


@dataclass(frozen=True)
class Gathered:
    """One store, read."""

    label: str  # what to call it beside others
    store: Store
    state: str  # of its progress, before the figures were read
    figures: ModelFigures
    ranges: tuple[NeuronRanges, ...] = ()
    oscillating: dict[int, int] = field(default_factory=dict)  # strong oscillatory neurons of each layer that has any
    examples: tuple[Example, ...] = ()
    causal: Causal | None = None  # what taking neurons away does, where that was asked for

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that were read: a store that is still written may have more by now."""
        return tuple(x.layer for x in self.figures.layers)

    @property
    def drawn(self) -> tuple[NeuronRanges, ...]:
        """The ranges that Figure 9 draws: of the layer with most strong oscillatory neurons, the first RANGE_ROWS."""
        most = _most(self.oscillating)
        return tuple(neuron for neuron in self.ranges if neuron.layer == most)[:RANGE_ROWS]


def gather(store: Store, label: str = "", every_range: bool = False) -> Gathered:
    """Read what a report shows. ``every_range``: the ranges of every strong oscillatory neuron, not only of the first
    RANGE_ROWS of the layer that has most of them. Raises UserError for a damaged store."""
    state = store.progress().state
    figures = model_figures(store)
    neurons = {layer.layer: strong_oscillatory(store, layer.layer) for layer in figures.layers}
    counts = {layer: len(numbers) for layer, numbers in neurons.items() if len(numbers)}
    most = _most(counts)
    ranges: list[NeuronRanges] = []
    for layer in counts:
        if every_range or layer == most:
            ranges += position_ranges(store, layer, neurons[layer] if every_range else neurons[layer][:RANGE_ROWS])
    return Gathered(label, store, state, figures, tuple(ranges), counts, _examples(store, figures))


def _most(counts: dict[int, int]) -> int | None:
    """The layer with the largest count, the first of several."""
    return max(counts, key=lambda layer: (counts[layer], -layer), default=None)


def _examples(store: Store, figures: ModelFigures) -> tuple[Example, ...]:
    ranked = []
    for layer in figures.layers:
        neurons = np.flatnonzero(store.column(layer.layer, "order") == 1)
        if len(neurons):
            activations = store.column(layer.layer, "activations")[neurons].astype(np.int64)
            shares = covered(store, layer.layer)[neurons]
            most = np.lexsort((neurons, -activations))[:EXAMPLES]
            ranked += [(-int(activations[i]), layer.layer, int(neurons[i]), float(shares[i])) for i in most]
    return tuple(_example(store, layer, neuron, share) for _, layer, neuron, share in sorted(ranked)[:EXAMPLES])


def _example(store: Store, layer: int, neuron: int, share: float) -> Example:
    record, text = store.neuron(layer, neuron), store.vocabulary.text
    detected = sorted(record.detected, key=lambda ngram: (-ngram.count, ngram.tokens))
    return Example(
        layer,
        neuron,
        record.activations,
        share,
        tuple(text(ngram.tokens[0]) for ngram in detected),
        record.trigger_projection if record.trigger_projection is not None else float("nan"),
        tuple(text(token) for token, _ in record.promoted[:EXAMPLE_TOKENS]),
        tuple(text(token) for token, _ in record.suppressed[:EXAMPLE_TOKENS]),
    )
