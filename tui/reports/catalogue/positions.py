"""Figures 8 and 9: neurons that depend on the position."""

from __future__ import annotations

from ffnscope.store.figures.layers import POSITIONAL, LayerFigures
from ffnscope.tui.drawing.numbers import count
from ffnscope.tui.reports.document import Category, Column
from ffnscope.tui.reports.figures import LAYER, NEURON, CsvTable, Figure, Heading, Layers, Series, layer_csv
from ffnscope.tui.reports.formats.values import shown
from ffnscope.tui.reports.reading import Gathered

TYPES = {
    "oscillatory": Category("o", "oscillatory", "mark"),
    "both": Category("b", "both extremes", "error"),
    "one": Category("e", "one extreme", "position"),
    "other": Category("x", "other", "token"),
}
POSITIONAL_TYPES = tuple(
    Category(TYPES[kind].letter.upper(), f"{kind}, strong", TYPES[kind].style)
    if strength == "strong"
    else Category(TYPES[kind].letter, f"{kind}, weak", f"{TYPES[kind].style}-weak")
    for kind, strength in POSITIONAL
)


def _note(store: Gathered) -> str:
    note = "Types of the paper's Figure 7; a neuron counts here also where it is a detector."
    total = sum(store.oscillating.values())
    if len(store.drawn) < total:
        return (
            f"{note} Figure 9 shows {len(store.drawn)} of {shown(total, 'count')} strong oscillatory neurons, those of "
            "the layer with most; --csv and --json hold all."
        )
    return note if total else f"{note} There are no strong oscillatory neurons, so there is no Figure 9."


def _sentence(layer: LayerFigures, layers: Layers) -> str:
    pairs = zip(POSITIONAL_TYPES, layer.positional, strict=True)
    parts = " ".join(f"{category.letter}:{count(n)}" for category, n in pairs if n)
    return f"{count(layer.positional_neurons)} positional neurons" + (f": {parts}" if parts else "")


_HEADING = Heading("Figures 8 and 9: positional neurons", _note, "A dot per neuron, a row per layer.")
_LETTERS = ", ".join(f"{category.letter} {category.name}" for category in TYPES.values())
POSITIONAL_NEURONS = Figure(
    heading=_HEADING,
    number="8",
    name="positional neurons",
    title="positional neurons",
    note=f"{_LETTERS}; capital letters: strong.",
    stack=Series(POSITIONAL_TYPES, lambda x: x.positional),
    dots=True,
    legend=(
        *(Category(category.letter.upper(), kind, category.style) for kind, category in TYPES.items()),
        Category("o", "lower case: weak", "mark-weak"),
    ),
    plot_legend=tuple(TYPES.values()),
    value=lambda x: x.positional_neurons,
    sentence=_sentence,
    counted=(lambda x: x.positional_neurons, "positional neurons"),
    columns=tuple(Column(f"{kind} {strength}", f"{strength} {kind} neurons") for kind, strength in POSITIONAL),
    cells=lambda x: x.positional,
    csv=layer_csv(
        "figure_8_positional_neurons",
        "Positional neurons",
        (
            Column("type", "oscillatory, both, one or other", "text"),
            Column("strength", "strong or weak", "text"),
            Column("neurons", "positional neurons of that type and strength, detectors included"),
        ),
        lambda x: [(*key, number) for key, number in zip(POSITIONAL, x.positional, strict=True)],
    ),
)
POSITION_RANGES = Figure(
    heading=_HEADING,
    number="9",
    name="position ranges",
    title="position ranges of strong oscillatory neurons",
    ranges=True,
    brief=lambda x: f"layer {x.layer}: {count(x.positional[0])}",
    sentence=lambda x, layers: f"{count(x.positional[0])} strong oscillatory neurons",
    counted=(lambda x: x.positional[0], "strong oscillatory neurons"),
    csv=CsvTable(
        "figure_9_position_ranges",
        "Position ranges of the strong oscillatory neurons",
        (
            LAYER,
            NEURON,
            Column("first", "first position of a range where it is on", "layer"),
            Column("last", "last position of the range", "layer"),
        ),
        lambda store: ((x.layer, x.neuron, first, stop - 1) for x in store.ranges for first, stop in x.ranges),
    ),
)
