"""The browser on stores that are damaged or made to do harm: it says so, acts on what it shows, and goes on."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from damage import change, flip
from rich.color import ColorSystem
from rich.segment import Segment
from screens import LARGE, SMALL, browser, keys, press, screen_text, shown
from synthetic import make_store
from textual._compositor import LayoutUpdate
from textual.geometry import Region
from textual.strip import Strip

from ffnscope.store.atomic_write import write_whole
from ffnscope.store.errors import UserError
from ffnscope.store.format.keys import INDEX_KEY, LAYER_KEY
from ffnscope.store.reader import Store
from ffnscope.tui.app import FfnscopeApp
from ffnscope.tui.drawing.glyphs import ASCII, UNICODE
from ffnscope.tui.state.remembered import read_filters, read_places
from ffnscope.tui.terminal.screen_diff import Wire


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Settings and state of this test alone."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Three layers of 60 neurons."""
    return make_store(tmp_path / "s.ffn", layers=3, neurons=60)


def spoil(path: Path, layer: int, name: str) -> None:
    change(path, "columns", LAYER_KEY.pack(layer) + name.encode(), flip)


async def test_a_damaged_layer_is_said_and_the_one_before_stays(path: Path) -> None:
    spoil(path, 1, "kind")
    app = FfnscopeApp([path], UNICODE)
    async with app.run_test(size=LARGE) as pilot:
        model = app.sessions[0].neurons
        await keys(pilot, "h", "k", "k", "k", "l")
        assert model.layer == 0
        rows, key = model.rows.tolist(), model.key
        browser(app)._clear_message()
        assert "damaged" not in shown(app)
        await keys(pilot, "h", "j", "l")
        assert "damaged" in shown(app) and (model.layer, model.key) == (0, key) and model.rows.tolist() == rows
        await keys(pilot, "j", "l")
        assert model.layer == 2
    app.close()


async def test_a_hit_in_a_damaged_layer_is_said(path: Path) -> None:
    spoil(path, 1, "kind")
    app = FfnscopeApp([path], UNICODE)
    async with app.run_test(size=LARGE) as pilot:
        await press(pilot, ("slash", "text:e"), 0.3)
        hits = [number for number, hit in enumerate(app.screen.hits) if hit.layer == 1]
        assert hits
        await press(pilot, ("down",) * hits[0])
        await press(pilot, ("enter",))
        assert app.screen is browser(app) and "damaged" in shown(app)
        assert app.sessions[0].neurons.layer != 1
    app.close()


async def test_damaged_columns_windows_and_sorts_end_nothing(path: Path) -> None:
    with Store.open(path) as store:
        windows = store.run.corpus.counted_windows
    for name in ("unigrams_95", "position_mi", "promoted"):
        for layer in range(3):
            spoil(path, layer, name)
    for window in range(windows):
        change(path, "windows", INDEX_KEY.pack(window), flip)
    app = FfnscopeApp([path], UNICODE)
    async with app.run_test(size=LARGE) as pilot:
        assert "damaged" in shown(app)
        model = app.sessions[0].neurons
        before = model.sort
        for pressed in (("l",), ("c",), ("z",), ("s", "u"), ("s", "m"), ("Y",), ("j",), ("n",), ("enter",), ("o",)):
            await press(pilot, pressed)
            assert app.is_running
            await press(pilot, ("escape",) if len(app.screen_stack) > 2 or app.screen is not browser(app) else ())
        assert model.sort == before and len(model.rows) == 60
    app.close()


def test_a_store_of_which_no_layer_can_be_shown_is_a_line(path: Path) -> None:
    for layer in range(3):
        spoil(path, layer, "kind")
    with pytest.raises(UserError, match="damaged"):
        FfnscopeApp([path], UNICODE)


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
async def test_names_of_domains_act_on_nothing(tmp_path: Path, glyphs: object) -> None:
    path = make_store(tmp_path / "s.ffn", layers=1, neurons=40, domains=("wi\x1b]0;x\x07ki", "日本語"))
    for size in (SMALL, LARGE):
        app = FfnscopeApp([path], glyphs)  # type: ignore[arg-type]
        async with app.run_test(size=size) as pilot:
            for pressed in (("l",), (">",) * 12, ("s",), ("down",) * 30):
                await keys(pilot, *pressed)
                text = screen_text(app).replace("\n", "")
                assert text.isprintable() and (glyphs is UNICODE or text.isascii())
        app.close()


async def test_a_click_on_the_peek_shows_the_whole_page(path: Path) -> None:
    app = FfnscopeApp([path], UNICODE)
    async with app.run_test(size=SMALL) as pilot:
        await keys(pilot, "l")
        await pilot.pause(0.3)
        state = browser(app).state
        assert state.page is not None and state.pane == "neurons"
        await pilot.click("#peek")
        await pilot.pause(0.3)
        key = app.sessions[0].neurons.key
        assert key is not None and state.pane == "neuron"
        assert bool(state.page.contexts) == bool(app.sessions[0].page(key).contexts)
    app.close()


def test_a_screen_that_has_not_heard_of_a_narrower_terminal() -> None:
    wire = Wire()

    def part(x: int, width: int, letter: str) -> LayoutUpdate:
        return LayoutUpdate([[Strip([Segment(letter * width)])]], Region(x, 0, width, 1))

    wire.difference(part(0, 160, "a"), (160, 2), ColorSystem.TRUECOLOR)
    for x, width in ((96, 64), (80, 80), (79, 81), (120, 40)):
        sent = wire.difference(part(x, width, "b"), (80, 2), ColorSystem.TRUECOLOR)
        assert sent.count("b") == max(80 - x, 0)
        wire.forget()


def test_control_characters_never_pass_the_wire() -> None:
    strip = Strip([Segment("a\x1b]0;title\x07b\x9bc 漢\x7f")])
    sent = Wire().difference(LayoutUpdate([[strip]], Region(0, 0, 20, 1)), (20, 1), ColorSystem.TRUECOLOR)
    assert "a?]0;title?b?c" in sent and "\x07" not in sent and "\x9b" not in sent and "\x7f" not in sent


def test_two_exports_at_once_do_not_meet(tmp_path: Path) -> None:
    both = threading.Barrier(2)
    texts = {tmp_path / "a.csv": "a\n" * 50_000, tmp_path / "b.csv": "b\n" * 90_000}

    def export(path: Path, text: str) -> None:
        def write(out: object) -> None:
            both.wait(30)
            out.write(text)  # type: ignore[attr-defined]

        write_whole({path: write})

    threads = [threading.Thread(target=export, args=each) for each in texts.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {path: path.read_text() for path in tmp_path.glob("*.csv")} == texts


@pytest.mark.parametrize("text", ['{"x": {"filters": [1]}}', "[" * 100_000, '{"x": ' * 100_000])
def test_odd_state_is_no_state(tmp_path: Path, text: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(text)
    assert read_places(path) == {} and (read_filters(path) == {} or text.startswith('{"x": {"f'))
