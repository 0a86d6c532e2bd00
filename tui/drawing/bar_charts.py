"""Charts of whole cells (bars, stacked bars, letters, ranges) and the parts every plot is put together from.

Every line comes out exactly as wide as asked; labels may be any text. Nothing here raises for odd data or
sizes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rich.cells import cell_len

from ffnscope.tui.drawing.glyphs import ASCII, UNICODE
from ffnscope.tui.drawing.text import fit, visible

Segments = list[tuple[str, str]]  # (text, style name) runs of one line; "" is the plain style


def plain(lines: Sequence[Segments]) -> list[str]:
    """The text of styled lines."""
    return ["".join(text for text, _ in line) for line in lines]


def stacked_bars(
    labels: Sequence[str],
    matrix: ArrayLike,
    width: int,
    *,
    names: Sequence[str],
    styles: Sequence[str] = (),
    ascii: bool = False,
) -> list[Segments]:
    """One stacked bar per row of `matrix` (non-negative, [L, C]) under a legend of the C `names`.

    A full bar is the largest row sum. A run begins with its category's letter and
    neighbouring categories alternate in shade, so it reads without colour; what is not 0 gets a cell wherever
    there is one to give.
    """
    glyphs = ASCII if ascii else UNICODE
    data = np.nan_to_num(np.asarray(matrix, dtype=np.float64), posinf=0.0).clip(0, 1e300)
    data = data.reshape(len(labels), len(names))
    full = positive(float(data.sum(axis=1).max(initial=0.0)))
    head = _column([visible(label, glyphs, spaces=False) for label in labels], width // 3, "right", ascii)
    room = max(width - _width(head) - 1, 0)
    shades = "=-" if ascii else "█▒"
    lines = [legend([(name,) for name in names], width, styles, ascii)]
    for label, row in zip(head, data, strict=True):
        line: Segments = [(label + " ", "")]
        for column, cells in enumerate(_share(row, full, room)):
            if cells:
                line.append((letter(column) + shades[column % 2] * (cells - 1), style_of(styles, column)))
        lines.append(exactly(line, width, ascii))
    return lines


def dots(
    rows: Sequence[Sequence[tuple[str, str]]],
    width: int,
    *,
    labels: Sequence[str] | None = None,
    ascii: bool = False,
) -> list[Segments]:
    """The paper's Figure 8: a line for each layer with a (letter, style) for each positional neuron.

    A layer with more than fit is written in counts: `O×12 o×3`. `labels` default to the layer numbers.
    """
    glyphs = ASCII if ascii else UNICODE
    names = [visible(label, glyphs, spaces=False) for label in labels or [str(i) for i in range(len(rows))]]
    head = _column(names, width // 3, "right", ascii)
    room = width - _width(head) - 1
    lines = []
    for label, row in zip(head, rows, strict=True):
        runs = [(visible(letter, glyphs), style, len(list(run))) for (letter, style), run in groupby(row)]
        if sum(len(letter) * n for letter, _, n in runs) > room:
            body = [(f"{letter}{glyphs.times}{n} ", style) for letter, style, n in runs]
        else:
            body = [(letter * n, style) for letter, style, n in runs]
        lines.append(exactly([(label + " ", ""), *body], width, ascii))
    return lines


def ranges(
    rows: Sequence[tuple[str, Sequence[tuple[int, int]]]],
    T: int,
    width: int,
    *,
    ascii: bool = False,
    x_label: str = "",
) -> list[str]:
    """The paper's Figure 9: a line for each (label, ranges) with a bar per range, then the position labels.

    Ranges are half-open (start, stop) within 0..T; the shortest still shows.
    """
    glyphs = ASCII if ascii else UNICODE
    head = _column([visible(label, glyphs, spaces=False) for label, _ in rows], width // 3, "left", ascii)
    left = _width(head) + 1
    cols = width - left
    if cols < 1 or T < 1:
        return [" " * max(width, 0)] * (len(rows) + 1)
    halves = 1 if ascii else 2
    lines = []
    for label, (_, spans) in zip(head, rows, strict=True):
        on = np.zeros(cols * halves, dtype=bool)
        for start, stop in spans:
            first, last = (min(max(round(p * len(on) / T), 0), len(on)) for p in (start, stop))
            if stop > start:
                first = min(first, len(on) - 1)
                on[first : max(last, first + 1)] = True
        cells = on.reshape(cols, halves) @ (1 << np.arange(halves))
        lines.append(f"{label} " + "".join((" #" if ascii else " ▌▐█")[cell] for cell in cells.tolist()))
    return [*lines, " " * left + position_axis(T, cols, x_label, ascii)]


def position_axis(T: int, cols: int, x_label: str, ascii: bool) -> str:
    """Labels 0, T-1 and round positions between, under the cells where those positions are drawn."""
    ticks = [0.0, float(T - 1)] if T > 1 else [0.0]
    ticks += [p for p in round_between(0, T - 1, cols // 12) if p == round(p)]
    return place([(round(p) * cols // T, str(round(p))) for p in ticks], cols, x_label, ascii)


def round_between(low: float, top: float, wanted: int) -> list[float]:
    """Round values inside low..top, about `wanted` of them: multiples of 1, 2 or 5 times a power of ten."""
    rough = (top - low) / max(wanted, 1)
    if not 1e-300 < rough < math.inf:
        return []
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(factor for factor in (1, 2, 5, 10) if factor * magnitude >= rough * 0.999) * magnitude
    first, last = math.floor(low / step) + 1, math.ceil(top / step)
    return [number * step for number in range(first, last)]


def place(ticks: Sequence[tuple[int, str]], cols: int, x_label: str, ascii: bool) -> str:
    """A line of `cols` cells with each (column, text) at its column, the earlier first; none that would touch."""
    line = [" "] * cols
    label = visible(x_label, ASCII if ascii else UNICODE, spaces=False)

    def put(start: int, text: str) -> None:
        stop = start + len(text)
        if start >= 0 and stop <= cols and not "".join(line[max(start - 1, 0) : stop + 1]).strip():
            line[start:stop] = text

    for number, (column, text) in enumerate(ticks):
        if number == 2 and label.isascii():
            put(len("".join(line).rstrip()) - len(ticks[1][1]) - len(label) - 1, label)
        put(min(max(column - len(text) // 2, 0), max(cols - len(text), 0)), text)
    if len(ticks) <= 2 and label.isascii():
        put((cols - len(label)) // 2, label)
    return "".join(line)


def legend(series: Sequence[tuple], width: int, styles: Sequence[str], ascii: bool) -> Segments:
    glyphs = ASCII if ascii else UNICODE
    line: Segments = []
    for number, item in enumerate(series):
        line += [
            (letter(number), style_of(styles, number)),
            (f":{visible(item[0], glyphs, spaces=False)} ", ""),
        ]
    return exactly(line, width, ascii)


def exactly(line: Segments, width: int, ascii: bool) -> Segments:
    """The segments cut (ending in the ellipsis) or padded to `width` cells."""
    glyphs = ASCII if ascii else UNICODE
    whole = plain([line])[0]
    text = fit(whole if _width([whole]) <= width else whole.rstrip(" "), width, glyphs=glyphs)
    out: Segments = []
    at = 0
    for part, style in line:
        if piece := text[at : at + len(part)]:
            out.append((piece, style))
        at += len(part)
    return [*out, (text[at:], "")] if text[at:] else out


def _column(texts: Sequence[str], most: int, align: str, ascii: bool) -> list[str]:
    width = min(_width(texts), max(most, 0))
    return [fit(text, width, align, ASCII if ascii else UNICODE) for text in texts]


def _width(texts: Sequence[str]) -> int:
    return max(map(cell_len, texts), default=0)


def _share(row: NDArray[np.float64], full: float, room: int) -> list[int]:
    """Cells for each category, by largest remainders; what is not 0 takes one from the largest run if it has two."""
    exact = row / full * room
    cells = np.floor(exact).astype(int)
    spare = min(round(float(exact.sum())), room) - int(cells.sum())
    for column in np.argsort(cells - exact, kind="stable")[: max(spare, 0)]:
        cells[column] += 1
    for column in np.flatnonzero((row > 0) & (cells == 0)):
        if cells.sum() < room and cells.max(initial=0) <= 1:
            cells[column] = 1
        elif cells.max(initial=0) > 1:
            cells[cells.argmax()] -= 1
            cells[column] = 1
    return cells.tolist()


def letter(number: int) -> str:
    return "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"[number % 52]


def style_of(styles: Sequence[str], number: int) -> str:
    return styles[number % len(styles)] if styles else ""


def positive(value: float) -> float:
    return float(value) if math.isfinite(value) and value > 0 else 1.0
