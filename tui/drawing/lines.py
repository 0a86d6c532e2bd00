"""Styled lines as plain data: what the panes draw, made without Textual and read by tests as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len

from ffnscope.tui.drawing.glyphs import UNICODE, Glyphs
from ffnscope.tui.drawing.text import fit, spans, visible

Part = tuple[str, str]  # (text, style name of palette.py)


@dataclass(frozen=True)
class Line:
    """One line of a pane: parts left to right, and the ground ("" for none, "cursor", "bar" ...) under all of it."""

    parts: tuple[Part, ...] = ()
    ground: str = ""

    @property
    def text(self) -> str:
        """The line without styles."""
        return "".join(text for text, _ in self.parts)

    @property
    def width(self) -> int:
        """In cells."""
        return sum(cell_len(text) for text, _ in self.parts)


BLANK = Line()


@dataclass
class Writer:
    """Builds a Line part by part."""

    glyphs: Glyphs = UNICODE
    parts: list[Part] = field(default_factory=list)
    width: int = 0

    def add(self, text: str, style: str = "text") -> Writer:
        """Text that is already one visible line."""
        if text:
            self.parts.append((text, style))
            self.width += cell_len(text)
        return self

    def token(self, text: str, style: str = "text", width: int | None = None, dim: bool = True) -> Writer:
        """A token's text made visible, its stand-ins dim; with `width` fitted to exactly that many cells.

        Every change of style is sent over the wire: `dim=False` for long lists.
        """
        drawn = spans(text, self.glyphs)
        whole = sum(cell_len(part) for part, _ in drawn)
        if width is not None and whole > width:
            return self.add(fit("".join(part for part, _ in drawn), width, glyphs=self.glyphs), style)
        pad = " " * (0 if width is None else width - whole)
        whole_stands_in = all(standing_in for _, standing_in in drawn)
        for part, standing_in in drawn:
            self.add(part, "dim" if standing_in and dim and not whole_stands_in else style)
        return self.add(pad)

    def tokens(self, texts: Iterable[str], style: str, width: int, dim: bool = True) -> Writer:
        """Tokens, each followed by a space; the last of them begins before `width`."""
        for text in texts:
            if self.width >= width:
                break
            self.token(text, style, dim=dim).add(" ")
        return self

    def prose(self, text: str, style: str = "text", width: int | None = None) -> Writer:
        """Running text made visible on one line, its spaces kept; with `width` fitted to exactly that many cells."""
        if width is not None:
            return self.add(fit(visible(text, self.glyphs, spaces=False), width, glyphs=self.glyphs), style)
        for part, standing_in in spans(text, self.glyphs, False):
            self.add(part, "dim" if standing_in else style)
        return self

    def to(self, column: int) -> Writer:
        """Spaces up to a column."""
        return self.add(" " * (column - self.width))

    def line(self, ground: str = "") -> Line:
        """What has been written."""
        return Line(tuple(self.parts), ground)


def line(*parts: Part | str, ground: str = "") -> Line:
    """A Line from parts; a bare string has the plain style."""
    return Line(tuple((part, "text") if isinstance(part, str) else part for part in parts), ground)


def filled(lines: Sequence[Line], height: int) -> list[Line]:
    """The lines cut to, or followed by blank ones up to, a height."""
    return [*lines, *[BLANK] * (height - len(lines))][: max(height, 0)]


def wrapped(text: str, style: str, width: int, glyphs: Glyphs = UNICODE) -> list[Line]:
    """Running text made visible and indented by a space, on as many lines as it takes."""
    return [Line(((" ", "text"), *row)) for row in wrap(Writer(glyphs).prose(text, style).parts, width - 2)]


def clip(parts: Iterable[Part], width: int, glyphs: Glyphs = UNICODE) -> tuple[Part, ...]:
    """The parts cut to at most `width` cells; a cut ends in the ellipsis."""
    parts = tuple(parts)
    if sum(cell_len(text) for text, _ in parts) <= width:
        return parts
    out: list[Part] = []
    room = width
    for text, style in parts:
        cells = cell_len(text)
        # The last cells of the room are kept for the ellipsis, which is wider in ASCII.
        if cells <= room - len(glyphs.ellipsis):
            out.append((text, style))
            room -= cells
            continue
        out.append((fit(text + " " * width, room, glyphs=glyphs), style))
        break
    return tuple(out)


def rule(title: Sequence[Part], width: int, glyphs: Glyphs = UNICODE, tail: str = "") -> Line:
    """A section's title on a thin rule: `── title ─────── tail ─`."""
    dash = glyphs.box[0]
    out = Writer(glyphs)
    if title:
        out.add(dash + " ", "rule")
        for text, style in clip(title, max(width - 4, 0), glyphs):
            out.add(text, style)
        out.add(" ", "rule")
    cells = cell_len(tail) + 4 if tail else 0
    if out.width + cells > width:
        return out.add(dash * (width - out.width), "rule").line()
    out.add(dash * (width - out.width - cells + (1 if tail else 0)), "rule")
    return out.add(f" {tail} ", "dim").add(dash, "rule").line() if tail else out.line()


def wrap(parts: Iterable[Part], width: int) -> list[tuple[Part, ...]]:
    """Parts broken at spaces into lines of at most `width` cells; a longer word is broken anywhere."""
    rows: list[list[Part]] = [[]]
    used = 0
    for text, style in parts:
        pieces = text.split(" ")
        for index, piece in enumerate(pieces):
            word = piece + (" " if index < len(pieces) - 1 else "")
            while word:
                bare = cell_len(word.rstrip(" "))
                if used and used + bare > width:
                    rows.append([])
                    used = 0
                if bare > width:
                    taken = fit(word, width + 1)[:-1] or word[0]
                    taken = word[: len(taken.rstrip(" "))] or word[0]
                else:
                    taken = word
                rows[-1].append((taken, style))
                used += cell_len(taken)
                word = word[len(taken) :]
    return [tuple(row) for row in rows]


def framed(
    title: Sequence[Part],
    body: Sequence[Line],
    width: int,
    glyphs: Glyphs = UNICODE,
    *,
    wall: bool = False,
    tail: str = "",
) -> list[Line]:
    """A pane: its title on a rule, the body below it, with `wall` a thin line down the left side."""
    if not wall:
        return [rule(title, width, glyphs, tail), *body]
    head = rule(title, width - 1, glyphs, tail)
    corner, side = glyphs.box[8], glyphs.box[1]
    return [
        Line(((corner, "rule"), *head.parts)),
        *(Line(((side, "rule"), *inner.parts), inner.ground) for inner in body),
    ]
