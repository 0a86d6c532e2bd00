"""What a user sees of a mixture of experts: its experts in the browser, the report, `info` and files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny_models as tm
from exact import run, sources_of
from screens import LARGE, SMALL, keys, shown
from synthetic import make_store
from tiny_experts import EXPERTS, SIZE, tiny_experts

from ffnscope.store.figures.experts import expert_figures
from ffnscope.store.reader import Store
from ffnscope.tui.app import FfnscopeApp
from ffnscope.tui.cli import main
from ffnscope.tui.drawing.glyphs import UNICODE


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("experts")
    rng = np.random.default_rng(0)
    domains = {name: tm.random_windows(rng, 8, 16, tm.VOCAB, tm.BOS_ID) for name in ("wiki", "code")}
    model = tiny_experts("qwen2_moe", folder)
    return run(model, sources_of(folder / "data", domains), folder / "run.ffn", bos_id=tm.BOS_ID, batch_size=4)


@pytest.fixture
def app(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FfnscopeApp]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    app = FfnscopeApp([store], UNICODE)
    yield app
    app.close()


def test_shares_are_of_all_positions_and_of_each_domains(store: Path) -> None:
    with Store.open(store) as opened:
        assert expert_figures(opened, 1) == ()
        for layer in (0, 2):
            experts = expert_figures(opened, layer)
            chosen = opened.column(layer, "expert_positions").astype(int)
            assert [expert.share for expert in experts] == (chosen.sum(axis=1) / 256).tolist()
            assert [expert.domain_shares for expert in experts] == list(map(tuple, (chosen / 128).tolist()))
            assert [expert.first for expert in experts] == [10 + SIZE * number for number in range(EXPERTS)]
            assert sum(expert.dead for expert in experts) == (opened.column(layer, "activations")[10:] == 0).sum()
            busy = max(experts, key=lambda expert: expert.share)
            fired = opened.column(layer, "activations")[busy.first : busy.first + SIZE].mean()
            assert busy.frequency == pytest.approx(fired / busy.positions)


async def test_experts_in_the_browser(app: FfnscopeApp) -> None:
    async with app.run_test(size=LARGE) as pilot:
        await keys(pilot, *":L0N35", "enter", "X")
        text = shown(app)
        assert "experts of layer 0" in text and "expert 2: neurons 34 to 45" in text
        assert "wiki" in text and "code" in text
        await keys(pilot, "S", "S", "j", "enter")
        assert app.sessions[0].neurons.filter_text == "expert:3"
        assert len(app.sessions[0].neurons.rows) == SIZE
        await keys(pilot, "X", "k", "enter")
        assert app.sessions[0].neurons.filter_text == "expert:2"
        # Spaces inside quotes are kept.
        await keys(pilot, "f", "ctrl+u", 'text:-detects:="a  b" expert:2', "enter", "X", "j", "enter")
        assert app.sessions[0].neurons.filter_text == '-detects:="a  b" expert:3'
        await keys(pilot, "u", "u", "u", "u", *":L1N3", "enter", "X")
        assert "no routed experts in this layer" in shown(app)


async def test_the_page_names_the_expert_on_a_small_screen(app: FfnscopeApp) -> None:
    async with app.run_test(size=SMALL) as pilot:
        await keys(pilot, *":L0N35", "enter", "enter")
        assert "of expert 2" in shown(app)
        await keys(pilot, "escape", "X")
        assert "expert 2" in shown(app)


def test_commands_say_what_the_experts_are(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(store)]) == 0
    said = "4 routed experts per layer, 2 per token, computed by grouped_mm; layer 1 has 21 neurons"
    assert said in capsys.readouterr().out
    assert main(["report", str(store), "--csv", str(tmp_path / "csv")]) == 0
    rows = (tmp_path / "csv" / "experts.csv").read_text().splitlines()
    assert rows[0] == "layer,depth,expert,domain,share,neurons,dead,detectors,frequency"
    assert len(rows) == 1 + 2 * EXPERTS * 3 and rows[1].startswith("0,0.0,0,,") and rows[2].split(",")[3] == "wiki"
    assert main(["report", str(store)]) == 0
    assert "Experts: how often each is chosen" in capsys.readouterr().out
    assert main(["export", str(store), "--where", "expert:1", "--columns", "layer,neuron,expert"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + 2 * SIZE
    dense = make_store(tmp_path / "dense.ffn", layers=1, neurons=8)
    assert main(["export", str(dense), "--where", "expert:1"]) == 2
    assert "has no experts, its model is dense" in capsys.readouterr().err


def test_marks_of_neurons_that_a_narrower_layer_does_not_have_are_left_out(app: FfnscopeApp) -> None:
    neurons = app.sessions[0].neurons
    neurons.marks = {(0, 30), (1, 20), (1, 21), (1, 30)}
    assert neurons.selection()[0].tolist() == [[0, 30], [1, 20]]


def test_a_layer_that_is_not_finished_has_a_threshold_for_each_of_its_neurons(
    app: FfnscopeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.sessions[0].store, "layers", lambda: ())
    assert [len(app.sessions[0]._thresholds(layer)) for layer in (0, 1)] == [10 + EXPERTS * SIZE, 21]


async def test_side_by_side_stops_at_the_last_neuron_of_a_narrower_layer(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    app = FfnscopeApp([store, shutil.copytree(store, tmp_path / "copy.ffn")], UNICODE)
    async with app.run_test(size=LARGE) as pilot:
        await keys(pilot, *":L1N20", "enter", "B", "right_square_bracket")
        assert "L1N20 in two stores" in shown(app)
    app.close()
