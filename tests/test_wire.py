"""Only differences are sent; a terminal that adds them up shows what was meant."""

from __future__ import annotations

import pyte
from hypothesis import given
from hypothesis import strategies as st
from rich.color import ColorSystem
from rich.segment import Segment
from rich.style import Style
from textual._compositor import LayoutUpdate
from textual.geometry import Region
from textual.strip import Strip

from ffnscope.tui.wire import Wire

WIDTH, HEIGHT = 12, 4
STYLES = [
    Style(),
    Style(color="#bcbcbc", bgcolor="#1c1c1c"),
    Style(color="#ffffff", bgcolor="#1c1c1c", bold=True),
    Style(color="#ffffff", bgcolor="#3a3a3a", bold=True),
    Style(dim=True, bold=True),
    Style(dim=True),
    Style(reverse=True),
    Style(underline=True, color="red"),
    Style(bold=True, underline=True, italic=True),
]
pieces = st.tuples(st.text("ab x漢│", max_size=9), st.sampled_from(STYLES))
lines = st.lists(pieces, max_size=5).map(
    lambda parts: Strip([Segment(*part) for part in parts]).adjust_cell_length(WIDTH)
)
screens = st.lists(st.lists(lines, min_size=HEIGHT, max_size=HEIGHT), min_size=1, max_size=4)


def update(strips: list[Strip]) -> LayoutUpdate:
    """A repaint of the whole screen."""
    return LayoutUpdate([[strip] for strip in strips], Region(0, 0, WIDTH, HEIGHT))


def terminal(sent: list[str]) -> list[list[tuple[object, ...]]]:
    """What a terminal shows after all that was sent, cell by cell."""
    screen = pyte.Screen(WIDTH, HEIGHT)
    stream = pyte.Stream(screen)
    for each in sent:
        stream.feed(each)
    return [[_shown(screen.buffer[y][x]) for x in range(WIDTH)] for y in range(HEIGHT)]


def _shown(cell: pyte.screens.Char) -> tuple[object, ...]:
    shows_foreground = cell.data.strip() or cell.underscore or cell.reverse
    look = (cell.fg, cell.bold, cell.italics) if shows_foreground else ()
    return cell.data, cell.bg, cell.reverse, cell.underscore, look


@given(screens)
def test_differences_add_up_to_the_last_screen(shown: list[list[Strip]]) -> None:
    wire = Wire()
    sent = [wire.difference(update(strips), (WIDTH, HEIGHT), ColorSystem.EIGHT_BIT) for strips in shown]
    anew = Wire().difference(update(shown[-1]), (WIDTH, HEIGHT), ColorSystem.EIGHT_BIT)
    assert terminal(sent) == terminal([anew])


@given(screens)
def test_the_same_screen_again_sends_nothing(shown: list[list[Strip]]) -> None:
    wire = Wire()
    for strips in shown:
        wire.difference(update(strips), (WIDTH, HEIGHT), ColorSystem.EIGHT_BIT)
        assert wire.difference(update(strips), (WIDTH, HEIGHT), ColorSystem.EIGHT_BIT) == ""
    wire.forget()
    assert wire.difference(update(shown[-1]), (WIDTH, HEIGHT), ColorSystem.EIGHT_BIT)


def test_one_changed_letter_is_a_move_and_a_letter() -> None:
    wire = Wire()
    style = STYLES[1]
    one, other = (Strip([Segment(text, style)]) for text in ("abcdefghijkl", "abcdefgXijkl"))
    wire.difference(update([one] * HEIGHT), (WIDTH, HEIGHT), ColorSystem.EIGHT_BIT)
    sent = wire.difference(update([one, other, one, one]), (WIDTH, HEIGHT), ColorSystem.EIGHT_BIT)
    assert sent.startswith("\x1b[2;8H") and sent.count("X") == 1 and len(sent) < 40
