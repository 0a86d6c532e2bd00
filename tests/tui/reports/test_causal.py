"""`report --causal`: token detectors taken away, beside the projection test, and the loss by kind."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from pathlib import Path

import hooked
import numpy as np
import pytest
import reference_forward as fwd
import tiny_models as tm
from commands import one_line, run
from exact import run as collect
from exact import sources_of
from report_page import Page

import ffnscope.store
from ffnscope.core.effects import ablate
from ffnscope.core.effects.ablation import Experiment
from ffnscope.core.effects.causal import draw_kinds, token_detectors
from ffnscope.tui.reports.catalogue.causal import CAUSAL, CausalLayer, causal_finding

PAGE = Path(__file__).parents[3] / "tui" / "reports" / "FIGURES.md"
V, T, S = 24, 16, 60


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store of neurons that fire by rules, and its model."""
    folder = tmp_path_factory.mktemp("causal")
    model, _ = tm.rule_model(folder / "model", V, T, tm.default_rules(V, T))
    often = np.full(V, 0.02)
    often[[3, 4, 5]] = 0.25, 0.2, 0.13
    windows = np.random.default_rng(7).choice(V, (S, T), p=often / often.sum()).astype(np.int64)
    windows[:, 0] = 0
    path = collect(
        model, sources_of(folder, {"data": windows}), folder / "s.ffn", keep="40", bos_id=0, min_occurrences=2
    )
    return path, model


@pytest.fixture(scope="module")
def figures(made, tmp_path_factory):
    """(JSON, CSV files, page) of one report."""
    folder = tmp_path_factory.mktemp("out")
    import contextlib

    out = io.StringIO()
    from ffnscope.tui.cli import main

    with contextlib.redirect_stdout(out):
        assert main(["report", str(made[0]), "--causal", str(made[1]), "--csv", str(folder / "csv"), "--html",
                     str(folder / "r.html"), "--json"]) == 0  # fmt: skip
    files = {path.stem: list(csv.DictReader(path.open())) for path in (folder / "csv").glob("causal_*.csv")}
    return json.loads(out.getvalue()), files, (folder / "r.html").read_text("utf-8")


def test_each_detector_is_that_of_ablate_and_of_the_weights(made, figures):
    rows = figures[1]["causal_detectors"]
    with ffnscope.store.open(made[0]) as store:
        keys = [key for keys in token_detectors(store).values() for key in keys]
        assert len(keys) > 3 and [(int(row["layer"]), int(row["neuron"])) for row in rows] == keys
        for row, effect in zip(rows, ablate(store, keys), strict=True):
            for name in (
                "delta_trigger_logit",
                "delta_trigger_logit_low",
                "delta_loss",
                "delta_loss_high",
                "delta_loss_active",
            ):
                value = getattr(effect, name)
                assert row[name] == "" if math.isnan(value) else float(row[name]) == pytest.approx(value, abs=1e-6)
            neuron = store.neuron(*effect.neurons[0])
            assert float(row["trigger_projection"]) == pytest.approx(neuron.trigger_projection, abs=1e-6)


def test_direct_effects_are_those_of_the_definition(made, figures):
    plain = fwd.load_model(made[1])
    with ffnscope.store.open(made[0]) as store:
        tokens = store.kept.tokens.astype(np.int64)
        keys = [(int(row["layer"]), int(row["neuron"])) for row in figures[1]["causal_detectors"]]
        detected = {key: [ngram.tokens[0] for ngram in store.neuron(*key).detected] for key in keys}
    values, norm, seen = hooked.neuron_values(plain, tokens), plain.model.decoder.final_layer_norm, []
    handle = norm.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0].detach().double().numpy()))
    hooked.logits(plain, tokens)
    handle.remove()
    scale = np.sqrt(seen[0].var(-1) + norm.eps)
    E, gain = fwd.unembedding(plain)[0].astype(np.float64), norm.weight.detach().double().numpy()
    for row in figures[1]["causal_detectors"]:
        layer, neuron = int(row["layer"]), int(row["neuron"])
        w = fwd.output_rows(plain, layer)[neuron].astype(np.float64)
        direct = values[layer][..., neuron] * (E[tokens] @ (gain * (w - w.mean()))) / scale
        mask = np.isin(tokens, detected[layer, neuron]) & (values[layer][..., neuron] > 0)
        mask[:, -1] = False
        assert int(row["trigger_positions"]) == mask.sum()
        assert float(row["direct_effect"]) == pytest.approx(direct[mask].mean(), abs=1e-4)


def test_layers_and_kinds_add_up(made, figures):
    found, files, _ = figures
    detectors = files["causal_detectors"]
    for row in files["causal_layers"]:
        own = [each for each in detectors if each["layer"] == row["layer"]]
        fire = [each for each in own if each["trigger_positions"] != "0"]
        assert (int(row["detectors"]), int(row["tested"])) == (len(own), len(fire))
        if fire:
            assert float(row["raise"]) == pytest.approx(
                np.mean([float(each["delta_trigger_logit"]) > 0 for each in fire])
            )
            assert float(row["projection"]) == pytest.approx(
                np.mean([float(each["trigger_projection"]) < 0 for each in fire])
            )
            rises = sum(float(each["delta_trigger_logit"]) for each in fire)
            assert float(row["of_direct"]) == pytest.approx(-rises / sum(float(each["direct_effect"]) for each in fire))
    with ffnscope.store.open(made[0]) as store:
        drawn = draw_kinds(store)
        assert drawn == draw_kinds(store) and all(len(keys) <= 20 for keys in drawn.values())
        for kind, keys in drawn.items():
            assert all(store.neuron(*key).kind == kind for key in keys)
        layer = next(layer for layer, keys in token_detectors(store).items() if len(keys) > 1)
        (together,) = ablate(store, token_detectors(store)[layer], together=True)
        row = files["causal_layers"][store.layers().index(layer)]
        assert float(row["together_loss"]) == pytest.approx(together.delta_loss, abs=1e-6)
        assert float(row["together_logit"]) == pytest.approx(together.delta_trigger_logit, abs=1e-6)
    kinds = {row["kind"]: row for row in files["causal_kinds"]}
    assert set(kinds) == {kind for kind, keys in drawn.items() if keys}
    dead = kinds["dead"]
    assert (float(dead["delta_loss"]), float(dead["low"]), float(dead["high"]), dead["changing"]) == (0, 0, 0, "0")
    assert found["findings"][-1]["finding"] == "suppressed_triggers_causally"


def test_the_page_and_the_terminal_have_it(made, figures, capsys):
    text = Page(figures[2]).text
    assert "Section 4.4, causally" in text and "Loss by kind" in text
    code, out, err = run(capsys, "report", made[0], "--causal", "auto", "--tokens", 64)
    assert code == 0 and "4 of 40 kept windows" in err
    assert "Section 4.4, causally" in out and re.search(r"^dead +\d+ +0 +0 +0 ", out, re.MULTILINE)


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl"])
def test_a_run_that_was_stopped_goes_on(made, capsys, tmp_path, monkeypatch, name):
    arguments = ["report", made[0], "--causal", "auto", "--tokens", 320, "--json"]
    whole = run(capsys, *arguments)[1]
    plain, calls = Experiment.effect, []

    def interrupted(self, neurons, together=False, *rest):
        calls.append(neurons)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return plain(self, neurons, together, *rest)

    monkeypatch.setattr(Experiment, "effect", interrupted)
    rows = ["--causal-rows", tmp_path / name]
    assert run(capsys, *arguments, *rows)[0] == 130
    code, out, err = run(capsys, *arguments, *rows)
    assert code == 0 and out == whole and "3 neurons are in the file already" in err
    assert sum(len(neurons) == 1 for neurons in calls) == len({neurons for neurons in calls if len(neurons) == 1}) + 1
    before = len(calls)
    code, out, _ = run(capsys, *arguments, *rows)
    assert out == whole and all(len(neurons) > 1 for neurons in calls[before:])
    own = (tmp_path / name).read_text()
    with ffnscope.store.open(made[0]) as store:
        foreign = own.replace(store.run.run_id[:16], "0" * 16)
    (tmp_path / name).write_text(foreign)
    code, _, err = run(capsys, *arguments, *rows)
    assert foreign != own and code == 2 and (tmp_path / name).read_text() == foreign
    assert "of another store, of run '0000000000000000', not" in err and "another --causal-rows, or delete it" in err
    (tmp_path / name).write_text("something else\n")
    code, _, err = run(capsys, *arguments, *rows)
    assert code == 2 and "is no" in one_line(err.splitlines(keepends=True)[-1])
    assert (tmp_path / name).read_text() == "something else\n"


def test_every_csv_column_is_on_the_page():
    text = PAGE.read_text("utf-8")
    for figure in CAUSAL:
        section = re.search(rf"^### {figure.csv.key}\.csv$(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
        rows = [f"| `{column.name}` | {column.meaning} |" for column in figure.csv.columns]
        assert section and [line for line in section[1].splitlines() if line.startswith("| `")] == rows
    assert "causal" in CausalLayer.__dataclass_fields__


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["--causal", "nowhere"], "nowhere"), (["--causal", "auto", "--device", "abacus"], "--device abacus")],
)
def test_what_it_refuses_is_one_line(made, capsys, arguments, says):
    code, out, err = run(capsys, "report", made[0], *arguments)
    assert code == 2 and not out and says in one_line(err.splitlines(keepends=True)[-1])


def test_a_store_without_detectors_says_so(tmp_path, capsys):
    model = tm.tiny("llama", tmp_path)
    windows = tm.random_windows(np.random.default_rng(1), 30, 16, tm.VOCAB, 0)
    path = collect(model, sources_of(tmp_path, {"data": windows}), tmp_path / "s.ffn", keep="6", bos_id=0)
    with ffnscope.store.open(path) as store:
        assert not any(token_detectors(store).values())
    code, out, _ = run(capsys, "report", path, "--causal", "auto", "--json")
    found = json.loads(out)
    assert code == 0 and found["findings"][-1]["verdict"] == "too little data"
    assert found["figures"]["causal_detectors"]["rows"] == []
    assert all(row[3] == 0 for row in found["figures"]["causal_layers"]["rows"])


def test_a_finding_is_judged_by_its_interval():
    class Layer:
        def __init__(self, decided):
            self.decided = decided

    class Detector:
        def __init__(self, raises, projection):
            self.raises, self.trigger_projection = raises, projection

    class Result:
        def __init__(self, raised, total):
            self.layers = (Layer([Detector(i < raised, -1.0) for i in range(total)]),)

    verdicts = [causal_finding(Result(*given)).verdict for given in ((99, 100), (80, 100), (20, 100), (5, 5), (0, 0))]
    assert verdicts == ["agrees", "partly", "differs", "too little data", "too little data"]


def test_files_that_are_there_already_are_said_before_the_model_is_loaded(made, tmp_path, capsys):
    page, folder = tmp_path / "page.html", tmp_path / "csv"
    page.write_text("mine")
    folder.mkdir()
    (folder / "about.csv").write_text("mine")
    for target in (["--html", page], ["--csv", folder]):
        code, out, err = run(capsys, "report", made[0], "--causal", "nowhere", *target)
        assert code == 2 and not out and "exists already" in err and "nowhere" not in err
    assert page.read_text() == (folder / "about.csv").read_text() == "mine"
