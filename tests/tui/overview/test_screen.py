"""The overview's screen at both sizes."""

from __future__ import annotations

import asyncio

import pytest
from pty_browser import PtyBrowser
from rich.cells import cell_len
from synthetic import make_store

from ffnscope.store.figures.layers import model_figures
from ffnscope.store.reader import Store
from ffnscope.tui.app import FfnscopeApp
from ffnscope.tui.drawing.glyphs import ASCII, UNICODE
from ffnscope.tui.drawing.pane import Pane
from ffnscope.tui.drawing.text import visible
from ffnscope.tui.overview.figures import FIGURES

SMALL, LARGE = (80, 24), (160, 48)
GLYPHS = pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=["unicode", "ascii"])


def shown_lines(app):
    """The text lines of the screen in front."""
    return [line for pane in app.screen.query(Pane) if pane.display for line in pane.shown]


def walk(store, size, *keys, glyphs=UNICODE, theme="ffnscope", then=None, beside=()):
    """The text lines of the screen in front after pressing keys; `then(app)` is asked too."""

    async def go():
        app = FfnscopeApp([store, *beside], glyphs, theme)
        async with app.run_test(size=size) as pilot:
            await pilot.pause(0.2)
            app.sessions[0].neurons.open_layer(app.sessions[0].layers[0]) if app.sessions[0].layers else None
            for key in keys:
                await pilot.press(key)
                await pilot.pause(0.02)
            for _ in range(4):  # what was read may ask for more: ranges, curves
                await app.workers.wait_for_complete()
                await pilot.pause(0.1)
            shown = shown_lines(app)
            more = then(app) if then else None
        app.close()
        return (shown, more) if then else shown

    return asyncio.run(go())


def test_all_figures_at_once_where_there_is_room(store):
    shown = walk(store, LARGE, "o")
    text = "\n".join(shown)
    for figure in FIGURES:
        assert figure.name in text
    assert "layer 0 by letter" in text
    assert all(cell_len(each) <= 160 for each in shown)


async def test_one_figure_at_a_time_where_there_is_not(store):
    app = FfnscopeApp([store], UNICODE)
    async with app.run_test(size=SMALL) as pilot:
        await pilot.press("o")
        for number, figure in enumerate(FIGURES):
            name = f"{number + 1}/{len(FIGURES)}"
            await settled(pilot, lambda name=name: name in shown_lines(app)[0])
            lines = shown_lines(app)
            assert figure.name in lines[2]
            assert sum(f"{other.number} {other.name}" in "\n".join(lines) for other in FIGURES) == 1
            await pilot.press("l")
    app.close()


def test_a_figure_at_full_size_and_back(store):
    one, several = ("\n".join(walk(store, LARGE, "o", "l", *keys)) for keys in ("z", "zz"))
    assert [figure.name for figure in FIGURES if f"{figure.number} {figure.name}" in one] == [FIGURES[1].name]
    assert all(figure.name in several for figure in FIGURES)


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_the_cursor_tells_numbers_and_enter_goes_there(store, opened, size):
    dead = int((opened.column(3, "activations") == 0).sum())
    shown = walk(store, size, "o", "j", "j", "j")
    assert f"layer 3 {dead} of 160 neurons dead" in shown[1]
    _, layer = walk(store, size, "o", "j", "j", "j", "enter", then=lambda app: app.sessions[0].neurons.layer)
    assert layer == 3
    _, layer = walk(store, size, "o", "G", "k", "q", then=lambda app: app.sessions[0].neurons.layer)
    assert layer == 0


@GLYPHS
@pytest.mark.parametrize("size", [SMALL, LARGE, (40, 12), (130, 30)])
def test_nothing_raw_reaches_the_terminal(store, glyphs, size):
    for each in walk(store, size, "o", "j", "l", "l", glyphs=glyphs, theme="ansi-dark"):
        assert each == visible(each, glyphs, spaces=False) and cell_len(each) == size[0]


def test_empty_figures_speak(tmp_path):
    store = make_store(tmp_path / "s.ffn", layers=1, neurons=3, seq_len=16, windows=4, seed=3)
    with Store.open(store) as opened:
        each = model_figures(opened).layers[0]
    text = "\n".join(walk(store, LARGE, "o"))
    assert not each.positional[0] and "no strong oscillatory neurons" in text
    if not each.positional_neurons:
        assert "no positional neurons in" in text
    nothing = make_store(tmp_path / "n.ffn", layers=3, neurons=32, written=0, complete=False)
    text = "\n".join(walk(nothing, SMALL, "o", "j", "enter"))
    assert "layer 1 not collected yet" in text


async def settled(pilot, done):
    """Wait until something holds."""
    for _ in range(300):
        if done():
            await pilot.pause(0.1)
            return
        await pilot.pause(0.05)
    raise AssertionError("it never came")


def test_help_lists_the_keys_of_the_screen(store):
    text = "\n".join(walk(store, LARGE, "o", "question_mark"))
    assert "Next figure" in text and "Go to the layer" in text


def test_a_live_store_grows(tmp_path):
    from ffnscope.tui.overview.screen import Overview as Screen

    store = make_store(tmp_path / "live.ffn", layers=4, neurons=48, complete=False)

    async def go():
        app = FfnscopeApp([store], UNICODE)
        async with app.run_test(size=LARGE) as pilot:
            await pilot.pause(0.2)
            session = app.sessions[0]
            every, session.layers = session.layers, session.layers[:1]
            await pilot.press("o")
            await settled(pilot, lambda: isinstance(app.screen, Screen) and app.screen.overview.read)
            assert app.screen.overview.read == (0,)
            assert any("?" in line for line in app.screen.pane.shown)
            session.layers = every
            await settled(pilot, lambda: app.screen.overview.read == every)
            assert sorted(app.screen.overview.figures) == [0, 1]
        app.close()

    asyncio.run(go())


def test_two_stores_are_compared_and_one_says_how(store, tmp_path):
    other = make_store(tmp_path / "deep.ffn", layers=9, neurons=48, seed=4)
    shown = walk(store, LARGE, "o", "b", "j", "j", beside=[other])
    assert "a s.ffn  b deep.ffn  over relative depth" in shown[0]
    assert "at depth 0.50" in shown[1] and "(layer 2)" in shown[1] and "(layer 4)" in shown[1]
    assert "drawing" not in "\n".join(shown) and "token detectors" in "\n".join(shown)
    back = walk(store, SMALL, "o", "b", "l", "b", beside=[other])
    assert f"overview s.ffn  2/{len(FIGURES)}" in back[0]
    assert "one store is open" in walk(store, SMALL, "o", "b")[1]


@pytest.mark.parametrize(("size", "most"), [(SMALL, 1500), (LARGE, 3000)])
def test_a_step_of_the_cursor_sends_little(store, size, most):
    with PtyBrowser(store, *size) as terminal:
        terminal.wait_for("layers")
        terminal.press("o", 2.0)
        terminal.wait_for("overview")
        assert all(len(terminal.press("j", 0.8)) <= most for _ in range(3))
