"""A run by thresholds says so on every screen, in info, reports and files, and is compared with its like only."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
import reference_forward as fwd
import tiny_models as tm
from commands import one_line, run
from prompt_store import collect

from ffnscope.core.prompt import PromptModel
from ffnscope.store.reader import Store
from ffnscope.tui.app import FfnscopeApp
from ffnscope.tui.drawing.glyphs import UNICODE
from ffnscope.tui.drawing.pane import Pane

RULE = "share:0.05"


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """(a store by thresholds, one by the usual rule, their model)."""
    folder = tmp_path_factory.mktemp("rules")
    model = tm.tiny("llama", folder, tokenizer=True)
    options = {"seq_len": 16, "text": tm.random_text(np.random.default_rng(2), 900)}
    by_share = collect(model, folder / "share", activated=RULE, keep="all", **options)
    return by_share, collect(model, folder / "plain", **options), model


def test_info_reports_and_files_say_the_rule(stores, tmp_path, capsys):
    code, out, _ = run(capsys, "info", stores[0])
    assert code == 0 and "which 5% of positions reach (share:0.05)" in out
    assert "activated    an input above 0" in run(capsys, "info", stores[1])[1]
    assert "threshold, which 5% of positions reach" in " ".join(run(capsys, "report", stores[0])[1].split())
    assert run(capsys, "report", stores[0], "--csv", tmp_path / "csv")[0] == 0
    about = dict(list(csv.reader((tmp_path / "csv" / "about.csv").open()))[1:])
    assert RULE in about["activated"] and RULE in about["settings"]
    assert run(capsys, "report", stores[0], "--html", tmp_path / "page.html")[0] == 0
    assert "which 5% of positions reach (share:0.05)" in (tmp_path / "page.html").read_text("utf-8")


def test_thresholds_are_columns_of_files_filters_and_sorting(stores, capsys):
    code, out, err = run(capsys, "export", stores[0], "--where", "positive_share>=0.5", "--sort", "threshold")
    assert "which 5% of positions reach (share:0.05)" in err
    header, *rows = list(csv.reader(io.StringIO(out)))
    assert code == 0 and header[-3:] == ["concept_f1", "threshold", "positive_share"] and rows
    assert all(float(row[-1]) >= 0.5 for row in rows)
    assert "threshold" not in run(capsys, "export", stores[1])[1].splitlines()[0].split(",")
    code, _, err = run(capsys, "export", stores[1], "--where", "threshold>0")
    assert code == 2 and "collect --activated share:Q" in one_line(err)


def test_stores_of_different_rules_are_not_compared(stores, capsys):
    code, out, err = run(capsys, "compare", *stores[:2])
    assert (code, out) == (2, "") and "count as activated by different rules" in one_line(err)


def test_tables_say_the_rule_and_csv_keeps_its_columns(stores, tmp_path, capsys):
    sentence = "threshold, which 5% of positions reach (share:0.05)"
    with Store.open(stores[0]) as store:
        token = store.vocabulary.text(int(store.window(0)[1]))
        neuron = f"L0N{int(np.argmax(store.column(0, 'activations')))}"
    for command, format, head in (
        (["search", f'"{token}"'], None, None),
        (["ask", "position:0-8", "--top", "3"], "table", "neuron "),
        (["contexts", neuron, "--limit", "3"], "text", None),
    ):
        name, *options = command
        code, out, err = run(capsys, name, stores[0], *options)
        assert code in (0, 1) and sentence in err and sentence not in out
        assert "activated means" not in run(capsys, name, stores[1], *options)[2]
        if format is None:
            continue
        file = tmp_path / f"{name}.txt"
        assert run(capsys, name, stores[0], *options, "--output", file)[0] == 0
        first, second = file.read_text("utf-8").splitlines()[:2]
        assert sentence in first and second.startswith(head or " ")
        assert file.read_text("utf-8").splitlines()[1:] == out.splitlines()
        code, out, err = run(capsys, name, stores[0], *options, "--format", "csv")
        assert code == 0 and sentence in err and out.startswith("layer," if name == "ask" else "window,")


async def test_every_screen_says_the_rule(stores):
    app = FfnscopeApp([stores[0], stores[1]], UNICODE)
    async with app.run_test(size=(120, 40)) as pilot:
        for key in ("", "o", "c", "D", "P"):
            if key:
                await pilot.press(key)
            await pilot.pause(0.3)
            shown = "\n".join(line for pane in app.screen.query(Pane) for line in pane.shown)
            assert RULE in shown, (key, shown)
            if key == "o":
                await pilot.press("b")
                await pilot.pause(0.3)
                shown = "\n".join(line for pane in app.screen.query(Pane) for line in pane.shown)
                assert "the open stores count by different rules" in shown
            if key:
                await pilot.press("q")
                await pilot.pause(0.1)
    for session in app.sessions:
        session.close()


def test_a_prompt_follows_the_thresholds(stores):
    text = tm.random_text(np.random.default_rng(3), 10)
    with Store.open(stores[0]) as store:
        result = PromptModel.load(store.run, lambda layer: store.column(layer, "threshold")).run(text)
        values = fwd.forward_values(fwd.load_model(stores[2]), result.tokens[None])
        for layer in store.layers():
            active = np.abs(values[layer][0]) >= store.column(layer, "threshold")
            assert np.array_equal(result.active[layer], active) and active.any()
            assert np.array_equal(result.values[layer], np.where(active, values[layer][0], 0))
