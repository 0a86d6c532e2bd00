"""The overview's drawings: bars, letters at heights, stacks and ranges of a figure, and the numbers of one layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ffnscope.tui.drawing.bar_charts import ranges as range_lines
from ffnscope.tui.drawing.glyphs import Glyphs
from ffnscope.tui.drawing.lines import BLANK, Line, Writer, line
from ffnscope.tui.drawing.numbers import count
from ffnscope.tui.overview.data import Overview
from ffnscope.tui.overview.figures import COVERING, FIGURES
from ffnscope.tui.overview.layer_axis import Axis, Cells, bar_cells, columns, letter_cells, stack_cells
from ffnscope.tui.reports.document import Category
from ffnscope.tui.reports.figures import BAR, Figure
from ffnscope.tui.reports.formats.values import axis_text

PANEL_NAME = 15  # cells of a bin's letter and name
_ASCII = {BAR: "#", "━": "="}


def body(figure: Figure, overview: Overview, axis: Axis, cursor: int, height: int) -> list[Line]:
    """A figure over the layers of an axis, in ``height`` lines; ``cursor`` is the number of the cursor's layer."""
    if figure.ranges:
        return ranges_body(overview, axis, cursor, height)
    return stacks_body(figure, overview, axis, height) if figure.stack else curves_body(figure, overview, axis, height)


def letter_of(category: Category, glyphs: Glyphs) -> str:
    """The category's letter, in ASCII where that is all there is."""
    return _ASCII.get(category.letter, category.letter) if glyphs.ascii else category.letter


def legend_lines(categories: Sequence[Category], width: int, glyphs: Glyphs) -> list[Line]:
    """`a 1  b 2-3 ...`, the letters in their styles, in as many lines as it takes."""
    lines: list[Line] = []
    writer = Writer(glyphs)
    for category in categories:
        letter = letter_of(category, glyphs)
        if writer.width and writer.width + len(letter) + len(category.name) + 3 > width:
            lines.append(writer.line())
            writer = Writer(glyphs)
        writer.add("  " if writer.width else "").add(letter, category.style)
        writer.add(f" {category.name}" if category.name else "", "dim")
    return [*lines, writer.line()] if writer.width else lines


def _labels(height: int, top: str) -> dict[int, str]:
    return {0: "0", height - 1: top} if height > 1 else {}


def curves_body(figure: Figure, overview: Overview, axis: Axis, height: int) -> list[Line]:
    """Bars, and letters at the height of their values, up to the highest value; shares up to the next tenth, or with a
    ``threshold`` (dotted) up to 1."""
    series, layers, glyphs = figure.curves, overview.known(), overview.glyphs
    if series is None:
        return []
    categories = series.of(layers)
    values = {x.layer: series.values(x) for x in layers}
    highest = max((v for row in values.values() for v in row if v is not None), default=0.0)
    share = figure.unit == "share"
    top = 1.0 if figure.threshold else max(math.ceil(highest * 10 - 1e-9) / 10, 0.1) if share else highest
    cells: list[Cells | None] = []
    for layer in axis.layers:
        if layer not in values:
            cells.append(None)
            continue
        pairs = [(category, value or 0.0) for category, value in zip(categories, values[layer], strict=True)]
        column: Cells = []
        for category, value in pairs:
            if category.letter == BAR:
                column = bar_cells(value, top, height, axis.bar, category.style, glyphs)
        cells.append(
            _with_letters(column, [pair for pair in pairs if pair[0].letter != BAR], top, height, axis.bar, glyphs)
        )
    row = min(int(figure.threshold * height), height - 1) if figure.threshold else None
    labels = _labels(height, axis_text(top, figure.unit))
    if figure.threshold and row is not None:
        labels.setdefault(row, axis_text(figure.threshold, figure.unit))
    return columns(cells, axis, height, labels, glyphs, rule=row)


def _with_letters(
    column: Cells, values: Sequence[tuple[Category, float]], top: float, height: int, width: int, glyphs: Glyphs
) -> Cells:
    """A column with the letters of values above its bar, side by side where they share a row."""
    letters: dict[int, list[Category]] = {}
    for category, value in values:
        if value > 0 and top > 0:
            letters.setdefault(min(math.ceil(value / top * height) - 1, height - 1), []).append(category)
    out: Cells = [*column, *[()] * (max(letters, default=-1) + 1 - len(column))]
    for row, categories in letters.items():
        if row >= len(column):
            cells = max(width // len(categories), 1)
            out[row] = tuple((letter_of(category, glyphs) * cells, category.style) for category in categories)[:width]
    return out


def stacks_body(figure: Figure, overview: Overview, axis: Axis, height: int) -> list[Line]:
    """A stack per layer, up to the highest or to all neurons of a layer. Dots: a letter per neuron, as in the paper;
    where they do not fit, letters in proportion and a scale."""
    series, layers = figure.stack, overview.known()
    if series is None:
        return []
    categories = series.of(layers)
    values = {x.layer: [value or 0 for value in series.values(x)] for x in layers}
    top = overview.neurons if figure.of_neurons else max(map(sum, values.values()), default=0)
    single = figure.dots and top <= height * axis.bar
    cells: list[Cells | None] = []
    for layer in axis.layers:
        if layer not in values:
            cells.append(None)
        elif single:
            cells.append(letter_cells([int(n) for n in values[layer]], axis.bar, categories))
        else:
            row = values[layer]
            cells.append(stack_cells(row, top, height, axis.bar, categories, overview.glyphs, letters=figure.dots))
    labels = {} if single else _labels(height, axis_text(top, figure.unit))
    return columns(cells, axis, height, labels, overview.glyphs)


def ranges_body(overview: Overview, axis: Axis, cursor: int, height: int) -> list[Line]:
    """Position ranges of the cursor layer's strong oscillatory neurons, one line per neuron (paper Figure 9)."""
    layer = axis.layers[cursor]
    figures, neurons = overview.figures.get(layer), overview.ranges.get(layer)
    ellipsis = overview.glyphs.ellipsis
    if figures is None:
        return [BLANK, line((f"  layer {layer} is not collected yet", "dim"))]
    if not figures.positional[0]:
        most = sorted(overview.known(), key=lambda x: (-x.positional[0], x.layer))[:5]
        others = sorted(x.layer for x in most if x.positional[0])
        names, more = ", ".join(map(str, others)), f" {ellipsis}" if len(others) == 5 else ""
        return [
            BLANK,
            line(("  no strong oscillatory neurons", "dim")),
            line((f"  in layer {layer}; there are some in {names}{more}", "dim")),
        ]
    if neurons is None:
        return [BLANK, line((f"  reading the curves of layer {layer}{ellipsis}", "dim"))]
    rows = neurons[: height - 1] if len(neurons) <= height - 1 else neurons[: height - 2]
    texts = range_lines(
        [(str(row.neuron), row.ranges) for row in rows],
        overview.seq_len,
        axis.width,
        ascii=overview.glyphs.ascii,
        x_label="position",
    )
    out = [line((text, "mark")) for text in texts[:-1]]
    if len(rows) < figures.positional[0]:
        out.append(line((f" and {figures.positional[0] - len(rows)} more", "faint")))
    return [*out, line((texts[-1], "dim"))]


def layer_panel(overview: Overview, layer: int, width: int, height: int) -> list[Line]:
    """The exact numbers of Figure 2 for one layer, which are its legend too; in two blocks where it is low and wide."""
    figures = overview.figures.get(layer)
    if figures is None:
        return [BLANK, line((f"  layer {layer} is not collected yet", "dim"))]
    series = [stack for number in COVERING if (stack := FIGURES[number].stack)]
    bins, parts = series[0].of([figures]), [stack.values(figures) for stack in series]
    blocks = 2 if height < len(bins) + 2 and width >= 2 * (PANEL_NAME + 3 * 7) else 1
    room = min(max((width // blocks - PANEL_NAME) // 3, 6), 10)
    rows = -(-len(bins) // blocks)
    writers = [Writer(overview.glyphs) for _ in range(rows + 1)]
    for block in range(blocks):
        head = "".join(word.rjust(room) for word in ("uni", "bi", "tri"))
        writers[0].to(block * (width // blocks)).add(" covered by".ljust(PANEL_NAME) + head, "dim")
        for row, number in enumerate(range(block * rows, min((block + 1) * rows, len(bins)))):
            writer, category = writers[row + 1].to(block * (width // blocks)), bins[number]
            writer.add(f" {category.letter}", category.style).add(f" {category.name}".ljust(PANEL_NAME - 2), "dim")
            writer.add("".join(count(int(part[number] or 0)).rjust(room) for part in parts))
    total = f"{count(figures.neurons)} neurons, {count(figures.dead)} dead"
    return [*(writer.line() for writer in writers), line((f"   {total}", "dim"))]
