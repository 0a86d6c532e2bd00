"""Token and corpus text as one printable line of known width, and numbers in fixed columns.

A model's vocabulary and a corpus hold anything: escape sequences, newlines, half characters, bidi overrides.
Nothing of that may reach a terminal raw, and a character whose width terminals disagree on shifts the rest of
its row. So `visible` keeps a character only where the width tables agree and writes everything else as an
escape in ASCII.
"""

from __future__ import annotations

import math
import unicodedata
from functools import lru_cache

from rich.cells import cell_len

from ffnscope.store.escaping import escape_character
from ffnscope.tui.drawing.glyphs import UNICODE, Glyphs

# Printable by category, yet drawn as nothing (fillers, blank braille), changing the width of their neighbour
# (variation selectors, the keycap), or joined by some terminals and not by others (flags, skin tones).
_INVISIBLE = frozenset(
    chr(code)
    for first, last in (
        (0x034F, 0x034F),
        (0x115F, 0x1160),
        (0x17B4, 0x17B5),
        (0x180B, 0x180F),
        (0x20E3, 0x20E3),
        (0x2800, 0x2800),
        (0x3164, 0x3164),
        (0xFE00, 0xFE0F),
        (0xFFA0, 0xFFA0),
        (0x1F1E6, 0x1F1FF),
        (0x1F3FB, 0x1F3FF),
        (0xE0100, 0xE01EF),
    )
    for code in range(first, last + 1)
)
_DOTTED_CIRCLE = "◌"
# tmux keeps about 20 bytes per cell and drops what does not fit.
_MAX_MARKS = 3


@lru_cache(maxsize=16384)
def _keeps(char: str) -> int:
    """0: escape it; 1: a character with cells of its own; 2: a combining mark."""
    category = unicodedata.category(char)
    if category[0] == "C" or category in ("Zs", "Zl", "Zp", "Mc") or char in _INVISIBLE:
        return 0
    if category[0] == "M":
        return 2 if cell_len(char) == 0 else 0
    wide = unicodedata.east_asian_width(char) in "WF"
    return 1 if cell_len(char) == 1 + wide else 0


def spans(text: str, glyphs: Glyphs = UNICODE, spaces: bool = True) -> list[tuple[str, bool]]:
    """`visible` in pieces: (drawn text, True where it stands for something else and is drawn dim)."""
    out: list[tuple[str, bool]] = []
    plain: list[str] = []
    marks, based = 0, False

    def stand_in(drawn: str) -> None:
        nonlocal based, marks
        based, marks = False, 0
        if plain:
            out.append(("".join(plain), False))
            plain.clear()
        if out and out[-1][1]:
            out[-1] = (out[-1][0] + drawn, True)
        else:
            out.append((drawn, True))

    for char in text:
        if char == " ":
            if spaces:
                stand_in(glyphs.space)
            else:
                plain.append(char)
                based, marks = False, 0
        elif " " < char <= "~":
            plain.append(char)
            based, marks = True, 0
        elif char == "\n":
            stand_in(glyphs.newline)
        elif char == "\t":
            stand_in(glyphs.tab)
        elif glyphs.ascii:
            stand_in(escape_character(char))
        elif char < " " or char == "\x7f":
            stand_in("\u2421" if char == "\x7f" else chr(0x2400 + ord(char)))
        elif (kept := _keeps(char)) == 1:
            plain.append(char)
            based, marks = True, 0
        elif kept == 2 and marks < _MAX_MARKS:
            plain.append(char if based else _DOTTED_CIRCLE + char)
            based, marks = True, marks + 1
        else:
            stand_in(escape_character(char))
    if plain:
        out.append(("".join(plain), False))
    return out


def visible(text: str, glyphs: Glyphs = UNICODE, spaces: bool = True) -> str:
    r"""`text` as one printable line whose width in cells is the sum of its characters' widths.

    Spaces become `␣` (with `spaces=False`, for running text, they stay), newline `⏎`, tab `⇥`, other C0
    controls their pictures; C1 controls, other spaces, bidi controls, joiners, variation selectors,
    unassigned and private characters, surrogates, and characters whose width terminals disagree on become
    escapes such as `\u202e`. A combining mark without a base gets `◌`, and at most 3 marks stay on one base.
    Right-to-left letters stay: most terminals draw in order. In ASCII, everything outside ASCII is an escape.
    Applying it twice changes nothing.
    """
    return "".join(drawn for drawn, _ in spans(text, glyphs, spaces))


def fit(text: str, width: int, align: str = "left", glyphs: Glyphs = UNICODE) -> str:
    """`text` (already `visible`) padded or cut to exactly `width` cells; a cut ends in the ellipsis.

    `align` is "left" or "right". A wide character that would straddle the edge gives way to a space, and
    combining marks stay with their base. A width below 1 gives "".
    """
    if align not in ("left", "right"):
        raise ValueError(f"align is left or right, not {align!r}")
    width = max(width, 0)
    cells = cell_len(text)
    if cells > width:
        end = glyphs.ellipsis[:width]
        room, taken, stop = width - len(end), 0, 0
        for stop, char in enumerate(text):  # noqa: B007
            taken += cell_len(char)
            if taken > room:
                break
        text = text[:stop] + end
        cells = cell_len(text)
    pad = " " * (width - cells)
    return text + pad if align == "left" else pad + text


def bar(value: float, width: int, glyphs: Glyphs = UNICODE) -> str:
    """A horizontal bar of exactly `width` cells for `value` in 0..1 (clipped; NaN is empty).

    Only 0 is drawn empty and only 1 full: the smallest share shows, and 99.9% is not all.
    """
    width = max(width, 0)
    if math.isnan(value) or value <= 0 or not width:
        return " " * width
    per_cell = len(glyphs.steps) - 1
    whole = per_cell * width
    filled = whole if value >= 1 else min(max(round(value * whole), 1), max(whole - 1, 1))
    cells, rest = divmod(filled, per_cell)
    drawn = glyphs.steps[-1] * cells + (glyphs.steps[rest] if rest else "")
    return drawn + " " * (width - len(drawn))
