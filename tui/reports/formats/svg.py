"""Plots of a report as inline SVG: no script, no font, no file beside it.

Colours are classes that report.css sets; text takes the page's colour.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from markupsafe import Markup, escape

from ffnscope.tui.drawing.bar_charts import letter, round_between
from ffnscope.tui.drawing.glyphs import UNICODE
from ffnscope.tui.drawing.text import visible
from ffnscope.tui.reports.document import DotPlot, LinePlot, Plot, RangePlot, StackPlot
from ffnscope.tui.reports.formats.values import shown

WIDTH = 720
_LEFT, _RIGHT = 64, 16
_ROW = 18
_DOT_ROOM = 11  # a dot and the gap after it
_CURVE_COLOURS, _PART_COLOURS = 8, 11  # classes s0 .. and b0 .. of report.css


def svg(plot: Plot) -> Markup:
    """A plot as one ``<svg>`` element. Every text in it is escaped and printable."""
    if isinstance(plot, LinePlot):
        height, parts = _curves(plot)
    elif isinstance(plot, StackPlot):
        height, parts = _stacks(plot)
    else:
        height, parts = _dots(plot) if isinstance(plot, DotPlot) else _ranges(plot)
    return _element(
        "svg",
        *(_element("title", plot.title), *parts),
        viewBox=f"0 0 {WIDTH} {_number(height)}",
        width=WIDTH,
        height=height,
        role="img",
        aria_label=plot.title,
    )


def _element(name: str, *children: str, **attributes: str | float) -> Markup:
    """An element. Texts are made printable and escaped, Markup is taken as it is; ``text_anchor`` is ``text-anchor``."""
    pairs = Markup().join(
        Markup(' {}="{}"').format(
            key.strip("_").replace("_", "-"), _safe(value if isinstance(value, str) else _number(value))
        )
        for key, value in attributes.items()
        if value != ""
    )
    if not children:
        return Markup("<{}{}/>").format(Markup(name), pairs)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), pairs, Markup("\n").join(map(_safe, children)))


def _safe(text: str) -> Markup:
    return text if isinstance(text, Markup) else escape(visible(text, UNICODE, spaces=False))


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _text(x: float, y: float, text: str, anchor: str = "start", style: str = "") -> Markup:
    return _element("text", text, x=x, y=y, text_anchor=anchor, class_=style)


def _titled(style: str, title: str, *children: str) -> Markup:
    """Children with a title that shows when the pointer is over them."""
    return _element("g", _element("title", title), *children, class_=style)


def _rect(x: float, y: float, width: float, height: float) -> Markup:
    return _element("rect", x=x, y=y, width=width, height=height)


def _legend(names: Sequence[str], kind: str, colours: int) -> tuple[list[Markup], float]:
    """Coloured names from the top left on, and the height that they take."""
    parts, x, y = [], float(_LEFT), 14.0
    for i, name in enumerate(names):
        width = 22 + 7.2 * len(visible(name, UNICODE, spaces=False))
        if x + width > WIDTH and x > _LEFT:
            x, y = float(_LEFT), y + _ROW
        mark = _mark(i, x + 5, y - 4) if kind == "s" else _rect(x, y - 9, 10, 10)
        parts += [_element("g", mark, class_=f"{kind}{i % colours}"), _text(x + 15, y, name)]
        x += width
    return parts, y + 14


def _mark(number: int, x: float, y: float) -> Markup:
    """The point of a curve: circle, square, diamond or triangle."""
    shape, d = number % 4, 4.5
    if shape == 0:
        return _element("circle", cx=x, cy=y, r=3.5)
    if shape == 1:
        return _rect(x - 3, y - 3, 6, 6)
    corners = (
        [(x, y - d), (x + d, y), (x, y + d), (x - d, y)] if shape == 2 else [(x, y - d), (x + d, y + d), (x - d, y + d)]
    )
    return _element("polygon", points=_points(corners))


def _points(corners: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{_number(x)},{_number(y)}" for x, y in corners)


def _curves(plot: LinePlot) -> tuple[float, list[Markup]]:
    names = [f"{letter(i)}: {name}" if plot.lettered else name for i, (name, _, _) in enumerate(plot.series)]
    parts, top = _legend(names, "s", _CURVE_COLOURS)
    curves = [[*zip(xs, map(_finite, ys), strict=True)] for _, xs, ys in plot.series]
    drawn = [(x, y) for curve in curves for x, y in curve if y is not None]
    if not drawn:
        return top + 30, [*parts, _text(_LEFT, top + 14, "nothing to draw")]
    bottom, right = top + 220, WIDTH - _RIGHT
    highest = max(y for _, y in drawn) or 1.0
    highest = max(highest, 1.0) if plot.style == "count" else highest
    first, last = min(x for x, _ in drawn), max(x for x, _ in drawn)

    def at_x(x: float) -> float:
        return _LEFT + ((right - _LEFT) * (x - first) / (last - first) if last > first else (right - _LEFT) / 2)

    def at_y(y: float) -> float:
        return bottom - (bottom - top - 6) * y / highest

    for tick in [0.0, *round_between(0, highest, 5), highest]:
        if tick not in (0.0, highest) and min(tick, highest - tick) <= highest * 0.09:
            continue
        if plot.style == "count" and tick != int(tick):
            continue
        parts.append(_element("line", x1=_LEFT, x2=right, y1=at_y(tick), y2=at_y(tick), class_="grid"))
        parts.append(_text(_LEFT - 6, at_y(tick) + 4, shown(tick, plot.style), "end"))
    labels: list[float] = []
    for tick in [first, last, *round_between(first, last, 10)] if last > first else [first]:
        if (plot.x_label != "layer" or tick == int(tick)) and all(abs(at_x(tick) - x) > 34 for x in labels):
            labels.append(at_x(tick))
            parts.append(_text(at_x(tick), bottom + 16, f"{tick:.4g}", "middle"))
    parts.append(_text((_LEFT + right) / 2, bottom + 32, plot.x_label, "middle", "dim"))
    for i, (name, curve) in enumerate(zip(names, curves, strict=True)):
        # A gap, or an end, for every None.
        gaps = [-1, *(k for k, (_, y) in enumerate(curve) if y is None), len(curve)]
        runs = [[(at_x(x), at_y(y)) for x, y in curve[a + 1 : b] if y is not None] for a, b in pairwise(gaps)]
        lines = [_element("polyline", points=_points(run)) for run in runs if len(run) > 1]
        marks = [
            _titled("", f"{name}: {plot.x_label} {x:.4g}, {shown(y, plot.style)}", _mark(i, at_x(x), at_y(y)))
            for x, y in curve
            if y is not None
        ]
        parts.append(_element("g", *lines, *marks, class_=f"s{i % _CURVE_COLOURS}"))
    return bottom + 40, parts


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _stacks(plot: StackPlot) -> tuple[float, list[Markup]]:
    parts, top = _legend(plot.names, "b", _PART_COLOURS)
    full = max((sum(row) for row in plot.matrix), default=0) or 1
    scale = (WIDTH - _LEFT - _RIGHT) / full
    for number, (label, row) in enumerate(zip(plot.labels, plot.matrix, strict=True)):
        x, y = float(_LEFT), top + _ROW * number
        parts.append(_text(_LEFT - 6, y + 11, label, "end"))
        for i, (name, value) in enumerate(zip(plot.names, row, strict=True)):
            if value:
                title = f"{label}: {shown(value, plot.style)} of {name}"
                parts.append(_titled(f"b{i % _PART_COLOURS}", title, _rect(x, y, value * scale, _ROW - 4)))
                x += value * scale
    return top + _ROW * len(plot.labels) + 6, parts


def _dots(plot: DotPlot) -> tuple[float, list[Markup]]:
    parts: list[Markup] = []
    room = int((WIDTH - _LEFT - _RIGHT) // _DOT_ROOM)
    for number, (label, counts) in enumerate(zip(plot.labels, plot.counts, strict=True)):
        x, y = float(_LEFT + 5), 12 + _ROW * number
        parts.append(_text(_LEFT - 6, y + 4, label, "end"))
        single = sum(counts) <= room
        for category, n in zip(plot.categories, counts, strict=True):
            if not n:
                continue
            dots = [_element("circle", cx=x + _DOT_ROOM * i, cy=y, r=4.5) for i in range(n if single else 1)]
            title = f"{label}: {shown(n, 'count')} {category.name}"
            parts.append(_titled(category.style.replace("-", " "), title, *dots))
            if single:
                x += _DOT_ROOM * n
            else:
                text = f"×{shown(n, 'count')}"
                parts.append(_text(x + 7, y + 4, text))
                x += 7 + 7.5 * len(text) + 12
    return 12 + _ROW * len(plot.labels) + 4, parts


def _ranges(plot: RangePlot) -> tuple[float, list[Markup]]:
    left = 24 + 7 * max((len(label) for label, _ in plot.rows), default=0)
    scale = (WIDTH - left - _RIGHT) / max(plot.positions, 1)
    parts = []
    for number, (label, ranges) in enumerate(plot.rows):
        y = 4 + _ROW * number
        parts.append(_text(left - 8, y + 11, label, "end"))
        for start, stop in ranges:
            bar = _rect(left + start * scale, y, max((stop - start) * scale, 1.0), _ROW - 5)
            parts.append(_titled("mark", f"{label}: positions {start} to {stop - 1}", bar))
    bottom, last = 4 + _ROW * len(plot.rows) + 14, plot.positions - 1
    for tick in [0.0, *round_between(0, last, 8), float(last)]:
        if tick in (0.0, last) or last * 0.05 < tick < last * 0.95:
            parts.append(_text(left + (tick + 0.5) * scale, bottom, f"{tick:.0f}", "middle"))
    return bottom + 8, parts
