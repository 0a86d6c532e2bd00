"""The browser driven by its keys: search, filter, sort, goto, marks, notes, export."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
from screens import LARGE, SMALL, browser, keys, shown
from synthetic import make_store
from textual.widgets import Input

from ffnscope.store.errors import UserError
from ffnscope.store.notes import Notes
from ffnscope.tui.app import FfnscopeApp
from ffnscope.tui.drawing.glyphs import UNICODE
from ffnscope.tui.screens.input_line import InputLine
from ffnscope.tui.screens.search import Search


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 layers of 120 neurons; tests that write notes copy nothing: each uses neurons of its own."""
    return make_store(tmp_path_factory.mktemp("tasks") / "run.ffn", layers=3, neurons=120, hostile=True)


@pytest.fixture
def app(store: Path) -> Iterator[FfnscopeApp]:
    """The browser on that store, without marks or notes."""
    app = FfnscopeApp([store], UNICODE)
    session = app.sessions[0]
    session.neurons.set_marks(list(session.neurons.marks), False)
    yield app
    app.close()


async def test_search_lists_hits_as_one_types_and_walks_them(app: FfnscopeApp) -> None:
    session = app.sessions[0]
    async with app.run_test(size=LARGE) as pilot:
        await keys(pilot, "slash", "text: s")
        await pilot.pause(0.3)
        assert isinstance(app.screen, Search)
        expected = session.search(" s")
        assert [(hit.layer, hit.neuron) for hit in app.screen.hits] == [(hit.layer, hit.neuron) for hit in expected]
        assert f"L{expected[0].layer}N{expected[0].neuron}" in shown(app)
        await keys(pilot, "down", "enter")
        assert session.neurons.key == (expected[1].layer, expected[1].neuron)
        await keys(pilot, "n")
        assert session.neurons.key == (expected[2].layer, expected[2].neuron)
        await keys(pilot, "N", "N")
        assert session.neurons.key == (expected[0].layer, expected[0].neuron)
        assert f"match 1 of {len(expected)}" in shown(app)


async def test_a_text_that_is_answered_twice_keeps_what_was_chosen(app: FfnscopeApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await keys(pilot, "/", "text:s")
        await app.workers.wait_for_complete()
        await pilot.pause(0.2)
        screen = app.screen
        assert isinstance(screen, Search) and len(screen.hits) > 2
        await keys(pilot, "down")
        screen._ask("s")
        await app.workers.wait_for_complete()
        await pilot.pause(0.1)
        assert screen.chosen == 1
        await keys(pilot, "backspace", "text:a")
        await app.workers.wait_for_complete()
        await pilot.pause(0.2)
        assert len(screen.hits) > 1 and screen.chosen == 0


@pytest.mark.parametrize("way", ["slash", "t"])
async def test_search_says_what_is_wrong_with_a_regular_expression(app: FfnscopeApp, way: str) -> None:
    async with app.run_test(size=SMALL) as pilot:
        await keys(pilot, way, "text:/(/")
        await pilot.pause(0.3)
        assert "'/(/' is not a regular expression: missing )" in shown(app)
        await keys(pilot, "enter")
        assert isinstance(app.screen, Search) and "missing )" in shown(app)
        await keys(pilot, "tab")
        await pilot.pause(0.3)
        assert "missing )" in shown(app)
        await keys(pilot, "ctrl+u", "text:/e/")
        await pilot.pause(0.3)
        assert app.screen.hits and "missing )" not in shown(app)
        await keys(pilot, "escape")


async def test_search_of_nothing_says_so_and_goes_nowhere(app: FfnscopeApp) -> None:
    async with app.run_test(size=SMALL) as pilot:
        before = app.sessions[0].neurons.key
        await keys(pilot, "n", "slash", "text:qqqqq")
        await pilot.pause(0.3)
        assert "no detector of a token with qqqqq" in shown(app)
        await keys(pilot, "enter")
        assert isinstance(app.screen, Search)
        await keys(pilot, "escape")
        assert app.sessions[0].neurons.key == before


async def test_filter_counts_completes_and_applies(app: FfnscopeApp) -> None:
    async with app.run_test(size=LARGE) as pilot:
        model = app.sessions[0].neurons
        await keys(pilot, "f", "text:kind:tok", "tab")
        await pilot.pause(0.3)
        assert app.screen.query_one(Input).value.strip() == "kind:token"
        assert f"{model.matches('kind:token')} of 120" in shown(app)
        await keys(pilot, "enter")
        assert len(model.rows) == model.matches("kind:token") and "kind:token" in shown(app)
        assert {model.kind(int(row)) for row in model.rows} == {"token"}
        await keys(pilot, "f", "ctrl+u", "enter")
        assert len(model.rows) == 120


async def test_a_bad_filter_is_said_inline_and_changes_nothing(app: FfnscopeApp) -> None:
    async with app.run_test(size=SMALL) as pilot:
        await keys(pilot, "f", "text:knid:token", "enter")
        assert isinstance(app.screen, InputLine) and "knid:token" in shown(app) and "position 1" in shown(app)
        await keys(pilot, "escape")
        assert app.sessions[0].neurons.filter is None


async def test_an_empty_list_says_what_is_not_there(app: FfnscopeApp) -> None:
    async with app.run_test(size=LARGE) as pilot:
        await keys(pilot, "f", "text:kind:token freq>2", "enter")
        assert "No neuron of layer" in shown(app)
        await keys(pilot, "j", "enter", "space", "c", "z", "a", "e", "right_square_bracket")  # none of them crashes
        await keys(pilot, "f", "ctrl+u", "text:marked", "enter")
        assert "No marked neurons in layer" in shown(app) and "`o` shows" in shown(app)


async def test_sort_by_one_key_and_turn_round(app: FfnscopeApp) -> None:
    async with app.run_test(size=LARGE) as pilot:
        model = app.sessions[0].neurons
        await keys(pilot, "s", "a")
        values = model.column("activations")[model.rows]
        assert model.sort == "activations" and (values[:-1] >= values[1:]).all()
        await keys(pilot, "S")
        values = model.column("activations")[model.rows]
        assert (values[:-1] <= values[1:]).all()
        await keys(pilot, "s", "s")
        assert model.sort == "frequency"
        await keys(pilot, "s", "down", "enter")
        assert model.sort == "unigrams_95"


async def test_every_column_can_be_brought_into_view(app: FfnscopeApp) -> None:
    from ffnscope.tui.browser.neuron_table import number_columns

    async with app.run_test(size=SMALL) as pilot:
        await keys(pilot, "enter")
        seen = set()
        for _ in range(20):
            seen |= {column.title for column in browser(app).panes.table.visible_columns(80)}
            await keys(pilot, "greater_than_sign")
        assert seen == {column.title for column in number_columns(app.sessions[0].neurons.domains)}
        await keys(pilot, *["less_than_sign"] * 20)
        assert browser(app).panes.table.offset == 0


async def test_goto_finds_neurons_and_says_what_is_wrong(app: FfnscopeApp) -> None:
    async with app.run_test(size=LARGE) as pilot:
        model = app.sessions[0].neurons
        await keys(pilot, "colon", "text:L1N77", "enter")
        assert model.key == (1, 77)
        await keys(pilot, "colon", "text:n5", "enter")
        assert model.key == (1, 5)
        await keys(pilot, "colon", "text:L2", "enter")
        assert model.layer == 2
        for text, said in (("L1N9999", "it has 0 to 119"), ("L9", "no layer 9"), ("hello", "is not a neuron")):
            await keys(pilot, "colon", f"text:{text}", "enter")
            assert said in shown(app) and isinstance(app.screen, InputLine)
            await keys(pilot, "escape")
        assert model.layer == 2


async def test_goto_leaves_a_filter_that_hides_the_neuron(app: FfnscopeApp) -> None:
    async with app.run_test(size=LARGE) as pilot:
        model = app.sessions[0].neurons
        await keys(pilot, "f", "text:kind:dead", "enter")
        alive = next(n for n in range(120) if model.kind(n) != "dead")
        await keys(pilot, "colon", f"text:N{alive}", "enter")
        assert model.key == (model.layer, alive) and not model.filter_text
        assert "filter hid this neuron" in shown(app)


async def test_marks_survive_and_count(app: FfnscopeApp, store: Path) -> None:
    async with app.run_test(size=LARGE) as pilot:
        model = app.sessions[0].neurons
        first = model.key
        await keys(pilot, "space", "space", "k", "k", "space")  # marking goes down one row
        second = (model.layer, int(model.rows[1]))
        assert model.marks == {second} and "1 marked" in shown(app)
        assert first not in model.marks
        await keys(pilot, "f", "text:marked", "enter")
        assert [int(row) for row in model.rows] == [second[1]]
        await keys(pilot, "f", "ctrl+u", "text:kind:dead", "enter", "asterisk")
        dead = len(model.rows)
        assert len(model.marks) == dead + 1
        await keys(pilot, "asterisk")
        assert model.marks == {second}
    app.close()
    with Notes.open(store) as notes:
        assert notes.marks() == {second}


async def test_a_note_is_kept_and_shown(app: FfnscopeApp, store: Path) -> None:
    async with app.run_test(size=LARGE) as pilot:
        await keys(pilot, "colon", "text:L0N3", "enter", "a", "text:fires on [/] words", "enter")
        assert "note: fires on [/] words" in shown(app)
        await keys(pilot, "a")
        assert app.screen.query_one(Input).value == "fires on [/] words"
        await keys(pilot, "escape")
    app.close()
    with Notes.open(store) as notes:
        assert notes.note(0, 3) == "fires on [/] words"


async def test_export_asks_before_it_replaces_and_says_where_and_how_many(app: FfnscopeApp, tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("mine")
    async with app.run_test(size=LARGE) as pilot:
        await keys(pilot, "f", "text:kind:token", "enter")
        listed = app.sessions[0].neurons.rows.tolist()
        await keys(pilot, "e", "ctrl+u", f"text:{path}", "enter")
        assert path.read_text() == "mine" and "already exists" in shown(app)
        await keys(pilot, "enter")
        await app.workers.wait_for_complete()
        await pilot.pause(0.2)
        assert f"{len(listed)} neurons written to" in shown(app)
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [int(row["neuron"]) for row in rows] == listed
        await keys(pilot, "f", "ctrl+u", "enter", "space", "e", "ctrl+u", f"text:{tmp_path / 'marked.csv'}", "enter")
        await app.workers.wait_for_complete()
        with (tmp_path / "marked.csv").open(newline="") as file:
            assert len(list(csv.DictReader(file))) == 1


@pytest.mark.parametrize("name", ["", "/no/such/folder/x.csv", "/tmp", "/tmp/" + "x" * 300])
async def test_export_names_what_is_wrong_with_a_file(app: FfnscopeApp, name: str) -> None:
    async with app.run_test(size=SMALL) as pilot:
        await keys(pilot, "enter", "e", "ctrl+u", f"text:{name}", "enter")
        assert isinstance(app.screen, InputLine)
        assert any(said in shown(app) for said in ("give a file", "no such folder", "File name too long"))


@pytest.mark.parametrize("text", ["L70000", "L65536N1", "L" + "9" * 5000, "L9", "N99999"])
async def test_goto_what_no_store_can_hold_is_said(app: FfnscopeApp, text: str) -> None:
    async with app.run_test(size=LARGE) as pilot:
        await keys(pilot, "colon", f"text:{text}", "enter")
        assert isinstance(app.screen, InputLine)
        assert any(said in shown(app) for said in ("no layer", "no neuron", "is not a neuron"))


async def test_a_store_without_a_layer_refuses_in_words(tmp_path: Path) -> None:
    app = FfnscopeApp([make_store(tmp_path / "new.ffn", layers=2, neurons=60, written=0, complete=False)], UNICODE)
    async with app.run_test(size=LARGE) as pilot:
        await keys(pilot, "f", "text:foo", "enter")
        assert isinstance(app.screen, InputLine) and "known are" in shown(app)
        await keys(pilot, "ctrl+u", "text:kind:token")
        await pilot.pause(0.3)
        assert "no layer is finished yet" in shown(app)
        await keys(pilot, "enter", "colon", "text:N5", "enter")
        assert isinstance(app.screen, InputLine) and "no layer is finished yet" in shown(app)
        await keys(pilot, "escape", "s", "a", "e", "a", "space", "n", "j", "G")
    app.close()


async def test_a_note_that_cannot_be_kept_is_said(app: FfnscopeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise UserError("the disk is full")

    async with app.run_test(size=LARGE) as pilot:
        await keys(pilot, "a", "text:" + "x" * 10_001, "enter")
        assert isinstance(app.screen, InputLine) and "at most 10,000 characters" in shown(app)
        monkeypatch.setattr(Notes, "set_note", fail)
        await keys(pilot, "ctrl+u", "text:a note", "enter")
        await pilot.pause(0.2)
        assert "the disk is full" in shown(app)
