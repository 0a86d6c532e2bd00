"""What a figure is. ``catalogue`` holds them all; the browser's overview, `report`, `compare` and the CSV files loop
over it, so that a new figure is one entry there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ffnscope.store.escaping import json_text
from ffnscope.store.figures.layers import LayerFigures
from ffnscope.tui.drawing.numbers import percent
from ffnscope.tui.reports.document import Category, Column, Table, Value
from ffnscope.tui.reports.formats.values import axis_text
from ffnscope.tui.reports.reading import Gathered

BAR = "█"  # the letter of a category that is drawn as a bar; others are letters at the height of their values
LAYER = Column("layer", "layer, from 0", "layer")
NEURON = Column("neuron", "neuron in its layer, from 0", "layer")
DEPTH = Column("depth", "relative depth: 0 for the model's first layer, 1 for its last", "number")
_STORE = Column("store", "letter of the store", "text")

Measure = Callable[[LayerFigures], float | None]
Rows = Callable[[Gathered], Iterable[Sequence[Value]]]
Layers = Sequence[LayerFigures]


@dataclass(frozen=True)
class Series:
    """Several numbers per layer: ``values`` gives one for each of ``categories``, None where there is none.

    ``categories`` are fixed, or depend on the layers that were read (experts, say).
    """

    categories: tuple[Category, ...] | Callable[[Layers], tuple[Category, ...]]
    values: Callable[[LayerFigures], Sequence[float | None]]

    def of(self, layers: Layers) -> tuple[Category, ...]:
        """The categories."""
        return self.categories(layers) if callable(self.categories) else self.categories


@dataclass(frozen=True)
class CsvTable:
    """The table of a CSV file, ``key``.csv: one row per observation. The columns' names are a contract."""

    key: str
    title: str
    columns: tuple[Column, ...]
    rows: Rows

    def of(self, stores: Sequence[Gathered], several: bool = False) -> Table:
        """The table of one store, or of ``several`` with each row's store in front."""
        if not several:
            return Table(self.key, self.title, self.columns, [tuple(row) for row in self.rows(stores[0])])
        rows = [(store.label, *row) for store in stores for row in self.rows(store)]
        return Table(self.key, self.title, (_STORE, *self.columns), rows)


def layer_csv(
    key: str, title: str, columns: Sequence[Column], rows: Callable[[LayerFigures], Iterable[Sequence[Value]]]
) -> CsvTable:
    """A CSV table whose rows begin with layer and depth; ``rows`` gives what follows, for one layer."""
    return CsvTable(
        key,
        title,
        (LAYER, DEPTH, *columns),
        lambda store: ((x.layer, x.depth, *row) for x in store.figures.layers for row in rows(x)),
    )


@dataclass(frozen=True)
class Heading:
    """A section of a document: its title, what a reader must know of one store's figures, and of several stores'."""

    title: str
    note: Callable[[Gathered], str]
    compared: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Figure:
    """One figure in every place that shows it. What a figure does not have is left at its default."""

    heading: Heading
    number: str = ""  # in the paper; empty for ours
    name: str = ""  # in the overview; empty: not shown there
    title: str = ""  # of its plot in a document; empty: no plot in the report on one store
    unit: str = "count"  # share, frequency, number or count: what its axis counts
    note: str = ""  # under its plot

    # What is drawn, of each layer. A document draws the curves where there are both, the overview the stack.
    curves: Series | None = None
    stack: Series | None = None
    dots: bool = False  # the stack as a dot or letter per neuron
    ranges: bool = False  # position ranges of neurons, not numbers of layers
    of_neurons: bool = False  # the overview's stacks are parts of all neurons of a layer
    threshold: float | None = None  # of a share: a line to compare with
    legend: tuple[Category, ...] | None = None  # in the overview, where it is not the categories themselves
    plot_legend: tuple[Category, ...] = ()  # of dots in a document, by colour alone

    # One number per layer: what stores are compared by.
    value: Measure | None = None
    value_unit: str = ""  # empty: the figure's unit
    value_name: str = ""  # in the overview; empty: the figure's name
    value_title: str = ""  # in a document; empty: the figure's title

    # Words on one layer, in the overview.
    brief: Callable[[LayerFigures], str] | None = None
    sentence: Callable[[LayerFigures, Layers], str] | None = None  # of a layer, and all layers
    counted: tuple[Callable[[LayerFigures], float], str] | None = None  # where all are 0, there is nothing to draw

    # Tables. Columns without a title of their own join the other figures' of the section.
    columns: tuple[Column, ...] = ()
    cells: Callable[[LayerFigures], Sequence[Value]] = field(default=lambda layer: ())
    table: str = ""
    examples: Callable[[Gathered], Table] | None = None  # in place of numbers of layers
    csv: CsvTable | None = None

    # The attribute of LayerFigures that is None in stores without the figure's numbers, and what is said of these.
    needs: str = ""
    missing: str = ""

    def absent(self, layers: Layers) -> str:
        """Why the layers lack the figure; nothing where one has it."""
        if not self.needs or any(getattr(layer, self.needs) is not None for layer in layers):
            return ""
        return self.missing or f"this store has no numbers for {self.name or self.title}"

    def empty(self, layers: Layers) -> str:
        """Why there is nothing to draw of these layers; nothing where there is something."""
        if reason := self.absent(layers):
            return reason
        if self.counted is None or any(self.counted[0](layer) for layer in layers):
            return ""
        return f"no {self.counted[1]} in this store"

    def key(self, layers: Layers) -> tuple[Category, ...]:
        """The categories that a reader must be told of."""
        if self.legend is not None:
            return self.legend
        series = self.stack or self.curves
        categories = series.of(layers) if series else ()
        return categories if len(categories) > 1 else ()

    def short(self, layer: LayerFigures) -> str:
        """The layer's number."""
        return self.brief(layer) if self.brief else self.value_text(self.value(layer)) if self.value else ""

    def long(self, layer: LayerFigures, layers: Layers) -> str:
        """A line on the layer; ``layers`` are all that were read."""
        if self.sentence:
            return self.sentence(layer, layers)
        series = self.curves or self.stack
        if series is None:
            return self.short(layer)
        pairs = zip(series.of(layers), series.values(layer), strict=True)
        return ", ".join(f"{category.name} {axis_text(value, self.unit)}" for category, value in pairs)

    def value_text(self, value: float | None) -> str:
        """The number that stores are compared by, as short text."""
        return axis_text(value, self.value_unit or self.unit)

    def numbered(self, title: str) -> str:
        """A title after the paper's number."""
        return f"{self.number}: {title}" if self.number else title


def bars(name: str, style: str, value: Measure) -> Series:
    """One number per layer, drawn as a bar in the overview."""
    return Series((Category(BAR, name, style),), lambda layer: (value(layer),))


def interval_text(low: float, high: float) -> str:
    """The ends of a 95% interval of a share."""
    return f"95% interval {percent(low, 1)} to {percent(high, 1)}"


def json_list(texts: Sequence[str]) -> str:
    """Texts as a JSON array without raw control characters."""
    return "[" + ", ".join(map(json_text, texts)) + "]"
