"""What a report is made of: facts, findings in words, and sections of tables and plots, before any output format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

Value = str | int | float | bool | tuple[str, ...] | None


@dataclass(frozen=True)
class Column:
    """A column. ``style`` is how its values are shown: count, share, frequency, number, change (above or below 0), layer, text,
    tokens or right (text that stands on the right)."""

    name: str
    meaning: str
    style: str = "count"


@dataclass(frozen=True)
class Category:
    """One kind of thing that a figure tells apart: its letter in charts of text, its name, and a name of the palette."""

    letter: str
    name: str
    style: str


@dataclass(frozen=True)
class Table:
    """Rows of values, None where there is none, a tuple for a list of tokens. ``key`` names the file of a tidy table."""

    key: str
    title: str
    columns: tuple[Column, ...]
    rows: Sequence[Sequence[Value]]


@dataclass(frozen=True)
class LinePlot:
    """Curves: (name, xs, ys) with None for a gap. ``style`` as of a column; ``lettered``: the tables beside it call
    the curves a, b, c ..."""

    title: str
    series: tuple[tuple[str, Sequence[float], Sequence[float | None]], ...]
    x_label: str
    style: str
    lettered: bool = False
    note: str = ""


@dataclass(frozen=True)
class StackPlot:
    """A stacked bar per row: ``matrix`` holds a row's numbers by ``names``. ``style`` as of a column."""

    title: str
    labels: tuple[str, ...]
    names: tuple[str, ...]
    matrix: Sequence[Sequence[float]]
    style: str = "count"
    note: str = ""


@dataclass(frozen=True)
class DotPlot:
    """A dot per neuron: ``counts`` holds a row's neurons by ``categories``; ``legend`` explains
    the colours where there are colours."""

    title: str
    labels: tuple[str, ...]
    categories: tuple[Category, ...]
    counts: Sequence[Sequence[int]]
    legend: tuple[Category, ...]
    note: str = ""


@dataclass(frozen=True)
class RangePlot:
    """Position ranges, half-open, of 0 .. ``positions``, a line each."""

    title: str
    rows: Sequence[tuple[str, Sequence[tuple[int, int]]]]
    positions: int
    note: str = ""


Plot = LinePlot | StackPlot | DotPlot | RangePlot


@dataclass(frozen=True)
class Section:
    """One or more figures that belong together.

    ``shown`` are tables made for reading; ``tidy`` hold the same numbers, one row per observation, for CSV and JSON.
    """

    title: str
    note: str
    plots: tuple[Plot, ...] = ()
    shown: tuple[Table, ...] = ()
    tidy: tuple[Table, ...] = ()


@dataclass(frozen=True)
class Finding:
    """A claim of the paper and what this data says of it. ``verdict`` is agrees, partly, differs, too little
    data or shown (there is no threshold to judge it by)."""

    key: str
    claim: str  # the paper's, with its section
    verdict: str
    text: str  # with the numbers
    numbers: dict[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class Document:
    """A whole report. ``about`` are (name, value) facts that every number can be traced by."""

    title: str
    about: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    findings: tuple[Finding, ...]
    sections: tuple[Section, ...]

    @property
    def tables(self) -> tuple[Table, ...]:
        """Every tidy table."""
        return tuple(table for section in self.sections for table in section.tidy)
