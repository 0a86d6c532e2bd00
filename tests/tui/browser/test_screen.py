"""The browser driven by its keys, on a store with hostile tokens."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from screens import LARGE, SMALL, browser, keys, shown
from synthetic import make_store
from synthetic_bits import byte_vocabulary
from textual.widgets import Input

from ffnscope.tui.app import FfnscopeApp
from ffnscope.tui.browser.screen import Browser
from ffnscope.tui.drawing.glyphs import ASCII, UNICODE
from ffnscope.tui.drawing.pane import Pane
from ffnscope.tui.overview.screen import Overview
from ffnscope.tui.screens.contexts import Contexts
from ffnscope.tui.screens.help import Help
from ffnscope.tui.screens.input_line import InputLine
from ffnscope.tui.screens.position import Position
from ffnscope.tui.screens.search import Search
from ffnscope.tui.state.remembered import Place


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 layers of 120 neurons; tests that write notes copy nothing: each uses neurons of its own."""
    return make_store(tmp_path_factory.mktemp("browser") / "run.ffn", layers=3, neurons=120, hostile=True)


@pytest.fixture
def app(store: Path) -> Iterator[FfnscopeApp]:
    """The browser on that store, without marks or notes."""
    app = FfnscopeApp([store], UNICODE)
    session = app.sessions[0]
    session.neurons.set_marks(list(session.neurons.marks), False)
    yield app
    app.close()


async def test_opens_on_the_layer_with_most_detectors_side_by_side(app: FfnscopeApp) -> None:
    async with app.run_test(size=LARGE) as pilot:
        await keys(pilot)
        model = app.sessions[0].neurons
        counts = [int((app.sessions[0].store.column(layer, "order") > 0).sum()) for layer in range(3)]
        assert counts[model.layer] == max(counts)
        text = shown(app)
        assert "layers" in text and f"L{model.layer} 120 neurons" in text and f"L{model.layer}N{model.neuron}" in text
        assert "promoted" in text and "activation by position" in text and "contexts" in text
        assert model.kind(model.neuron) == "token"  # what can be read off comes first


async def test_moving_in_the_list_shows_the_neuron_under_the_cursor(app: FfnscopeApp) -> None:
    async with app.run_test(size=LARGE) as pilot:
        model = app.sessions[0].neurons
        await keys(pilot, "j", "j", "down", "k")
        assert model.cursor == 2
        assert browser(app).state.page.name == f"L{model.layer}N{model.neuron}"
        await keys(pilot, "G")
        assert model.cursor == 119 and browser(app).state.page.neuron.kind == "dead"
        assert "dead: never activated" in shown(app)
        await keys(pilot, "g")
        assert model.cursor == 0
        await keys(pilot, "ctrl+d")
        assert model.cursor > 20
        await keys(pilot, "ctrl+u", "right_square_bracket", "right_square_bracket", "left_square_bracket")
        assert model.cursor == 1


async def test_drill_down_shows_one_pane_at_a_time(app: FfnscopeApp) -> None:
    async with app.run_test(size=SMALL) as pilot:
        await keys(pilot)
        state = browser(app).state
        assert state.pane == "layers" and "bigram" in shown(app)
        await keys(pilot, "g", "j", "enter")
        assert state.pane == "neurons" and app.sessions[0].neurons.layer == 1
        assert "L1 120 neurons" in shown(app) and "promotes" in shown(app)  # the list, and a peek below it
        await keys(pilot, "l")
        assert state.pane == "neuron" and "suppressed" in shown(app) and "120 neurons" not in shown(app)
        await keys(pilot, "q")
        assert state.pane == "neurons"
        await keys(pilot, "escape")
        assert state.pane == "layers"
        await keys(pilot, "q")
    assert not app.is_running


async def test_q_quits_where_all_panes_are_shown(app: FfnscopeApp) -> None:
    async with app.run_test(size=LARGE) as pilot:
        await keys(pilot, "l", "q")
    assert not app.is_running


async def test_the_page_shows_n_grams_of_every_order(app: FfnscopeApp) -> None:
    async with app.run_test(size=LARGE) as pilot:
        await keys(pilot, "enter")
        state = browser(app).state
        neuron = state.page.neuron
        for order in (1, 2, 3):
            assert state.page.order == order
            assert f"{neuron.top_ngrams[order - 1][0].count:,}" in shown(app)
            await keys(pilot, "l")
        await keys(pilot, "h", "h", "h")
        assert state.pane == "neurons"  # left of the shortest n-grams is the list


async def test_the_page_scrolls_to_the_lists_in_full(app: FfnscopeApp) -> None:
    async with app.run_test(size=SMALL) as pilot:
        await keys(pilot, "enter", "enter")
        text = ""
        for _ in range(12):
            text += shown(app)
            await keys(pilot, "ctrl+d")
        page = browser(app).state.page
        for token, _ in (*page.neuron.promoted, *page.neuron.suppressed):
            drawn = UNICODE.space if page.text(token) == " " else ""
            assert drawn in text
        assert "drawn" in text
        # What the first page has no room for is said further down.
        assert f"activation max {page.neuron.max_activation:.3g}" in text


async def test_contexts_mark_the_token_and_read_its_window(app: FfnscopeApp) -> None:
    async with app.run_test(size=SMALL) as pilot:
        await keys(pilot, "enter", "c")
        screen = app.screen
        assert isinstance(screen, Contexts)
        context = screen.page.contexts[0]
        assert f"window {context.window}, position {context.position} " in shown(app)
        await keys(pilot, "j")
        assert screen.cursor == 1
        await keys(pilot, "enter", "j", "j", "G", "g", "q", "q")
        assert isinstance(app.screen, Browser)


async def test_contexts_read_characters_that_are_split_over_tokens(
    app: FfnscopeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = app.sessions[0]
    text = "שלום 你好 é "
    window = np.frombuffer((text * 9).encode()[: session.store.run.corpus.seq_len], np.uint8).astype(np.int32)
    monkeypatch.setattr(session.store, "vocabulary", byte_vocabulary())
    monkeypatch.setattr(session.store, "window", lambda number: window)
    async with app.run_test(size=SMALL) as pilot:
        await keys(pilot, "enter", "c")
        screen = app.screen
        assert isinstance(screen, Contexts)
        at = screen.page.contexts[0].position
        before, after = (bytes(part.tolist()).decode(errors="ignore") for part in (window[:at], window[at + 1 :]))
        drawn = "".join(line[2:].rstrip("\n") for line in shown(app).splitlines()[13:])
        for word in text.split():
            assert drawn.count(word) == before.count(word) + after.count(word) > 0
        listed = shown(app).splitlines()[1]
        assert "你好 é שלום 你好 é" in listed


async def test_position_plot_tells_the_value_under_its_cursor(app: FfnscopeApp) -> None:
    async with app.run_test(size=LARGE) as pilot:
        await keys(pilot, "z", "l", "l", "l", "plus", "d")
        screen = app.screen
        assert isinstance(screen, Position) and screen.at == 3 and screen.shown == 32
        curve = screen.page.neuron.curve
        assert f"activated in {int(curve[0, 3])} of {screen.windows[0]} windows" in shown(app)
        await keys(pilot, "G", "minus", "y", "g", "q")
        assert isinstance(app.screen, Browser)


async def test_overview_goes_to_a_layer(app: FfnscopeApp) -> None:
    async with app.run_test(size=SMALL) as pilot:
        await keys(pilot, "o")
        assert isinstance(app.screen, Overview)
        await keys(pilot, "g", "j", "j", "enter")
        assert isinstance(app.screen, Browser) and app.sessions[0].neurons.layer == 2


async def test_help_lists_every_binding(app: FfnscopeApp) -> None:
    async with app.run_test(size=(120, 80)) as pilot:
        await keys(pilot, "question_mark")
        assert isinstance(app.screen, Help)
        text = shown(app)
        for binding in Browser.BINDINGS:
            assert binding.description in text
        await keys(pilot, "q")
        assert isinstance(app.screen, Browser)


async def test_help_keeps_descriptions_and_ids_apart_on_a_narrow_screen(app: FfnscopeApp) -> None:
    async with app.run_test(size=(40, 12)) as pilot:
        await keys(pilot, "question_mark")
        for line in shown(app).splitlines()[1:-1]:
            assert not line.strip() or "  " in line.strip()
        for joined in ("Page downpage-down", "Firstfirst"):
            assert joined not in shown(app)
        assert "Page down" in shown(app)


async def test_every_action_is_in_the_command_palette(app: FfnscopeApp) -> None:
    async with app.run_test(size=LARGE) as pilot:
        await keys(pilot)
        titles = {command.title for command in app.get_system_commands(app.screen)}
        assert {binding.description for binding in Browser.BINDINGS} <= titles
        command = next(each for each in app.get_system_commands(app.screen) if each.title == "Down")
        await command.callback()
        assert app.sessions[0].neurons.cursor == 1


def test_keys_that_terminals_and_multiplexers_take_are_never_bound() -> None:
    taken = {f"ctrl+{letter}" for letter in "absqhim"} | {"f1"}
    screens = (FfnscopeApp, Browser, Contexts, Help, Overview, Position, InputLine, Search)
    for binding in (binding for screen in screens for binding in screen.BINDINGS):
        assert not taken & set(binding.key.split(",")), binding


async def test_resizing_keeps_the_place(app: FfnscopeApp) -> None:
    async with app.run_test(size=LARGE) as pilot:
        await keys(pilot, "j", "j", "j")
        key = app.sessions[0].neurons.key
        for size in ((80, 24), (100, 20), (40, 10), (12, 5), (200, 60), (120, 30)):
            await pilot.resize_terminal(*size)
            await keys(pilot)
            assert app.sessions[0].neurons.key == key
        assert f"L{key[0]}N{key[1]}" in shown(app)


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
async def test_hostile_tokens_on_every_screen(store: Path, size: tuple[int, int], glyphs) -> None:
    app = FfnscopeApp([store], glyphs)
    async with app.run_test(size=size) as pilot:
        await keys(pilot, "enter")
        walk = [
            *"jjjj",
            "l",
            "l",
            "ctrl+d",
            "ctrl+d",
            "c",
            "j",
            "enter",
            "j",
            "q",
            "q",
            "z",
            "q",
            "o",
            "q",
            "s",
            "escape",
            "slash",
        ]
        for key in [*walk, "text:[/", "escape", "f", "text:detects:[red]", "enter"]:
            await keys(pilot, key)
            for pane in app.screen.query(Pane):
                for line in pane.shown:
                    assert line.isprintable()
                    assert glyphs is UNICODE or line.isascii(), line
    app.close()


COLLECT = """
import sys
from pathlib import Path
import ffnscope.store.writer as writing
from ffnscope.store import Store as Reader
from ffnscope.store.format.schema import LAYER_ARRAYS
with Reader.open(sys.argv[1]) as whole, writing.StoreWriter.open(Path(sys.argv[2])) as writer:
    writer.write_layer(1, {name: whole.column(1, name) for name in LAYER_ARRAYS}, [], {"seconds": 1.0})
    writer.write_progress(whole.progress())
"""


async def test_a_store_that_is_being_written_grows_under_the_cursor(tmp_path: Path, store: Path) -> None:
    half = make_store(tmp_path / "half.ffn", layers=3, neurons=120, written=1, complete=False)
    app = FfnscopeApp([half], UNICODE)
    async with app.run_test(size=LARGE) as pilot:
        await keys(pilot, "j", "j")
        assert "collecting 33%" in shown(app) and "12,346 tok/s" in shown(app) and "not collected" in shown(app)
        key = app.sessions[0].neurons.key
        # The collector is another process: LMDB opens a store once in each.
        subprocess.run([sys.executable, "-c", COLLECT, str(store), str(half)], check=True)
        app.look()
        await pilot.pause(1.0)
        assert app.sessions[0].layers == (0, 1)
        assert "complete" in shown(app) and app.sessions[0].neurons.key == key
    app.close()


async def test_a_store_without_a_layer_yet_says_so(tmp_path: Path) -> None:
    empty = make_store(tmp_path / "empty.ffn", layers=2, neurons=60, written=0, complete=False)
    app = FfnscopeApp([empty], UNICODE)
    async with app.run_test(size=LARGE) as pilot:
        await keys(pilot, *"jkGghl", "enter", "space", "s", "a", "S", "o", "q", "c", "z", "n", "*")
        assert "No layer is finished yet" in shown(app)
    app.close()


async def test_two_stores_show_the_same_neuron(store: Path, tmp_path: Path) -> None:
    other = make_store(tmp_path / "other.ffn", layers=3, neurons=120, seed=1)
    app = FfnscopeApp([store, other], UNICODE)
    async with app.run_test(size=LARGE) as pilot:
        await keys(pilot, "colon", "text:L1N8", "enter", "b")
        assert app.sessions[1].neurons.key == (1, 8) and "other.ffn" in shown(app)
        await keys(pilot, "b")
        assert "run.ffn" in shown(app)
    app.close()


async def test_the_place_is_remembered(store: Path) -> None:
    places: dict[str, Place] = {}
    first = FfnscopeApp([store], UNICODE, places=places)
    async with first.run_test(size=LARGE) as pilot:
        await keys(pilot, "colon", "text:L2", "enter", "f", "text:alive", "enter", "escape")
        await keys(pilot, "f", "ctrl+u", "text:kind:alive", "enter", "s", "m", "j", "j")
        key = first.sessions[0].neurons.key
    first.close()
    second = FfnscopeApp([store], UNICODE, places=places)
    async with second.run_test(size=LARGE) as pilot:
        await keys(pilot)
        model = second.sessions[0].neurons
        assert model.key == key and model.sort == "position_mi" and model.filter_text == "kind:alive"
        await keys(pilot, "f", "ctrl+u", "up")  # filters used before come back
        assert second.screen.query_one(Input).value == "kind:alive"
    second.close()


async def test_other_detectors_of_the_same_tokens_end_the_page(app: FfnscopeApp) -> None:
    async with app.run_test(size=LARGE) as pilot:
        await keys(pilot, "enter")
        await pilot.pause(0.5)
        await keys(pilot, "G")
        assert "other detectors of these tokens" in shown(app)
        related = browser(app).state.related[1].same
        own = {ngram.tokens[0] for ngram in browser(app).state.page.neuron.detected}
        for hit, shared in related:
            other = app.sessions[0].store.neuron(hit.layer, hit.neuron)
            assert len(own & {ngram.tokens[0] for ngram in other.detected}) == shared


async def test_similar_and_opposed_output_rows_end_the_page(app: FfnscopeApp) -> None:
    store = app.sessions[0].store
    async with app.run_test(size=LARGE) as pilot:
        dead = next(n for n in range(120) if store.neuron(1, n).kind == "dead")
        for number in (dead, 7):
            await keys(pilot, "colon", f"text:L1N{number}", "enter", "enter")
            await pilot.pause(0.3)
            await keys(pilot, "G")
            neuron, text = browser(app).state.page.neuron, shown(app)
            assert neuron.neuron == number and len(neuron.similar) == len(neuron.opposed) == 5
            for other, cosine in (*neuron.similar, *neuron.opposed):
                assert f"{cosine:+.3f}  L1N{other} " in text
            await keys(pilot, "escape")


async def test_keys_can_be_given_to_actions(store: Path) -> None:
    app = FfnscopeApp([store], UNICODE)
    app.set_keymap({"overview": "w"})
    async with app.run_test(size=LARGE) as pilot:
        await keys(pilot, "w")
        assert isinstance(app.screen, Overview)
    app.close()
