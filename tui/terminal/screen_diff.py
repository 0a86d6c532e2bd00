"""What is sent to the terminal: only the cells that differ from what it shows, in as few escape sequences as possible.

Textual sends whole runs of every widget it repaints, each with its full style. Over SSH that is most of the bytes. Here
the screen that was sent is remembered cell by cell, and an update is turned into the moves, style changes and characters
between the two; where whole lines moved up or down, the terminal is told to move them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from rich.cells import cell_len
from rich.color import ColorSystem
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual.strip import SGR_STYLES, Strip

from ffnscope.store.escaping import CONTROL
from ffnscope.tui.terminal.scroll_diff import Cell, Look, find_shift
from ffnscope.tui.terminal.textual_private import (
    ChopsUpdate,
    CompositorUpdate,
    LayoutUpdate,
    color_system,
    style_attributes,
)

# Equal cells further apart than this are never sent again; nearer ones where that is shorter than a move.
GAP = 8
SHIFT_FROM = 200  # characters from which it is worth looking whether rows only moved up or down
# What shows on a space: underline, reverse, strike-through, double underline, frames.
_ON_SPACE = frozenset({"4", "7", "9", "21", "51", "52", "53"})
_OFF = {"1": "22", "2": "22", "3": "23", "4": "24", "5": "25", "6": "25", "7": "27", "8": "28", "9": "29", "21": "24"}

_Run = tuple[int, int, Look, str, int]  # x, y, look, text, the column after it
PLAIN: Look = ((), (), ())
UNKNOWN: Cell = ("\0", PLAIN)


class Wire:
    """Remembers the terminal's cells. `forget` after anything else has written to it."""

    def __init__(self) -> None:
        self._rows: list[list[Cell]] = []
        self._size = (0, 0)

    def forget(self) -> None:
        """The terminal shows something unknown: the next updates are sent whole."""
        self._size = (0, 0)

    def wrap(self, update: CompositorUpdate, width: int, height: int) -> CompositorUpdate:
        """The update as one that sends the difference; as it is where its kind is not known."""
        if isinstance(update, (ChopsUpdate, LayoutUpdate)):
            return _Difference(self, update, width, height)
        self.forget()
        return update

    def difference(self, update: CompositorUpdate, size: tuple[int, int], system: ColorSystem) -> str:
        """The escape sequences that bring the terminal from what it shows to the update."""
        if size != self._size:
            self._rows = [[UNKNOWN] * size[0] for _ in range(size[1])]
            self._size = size
        wanted: dict[int, list[Cell]] = {}
        for y, x, stop, strips in _pieces(update):
            # A screen that has not heard of a narrower terminal yet paints beyond it.
            if 0 <= y < size[1] and 0 <= x < size[0]:
                row = wanted.setdefault(y, self._rows[y].copy())
                cells = [cell for strip in strips for cell in _cells(strip, system)][: min(stop, size[0]) - x]
                row[x : x + len(cells)] = cells
        out = _between(self._rows, wanted)
        if len(out) > SHIFT_FROM and (shift := find_shift(self._rows, wanted, UNKNOWN)):
            every = {y: wanted.get(y, self._rows[y]) for y in range(shift.first, shift.last + 1)} | wanted
            shifted = shift.sequence + _between(shift.applied(self._rows, UNKNOWN), every)
            out = min(out, shifted, key=lambda text: len(text.encode("utf-8", "replace")))
        for y, row in wanted.items():
            self._rows[y] = row
        return out


def _between(rows: list[list[Cell]], wanted: dict[int, list[Cell]]) -> str:
    """What turns the rows into those that are wanted."""
    runs: list[_Run] = []
    for y in sorted(wanted):
        _line(runs, y, rows[y], wanted[y])
    # A change of colour costs more than a move: often it is shorter to write one look everywhere, then the next.
    looks = {run[2]: i for i, run in reversed(list(enumerate(runs)))}
    grouped = sorted(runs, key=lambda run: looks[run[2]])
    return min(_written(runs), _written(grouped), key=len)


def _line(runs: list[_Run], y: int, old: list[Cell], new: list[Cell]) -> None:
    if new == old:
        return
    at, end = 0, len(new)
    while at < end:
        if new[at] == old[at]:
            at += 1
            continue
        while at and (new[at][0] == "" or old[at][0] == ""):
            at -= 1
        last = until = at
        while until < end and until - last <= GAP and new[until] is not UNKNOWN:
            if new[until] != old[until] or new[until][0] == "":
                if until - last > 1 and not _worth_sending(new, last, until):
                    break
                last = until
            until += 1
        _add_runs(runs, at, y, new[at : last + 1])
        at = last + 1


def _worth_sending(new: list[Cell], last: int, until: int) -> bool:
    """Whether the equal cells between two changed ones cost no more bytes than a move over them."""
    look, cost = new[last][1], 0
    for char, wanted in new[last + 1 : until + 1]:
        if wanted != look and not (char == " " and wanted == _on_space(look)):
            cost += len(_change(look, wanted))
            look = wanted
        cost += len(char.encode("utf-8", "replace"))
    jump = 4 + len(new[until][0].encode("utf-8", "replace"))
    if new[last][1] != new[until][1]:
        jump += len(_change(new[last][1], new[until][1]))
    return cost <= jump


def _add_runs(runs: list[_Run], x: int, y: int, cells: list[Cell]) -> None:
    """Split cells where the look changes; a space joins the run before it where it looks the same in it."""
    start, text, look = x, "", cells[0][1]
    for at, (char, wanted) in enumerate(cells, x):
        if wanted != look and not (char == " " and wanted == _on_space(look)):
            runs.append((start, y, look, text, at))
            start, text, look = at, "", wanted
        text += char
    runs.append((start, y, look, text, x + len(cells)))


def _written(runs: list[_Run]) -> str:
    """The runs in this order as escape sequences, the style plain before and after."""
    out: list[str] = []
    column, row, pen = -1, -1, PLAIN
    for x, y, look, text, end in runs:
        if y != row or x < column or column < 0:
            out.append(f"\x1b[{y + 1};{x + 1}H")
        elif x > column:
            out.append(f"\x1b[{x - column}C" if x - column > 1 else "\x1b[C")
        if look != pen:
            out.append(_change(pen, look))
            pen = look
        out.append(text)
        column, row = end, y
    if pen != PLAIN:
        out.append("\x1b[m")
    return "".join(out)


class _Difference(CompositorUpdate):
    def __init__(self, wire: Wire, update: CompositorUpdate, width: int, height: int):
        self._wire, self._update, self._size = wire, update, (width, height)

    def __rich_console__(self, console: Console, options: object) -> Iterator[Segment]:
        yield Segment(self.render_segments(console))

    def render_segments(self, console: Console) -> str:
        return self._wire.difference(self._update, self._size, color_system(console))


def _pieces(update: CompositorUpdate) -> Iterator[tuple[int, int, int, list[Strip]]]:
    """(y, x, end, strips) of everything an update repaints."""
    if isinstance(update, LayoutUpdate):
        region = update.region
        for y, strips in enumerate(update.strips, region.y):
            yield y, region.x, region.right, list(strips)
    elif isinstance(update, ChopsUpdate):
        for y, first, last in update.spans:
            for end, (x, strip) in zip(update.chop_ends[y], update.chops[y].items(), strict=False):
                if strip is not None and x <= last and end > first:
                    yield y, x, end, [strip]


def _cells(strip: Strip, system: ColorSystem) -> list[Cell]:
    cells: list[Cell] = []
    for text, style, control in strip:
        if control:
            continue
        look = PLAIN if style is None else _look(style, system)
        bare = _on_space(look)
        # The last hand before the terminal: a control character that a screen left in must not act on it.
        text = CONTROL.sub("?", text)
        if text.isascii():
            cells += [(char, bare if char == " " else look) for char in text]
            continue
        for char in text:
            wide = cell_len(char)
            if wide == 0 and cells:
                base = next(i for i in range(len(cells) - 1, -1, -1) if cells[i][0] or i == 0)
                cells[base] = (cells[base][0] + char, cells[base][1])
            else:
                cells.append((char, bare if char == " " else look))
                cells += [("", look)] * (wide - 1)
    return cells


@lru_cache(maxsize=4096)
def _look(style: Style, system: ColorSystem) -> Look:
    attributes = style_attributes(style)
    codes = tuple(code for bit, code in enumerate(SGR_STYLES) if attributes & (1 << bit))
    color = style.color.downgrade(system).get_ansi_codes() if style.color else ()
    bgcolor = style.bgcolor.downgrade(system).get_ansi_codes(False) if style.bgcolor else ()
    return codes, () if color == ("39",) else tuple(color), () if bgcolor == ("49",) else tuple(bgcolor)


@lru_cache(maxsize=4096)
def _change(old: Look, new: Look) -> str:
    """The shortest SGR sequence from one look to another."""
    gone = [code for code in old[0] if code not in new[0]]
    codes = list(dict.fromkeys(_OFF.get(code, "") for code in gone))
    # Bold and faint are switched off together.
    codes += [code for code in new[0] if code not in old[0] or _OFF.get(code) in codes]
    for index, default in ((1, "39"), (2, "49")):
        if new[index] != old[index]:
            codes += new[index] or (default,)
    whole = ["", *(code for part in new for code in part)]
    codes = whole if "" in codes else min(codes, whole, key=lambda sequence: len(";".join(sequence)))
    return f"\x1b[{';'.join(codes)}m"


@lru_cache(maxsize=4096)
def _on_space(look: Look) -> Look:
    """What of a look a space shows; the foreground only where something is drawn with it."""
    shown = tuple(code for code in look[0] if code in _ON_SPACE)
    return shown, look[1] if shown else (), look[2]
