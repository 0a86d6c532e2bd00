"""What the overview reads from a store and keeps for its session: figures by layer, and position ranges (Figure 9)."""

from __future__ import annotations

from dataclasses import dataclass, field

from ffnscope.core.statistics.position_ranges import NeuronRanges, position_ranges, strong_oscillatory
from ffnscope.store.figures.layers import LayerFigures, ModelFigures, model_figures
from ffnscope.store.reader import Store
from ffnscope.tui.drawing.glyphs import Glyphs
from ffnscope.tui.state.session import Session

MOST_RANGES = 60  # neurons of a layer whose ranges are read


@dataclass
class Overview:
    """What has been read so far. ``layers`` are all of the run, collected or not; ``figures`` of those that are."""

    glyphs: Glyphs
    layers: tuple[int, ...]
    neurons: int  # F
    seq_len: int  # T
    read: tuple[int, ...] | None = None  # the layers that `figures` were read for; None before the first time
    figures: dict[int, LayerFigures] = field(default_factory=dict)
    ranges: dict[int, tuple[NeuronRanges, ...]] = field(default_factory=dict)

    def take(self, figures: ModelFigures, layers: tuple[int, ...]) -> None:
        """Show these figures, read when ``layers`` were in the store, from now on."""
        self.read = layers
        self.figures = {x.layer: x for x in figures.layers}
        self.layers = tuple(sorted({*self.layers, *layers}))

    def known(self) -> list[LayerFigures]:
        """The figures of the collected layers, ascending."""
        return [self.figures[layer] for layer in self.layers if layer in self.figures]


def overview_of(session: Session) -> Overview:
    """The session's overview, read or not."""
    if Overview not in session.kept:
        run = session.store.run
        layers = tuple(sorted({*run.layers, *session.layers}))
        session.kept[Overview] = Overview(session.glyphs, layers, run.model.neurons, run.corpus.seq_len)
    overview: Overview = session.kept[Overview]
    return overview


# Slow: call these in a thread


def read_figures(session: Session) -> tuple[ModelFigures, tuple[int, ...]]:
    """The figures of every layer, and the layers there were. Raises UserError for a damaged store."""
    layers = session.layers
    return model_figures(session.store), layers


def read_ranges(store: Store, layer: int) -> tuple[NeuronRanges, ...]:
    """The ranges of a layer's strong oscillatory neurons, by their first range; at most MOST_RANGES of them.

    Raises UserError for a layer that is missing or damaged.
    """
    neurons = strong_oscillatory(store, layer)[:MOST_RANGES]
    return tuple(sorted(position_ranges(store, layer, neurons), key=lambda row: (row.ranges, row.neuron)))
