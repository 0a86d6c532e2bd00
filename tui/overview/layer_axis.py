"""Figures over layers as columns of cells: a layer is a column, all figures of one width have it in the same place.

Bars, stacks and letters are a layer's own; what a figure says of the cursor's layer stands on its axis line. Nothing
here raises for odd data or sizes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ffnscope.tui.drawing.glyphs import Glyphs
from ffnscope.tui.drawing.lines import Line, Part, Writer
from ffnscope.tui.drawing.text import fit
from ffnscope.tui.reports.document import Category

LEFT = 7  # cells of the y labels with the wall
WIDEST = 9  # cells of one layer
EIGHTHS = " ▁▂▃▄▅▆▇█"

Cells = list[tuple[Part, ...]]  # a layer's column from the bottom up, each row at most a bar wide


@dataclass(frozen=True)
class Axis:
    """Which layers stand where: those of ``layers`` from number ``first`` on, ``cell`` cells each."""

    layers: tuple[int, ...]
    first: int
    shown: int
    cell: int
    width: int  # of the whole figure

    @property
    def bar(self) -> int:
        """Cells of a layer's bar; the rest is the gap to the next."""
        return self.cell - 1 if self.cell > 2 else self.cell

    @property
    def view(self) -> range:
        """The numbers of the layers in view."""
        return range(self.first, self.first + self.shown)

    def at(self, x: int) -> int | None:
        """The number of the layer that stands at a figure's cell ``x``."""
        number = self.first + (x - LEFT) // self.cell
        return number if x >= LEFT and number in self.view else None


def make_axis(layers: Sequence[int], width: int, cursor: int) -> Axis:
    """All layers in ``width`` cells; where they do not fit, as many as do, around the cursor's."""
    cols = max(width - LEFT, 1)
    count = len(layers)
    if count <= cols:
        return Axis(tuple(layers), 0, count, max(1, min(cols // max(count, 1), WIDEST)), width)
    # Moves by half a view at once: over SSH a figure that slides by one layer is sent whole.
    step = max(cols // 2, 1)
    first = max(0, min(cursor // step * step - step // 2, count - cols))
    return Axis(tuple(layers), first, cols, 1, width)


def bar_cells(value: float, top: float, rows: int, width: int, style: str, glyphs: Glyphs) -> Cells:
    """A bar of ``value`` against ``top``, at most ``rows`` cells high; what is above 0 shows."""
    steps = glyphs.steps if glyphs.ascii else EIGHTHS
    per_cell = len(steps) - 1
    if not (math.isfinite(value) and value > 0 and top > 0 and rows > 0):
        return []
    filled = min(max(round(value / top * rows * per_cell), 1), rows * per_cell)
    whole, rest = divmod(filled, per_cell)
    cells: Cells = [((steps[-1] * width, style),)] * whole
    return [*cells, ((steps[rest] * width, style),)] if rest else cells


def stack_cells(
    counts: Sequence[float],
    top: float,
    rows: int,
    width: int,
    categories: Sequence[Category],
    glyphs: Glyphs,
    letters: bool = False,
) -> Cells:
    """The counts of the categories on top of each other; every run of one category begins with its letter, or (`letters`)
    consists of it.

    A cell shows the category that its middle falls into, so that heights keep their proportions: what is less than
    half a cell may not show, but what is not empty has a cell.
    """
    shades = "=-" if glyphs.ascii else "█▒"
    ends = np.cumsum(np.asarray(counts, np.float64))
    if top <= 0 or rows <= 0 or not len(ends) or ends[-1] <= 0:
        return []
    middles = (np.arange(rows) + 0.5) * top / rows
    middles = middles[middles < ends[-1]]
    owners = np.searchsorted(ends, middles, side="right").tolist() or [int(np.argmax(counts))]
    out: Cells = []
    for cell, number in enumerate(owners):
        category, shade = categories[number], shades[number % 2]
        if letters:
            out.append(((category.letter * width, category.style),))
            continue
        begins = not cell or owners[cell - 1] != number
        out.append((((category.letter if begins else shade) + shade * (width - 1), category.style),))
    return out


def letter_cells(counts: Sequence[int], width: int, categories: Sequence[Category]) -> Cells:
    """A letter for every neuron of a category, left to right from the bottom up."""
    letters = [
        (category.letter, category.style) for category, n in zip(categories, counts, strict=True) for _ in range(n)
    ]
    return [tuple(letters[start : start + width]) for start in range(0, len(letters), width)]


def columns(
    cells: Sequence[Cells | None],
    axis: Axis,
    rows: int,
    labels: dict[int, str],
    glyphs: Glyphs,
    rule: int | None = None,
) -> list[Line]:
    """``rows`` lines of a figure, top first: y labels by row from the bottom, wall, a column for each layer in view.

    ``cells`` is by layer number; None is a layer that is not collected, drawn as a question mark. ``rule`` is a row dotted
    where it is empty.
    """
    wall, tick = ("|", "+") if glyphs.ascii else ("│", "┤")
    out = []
    for row in range(rows - 1, -1, -1):
        label = labels.get(row, "")
        writer = Writer(glyphs).add(fit(label, LEFT - 1, "right", glyphs), "dim").add(tick if label else wall, "rule")
        empty = glyphs.dot if row == rule else " "
        for number in axis.view:
            column = cells[number]
            drawn: tuple[Part, ...] = ()
            if column is None:
                drawn = (("?", "faint"),) if not row else ()
            elif row < len(column):
                drawn = column[row]
            for text, style in drawn:
                writer.add(text, style)
            writer.add(empty * (axis.cell - sum(len(text) for text, _ in drawn)), "faint")
        out.append(writer.line())
    return out


def axis_line(axis: Axis, cursor: int, glyphs: Glyphs) -> Line:
    """The layers' numbers under their columns, the cursor's always and with a pointer."""
    width = LEFT + axis.shown * axis.cell
    line = [" "] * max(width, axis.width)
    pointer = "^" if glyphs.ascii else "▴"
    span: tuple[int, int] = (0, 0)

    def put(number: int, text: str, gap: int) -> tuple[int, int] | None:
        start = min(LEFT + (number - axis.first) * axis.cell + (axis.bar - 1) // 2, len(line) - len(text))
        stop = start + len(text)
        if "".join(line[max(start - gap, 0) : stop + gap]).strip():
            return None
        line[start:stop] = text
        return start, stop

    if cursor in axis.view:
        span = put(cursor, f"{pointer}{axis.layers[cursor]}", 0) or span
    digits = len(str(axis.layers[-1])) if axis.layers else 1
    step = next(step for step in (1, 2, 4, 5, 8, 10, 16, 20, 32, 50, 64, 10**9) if step * axis.cell > digits + 1)
    for number in axis.view:
        if number % step == 0:
            put(number, str(axis.layers[number]), 1)
    text = "".join(line)[: axis.width]
    first, last = span
    return Line(((text[:first], "dim"), (text[first:last], "accent"), (text[last:], "dim")))
