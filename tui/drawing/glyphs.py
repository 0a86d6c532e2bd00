"""The characters that things are drawn with: Unicode, or ASCII."""

from __future__ import annotations

import codecs
from dataclasses import dataclass


@dataclass(frozen=True)
class Glyphs:
    """The characters things are drawn with, 1 cell each but for `newline`, `tab` and `ellipsis` in ASCII.

    `steps` are the fillings of one bar cell from empty to full. `box` is horizontal, vertical, the corners
    (top left, top right, bottom left, bottom right), the tees (left, right, top, bottom), the cross and a
    solid left wall.
    """

    ascii: bool
    space: str
    newline: str
    tab: str
    cursor: str
    mark: str
    dot: str
    ellipsis: str
    trigger: str
    times: str
    steps: str
    box: str


UNICODE = Glyphs(
    ascii=False,
    space="␣",
    newline="⏎",
    tab="⇥",
    cursor="▸",
    mark="*",
    dot="·",
    ellipsis="…",
    trigger="◂",
    times="×",
    steps=" ▏▎▍▌▋▊▉█",
    box="─│┌┐└┘├┤┬┴┼▏",
)
# `_` for a space would be read as the underscore that so many code tokens begin with.
ASCII = Glyphs(
    ascii=True,
    space="~",
    newline="\\n",
    tab="\\t",
    cursor=">",
    mark="*",
    dot=".",
    ellipsis="..",
    trigger="<",
    times="x",
    steps=" .#",
    box="-|++++++++++",
)


def choose_glyphs(encoding: str | None, ascii: bool = False) -> Glyphs:
    """The glyphs for a terminal stream of this `encoding` (None: unknown); `ascii`: the user's own wish.

    UNICODE only where the encoding holds every character: a token may be of any script, so a code page that
    happens to hold the box characters is not enough.
    """
    if ascii or not encoding:
        return ASCII
    try:
        codecs.encode("⏎␣▸⣿א漢क\U0001f600", encoding)
    except (LookupError, UnicodeError, TypeError):
        return ASCII
    return UNICODE
