"""Plots of a report as inline SVG: no script, no font, no file beside it.

Colours are classes that the page's style sheet sets; text takes the page's colour.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from ffnscope.tui.drawing.bar_charts import letter, round_between
from ffnscope.tui.drawing.glyphs import UNICODE
from ffnscope.tui.drawing.text import visible
from ffnscope.tui.reports.document import DotPlot, LinePlot, Plot, RangePlot, StackPlot
from ffnscope.tui.reports.formats.values import shown

WIDTH = 720
_LEFT, _RIGHT, _TOP = 64, 16, 28
_ROW = 18
_DOT_ROOM = 11  # a dot and the gap behind it
_MARKS = ("circle", "square", "diamond", "triangle")


def svg(plot: Plot) -> str:
    """A plot as one ``<svg>`` element. Every text in it is escaped and printable."""
    if isinstance(plot, LinePlot):
        return _lines(plot)
    if isinstance(plot, StackPlot):
        return _stacks(plot)
    return _dots(plot) if isinstance(plot, DotPlot) else _ranges(plot)


def safe(text: str) -> str:
    """A text for HTML and SVG: printable and escaped."""
    return escape(visible(text, UNICODE, spaces=False))


def _text(x: float, y: float, text: str, anchor: str = "start", kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}"{named}>{safe(text)}</text>'


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _element(title: str, height: float, parts: Sequence[str]) -> str:
    label = safe(title)
    head = f'<svg viewBox="0 0 {WIDTH} {_n(height)}" width="{WIDTH}" height="{_n(height)}" role="img" aria-label="{label}">'
    return "\n".join([head, f"<title>{label}</title>", *parts, "</svg>"])


def _legend(names: Sequence[str], kind: str) -> tuple[list[str], float]:
    """Coloured names from the top left on, and the height that they take."""
    parts, x, y = [], float(_LEFT), 14.0
    for i, name in enumerate(names):
        wide = 22 + 7.2 * len(visible(name, UNICODE, spaces=False))
        if x + wide > WIDTH and x > _LEFT:
            x, y = float(_LEFT), y + _ROW
        mark = _mark(i, x + 5, y - 4) if kind == "s" else f'<rect x="{_n(x)}" y="{_n(y - 9)}" width="10" height="10"/>'
        parts.append(f'<g class="{kind}{i}">{mark}</g>{_text(x + 15, y, name)}')
        x += wide
    return parts, y + 14


def _mark(number: int, x: float, y: float) -> str:
    shape = _MARKS[number % len(_MARKS)]
    if shape == "circle":
        return f'<circle cx="{_n(x)}" cy="{_n(y)}" r="3.5"/>'
    if shape == "square":
        return f'<rect x="{_n(x - 3)}" y="{_n(y - 3)}" width="6" height="6"/>'
    d = 4.5
    points = (
        [(x, y - d), (x + d, y), (x, y + d), (x - d, y)]
        if shape == "diamond"
        else [(x, y - d), (x + d, y + d), (x - d, y + d)]
    )
    return f'<polygon points="{" ".join(f"{_n(a)},{_n(b)}" for a, b in points)}"/>'


def _finite(values: Sequence[float | None]) -> list[float]:
    return [v for v in values if v is not None and math.isfinite(v)]


def _lines(plot: LinePlot) -> str:
    names = [f"{letter(i)}: {name}" if plot.lettered else name for i, (name, _, _) in enumerate(plot.series)]
    parts, top = _legend(names, "s")
    bottom = top + 220
    values = [v for _, _, ys in plot.series for v in _finite(ys)]
    if not values:
        return _element(plot.title, top + 30, [*parts, _text(_LEFT, top + 14, "nothing to draw")])
    highest = max(values) or 1.0
    highest = max(highest, 1.0) if plot.style == "count" else highest
    xs = [x for _, each, ys in plot.series for x, y in zip(each, ys, strict=True) if y is not None]
    first, last = min(xs), max(xs)

    def at_x(x: float) -> float:
        room = WIDTH - _LEFT - _RIGHT
        return _LEFT + (room * (x - first) / (last - first) if last > first else room / 2)

    def at_y(y: float) -> float:
        return bottom - (bottom - top - 6) * y / highest

    for tick in [0.0, *round_between(0, highest, 5), highest]:
        if tick in (0.0, highest) or min(tick, highest - tick) > highest * 0.09:
            if plot.style == "count" and tick != int(tick):
                continue
            parts.append(
                f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{_n(at_y(tick))}" y2="{_n(at_y(tick))}" class="grid"/>'
            )
            parts.append(_text(_LEFT - 6, at_y(tick) + 4, shown(tick, plot.style), "end"))
    ticks = [first, last, *round_between(first, last, 10)] if last > first else [first]
    taken: list[float] = []
    for tick in ticks:
        if plot.x_label == "layer" and tick != int(tick):
            continue
        if all(abs(at_x(tick) - x) > 34 for x in taken):
            taken.append(at_x(tick))
            parts.append(_text(at_x(tick), bottom + 16, f"{tick:.4g}", "middle"))
    parts.append(_text((_LEFT + WIDTH - _RIGHT) / 2, bottom + 32, plot.x_label, "middle", "dim"))
    for i, (name, (_, xs_, ys)) in enumerate(zip(names, plot.series, strict=True)):
        parts.append(f'<g class="s{i}">')
        run: list[str] = []
        marks = []
        for x, y in [*zip(xs_, ys, strict=True), (0.0, None)]:
            if y is None or not math.isfinite(y):
                if len(run) > 1:
                    parts.append(f'<polyline points="{" ".join(run)}"/>')
                run = []
                continue
            run.append(f"{_n(at_x(x))},{_n(at_y(y))}")
            said = safe(f"{name}: {plot.x_label} {x:.4g}, {shown(y, plot.style)}")
            marks.append(f"<g><title>{said}</title>{_mark(i, at_x(x), at_y(y))}</g>")
        parts += [*marks, "</g>"]
    return _element(plot.title, bottom + 40, parts)


def _stacks(plot: StackPlot) -> str:
    parts, top = _legend(plot.names, "b")
    full = max((sum(row) for row in plot.matrix), default=0) or 1
    scale = (WIDTH - _LEFT - _RIGHT) / full
    for number, (label, row) in enumerate(zip(plot.labels, plot.matrix, strict=True)):
        y = top + _ROW * number
        parts.append(_text(_LEFT - 6, y + 11, label, "end"))
        x = float(_LEFT)
        for i, (name, value) in enumerate(zip(plot.names, row, strict=True)):
            if value:
                said = safe(f"{label}: {shown(value, 'count')} of {name}")
                rect = f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(value * scale)}" height="{_ROW - 4}"/>'
                parts.append(f'<g class="b{i}"><title>{said}</title>{rect}</g>')
                x += value * scale
    return _element(plot.title, top + _ROW * len(plot.labels) + 6, parts)


def _dots(plot: DotPlot) -> str:
    parts: list[str] = []
    room = int((WIDTH - _LEFT - _RIGHT) // _DOT_ROOM)
    for number, (label, row) in enumerate(zip(plot.labels, plot.rows, strict=True)):
        y = 12 + _ROW * number
        parts.append(_text(_LEFT - 6, y + 4, label, "end"))
        x = float(_LEFT + 5)
        single = sum(n for _, _, n in row) <= room
        for kind, strength, n in row:
            look = f'class="{kind} {strength}"'
            said = safe(f"{label}: {shown(n, 'count')} {kind}, {strength}")
            dots = "".join(
                f'<circle cx="{_n(x + _DOT_ROOM * i)}" cy="{_n(y)}" r="4.5"/>' for i in range(n if single else 1)
            )
            parts.append(f"<g {look}><title>{said}</title>{dots}</g>")
            if single:
                x += _DOT_ROOM * n
            else:
                text = f"×{shown(n, 'count')}"
                parts.append(_text(x + 7, y + 4, text))
                x += 7 + 7.5 * len(text) + 12
    return _element(plot.title, 12 + _ROW * len(plot.labels) + 4, parts)


def _ranges(plot: RangePlot) -> str:
    left = 24 + 7 * max((len(label) for label, _ in plot.rows), default=0)
    scale = (WIDTH - left - _RIGHT) / max(plot.positions, 1)
    parts = []
    for number, (label, spans) in enumerate(plot.rows):
        y = 4 + _ROW * number
        parts.append(_text(left - 8, y + 11, label, "end"))
        for start, stop in spans:
            said = safe(f"{label}: positions {start} to {stop - 1}")
            x, wide = left + start * scale, max((stop - start) * scale, 1)
            rect = f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(wide)}" height="{_ROW - 5}"/>'
            parts.append(f'<g class="oscillatory strong"><title>{said}</title>{rect}</g>')
    bottom = 4 + _ROW * len(plot.rows) + 14
    last = plot.positions - 1
    for tick in [0.0, *round_between(0, last, 8), float(last)]:
        if tick in (0.0, last) or last * 0.05 < tick < last * 0.95:
            parts.append(_text(left + (tick + 0.5) * scale, bottom, f"{tick:.0f}", "middle"))
    return _element(plot.title, bottom + 8, parts)
