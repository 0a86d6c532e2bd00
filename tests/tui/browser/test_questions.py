"""The browser driven by its keys: promoted and suppressed tokens, saved filters, two stores side by side."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from screens import LARGE, SMALL, browser, keys, shown
from synthetic import make_store
from textual.widgets import Input

from ffnscope.store.query.projection_index import ProjectionIndex
from ffnscope.tui.app import FfnscopeApp
from ffnscope.tui.browser.screen import Browser
from ffnscope.tui.drawing.glyphs import UNICODE
from ffnscope.tui.drawing.numbers import signed
from ffnscope.tui.neuron.sentences import _mostly
from ffnscope.tui.overview import screen as overview
from ffnscope.tui.screens.input_line import InputLine
from ffnscope.tui.screens.saved_filters import SavedFilters
from ffnscope.tui.screens.search import Search
from ffnscope.tui.screens.side_by_side import SideBySide
from ffnscope.tui.state.gc_pause import keeping
from ffnscope.tui.state.remembered import filters_path, read_filters
from ffnscope.tui.state.session import Session


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Settings and state of this test alone."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Two stores of 2 x 60 neurons, and one of another shape."""
    folder = tmp_path_factory.mktemp("more")
    one = make_store(folder / "one.ffn", layers=2, neurons=60, hostile=True)
    other = make_store(folder / "other.ffn", layers=2, neurons=60, hostile=True, seed=1, domains=("wiki",))
    return one, other, make_store(folder / "third.ffn", layers=2, neurons=61)


@pytest.fixture
def app(stores: tuple[Path, Path, Path]) -> Iterator[FfnscopeApp]:
    """The browser on the first."""
    app = FfnscopeApp([stores[0]], UNICODE)
    yield app
    app.close()


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_search_goes_through_what_neurons_do_to_a_token(app: FfnscopeApp, size: tuple[int, int]) -> None:
    session = app.sessions[0]
    async with app.run_test(size=size) as pilot:
        await keys(pilot, "t", "text:e")
        await app.workers.wait_for_complete()
        await pilot.pause(0.2)
        screen = app.screen
        assert isinstance(screen, Search)
        for name in ("promoted", "suppressed"):
            expected = session.projections[name].search("e", 200)
            assert screen.hits == expected and len(expected) > 20
            best = expected[0]
            assert f"L{best.layer}N{best.neuron}" in shown(app) and f"{signed(best.projection)} " in shown(app)
            await keys(pilot, "tab")
            await app.workers.wait_for_complete()
            await pilot.pause(0.2)
        assert screen.way == "detects" and screen.hits == session.search("e")
        await keys(pilot, "tab", "down", "enter")
        hits = session.projections["promoted"].search("e", 200)
        assert session.neurons.key == (hits[1].layer, hits[1].neuron)
        await keys(pilot, "n")
        assert session.neurons.key == (hits[2].layer, hits[2].neuron)


async def test_a_token_that_nothing_promotes_is_said(app: FfnscopeApp) -> None:
    async with app.run_test(size=SMALL) as pilot:
        await keys(pilot, "t", "text:qqqqq")
        await app.workers.wait_for_complete()
        await pilot.pause(0.2)
        assert "no neuron that promotes a token with qqqqq" in shown(app)


async def test_filters_are_saved_recalled_replaced_and_forgotten(app: FfnscopeApp) -> None:
    model = app.sessions[0].neurons
    async with app.run_test(size=LARGE) as pilot:
        await keys(pilot, "W")
        assert "no filter to save" in shown(app)
        await keys(pilot, "F")
        assert "none yet" in shown(app)
        await keys(pilot, "d", "j", "enter")
        assert isinstance(app.screen, Browser)
        await keys(pilot, "f", "text:kind:token", "enter", "W", "text:my [/] tokens", "enter")
        assert read_filters(filters_path()) == {"my [/] tokens": "kind:token"}
        await keys(pilot, "f", "ctrl+u", "text:kind:dead", "enter", "W", "text:gone", "enter")
        await keys(pilot, "f", "ctrl+u", "enter", "F")
        assert "my [/] tokens" in shown(app) and "kind:dead" in shown(app)
        await keys(pilot, "j", "enter")
        assert model.filter_text == "kind:token" and {model.kind(int(row)) for row in model.rows} == {"token"}
        await keys(pilot, "W", "text:gone", "enter")
        assert isinstance(app.screen, InputLine) and "already exists" in shown(app)
        await keys(pilot, "enter")
        assert read_filters(filters_path())["gone"] == "kind:token"
        await keys(pilot, "F", "d", "d", "q")
        assert read_filters(filters_path()) == {}


async def test_a_saved_filter_that_does_not_fit_the_store_is_said(app: FfnscopeApp) -> None:
    path = filters_path()
    path.parent.mkdir(parents=True)
    path.write_text('{"code": "freq:nowhere>0.1", "broken": 3}')
    async with app.run_test(size=LARGE) as pilot:
        await keys(pilot, "F")
        assert isinstance(app.screen, SavedFilters) and "broken" not in shown(app)
        await keys(pilot, "enter")
        assert "nowhere" in shown(app) and not app.sessions[0].neurons.filter_text


async def test_a_folder_that_cannot_be_written_is_said(app: FfnscopeApp, home: Path) -> None:
    (home / "state").write_text("no folder")
    async with app.run_test(size=LARGE) as pilot:
        await keys(pilot, "f", "text:kind:token", "enter", "W", "text:x", "enter")
        assert "cannot be written" in shown(app)


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_two_stores_side_by_side(stores: tuple[Path, Path, Path], size: tuple[int, int]) -> None:
    app = FfnscopeApp(stores[:2], UNICODE)
    async with app.run_test(size=size) as pilot:
        await keys(pilot, "colon", "text:L1N7", "enter", "B")
        assert isinstance(app.screen, SideBySide)
        text = shown(app)
        assert "one.ffn" in text and "other.ffn" in text and "L1N7" in text
        for session in app.sessions:
            neuron = session.store.neuron(1, 7)
            assert f"{neuron.top_ngrams[0][0].count:,}" in text and text.count("activation by position") == 2
        assert len({len(line) for line in text.splitlines()[1:-1] if line.strip()}) <= size[0]
        await keys(pilot, "right_square_bracket", "l", "j", "G", "g", "h")
        assert app.screen.key == (1, 8) and "L1N8" in shown(app)
        await keys(pilot, *["left_square_bracket"] * 9)
        assert app.screen.key == (1, 0)
        await keys(pilot, "q")
        assert isinstance(app.screen, Browser) and browser(app).session is app.sessions[0]
    app.close()


async def test_side_by_side_says_what_it_needs(stores: tuple[Path, Path, Path], app: FfnscopeApp) -> None:
    async with app.run_test(size=LARGE) as pilot:
        await keys(pilot, "B")
        assert "one store is open" in shown(app)
    app.close()
    both = FfnscopeApp([stores[0], stores[2]], UNICODE)
    async with both.run_test(size=LARGE) as pilot:
        await keys(pilot, "B")
        assert "stores of the same shape: 2 x 60 and 2 x 61" in shown(both)
    both.close()


async def test_typing_keys_of_the_browser_into_the_search_types_them(app: FfnscopeApp) -> None:
    async with app.run_test(size=LARGE) as pilot:
        await keys(pilot, "slash", "text:tFWB")
        assert app.screen.query_one(Input).value == "tFWB"


@pytest.mark.parametrize(
    ("bos", "said"), [(5, "at BOS only"), (2, "at BOS and in count-only domains"), (0, "in count-only domains only")]
)
def test_activations_where_no_ngram_stands_are_placed(stores: tuple[Path, Path, Path], bos: int, said: str) -> None:
    session = Session(stores[0], UNICODE)
    page = session.page((0, 0))
    neuron = replace(page.neuron, activations=5, bos_activations=bos, ngram_activations=(0, 0, 0))
    assert "".join(text for text, _ in _mostly(replace(page, neuron=neuron))) == f"activated {said}"
    session.close()


async def test_no_key_waits_for_what_is_read_of_whole_layers(app: FfnscopeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, met = threading.Event(), set()

    def behind_the_gate(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def waiting(*arguments: Any) -> Any:
            assert threading.current_thread() is not threading.main_thread(), f"{name} holds the interface up"
            met.add((owner, name))
            assert gate.wait(60)
            return real(*arguments)

        monkeypatch.setattr(owner, name, waiting)

    figures = [(Session, "read_figures"), (overview, "read_figures")]
    readers = [*figures, (Session, "read_index"), (ProjectionIndex, "refresh")]
    for owner, name in readers:
        behind_the_gate(owner, name)
    session = app.sessions[0]
    async with app.run_test(size=LARGE) as pilot:
        first = session.neurons.key
        await keys(pilot, "j", "j")
        moved = session.neurons.key
        assert moved != first and moved is not None and f"L{moved[0]}N{moved[1]}" in shown(app)
        await keys(pilot, "o", "j")
        await pilot.pause(0.2)
        assert isinstance(app.screen, overview.Overview)
        await keys(pilot, "escape", "t", "text:e")
        assert app.screen.query_one(Input).value == "e"
        await keys(pilot, "escape", "j")
        assert session.neurons.key not in (first, moved)
        assert met == set(readers) and not session.figures
        gate.set()
        await app.workers.wait_for_complete()
        await pilot.pause(0.2)
        assert set(session.figures) == {0, 1}


def test_the_garbage_collector_is_on_again_after_something_big_was_read() -> None:
    assert gc.isenabled()
    with pytest.raises(OSError), keeping():
        with keeping():
            assert not gc.isenabled()
        assert not gc.isenabled()
        raise OSError
    assert gc.isenabled()
