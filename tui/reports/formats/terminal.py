"""A report on a terminal: text plots and tables, any width, any encoding."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ffnscope.tui.drawing import bar_charts
from ffnscope.tui.drawing.glyphs import Glyphs
from ffnscope.tui.drawing.text import visible
from ffnscope.tui.reports.document import Document, DotPlot, Finding, LinePlot, Plot, Section, StackPlot, Table
from ffnscope.tui.reports.formats.values import axis_text, shown

if TYPE_CHECKING:
    from rich.console import Console

WIDEST = 100  # cells of a plot or a paragraph
PLOT_LINES = 12
MOST_ROWS = 20  # of a table of examples
STYLES = ("cyan", "magenta", "green", "yellow", "blue", "red")
CATEGORY_STYLES = {"mark": "magenta", "error": "red", "position": "green", "token": "yellow"}


def show(document: Document, console: Console, glyphs: Glyphs) -> None:
    """Print a whole report."""
    screen = _Screen(console, glyphs)
    screen.line(document.title, "bold")
    for name, value in document.about:
        screen.paragraph(f"{name}: {value}")
    for warning in document.warnings:
        screen.blank()
        screen.paragraph(warning, "bold yellow")
    if document.findings:
        screen.blank()
        screen.line("What the data say", "bold")
        for finding in document.findings:
            screen.finding(finding)
    for section in document.sections:
        screen.section(section)


class _Screen:
    def __init__(self, console: Console, glyphs: Glyphs):
        self._console, self._glyphs = console, glyphs
        self._width = max(min(console.width, WIDEST), 1)

    def blank(self) -> None:
        self._console.print()

    def line(self, text: str, style: str = "") -> None:
        """One line, safe, never cut."""
        self.paragraph(text, style)

    def paragraph(self, text: str, style: str = "", indent: str = "") -> None:
        safe = visible(text, self._glyphs, spaces=False)
        for line in textwrap.wrap(safe, max(self._width, 12), subsequent_indent=indent, break_on_hyphens=False):
            self._raw([(line, style)])

    def finding(self, finding: Finding) -> None:
        self.paragraph(f"- {finding.claim}", indent="  ")
        self.paragraph(
            f"  {finding.verdict}: {finding.text}",
            indent="  ",
            style="dim" if finding.verdict == "too little data" else "",
        )

    def section(self, section: Section) -> None:
        self.blank()
        self.line(section.title, "bold")
        self.paragraph(section.note, "dim")
        for plot in section.plots:
            self.blank()
            self.line(plot.title)
            for line in plot_lines(plot, self._width, self._glyphs.ascii):
                self._raw(line)
        for table in section.shown:
            self.blank()
            self.table(table)

    def table(self, table: Table) -> None:
        from rich.table import Table as Grid
        from rich.text import Text

        if table.title:
            self.line(table.title)
        grid = Grid(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
        for column in table.columns:
            text = column.style in ("text", "tokens")
            grid.add_column(
                Text(visible(column.name, self._glyphs, spaces=False)),
                justify="left" if text else "right",
                overflow="fold",
            )
        words = any(column.style == "tokens" for column in table.columns)
        rows = table.rows[:MOST_ROWS] if words else table.rows
        for row in rows:
            cells = [shown(value, c.style, self._glyphs) for value, c in zip(row, table.columns, strict=True)]
            grid.add_row(*map(Text, cells))
        self._console.print(grid)
        if len(rows) < len(table.rows):
            self.paragraph(f"{len(table.rows) - len(rows)} more in --csv, --json and --html.", "dim")

    def _raw(self, segments: Sequence[tuple[str, str]]) -> None:
        from rich.text import Text

        text = Text()
        for part, style in segments:
            text.append(part, style)
        text.rstrip()
        self._console.print(text, soft_wrap=True)


def plot_lines(plot: Plot, width: int, ascii: bool) -> list[bar_charts.Segments]:
    """A plot as styled lines of at most ``width`` cells, its note last."""
    if isinstance(plot, LinePlot):
        return _curves(plot, width, ascii)
    if isinstance(plot, StackPlot):
        lines = _stacks(plot, width, ascii)
    elif isinstance(plot, DotPlot):
        lines = _dots(plot, width, ascii)
    else:
        lines = _plain(bar_charts.ranges(plot.rows, plot.positions, width, ascii=ascii, x_label="position"))
    return [*lines, *[[(line, "dim")] for line in textwrap.wrap(plot.note, max(width, 12))]]


def _curves(plot: LinePlot, width: int, ascii: bool) -> list[bar_charts.Segments]:
    from ffnscope.tui.drawing.curves import lines_plot

    series = [(name, xs, [float("nan") if y is None else y for y in ys]) for name, xs, ys in plot.series]
    if not any(y == y for _, _, ys in series for y in ys):
        return _plain(["(nothing to draw)"])
    wholes = plot.style == "count"
    top = _top([y for _, _, ys in series for y in ys if y == y], wholes)
    return lines_plot(
        series,
        width,
        PLOT_LINES,
        ascii=ascii,
        y_max=top,
        x_label=plot.x_label,
        y_format=lambda value: axis_text(value, plot.style),
        styles=STYLES,
    )


def _top(values: Sequence[float], wholes: bool) -> float:
    highest = max(values, default=0.0)
    return max(highest, 1.0) if wholes else highest if highest > 0 else 1.0


def _stacks(plot: StackPlot, width: int, ascii: bool) -> list[bar_charts.Segments]:
    return (
        bar_charts.stacked_bars(
            plot.labels, plot.matrix or [[0] * len(plot.names)], width, names=plot.names, styles=STYLES, ascii=ascii
        )
        if plot.labels
        else _plain(["(nothing to draw)"])
    )


def _dots(plot: DotPlot, width: int, ascii: bool) -> list[bar_charts.Segments]:
    rows = []
    for counts in plot.counts:
        dots: list[tuple[str, str]] = []
        for category, number in zip(plot.categories, counts, strict=True):
            colour, _, weak = category.style.partition("-")
            dots += [(category.letter, f"{'' if weak else 'bold '}{CATEGORY_STYLES[colour]}")] * number
        rows.append(dots)
    return bar_charts.dots(rows, width, labels=plot.labels, ascii=ascii) if rows else _plain(["(nothing to draw)"])


def _plain(lines: Sequence[str]) -> list[bar_charts.Segments]:
    return [[(line, "")] for line in lines]
