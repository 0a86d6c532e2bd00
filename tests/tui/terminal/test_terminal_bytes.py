"""What the browser sends to a real (pseudo-)terminal: few bytes a key, the right screen, nothing raw."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest
from pty_browser import PtyBrowser
from synthetic import make_store


@pytest.fixture(scope="module")
def wide_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4 layers of 36,864 neurons."""
    path = tmp_path_factory.mktemp("wide") / "wide.ffn"
    return make_store(path, layers=4, neurons=36_864, light=True, pool=2048, seq_len=128)


@pytest.fixture(scope="module")
def hostile_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every neuron different, tokens of every bad kind."""
    return make_store(tmp_path_factory.mktemp("hostile") / "hostile.ffn", layers=2, neurons=200, hostile=True)


def each_press(browser: PtyBrowser, key: str, times: int) -> list[int]:
    """Bytes that each press of a key sends, the neuron's page and plot drawn after it."""
    return [len(browser.press(key, 0.25)) for _ in range(times)]


def walk_down(store: Path, columns: int, rows: int, presses: int) -> tuple[list[int], list[int]]:
    """Bytes of each cursor-down from where the list begins to scroll: (of those that scrolled it, of the others)."""
    with PtyBrowser(store, columns, rows) as browser:
        browser.wait_for("layers")
        if columns < 120:
            browser.press("\r")
        browser.wait_for("0┼")  # the plot is on
        browser.press("sn")  # a light store repeats neurons, which any other order puts side by side
        browser.press("j" * (rows - 6 if columns >= 120 else 8))
        scrolled, stayed = [], []
        for _ in range(presses):
            first = browser.screen.display[3]
            sent = len(browser.press("j", 0.4))  # long enough for the page, also on a busy machine
            (stayed if browser.screen.display[3][40:90] == first[40:90] else scrolled).append(sent)
        return scrolled, stayed


def test_every_cursor_down_stays_in_its_budget_where_the_list_stands_alone(wide_store: Path) -> None:
    scrolled, stayed = walk_down(wide_store, 80, 24, 24)
    assert len(scrolled) > 10 and min(scrolled + stayed) > 0
    assert max(scrolled + stayed) <= 1500


@pytest.mark.slow
def test_cursor_down_stays_in_its_budget_beside_the_page(wide_store: Path) -> None:
    scrolled, stayed = walk_down(wide_store, 160, 48, 44)
    assert 3 <= len(scrolled) <= 5
    # Terminals move whole lines only: beside the page a scrolled list is sent anew, once in a quarter page.
    assert sum(scrolled + stayed) / 44 <= 3000 and max(stayed) <= 3600 and max(scrolled) <= 6300


def test_holding_a_key_sends_the_list_only(wide_store: Path) -> None:
    with PtyBrowser(wide_store, 160, 48) as browser:
        browser.wait_for("0┼")
        single = sum(each_press(browser, "j", 3)) / 3
        # Keys that arrive faster than the page settles are drawn together.
        assert len(browser.press("j" * 10)) / 10 < single


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (160, 48)])
def test_the_sent_differences_add_up_to_the_whole_screen(hostile_store: Path, columns: int, rows: int) -> None:
    with PtyBrowser(hostile_store, columns, rows) as browser:
        browser.wait_for("layers")
        browser.wait_for("ffnscope")
        for keys in ["\r", "jjjj", "c", "j", "\r", "qq", "/sch", "\x1b", "o", "q", "?", "q", "fkind:token\r", "s", "f"]:
            browser.press(keys, 0.25)
            assert any(_redrawn_the_same(browser) for _ in range(5)), f"after {keys!r}"


def _redrawn_the_same(browser: PtyBrowser) -> bool:
    """ctrl+l sends everything anew: the screen must not change by it (but for what was still to come)."""
    before = _cells(browser)
    browser.press("\x0c", 0.25)
    return _cells(browser) == before


def _cells(browser: PtyBrowser) -> list[list[tuple[object, ...]]]:
    """Everything a terminal shows, the foreground of spaces left out."""
    buffer, out = browser.screen.buffer, []
    for y in range(browser.screen.lines):
        cells = [buffer[y][x] for x in range(browser.screen.columns)]
        out.append([(c.data, c.bg, c.reverse, *((c.fg, c.bold) if c.data.strip() else ())) for c in cells])
    return out


_KNOWN = re.compile(
    rb"\x1b\[[0-9;]*[HCmLMr]"  # moves and styles, lines that move within margins
    rb"|\x1b\[\?[0-9;]*[hlu]|\x1b\[\?[0-9;$]*p|\x1b\[[<>=]?[0-9;]*[ucqnt]"  # modes and questions at start and end
    rb"|\x1b\][0-9]+;[ -~]*(?:\x07|\x1b\\)|\x1b[=>78]|\x1b[P_][^\x1b]*\x1b\\"
)


def test_no_escape_sequence_of_a_token_reaches_the_terminal(hostile_store: Path) -> None:
    with PtyBrowser(hostile_store, 160, 48) as browser:
        browser.wait_for("0┼")
        for keys in ["jjj", "l", "c", "\r", "q", "q", "o", "q", "h", "h", "j", "/", "red", "\x1b", "n"]:
            browser.press(keys, 0.25)
        sent = browser.raw
    assert b"\x1b[31m" not in sent.replace(b"\x1b[38", b"") and b"\x1b[2J" not in sent
    assert b"\x1b]0;title" not in sent
    rest = _KNOWN.sub(b"", sent)
    assert not re.findall(rb"[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f]", rest)
    assert b"\x1b" not in rest


def test_what_is_typed_ahead_reaches_the_screen_it_is_meant_for(hostile_store: Path) -> None:
    with PtyBrowser(hostile_store, 160, 48) as browser:
        browser.wait_for("0┼")
        browser.press("sa")  # the sort picker, and a column in it
        assert "acts▾" in browser.text
        browser.press("fkind:dead")
        assert "filter kind:dead" in browser.text


def test_resizing_at_any_time_switches_between_one_and_three_panes(hostile_store: Path) -> None:
    with PtyBrowser(hostile_store, 160, 48) as browser:
        browser.wait_for("promoted")
        browser.resize(80, 24)
        browser.read(1.0)
        assert "layers" not in browser.text.split("\n")[1]
        browser.resize(130, 30)
        browser.read(1.0)
        assert "layers" in browser.text and "promoted" in browser.text


def test_suspending_and_coming_back_draws_the_screen_again(hostile_store: Path) -> None:
    with PtyBrowser(hostile_store, 80, 24) as browser:
        browser.wait_for("layers")
        before = browser.text
        browser.press("\x1a", 0.5)
        os.kill(browser.process, signal.SIGCONT)
        time.sleep(0.2)
        browser.wait_for("layers")
        assert browser.text == before


@pytest.mark.parametrize("given", [{"PYTHONUTF8": "0", "LANG": "en_US.ISO-8859-1", "PYTHONIOENCODING": "latin-1"}])
def test_a_terminal_without_utf8_gets_ascii(hostile_store: Path, given: dict[str, str]) -> None:
    with PtyBrowser(hostile_store, 160, 48, **given) as browser:
        browser.wait_for("promoted")
        browser.press("j")
        assert browser.text.isascii()
        assert "\\u25" not in browser.text


def test_sixteen_colours_where_there_are_no_more(hostile_store: Path) -> None:
    with PtyBrowser(hostile_store, 80, 24, TERM="linux") as browser:
        browser.wait_for("layers")
        browser.press("\rjj")
        assert b"38;5;" not in browser.raw and b"38;2;" not in browser.raw
