"""Curves as lines of plain text; the only module that knows plotext. Charts of whole cells are in `bar_charts`.

plotext draws the canvas (dots and lines); axes and tick labels are set here, because its automatic ticks
read 3.4e2 and move the canvas with their width. It is imported on the first plot: the import costs 0.3 s.
Nothing here raises for odd data: NaN is a gap, values outside an axis sit on its edge, and a size too small
for a canvas gives blank lines.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ffnscope.tui.drawing.bar_charts import (
    Segments,
    exactly,
    legend,
    letter,
    place,
    plain,
    position_axis,
    positive,
    round_between,
    style_of,
)
from ffnscope.tui.drawing.glyphs import ASCII, UNICODE
from ffnscope.tui.drawing.numbers import freq
from ffnscope.tui.drawing.text import visible

_SGR = re.compile(r"\x1b\[([0-9;]*)m")
_COLOR = "38;5;"


def pool(values: ArrayLike, bins: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(minimum, maximum) float64 [bins] of `values` [T] in equal stretches; with bins > T, values repeat.

    Both are kept because a lone 0 or 1 matters. NaN is ignored, a bin of only NaN is NaN. T and bins are at
    least 1.
    """
    data = np.asarray(values, dtype=np.float64).ravel()
    starts = np.arange(bins) * len(data) // bins
    return np.fmin.reduceat(data, starts), np.fmax.reduceat(data, starts)


def curve(
    values: ArrayLike,
    width: int,
    height: int,
    *,
    ascii: bool = False,
    y_max: float = 1.0,
    cursor: int | None = None,
) -> list[str]:
    """Activation frequency by position: `values` float [T] in 0..y_max as `height` lines of `width` cells.

    Two dot columns per cell, each a vertical stroke from the minimum to the maximum of its positions. The last
    line holds the position labels. `cursor` is a position marked by a vertical line behind the dots.
    """
    data = np.asarray(values, dtype=np.float64).ravel()
    y_max = positive(y_max)
    top = _tick(y_max)
    labels = {0: top, height - 2: "0"} if height > 2 else {0: top}
    if height >= 8 and height % 2 == 0:
        labels[(height - 2) // 2] = _tick(y_max / 2)
    left = max(map(len, labels.values())) + 1
    cols, rows = width - left, height - 1
    if cols < 1 or rows < 1 or not len(data):
        return [" " * max(width, 0)] * max(height, 0)
    across, up = (1, 1) if ascii else (2, 4)
    low, high = pool(data, cols * across)
    bottom, peak = (_dots(edge, 0.0, y_max, rows * up) for edge in (low, high))
    xs: list[int] = []
    ys: list[int] = []
    strokes: list[int] = []
    for x in np.flatnonzero(~np.isnan(low)).tolist():
        xs.append(x)
        ys.append(int(bottom[x]))
        if peak[x] > bottom[x]:
            xs.append(x)
            ys.append(int(peak[x]))
            strokes.append(len(xs) - 1)
    canvas = plain(_draw(cols, rows, [(xs, ys, strokes, "*" if ascii else "braille")], (across, up)))
    if cursor is not None and 0 <= cursor < len(data):
        at = cursor * cols // len(data)
        wall = "|" if ascii else "│"
        canvas = [line[:at] + wall + line[at + 1 :] if line[at] == " " else line for line in canvas]
    lines = [axis + line for axis, line in zip(_y_axis(labels, rows, left, ascii), canvas, strict=True)]
    return [*lines, " " * left + position_axis(len(data), cols, "", ascii)]


def lines_plot(
    series: Sequence[tuple[str, ArrayLike, ArrayLike]],
    width: int,
    height: int,
    *,
    ascii: bool = False,
    y_max: float | None = None,
    x_label: str = "",
    y_format: Callable[[float], str] | None = None,
    styles: Sequence[str] = (),
) -> list[Segments]:
    """Curves over layers: `series` of (name, xs float [N], ys float [N]) as `height` styled lines of `width` cells.

    The first line is the legend, the last the x labels; the y axis runs from 0 (or the lowest value below it)
    to `y_max` (default: the highest value). Points carry their series' letter, so the plot reads without
    colour; NaN breaks the line. Series i has style `styles[i % len(styles)]`.
    """
    written = y_format or _tick
    data = [_points(xs, ys) for _, xs, ys in series]
    all_x = np.concatenate([x[np.isfinite(y)] for x, y in data] or [np.zeros(0)])
    all_y = np.concatenate([y[np.isfinite(y)] for _, y in data] or [np.zeros(0)])
    y_low = min(0.0, float(all_y.min())) if len(all_y) else 0.0
    y_top = float(all_y.max()) if y_max is None and len(all_y) else y_max
    y_top = y_top if y_top is not None and math.isfinite(y_top) and y_top > y_low else y_low + 1.0
    head = legend(series, width, styles, ascii)
    rows = height - 2
    labels = {0: written(y_top).strip(), rows - 1: written(y_low).strip()} if rows > 1 else {}
    labels = {row: visible(text, ASCII if ascii else UNICODE, spaces=False) for row, text in labels.items()}
    left = max(map(len, labels.values()), default=0) + 1
    cols = width - left
    if cols < 1 or rows < 1 or not len(all_x):
        blank: list[Segments] = [[(" " * max(width, 0), "")] for _ in range(max(height - 1, 0))]
        return [head, *blank][: max(height, 0)]
    across, up = (1, 1) if ascii else (2, 4)
    x_low, x_top = float(all_x.min()), float(all_x.max())
    drawn = []
    for number, (x, y) in enumerate(data):
        ok = np.isfinite(y)
        joined = [i for i, at in enumerate(np.flatnonzero(ok)) if i and ok[at - 1]]
        dot_x = _dots(x[ok], x_low, x_top, cols * across).tolist()
        dot_y = _dots(y[ok], y_low, y_top, rows * up).tolist()
        drawn.append((dot_x, dot_y, joined, "." if ascii else "braille", number))
    for number, (dot_x, dot_y, _, _, _) in enumerate(list(drawn)):
        lettered = _spaced(dot_x, 4 * across)
        letters = ([dot_x[i] for i in lettered], [dot_y[i] for i in lettered])
        drawn.append((*letters, [], letter(number), number))
    axis = _y_axis(labels, rows, left, ascii)
    numbers = [item[4] for item in drawn]
    canvas = _draw(cols, rows, [item[:4] for item in drawn], (across, up), numbers, styles)
    body = [[(wall, ""), *line] for wall, line in zip(axis, canvas, strict=True)]
    ticks = np.array([x_low, x_top, *round_between(x_low, x_top, cols // 12)] if x_top > x_low else [x_low])
    columns = _dots(ticks, x_low, x_top, cols).tolist()
    marked = [(at, f"{x:.4g}") for at, x in zip(columns, ticks.tolist(), strict=True)]
    bottom = place(marked, cols, x_label, ascii)
    return [head, *body, [(" " * left + bottom, "")]]


def _draw(
    cols: int,
    rows: int,
    signals: Sequence[tuple[list[int], list[int], list[int], str]],
    dots_per_cell: tuple[int, int],
    numbers: Sequence[int] | None = None,
    styles: Sequence[str] = (),
) -> list[Segments]:
    """The canvas: signals are (xs, ys in dots from the bottom left, indices joined to the one before, marker)."""
    import plotext

    # Without this, sizes are cut to the terminal the process happens to run in.
    plotext.terminal.limit(False, False)
    figure = type(plotext.figure)(parent=plotext.terminal)
    figure.theme("colorless")
    figure.canvas("default")
    figure.axes(False)
    figure.plot_size(cols, rows)
    both = figure.ruler("both")
    both.ticks([])
    both.alignment(lim="edge")
    figure.ruler("x").lim(-0.5, cols * dots_per_cell[0] - 0.5)
    figure.ruler("y").lim(-0.5, rows * dots_per_cell[1] - 0.5)
    for index, (xs, ys, joined, marker) in enumerate(signals):
        if not xs:
            continue
        colored = plotext.marker(marker, 1 + numbers[index] % 255) if numbers else marker
        signal = figure.signal(xs, ys, marker=colored)
        for at in joined:
            signal.line(at)
        signal.density("full")
        figure.draw(signal)
    text = figure.build().string(colorless=numbers is None)
    lines = [_segments(line, styles) for line in text.split("\n")[:rows]]
    return [exactly(line, cols, False) for line in lines + [[]] * (rows - len(lines))]


def _segments(line: str, styles: Sequence[str]) -> Segments:
    out: Segments = []
    style = ""
    for index, part in enumerate(_SGR.split(line)):
        if index % 2:
            color = part.removeprefix(_COLOR)
            style = style_of(styles, int(color) - 1) if part.startswith(_COLOR) and color.isdigit() else ""
        elif part:
            out.append((part, style))
    return out


def _points(xs: ArrayLike, ys: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = (np.array(values, dtype=np.float64).ravel() for values in (xs, ys))
    n = min(len(x), len(y))
    x, y = x[:n], y[:n]
    y[~np.isfinite(x)] = np.nan
    return x, y


def _dots(values: NDArray[np.float64], low: float, top: float, steps: int) -> NDArray[np.int64]:
    """Values in low..top as dot numbers 0 .. steps-1 (NaN: 0)."""
    # Halves, so that the difference of two huge values stays finite.
    span = top / 2 - low / 2
    if not span > 0:
        return np.zeros(len(values), dtype=np.int64)
    scaled = (np.clip(np.nan_to_num(values, nan=low), low, top) / 2 - low / 2) / span
    return np.rint(np.clip(scaled, 0, 1) * (steps - 1)).astype(np.int64)


def _spaced(xs: Sequence[int], gap: int) -> list[int]:
    """Indices of the points far enough apart to carry a letter each."""
    kept: list[int] = []
    for index, x in enumerate(xs):
        if not kept or abs(x - xs[kept[-1]]) >= gap:
            kept.append(index)
    return kept


def _y_axis(labels: dict[int, str], rows: int, left: int, ascii: bool) -> list[str]:
    wall, tick, cross = "|++" if ascii else "│┤┼"
    return [
        labels.get(row, "").rjust(left - 1) + (wall if row not in labels else cross if row == rows - 1 else tick)
        for row in range(rows)
    ]


def _tick(value: float) -> str:
    """A short axis label: `1` and `.5` rather than `1.00` and `.500`."""
    text = freq(value).strip()
    return text.rstrip("0").rstrip(".") or "0" if "." in text and "e" not in text else text
