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

from ffnscope.tui.terminal.screen_diff import Wire

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
    return LayoutUpdate([[strip] for strip in strips], Region(0, 0, WIDTH, len(strips)))


def terminal(sent: list[str], height: int = HEIGHT) -> list[list[tuple[object, ...]]]:
    """What a terminal shows after all that was sent, cell by cell."""
    screen = pyte.Screen(WIDTH, height)
    stream = pyte.Stream(screen)
    for each in sent:
        stream.feed(each)
    return [[_shown(screen.buffer[y][x]) for x in range(WIDTH)] for y in range(height)]


def _shown(cell: pyte.screens.Char) -> tuple[object, ...]:
    look: tuple[object, ...] = ()
    if cell.data.strip():
        look = cell.fg, cell.bold, cell.italics
    elif cell.underscore or cell.reverse:
        look = (cell.fg,)  # a space has no strokes to be bold or slanted
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


@given(st.data())
def test_lines_that_move_are_moved_by_the_terminal(data: st.DataObject) -> None:
    # A title, a list that scrolls under it with a cursor, and a line below: as the panes draw them.
    height = 14
    texts = [f"{number:>4} {number * 7919 % 9973:<6}" for number in range(60)]
    wire, sent, top = Wire(), [], 20
    for _ in range(data.draw(st.integers(1, 5))):
        top = max(0, min(top + data.draw(st.integers(-13, 13)), 48))
        cursor = top + data.draw(st.integers(0, 11))
        rows = [Strip([Segment(f"title {cursor:<5}"[:WIDTH].ljust(WIDTH), STYLES[1])])]
        rows += [Strip([Segment(texts[y].ljust(WIDTH), STYLES[3 if y == cursor else 1])]) for y in range(top, top + 12)]
        rows.append(Strip([Segment(f"below {cursor:<5}"[:WIDTH].ljust(WIDTH), STYLES[6])]))
        sent.append(wire.difference(update(rows), (WIDTH, height), ColorSystem.EIGHT_BIT))
    anew = Wire().difference(update(rows), (WIDTH, height), ColorSystem.EIGHT_BIT)
    assert terminal(sent, height) == terminal([anew], height)


def test_a_scrolled_list_sends_its_new_lines_only() -> None:
    texts = [f"{number * 7919 % 99991:>12}" for number in range(60)]
    wire = Wire()

    def show(top: int) -> str:
        rows = [Strip([Segment(text, STYLES[1])]) for text in texts[top : top + 20]]
        return wire.difference(update(rows), (WIDTH, 20), ColorSystem.EIGHT_BIT)

    show(0)
    down, up = show(2), show(0)
    assert "\x1b[2M" in down and all(text.strip() in down for text in texts[20:22]) and len(down) < 120
    assert "\x1b[2L" in up and all(text.strip() in up for text in texts[:2]) and len(up) < 120
