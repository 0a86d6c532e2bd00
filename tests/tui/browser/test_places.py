"""What a key acts on is what one looks at: of two stores, in the layers' pane, in the contexts, on a neuron's page."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from screens import LARGE, SMALL, keys, screen_text, shown
from synthetic import make_store

from ffnscope.store.query.detector_index import Hit, TokenIndex
from ffnscope.tui.app import FfnscopeApp
from ffnscope.tui.browser.screen import Browser
from ffnscope.tui.drawing.glyphs import UNICODE
from ffnscope.tui.drawing.numbers import freq
from ffnscope.tui.drawing.pane import Pane
from ffnscope.tui.neuron.related import detectors_of
from ffnscope.tui.screens import contexts
from ffnscope.tui.screens.contexts import Contexts
from ffnscope.tui.screens.input_line import InputLine
from ffnscope.tui.screens.position import Position
from ffnscope.tui.screens.saved_filters import SavedFilters
from ffnscope.tui.screens.side_by_side import SideBySide
from ffnscope.tui.screens.sort_picker import SortPicker

SIZES = [SMALL, LARGE]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two stores of 4 x 60 neurons, of whose last layer the first has nothing yet."""
    folder = tmp_path_factory.mktemp("places")
    one = make_store(folder / "one.ffn", layers=4, neurons=60, written=3, complete=False)
    return one, make_store(folder / "two.ffn", layers=4, neurons=60, seed=1)


@pytest.fixture
def app(made: tuple[Path, Path], tmp_path: Path) -> Iterator[FfnscopeApp]:
    """The browser on copies of both, without marks."""
    app = FfnscopeApp([shutil.copytree(path, tmp_path / path.name) for path in made], UNICODE)
    yield app
    app.close()


# Two stores


@pytest.mark.parametrize("size", SIZES)
async def test_the_next_store_shows_the_same_neuron_each_time(app: FfnscopeApp, size: tuple[int, int]) -> None:
    one, two = app.sessions
    async with app.run_test(size=size) as pilot:
        await keys(pilot, "colon", "text:L1N5", "enter", "b")
        await pilot.pause(0.2)
        assert two.neurons.key == (1, 5) and "two.ffn" in shown(app) and "L1N5" in shown(app)
        assert_pane(app, "neurons")
        await keys(pilot, "b")
        assert "one.ffn" in shown(app)
        await keys(pilot, "colon", "text:L0N7", "enter", "b")
        await pilot.pause(0.2)
        assert two.neurons.key == (0, 7) and "two.ffn" in shown(app)
        text = shown(app)
        assert "L0N7" in text and "L0 60 neurons" in text and "L1N5" not in text
        assert_pane(app, "neurons")
        assert app.screen.panes.layer_list.layer == 0
        await keys(pilot, "space")
        assert two.neurons.marks == {(0, 7)} and not one.neurons.marks
        await keys(pilot, "colon", "text:L0N7", "enter", "enter", "b")
        await pilot.pause(0.2)
        assert "one.ffn" in shown(app)
        assert_pane(app, "neuron")
        await keys(pilot, "escape", "escape", "b")
        await pilot.pause(0.2)
        assert_pane(app, "layers")


def assert_pane(app: FfnscopeApp, name: str) -> None:
    """It has the keys, and where one is shown at a time it is the one."""
    screen = app.screen
    assert isinstance(screen, Browser) and screen.state.pane == name
    table = {"neurons": "table"}.get(name, name)
    seen = [pane.id for pane in screen.query("#body Pane") if pane.display]
    assert seen == (["layers", "table", "neuron"] if screen.state.wide else [table])


# The layers' pane


async def to_layers(app: FfnscopeApp, pilot, key: str) -> int:
    """Into the layers' pane and onto a layer that is not open, without waiting for it; which one."""
    app.sessions[0].neurons.open_layer(0)
    app.screen.panes.sync_layers(follow=True)
    if app.screen.state.wide:
        await keys(pilot, "escape")
    assert app.screen.state.pane == "layers" and app.screen.panes.layer_list.layer == 0
    # The pilot waits for what a key has set going; the next key may come before that.
    app.screen.set_timer = lambda *_: None
    await pilot.press(key)
    return app.screen.panes.layer_list.layer


ACTS = ("space", "*", "a", "e", "c", "z", "y", "Y", "B", "right_square_bracket")
GOES_ON = ("f", "F", "s", "S", "b", "colon", "o", "p")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("key", [*ACTS, *GOES_ON])
async def test_a_key_in_the_layers_pane_acts_on_the_layer_under_the_cursor(
    app: FfnscopeApp, size: tuple[int, int], key: str
) -> None:
    session, other = app.sessions
    async with app.run_test(size=size) as pilot:
        await keys(pilot)
        layer = await to_layers(app, pilot, "j")
        assert layer == 1 and session.neurons.layer == 0
        await keys(pilot, key)
        screen, first = app.screen, (1, int(session.neurons.rows[0]))
        assert session.neurons.layer == 1
        if key in ("space", "*"):
            assert first in session.neurons.marks and {layer for layer, _ in session.neurons.marks} == {1}
        elif key == "a":
            assert isinstance(screen, InputLine) and f"L1N{first[1]}" in screen_text(app)
        elif key == "e":
            assert "one-L1-listed.csv" in screen_text(app)
        elif key in ("c", "z"):
            assert isinstance(screen, Contexts | Position) and screen.page.name == f"L1N{first[1]}"
        elif key == "y":
            assert app.clipboard == f"L1N{first[1]}"
        elif key == "Y":
            assert app.clipboard.split(",")[:2] == ["1", str(first[1])]
        elif key == "B":
            assert isinstance(screen, SideBySide) and screen.key == first
        elif key == "b":
            assert other.neurons.key == first


@pytest.mark.parametrize("size", SIZES)
async def test_a_layer_that_is_not_collected_has_nothing_to_act_on(app: FfnscopeApp, size: tuple[int, int]) -> None:
    session = app.sessions[0]
    async with app.run_test(size=size) as pilot:
        await keys(pilot)
        assert await to_layers(app, pilot, "G") == 3
        for key in ACTS:
            app.screen.say("", "dim")
            await keys(pilot, key)
            assert isinstance(app.screen, Browser) and "layer 3 is not collected yet" in shown(app), key
            assert not session.neurons.marks and not app.clipboard and session.neurons.cursor == 0
        before = session.neurons.descending
        await keys(pilot, "S")
        assert session.neurons.descending != before
        for key, screen in (("f", InputLine), ("F", SavedFilters), ("s", SortPicker)):
            await keys(pilot, key)
            assert isinstance(app.screen, screen)
            await keys(pilot, "escape")
        await keys(pilot, "b")
        assert app.screen.session is app.sessions[1]


@pytest.mark.parametrize("size", SIZES)
async def test_without_any_layer_a_filter_can_be_asked_for(tmp_path: Path, size: tuple[int, int]) -> None:
    app = FfnscopeApp([make_store(tmp_path / "new.ffn", neurons=60, written=0, complete=False)], UNICODE)
    async with app.run_test(size=size) as pilot:
        await keys(pilot, "escape", *ACTS, "S", "f")
        assert isinstance(app.screen, InputLine)
    app.close()


# The sort picker


@pytest.mark.parametrize("size", SIZES)
async def test_the_keys_of_many_domains_sort_by_one_each(tmp_path: Path, size: tuple[int, int]) -> None:
    domains = [f"domain{i}" for i in range(12)]
    app = FfnscopeApp([make_store(tmp_path / "many.ffn", layers=1, neurons=60, domains=domains)], UNICODE)
    model = app.sessions[0].neurons
    async with app.run_test(size=size) as pilot:
        for key, name in (("1", "domain0"), ("2", "domain1"), ("0", "domain9")):
            await keys(pilot, "s", key)
            assert isinstance(app.screen, Browser) and model.sort.endswith(f"{name}"), key
        await keys(pilot, "s", "down", "enter")
        assert model.sort.endswith("domain10")
        await keys(pilot, "s")
        text = shown(app)
        for _ in range(5):
            await keys(pilot, "left")
            text += shown(app)
        for key, name in zip([*"1234567890", " ", " "], domains, strict=True):
            assert f" {key} frequency:{name} " in text
    app.close()


# Export


async def test_marks_of_neurons_that_are_not_there_are_not_exported(app: FfnscopeApp, tmp_path: Path) -> None:
    session, path = app.sessions[0], tmp_path / "out.csv"
    session.neurons.marks = {(0, 1), (0, 60), (3, 2), (70, 0)}
    assert session.neurons.selection()[0].tolist() == [[0, 1]]
    async with app.run_test(size=LARGE) as pilot:
        await keys(pilot, "e", "ctrl+u", f"text:{path}", "enter")
        await app.workers.wait_for_complete()
        await pilot.pause(0.1)
        assert "1 neurons written" in shown(app)
        with path.open(newline="") as file:
            assert [(row["layer"], row["neuron"]) for row in csv.DictReader(file)] == [("0", "1")]
        session.neurons.marks = {(0, 60), (3, 2)}
        await keys(pilot, "e")
        assert isinstance(app.screen, Browser) and "no neuron that is marked is in this store" in shown(app)


# Contexts


async def test_only_a_dead_neuron_is_said_to_be_dead(app: FfnscopeApp) -> None:
    async with app.run_test(size=SMALL) as pilot:
        await keys(pilot)
        for activations, said in ((3, "Activated in count-only domains only"), (0, "dead: it was never activated")):
            screen = Contexts(app.sessions[0], (0, 1))
            neuron = replace(screen.page.neuron, activations=activations)
            screen.page = replace(screen.page, neuron=neuron, contexts=())
            app.push_screen(screen)
            await keys(pilot, "j", "enter")
            await pilot.click(screen.pane, offset=(5, 2))
            assert said in shown(app) and ("dead" in shown(app)) == (activations == 0)
            assert not any(UNICODE.ellipsis in line for line in screen.pane.shown[1:])
            await keys(pilot, "q")


async def test_a_click_chooses_the_context_that_it_is_on(app: FfnscopeApp) -> None:
    session = app.sessions[0]
    most = int(np.argmax(session.store.column(0, "activations")))
    async with app.run_test(size=SMALL) as pilot:
        await keys(pilot, "colon", f"text:L0N{most}", "enter", "c", *"jjjjjjjj")
        screen = app.screen
        assert isinstance(screen, Contexts) and len(screen.page.contexts) > 12
        for y in (1, 3, 8, 2):
            row = screen.pane.shown[y]
            await pilot.click(screen.pane, offset=(5, y))
            await pilot.pause(0.05)
            chosen = [line for line in screen.pane.shown if line.startswith(UNICODE.cursor)]
            assert [line[1:] for line in chosen] == [row[1:]]


async def test_a_context_names_as_many_other_detectors_as_there_is_room_for(
    app: FfnscopeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    hits = [Hit(0, neuron, 1, (), (), 1.0, 1.0, 9) for neuron in range(9)]
    monkeypatch.setattr(contexts, "detectors_of", lambda index, text, limit: hits[:limit])
    session = app.sessions[0]
    async with app.run_test(size=LARGE) as pilot:
        await keys(pilot)
        for own in (0, 8):
            app.push_screen(Contexts(session, (0, own)))
            await keys(pilot)
            screen = app.screen
            assert isinstance(screen, Contexts)
            if not screen.page.contexts:
                screen.page = replace(screen.page, contexts=session.page((0, 1)).contexts)
                screen.refresh_content()
            await app.workers.wait_for_complete()
            await pilot.pause(0.1)
            others = [f"L0N{neuron}" for neuron in range(9) if neuron != own][:6]
            assert f"other detectors of it {' '.join(others)} " in shown(app)
            await keys(pilot, "q")


def test_detectors_of_a_token_are_counted_without_those_of_longer_ngrams(app: FfnscopeApp) -> None:
    index = TokenIndex(app.sessions[0].store)

    class Longer:
        """An index whose strongest hits are bigrams'."""

        def search(self, text: str, limit: int | None = None, order: int | None = None) -> list[Hit]:
            hits = [Hit(0, n, 2 if n < 5 else 1, (), (), 1.0, 1.0, 9) for n in range(9)]
            return [hit for hit in hits if order in (None, hit.order)][:limit]

    assert [hit.neuron for hit in detectors_of(Longer(), "x", 3)] == [5, 6, 7]  # type: ignore[arg-type]
    assert {hit.order for hit in detectors_of(index, " school")} <= {1}


# The page and the position plot


async def test_chosen_n_grams_stay_until_one_goes_to_another_neuron(app: FfnscopeApp) -> None:
    session = app.sessions[0]
    bigrams = [f"L{each.layer}N{each.neuron}" for each in session.store.iterate() if each.order == 2]
    async with app.run_test(size=LARGE) as pilot:
        await keys(pilot, "colon", f"text:{bigrams[0]}", "enter", "enter")
        state = app.screen.state
        assert state.pane == "neuron" and state.page.order == 2
        await keys(pilot, "h")
        assert state.page.order == 1
        await keys(pilot, "space")
        assert state.pane == "neuron" and state.page.order == 1 and state.page.marked
        await keys(pilot, "a", "text:x", "enter")
        assert state.page.order == 1 and state.page.note == "x"
        await keys(pilot, "colon", f"text:{bigrams[1]}", "enter")
        assert state.page.order == 2


async def test_a_long_domain_name_does_not_run_into_its_number(tmp_path: Path) -> None:
    domains = ("a domain whose name is long", "wiki")
    app = FfnscopeApp([make_store(tmp_path / "long.ffn", layers=1, neurons=60, domains=domains)], UNICODE)
    async with app.run_test(size=SMALL) as pilot:
        await keys(pilot, "enter", "z")
        screen = app.screen
        assert isinstance(screen, Position)
        rows = [line for pane in screen.query(Pane) for line in pane.shown if "a domain" in line or "wiki" in line]
        for row, index in zip(rows, (0, 1), strict=True):
            value = screen.page.neuron.curve[index][screen.at] / screen.windows[index]
            assert row[19] == " " and row[20:].rstrip() == freq(value)
        assert "a domain whose " in rows[0] and UNICODE.ellipsis in rows[0] and UNICODE.space not in rows[0]
    app.close()
