"""What the overview's figures are made of: categories with their letters, and the functions that draw bodies."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from ffnscope.store.figures.layers import COVERING_LABELS, DETECTORS, POSITIONAL, LayerFigures
from ffnscope.tui.drawing.bar_charts import ranges as range_lines
from ffnscope.tui.drawing.glyphs import Glyphs
from ffnscope.tui.drawing.lines import BLANK, Line, Writer, line
from ffnscope.tui.drawing.numbers import count
from ffnscope.tui.overview.data import Overview
from ffnscope.tui.overview.layer_axis import Axis, Category, Cells, bar_cells, columns, letter_cells, stack_cells
from ffnscope.tui.overview.sentences import BIN_LETTERS, POSITIONAL_LETTERS, TYPE_LETTERS, covering_parts

Body = Callable[[Overview, Axis, int, int], list[Line]]  # (overview, axis, number of the cursor's layer, height)

PANEL_NAME = 15  # cells of a bin's letter and name
SUPPRESSING = 0.8  # the paper: over 80% of the token detectors suppress their triggers
ORDER_STYLES = ("token", "trigger", "mark")
# What is covered by few n-grams is what one looks for: warm and bright.
_BIN_STYLES = ("token", "token", "token", "trigger", "trigger", "trigger", "position", "position", "dim", "dim")
BINS = tuple(
    Category(letter, label, style)
    for letter, label, style in zip(BIN_LETTERS, (*COVERING_LABELS, "no n-gram"), (*_BIN_STYLES, "dim"), strict=True)
)
ORDER_CATEGORIES = tuple(
    Category(str(number), word, style)
    for number, (word, style) in enumerate(zip(DETECTORS, ORDER_STYLES, strict=True), 1)
)
NEW = (
    Category("n", "new", "token"),
    Category("e", "in an earlier layer", "trigger"),
    Category("p", "in the layer before", "position"),
)
TYPE_STYLES = {"oscillatory": "mark", "both": "error", "one": "position", "other": "token"}
TYPES = tuple(
    Category(letter, f"{kind} {strength}", TYPE_STYLES[kind] + ("" if strength == "strong" else "-weak"))
    for letter, (kind, strength) in zip(POSITIONAL_LETTERS, POSITIONAL, strict=True)
)
TYPE_LEGEND = (
    *(Category(TYPE_LETTERS[kind].upper(), kind, TYPE_STYLES[kind]) for kind in TYPE_LETTERS),
    Category("o", "lower case: weak", TYPE_STYLES["oscillatory"] + "-weak"),
)


def legend_lines(categories: Sequence[Category], width: int, glyphs: Glyphs) -> list[Line]:
    """`a 1  b 2-3 ...`, the letters in their styles, in as many lines as it takes."""
    lines: list[Line] = []
    made = Writer(glyphs)
    for each in categories:
        letter = {"█": "#", "━": "="}.get(each.letter, each.letter) if glyphs.ascii else each.letter
        if made.width and made.width + len(letter) + len(each.name) + 3 > width:
            lines.append(made.line())
            made = Writer(glyphs)
        made.add("  " if made.width else "").add(letter, each.style)
        made.add(f" {each.name}" if each.name else "", "dim")
    return [*lines, made.line()] if made.width else lines


def _labels(rows: int, top: str) -> dict[int, str]:
    return {0: "0", rows - 1: top} if rows > 1 else {}


def bars_body(
    value: Callable[[LayerFigures], float | None],
    style: str,
    unit: Callable[[float], str],
    *,
    share: bool = False,
    rule: float | None = None,
) -> Body:
    """A bar a layer, up to the highest value; a ``share`` up to the next tenth, with a ``rule`` (dotted) up to 1."""

    def body(overview: Overview, axis: Axis, cursor: int, height: int) -> list[Line]:
        highest = max((v for each in overview.known() if (v := value(each)) is not None), default=0.0)
        top = 1.0 if rule else max(math.ceil(highest * 10 - 1e-9) / 10, 0.1) if share else highest
        cells: list[Cells | None] = []
        for layer in axis.layers:
            each = overview.figures.get(layer)
            found = value(each) if each else None
            drawn = bar_cells(found or 0.0, top, height, axis.bar, style, overview.glyphs)
            cells.append(drawn if each else None)
        dotted = min(int(rule * height), height - 1) if rule else None
        labels = _labels(height, unit(top).strip())
        if rule and dotted is not None:
            labels.setdefault(dotted, unit(rule).strip())
        return columns(cells, axis, height, labels, overview.glyphs, rule=dotted)

    return body


def stacks_body(
    parts: Callable[[LayerFigures], Sequence[int]],
    categories: Sequence[Category],
    total: Callable[[Overview], int] | None = None,
) -> Body:
    """A stack a layer, up to ``total`` or the highest stack."""

    def body(overview: Overview, axis: Axis, cursor: int, height: int) -> list[Line]:
        top = total(overview) if total else max((sum(parts(each)) for each in overview.known()), default=0)
        cells: list[Cells | None] = []
        for layer in axis.layers:
            each = overview.figures.get(layer)
            made = stack_cells(parts(each), top, height, axis.bar, categories, overview.glyphs) if each else None
            cells.append(made)
        return columns(cells, axis, height, _labels(height, count(top, compact=True)), overview.glyphs)

    return body


def detected_body(overview: Overview, axis: Axis, cursor: int, height: int) -> list[Line]:
    """Detected tokens of each layer as bars, cumulative over the layers as a line (paper Figure 3b)."""
    glyphs = overview.glyphs
    top = max((each.tokens.cumulative or 0 for each in overview.known()), default=0)
    cells: list[Cells | None] = []
    marks: list[int | None] = []
    for layer in axis.layers:
        each = overview.figures.get(layer)
        cells.append(bar_cells(each.tokens.detected, top, height, axis.bar, "token", glyphs) if each else None)
        so_far = each.tokens.cumulative if each else None
        marks.append(min(math.ceil(so_far / top * height) - 1, height - 1) if so_far and top else None)
    mark = ("=" if glyphs.ascii else "━", "accent")
    return columns(cells, axis, height, _labels(height, count(top, compact=True)), glyphs, marks=marks, mark=mark)


def positional_body(overview: Overview, axis: Axis, cursor: int, height: int) -> list[Line]:
    """A letter a neuron, as in the paper; where they do not fit, letters in proportion and a scale."""
    top = max((each.positional_neurons for each in overview.known()), default=0)
    single = top <= height * axis.bar
    cells: list[Cells | None] = []
    for layer in axis.layers:
        each = overview.figures.get(layer)
        if each is None:
            cells.append(None)
        elif single:
            cells.append(letter_cells(each.positional, axis.bar, TYPES))
        else:
            cells.append(stack_cells(each.positional, top, height, axis.bar, TYPES, overview.glyphs, letters=True))
    return columns(cells, axis, height, {} if single else _labels(height, count(top, compact=True)), overview.glyphs)


def ranges_body(overview: Overview, axis: Axis, cursor: int, height: int) -> list[Line]:
    """Position ranges of the cursor layer's strong oscillatory neurons, a line each (paper Figure 9)."""
    layer = axis.layers[cursor]
    figures, found = overview.figures.get(layer), overview.ranges.get(layer)
    ellipsis = overview.glyphs.ellipsis
    if figures is None:
        return [BLANK, line((f"  layer {layer} is not collected yet", "dim"))]
    if not figures.positional[0]:
        most = sorted(overview.known(), key=lambda each: (-each.positional[0], each.layer))[:5]
        have = sorted(each.layer for each in most if each.positional[0])
        there, more = ", ".join(map(str, have)), f" {ellipsis}" if len(have) == 5 else ""
        return [
            BLANK,
            line(("  no strong oscillatory neurons", "dim")),
            line((f"  in layer {layer}; there are some in {there}{more}", "dim")),
        ]
    if found is None:
        return [BLANK, line((f"  reading the curves of layer {layer}{ellipsis}", "dim"))]
    rows = found[: height - 1] if len(found) <= height - 1 else found[: height - 2]
    drawn = range_lines(
        [(str(each.neuron), each.ranges) for each in rows],
        overview.seq_len,
        axis.width,
        ascii=overview.glyphs.ascii,
        x_label="position",
    )
    out = [line((text, "mark")) for text in drawn[:-1]]
    if len(rows) < figures.positional[0]:
        out.append(line((f" and {figures.positional[0] - len(rows)} more", "faint")))
    return [*out, line((drawn[-1], "dim"))]


def layer_panel(overview: Overview, layer: int, width: int, height: int) -> list[Line]:
    """The exact numbers of Figure 2 for one layer, which are its legend too; in two blocks where it is low and wide."""
    each = overview.figures.get(layer)
    if each is None:
        return [BLANK, line((f"  layer {layer} is not collected yet", "dim"))]
    blocks = 2 if height < len(BINS) + 2 and width >= 2 * (PANEL_NAME + 3 * 7) else 1
    room = min(max((width // blocks - PANEL_NAME) // 3, 6), 10)
    parts = [covering_parts(order)(each) for order in (1, 2, 3)]
    rows = -(-len(BINS) // blocks)
    lines = [Writer(overview.glyphs) for _ in range(rows + 1)]
    for block in range(blocks):
        head = "".join(word.rjust(room) for word in ("uni", "bi", "tri"))
        lines[0].to(block * (width // blocks)).add(" covered by".ljust(PANEL_NAME) + head, "dim")
        for row, number in enumerate(range(block * rows, min((block + 1) * rows, len(BINS)))):
            made, category = lines[row + 1].to(block * (width // blocks)), BINS[number]
            made.add(f" {category.letter}", category.style).add(f" {category.name}".ljust(PANEL_NAME - 2), "dim")
            made.add("".join(count(part[number]).rjust(room) for part in parts))
    whole = f"{count(each.neurons)} neurons, {count(each.dead)} dead"
    return [*(made.line() for made in lines), line((f"   {whole}", "dim"))]
