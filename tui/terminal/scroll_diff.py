"""Lines of the screen that only moved up or down: the terminal can move them itself, for a dozen bytes.

Scrolling margins with deleted or inserted lines are in every terminal since the VT102, tmux, screen and the Linux
console too. Margins to the left and right are not, so a list beside another pane is sent again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Look = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]  # SGR codes of attributes, foreground, background
Cell = tuple[str, Look]  # the second cell of a wide character is an empty string
LEAST = 3  # rows that must have moved


@dataclass(frozen=True)
class Shift:
    """The rows first .. last (of the screen, from 0) move by ``by``: up where it is above 0."""

    first: int
    last: int
    by: int

    @property
    def sequence(self) -> str:
        """Margins, the lines deleted or inserted at their top, and no margins again."""
        what = f"{self.by}M" if self.by > 0 else f"{-self.by}L"
        return f"\x1b[{self.first + 1};{self.last + 1}r\x1b[{self.first + 1}H\x1b[{what}\x1b[r"

    def applied(self, rows: Sequence[list[Cell]], unknown: Cell) -> list[list[Cell]]:
        """The screen after it; what comes into view is unknown, as terminals colour it differently."""
        out = list(rows)
        for y in range(self.first, self.last + 1):
            source = y + self.by
            out[y] = rows[source] if self.first <= source <= self.last else [unknown] * len(rows[y])
        return out


def find_shift(rows: Sequence[list[Cell]], wanted: Mapping[int, list[Cell]], unknown: Cell) -> Shift | None:
    """The move of whole rows that most of the wanted ones come from, None where there is none."""
    places: dict[str, list[int]] = {}
    for y, row in enumerate(rows):
        text = _text(row)
        if text.strip():
            places.setdefault(text, []).append(y)
    moved: dict[int, list[int]] = {}
    for y, row in wanted.items():
        if row != rows[y]:
            for source in places.get(_text(row), ()):
                if source != y and rows[source] == row:
                    moved.setdefault(source - y, []).append(y)
    if not moved:
        return None
    by, _ = Counter({by: len(ys) for by, ys in moved.items()}).most_common(1)[0]
    ys = moved[by]
    first, last = min(min(ys), min(ys) + by), max(max(ys), max(ys) + by)
    if len(ys) < LEAST or any(cell is unknown for row in rows[first : last + 1] for cell in row):
        return None
    return Shift(first, last, by)


def _text(row: list[Cell]) -> str:
    return "".join(cell[0] for cell in row)
