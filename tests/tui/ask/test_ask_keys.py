"""The browser's questions to kept bits, driven by their keys, against the store's own answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from screens import LARGE, SMALL, browser, keys, shown
from synthetic import make_store
from textual.pilot import Pilot

from ffnscope.store.query.ask import Answer, ask, coactivated
from ffnscope.store.query.contexts import activated, missed, sort_rows
from ffnscope.store.query.query_completion import complete_query
from ffnscope.tui.app import FfnscopeApp
from ffnscope.tui.ask.concordance import Concordance
from ffnscope.tui.ask.ranking import Ranking
from ffnscope.tui.drawing.glyphs import UNICODE
from ffnscope.tui.screens.input_line import InputLine
from ffnscope.tui.state.task import Task


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("ask") / "run.ffn", layers=2, neurons=120, hostile=True, keep=20)


@pytest.fixture
def app(store: Path) -> Iterator[FfnscopeApp]:
    app = FfnscopeApp([store], UNICODE)
    yield app
    app.close()


async def until(pilot: Pilot[None], holds: Callable[[], object]) -> None:
    for _ in range(200):
        if holds():
            return
        await pilot.pause(0.05)
    raise AssertionError("it never came")


async def open_ranking(pilot: Pilot[None], *pressed: str) -> Ranking:
    await keys(pilot, *pressed)
    await until(pilot, lambda: isinstance(pilot.app.screen, Ranking) and pilot.app.screen.answer)
    screen = pilot.app.screen
    assert isinstance(screen, Ranking)
    await pilot.pause(0.05)
    return screen


async def test_ask_ranks_jumps_and_walks_on(app: FfnscopeApp) -> None:
    async with app.run_test(size=SMALL) as pilot:
        neurons = app.sessions[0].neurons
        await keys(pilot, "A", "text:tok:", "enter")
        assert isinstance(app.screen, InputLine) and "position 1" in shown(app)
        await keys(pilot, "ctrl+u", "text:pos", "tab", "text:0-20")
        screen = await open_ranking(pilot, "enter")
        expected = ask(app.sessions[0].store, "position:0-20")
        names = [(int(la), int(ne)) for la, ne in zip(expected["layer"], expected["neuron"], strict=True)]
        assert screen.rows.tolist() == list(range(240)) and f"L{names[0][0]}N{names[0][1]}" in shown(app)
        assert f"{expected.matches:,} of {expected.positions:,} kept positions" in shown(app)
        await keys(pilot, "j", "enter")
        assert neurons.key == names[1]
        await keys(pilot, "n")
        assert neurons.key == names[2]
        await keys(pilot, "N", "N")
        assert neurons.key == names[0] and "match 1 of 240" in shown(app)
        screen = await open_ranking(pilot, "A", "enter")  # the last question again
        await keys(pilot, "s")
        best = int(np.nanargmax(expected["phi"]))
        assert screen.by == "phi" and f"L{names[best][0]}N{names[best][1]}" in shown(app)


async def test_what_cannot_be_answered_is_said(app: FfnscopeApp) -> None:
    async with app.run_test(size=LARGE) as pilot:
        await keys(pilot, "A", "ctrl+u", "text:label:nobody", "enter")
        await until(pilot, lambda: "no label" in shown(app))
        await keys(pilot, "q", "A", "ctrl+u", "text:token:qqqqqq", "enter")
        await until(pilot, lambda: "no kept position fits" in shown(app))
        await keys(pilot, "enter", "s", "j", "q")
        assert app.screen is browser(app)


async def test_a_store_without_bits_says_how_to_get_them(tmp_path: Path) -> None:
    app = FfnscopeApp([make_store(tmp_path / "s.ffn", layers=1, neurons=48)], UNICODE)
    async with app.run_test(size=LARGE) as pilot:
        for key in ("A", "w"):
            await keys(pilot, key)
            assert app.screen is browser(app) and "collect it again with --keep" in shown(app)
    app.close()


async def test_the_neurons_that_fire_with_one(app: FfnscopeApp) -> None:
    async with app.run_test(size=LARGE) as pilot:
        await keys(pilot, "colon", "text:L0N3", "enter")
        screen = await open_ranking(pilot, "w")
        expected = coactivated(app.sessions[0].store, 0, 3, 200)
        assert screen.by == "phi" and f"L{expected['layer'][0]}N{expected['neuron'][0]}" in shown(app)
        assert "fire with L0N3" in shown(app)
        await keys(pilot, "enter")
        assert app.sessions[0].neurons.key == (int(expected["layer"][0]), int(expected["neuron"][0]))


async def test_the_concordance_lists_sorts_asks_counts_and_misses(app: FfnscopeApp) -> None:
    opened = app.sessions[0].store
    detector = next(n for n in range(120) if opened.neuron(1, n).detected)
    kept = opened.kept
    every = activated(opened, 1, detector)
    some = activated(opened, 1, detector, "position:0-30")
    by_left = sort_rows(kept, every, "left")
    misses = missed(opened, 1, detector)
    async with app.run_test(size=SMALL) as pilot:
        await keys(pilot, "colon", f"text:L1N{detector}", "enter", "c")
        screen = app.screen
        assert isinstance(screen, Concordance)
        await until(pilot, lambda: screen.found is not None)
        await pilot.pause(0.05)
        assert screen.found is not None and screen.found.rows.tolist() == every.tolist()
        title = f"{len(every):,} activations · by text · of {kept.positions:,} kept positions"
        assert title in shown(app)
        await keys(pilot, "j", "enter", "j", "q", "s")
        await until(pilot, lambda: screen.found is not None and screen.order == "strength")
        strengths = [screen.strengths.get(place, 0.0) for place in places(screen)]
        assert strengths == sorted(strengths, reverse=True)
        await keys(pilot, "s")
        await until(pilot, lambda: screen.found is not None and screen.found.rows.tolist() == by_left.tolist())
        await keys(pilot, "f", "text:position:0-30", "enter")
        await until(pilot, lambda: screen.found is not None and len(screen.found.rows) == len(some))
        await pilot.pause(0.05)
        assert f"{len(some):,} activations · position:0-30 · by " in shown(app)
        await keys(pilot, "f", "ctrl+u", "enter", "b")
        await until(pilot, lambda: "before" in shown(app) and screen.found is not None)
        await keys(pilot, "G", "b", "v")
        assert "of the whole corpus" in shown(app)
        await keys(pilot, "v", "m")
        await until(pilot, lambda: screen.found is not None and len(screen.found.rows) == len(misses))
        await pilot.pause(0.05)
        assert f"{len(misses):,} misses" in shown(app) or not len(misses)
        await keys(pilot, "q")
        assert app.screen is browser(app)


def places(screen: Concordance) -> list[tuple[int, int]]:
    assert screen.found is not None
    kept, rows = screen.session.store.kept, screen.found.rows
    return list(zip(kept.windows[kept.window_of[rows]].tolist(), kept.position_of[rows].tolist(), strict=True))


async def test_esc_leaves_a_search_that_goes_on(app: FfnscopeApp) -> None:
    """As one does in a regular expression that backtracks for hours: the browser waits for nothing."""
    released = threading.Event()

    def never(proceed: Callable[[], None]) -> Answer:
        released.wait()
        proceed()
        raise AssertionError("it was given up")

    async with app.run_test(size=SMALL) as pilot:
        screen = Ranking(app.sessions[0], "never end", never, lambda neurons, chosen: None)
        await app.push_screen(screen)
        await keys(pilot, "j", "enter", "s")
        assert "searching" in shown(app) and screen._pending is not None
        await keys(pilot, "escape", "j")
        assert app.screen is browser(app) and not screen._pending.ended
        released.set()


def test_a_task_given_up_says_nothing() -> None:
    begun, said = threading.Event(), []

    def work(proceed: Callable[[], None]) -> int:
        while True:
            begun.set()
            time.sleep(0.001)
            proceed()

    task: Task[int] = Task(work, lambda result, error: said.append((result, error)))
    begun.wait(5)
    task.give_up(wait=True)
    assert task.ended and not said


def test_queries_are_completed() -> None:
    assert complete_query("") == [
        "text:", "ends:", "token:", "prev:", "domain:", "position:", "label:", "concept:", "neuron:"
    ]  # fmt: skip
    assert complete_query("token:a -dom") == ["-domain:"]
    assert complete_query("domain:wiki|", ["wiki", "my code"]) == ['domain:wiki|"my code"']
    assert complete_query("concept:line_s") == ["concept:line_start"]
    assert complete_query("label:", labels=["x"]) == ["label:x"]
    assert complete_query("text:/a") == []
