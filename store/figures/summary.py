"""One layer in a few numbers, as the paper's figures show them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ffnscope.store.definitions import KINDS, POSITION_STRENGTHS, POSITION_TYPES
from ffnscope.store.reader import Store


@dataclass(frozen=True)
class LayerSummary:
    """Counts of neurons, and what they detect. ``positional`` counts by (type, strength), detectors included."""

    layer: int
    neurons: int
    dead: int
    mean_frequency_alive: float | None  # None where all are dead
    token_detectors: int
    bigram_detectors: int
    trigram_detectors: int
    detected_tokens: int  # different tokens that token detectors detect
    suppressing: int  # token detectors that suppress their triggers
    positional: dict[tuple[str, str], int]

    @property
    def alive(self) -> int:
        """Neurons that were activated at least once."""
        return self.neurons - self.dead

    @property
    def dead_share(self) -> float:
        """Dead neurons / neurons."""
        return self.dead / self.neurons if self.neurons else 0.0

    @property
    def suppressing_share(self) -> float | None:
        """Share of the token detectors that suppress their triggers; None where there are none."""
        return self.suppressing / self.token_detectors if self.token_detectors else None

    @property
    def positional_neurons(self) -> int:
        """Positional neurons of all types."""
        return sum(self.positional.values())


def layer_summary(store: Store, layer: int) -> LayerSummary:
    """The summary of one layer. Raises UserError where it is not in the store."""
    kind, order = store.column(layer, "kind"), store.column(layer, "order")
    alive = kind != KINDS.index("dead")
    frequencies = store.column(layer, "activations")[alive] / store.run.corpus.positions
    token = order == 1
    owners = store.column(layer, "detected_neuron")
    tokens = store.column(layer, "detected_tokens")[:, 0][token[owners]]
    types, strengths = store.column(layer, "position_type"), store.column(layer, "position_strength")
    return LayerSummary(
        layer=layer,
        neurons=len(kind),
        dead=int(np.count_nonzero(~alive)),
        mean_frequency_alive=float(frequencies.mean()) if alive.any() else None,
        token_detectors=int(np.count_nonzero(token)),
        bigram_detectors=int(np.count_nonzero(order == 2)),
        trigram_detectors=int(np.count_nonzero(order == 3)),
        detected_tokens=len(np.unique(tokens)),
        suppressing=int(np.count_nonzero(store.column(layer, "trigger_projection")[token] < 0)),
        positional={
            (type_, strength): int(np.count_nonzero((types == i) & (strengths == j)))
            for i, type_ in enumerate(POSITION_TYPES)
            for j, strength in enumerate(POSITION_STRENGTHS)
            if type_ and strength
        },
    )
