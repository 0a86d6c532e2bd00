"""No terminal's answer ever acts as a key: whole, late, in pieces, or with keys around it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pty_browser import PtyBrowser
from textual import events

from ffnscope.tui.terminal.replies import KEY_DELAY, PATIENCE, ReplyFilter
from ffnscope.tui.terminal.textual_private import AnswerFreeParser, is_key_sequence

ANSWERS = {
    "DA1": "\x1b[?61;4;6;7;14;21;22;23;24;28;32;42;52c",
    "DA2": "\x1b[>1;10;0c",
    "DA3": "\x1bP!|00000000\x1b\\",
    "OSC 11": "\x1b]11;rgb:1414/1919/1f1f\x1b\\",
    "OSC 10": "\x1b]10;rgb:cccc/cccc/cccc\x07",
    "OSC 4": "\x1b]4;1;rgb:cccc/cccc/cccc\x07",
    "XTVERSION": "\x1bP>|WezTerm 20240203-110809-5046fc22\x1b\\",
    "DECRQSS": "\x1bP1$r0;48:2:1:2:3m\x1b\\",
    "XTGETTCAP": "\x1bP1+r544e=787465726d\x1b\\",
    "kitty flags": "\x1b[?0u",
    "kitty graphics": "\x1b_Gi=31;OK\x1b\\",
    "DSR": "\x1b[0n",
    "colour scheme": "\x1b[?997;1n",
    "DECXCPR": "\x1b[?12;40;1R",
    "DECRPM of a mode nobody asked for": "\x1b[?69;2$y",
    "window size": "\x1b[8;24;80t",
    "clipboard": "\x1b]52;c;c3BhY2VzIG0gZSBxIA==\x07",
    "title": "\x1b]2;q q\x1b\\",
    "title that was asked for": "\x1b]lqq\x1b\\",
}
KEYS = ["j", "\x1b[A", "\x1bOA", "\x1b[1;5A", "\x1b[97;5u", "\x1b[[A", "\x1b[15~", "\x1b[Z", "\x1ba", "\x1b[<0;3;4M"]
PASTE = "\x1b[200~\x1b]11;q\x1b\x1b[20~[0n\x1b[201~"
PASTED = "\x1b[200~]11;q[20~[0n\x1b[201~"  # its escapes are left out
text = st.sampled_from([*KEYS, PASTE])


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def reply_filter() -> tuple[ReplyFilter, Clock]:
    clock = Clock()
    return ReplyFilter(is_key_sequence, clock), clock


@pytest.mark.parametrize("name", [name for name in ANSWERS if "DECRPM" not in name])
def test_an_answer_is_dropped_and_the_keys_around_it_are_kept(name: str) -> None:
    kept, clock = reply_filter()
    assert kept.keep(f"a{ANSWERS[name]}b") == "ab"
    for at in range(2, len(ANSWERS[name])):
        pieces, clock = reply_filter()
        first = pieces.keep(ANSWERS[name][:at])
        clock.now += PATIENCE / 2 if at > 2 or ANSWERS[name][1] == "[" else KEY_DELAY / 2
        assert first + pieces.expired() + pieces.keep(ANSWERS[name][at:]) + pieces.keep("q") == "q", at


@given(parts=st.lists(st.one_of(text, st.sampled_from(list(ANSWERS.values()))), max_size=8), cuts=st.data())
def test_keys_pastes_and_the_mouse_come_through_whole(parts: list[str], cuts: st.DataObject) -> None:
    kept, _ = reply_filter()
    whole = "".join(parts)
    sent, seen = 0, ""
    while sent < len(whole):
        size = cuts.draw(st.integers(1, len(whole) - sent))
        seen += kept.keep(whole[sent : sent + size])
        sent += size
    modes = [ANSWERS["DECRPM of a mode nobody asked for"]]  # Textual reads such itself
    assert seen == "".join(PASTED if part == PASTE else part for part in parts if part in (*KEYS, PASTE, *modes))


def test_escape_and_alt_are_keys_once_nothing_follows() -> None:
    for key in ("\x1b", "\x1b]", "\x1bP", "\x1b_"):
        kept, clock = reply_filter()
        assert kept.keep(key) == "" == kept.expired()
        clock.now += KEY_DELAY
        assert kept.expired() == key
        assert kept.keep("j") == "j"
    assert reply_filter()[0].keep("\x1b\x1b[A\x1bPq") == "\x1b\x1b[A\x1bPq"


@pytest.mark.parametrize("start", ["\x1b[?61;4", "\x1b]11;rgb", "\x1bP>|Wez"])
def test_an_answer_that_never_ends_takes_no_keys_for_long(start: str) -> None:
    kept, clock = reply_filter()
    assert kept.keep(start) == ""
    clock.now += PATIENCE
    assert kept.expired() == "" and kept.keep("j\x1b[A") == "j\x1b[A"
    assert kept.keep(start) == "" and kept.keep("\x1b[A") == "\x1b[A"


def _messages(parser: AnswerFreeParser, data: str) -> Iterator[str]:
    for message in parser.feed(data):
        yield message.key if isinstance(message, events.Key) else type(message).__name__


def test_textual_reads_what_is_kept() -> None:
    parser = AnswerFreeParser()
    data = "".join(ANSWERS.values()) + "j\x1b[A" + "\x1b[12;40R" + "\x1b[?2026;2$y" + "\x1b[I" + PASTE
    assert list(_messages(parser, data)) == [
        "j", "up", "CursorPosition", "TerminalSupportsSynchronizedOutput", "AppFocus", "Paste"
    ]  # fmt: skip
    assert list(_messages(parser, "")) == []  # the end of the input


def test_the_browser_shows_the_same_after_every_answer(demo_store: Path) -> None:
    with PtyBrowser(demo_store, 100, 30) as browser:
        browser.wait_for("layer")
        before = browser.text
        for answer in ANSWERS.values():
            browser.press(answer, quiet=0.1)
        for piece in ("\x1b[?61;4", ";6;7;14;2", "1;22c"):
            browser.press(piece, quiet=0.3)
        assert browser.text == before
        browser.press("?")
        assert browser.text != before
        browser.press("\x1b", quiet=0.6)
        assert browser.text == before
