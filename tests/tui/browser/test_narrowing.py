"""The browser's keys that undo, narrow by a value, show distributions and earlier filters, and give the command line."""

from __future__ import annotations

import csv
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from screens import LARGE, SMALL, keys, shown
from synthetic import make_store

from ffnscope.store.query import columns
from ffnscope.store.query.filter import parse_filter
from ffnscope.tui.app import FfnscopeApp
from ffnscope.tui.cli import main
from ffnscope.tui.drawing.glyphs import UNICODE
from ffnscope.tui.screens.distribution import Distribution
from ffnscope.tui.state.distribution import distribution, value_term
from ffnscope.tui.state.neuron_list import NeuronList


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("narrowing") / "a run.ffn", layers=2, neurons=120, hostile=True)


@pytest.fixture
def app(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FfnscopeApp]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    app = FfnscopeApp([store], UNICODE)
    session = app.sessions[0]
    session.neurons.set_marks(list(session.neurons.marks), False)
    session.neurons.steps.clear()
    yield app
    app.close()


def mask(neurons: NeuronList, text: str) -> np.ndarray:
    return parse_filter(text, neurons.domains).mask(neurons.store, neurons.layer)


def filterable(neurons: NeuronList) -> list[str]:
    names = columns.names(neurons.domains)
    return [name for name in names if name != "concept" and not columns.is_absent(neurons.store, name)]


def test_every_bar_counts_what_its_filter_keeps(app: FfnscopeApp) -> None:
    """Of every column: the bars' terms keep exactly the neurons counted, and no neuron is in two bars or in none."""
    neurons = app.sessions[0].neurons
    for name in filterable(neurons):
        bars = distribution(name, neurons.column(name))
        kept = [mask(neurons, bar.term) for bar in bars]
        assert [int(mask.sum()) for mask in kept] == [bar.count for bar in bars], name
        assert np.array_equal(np.sum(kept, axis=0), np.ones(120)), name


def test_a_value_and_all_others_part_the_layer(app: FfnscopeApp) -> None:
    neurons = app.sessions[0].neurons
    for name in filterable(neurons):
        for neuron in (0, 7, 60):
            value = neurons.column(name)[neuron]
            kept, others = (mask(neurons, value_term(name, value, away)) for away in (False, True))
            assert kept[neuron] and not others[neuron], name
            if columns.words(name) or columns.is_whole(name):
                assert np.array_equal(kept, ~others), name


@pytest.mark.parametrize(
    ("values", "bars"),
    [
        ([0.0] * 5 + [1e-4, 2e-3, 0.03, 0.4], [("0", 5), ("0.0001 - 0.0002", 1), ("0.001 - 0.002", 0)]),
        ([0.25, 0.25], [("0.25 - 0.5", 2)]),
        ([], []),
        ([-3.0, 1.0, 4.0, np.nan], [("-3 - -2.5", 1)]),
    ],
)
def test_bars_are_round(values: list[float], bars: list[tuple[str, int]]) -> None:
    found = [(bar.label, bar.count) for bar in distribution("mean_activation", np.array(values, np.float32))]
    assert set(bars) <= set(found) and sum(number for _, number in found) == len(values)


async def test_undo_goes_back_through_filters_sorts_and_marks(app: FfnscopeApp) -> None:
    async with app.run_test(size=LARGE) as pilot:
        neurons = app.sessions[0].neurons
        rows = neurons.rows.tolist()
        await keys(pilot, "f", "text:kind:token", "enter", "s", "a", "S", "space", "asterisk")
        assert len(neurons.marks) == len(neurons.rows) > 1
        await keys(pilot, "u")
        assert len(neurons.marks) == 1
        await keys(pilot, "u")
        assert not neurons.marks and neurons.sort == "activations" and not neurons.descending
        await keys(pilot, "u")
        assert neurons.descending
        await keys(pilot, "u", "u")
        assert neurons.sort == "kind" and not neurons.filter_text and neurons.rows.tolist() == rows
        await keys(pilot, "u")
        assert "nothing to undo" in shown(app)


async def test_a_distribution_filters_to_a_bar(app: FfnscopeApp) -> None:
    async with app.run_test(size=SMALL) as pilot:
        neurons = app.sessions[0].neurons
        await keys(pilot, "enter", "D")
        assert isinstance(app.screen, Distribution) and "distribution of kind" in shown(app)
        chosen = app.screen.bars[1]
        await keys(pilot, "j", "enter")
        assert neurons.filter_text == chosen.term and len(neurons.rows) == chosen.count
        await keys(pilot, "u", "s", "down", "D")
        assert isinstance(app.screen, Distribution) and app.screen.column == "activations"
        await keys(pilot, "l", "G", "enter")
        assert neurons.filter_text.startswith("frequency>=") and neurons.sort == "kind"


async def test_filters_to_and_away_from_the_value_under_the_cursor(app: FfnscopeApp) -> None:
    async with app.run_test(size=LARGE) as pilot:
        neurons = app.sessions[0].neurons
        kind = neurons.kind(int(neurons.rows[0]))
        await keys(pilot, "equals_sign")
        assert neurons.filter_text == f"kind:{kind}" and "u undoes" in shown(app)
        await keys(pilot, "u", "minus")
        assert {neurons.kind(int(row)) for row in neurons.rows} and kind not in {
            neurons.kind(int(row)) for row in neurons.rows
        }
        await keys(pilot, "u", "s", "f", "j", "j", "equals_sign")
        assert len(neurons.rows) >= 3 and neurons.filter_text.startswith("frequency>=")


async def test_earlier_filters_are_found_by_a_part_of_them(app: FfnscopeApp) -> None:
    async with app.run_test(size=SMALL) as pilot:
        session = app.sessions[0]
        for text in ("kind:token freq<0.5", "kind:dead", "detects:[/]"):
            await keys(pilot, "f", "ctrl+u", f"text:{text}", "enter")
        await keys(pilot, "H")
        assert shown(app).index("detects:[/]") < shown(app).index("kind:dead")
        await keys(pilot, "text:0.5 kind")
        assert "kind:dead" not in shown(app)
        await keys(pilot, "enter")
        assert session.neurons.filter_text == "kind:token freq<0.5"
        assert session.filters[-1] == "kind:token freq<0.5" and len(session.filters) == 3
        session.filters[:] = ["freq:nowhere>1"]
        await keys(pilot, "H", "enter")
        assert "filter term 'freq:nowhere>1' at position 1" in shown(app)


async def test_the_command_line_gives_the_same_rows(
    app: FfnscopeApp, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    copied: list[str] = []
    monkeypatch.setattr(app, "copy_to_clipboard", copied.append)
    async with app.run_test(size=LARGE) as pilot:
        neurons = app.sessions[0].neurons
        await keys(pilot, "f", 'text:-kind:dead -detects:"it\'s a"', "enter", "s", "f", "E")
        assert "--sort=-frequency" in shown(app)
        rows = neurons.rows.tolist()
        layer = neurons.layer
    app.close()
    assert main(shlex.split(copied[0])[1:]) == 0
    listed = list(csv.DictReader(capfd.readouterr().out.splitlines()))
    assert [int(row["neuron"]) for row in listed] == rows and {int(row["layer"]) for row in listed} == {layer}
