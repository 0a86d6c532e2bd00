"""`ffnscope compare`: stores side by side, and neuron by neuron where shapes are equal."""

from __future__ import annotations

import csv
import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from figures_oracle import DETECTORS, figures, grams, read_layers
from report_page import Page, run
from synthetic import make_store

from ffnscope.store.definitions import KINDS, POSITION_TYPES
from ffnscope.store.errors import UserError
from ffnscope.store.figures.changes import changes, equal_shape
from ffnscope.store.figures.recheck import recheck
from ffnscope.store.reader import Store
from ffnscope.tui.reports.comparison import comparison_document
from ffnscope.tui.reports.reading import gather


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Two of equal shape, one deeper."""
    folder = tmp_path_factory.mktemp("compare")
    first = make_store(folder / "first.ffn", layers=3, neurons=160, windows=110, seed=1)
    second = make_store(folder / "second.ffn", layers=3, neurons=160, windows=110, seed=2, hostile=True)
    return first, second, make_store(folder / "deep.ffn", layers=5, neurons=80, windows=110, seed=3)


def exported(capsys, store, tmp_path):
    path = tmp_path / f"{store.name}.csv"
    assert run(capsys, "export", store, "--token-ids", "--output", path)[0] == 0
    return read_layers(path)


def compared(capsys, *arguments):
    code, out, err = run(capsys, "compare", *arguments, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


def test_each_store_has_its_own_figures(capsys, stores, tmp_path):
    found = compared(capsys, *stores)["figures"]
    for letter, store, layers in zip("abc", stores, (3, 3, 5), strict=True):
        for key, rows in figures(exported(capsys, store, tmp_path), layers).items():
            assert found[key]["columns"][0]["name"] == "store"
            mine = [row[1:] for row in found[key]["rows"] if row[0] == letter]
            assert len(mine) == len(rows)
            for row, expected in zip(mine, rows, strict=True):
                for value, other in zip(row, expected, strict=True):
                    assert value == (pytest.approx(other, rel=1e-12) if isinstance(other, float) else other)


def test_totals_of_each_store(capsys, stores, tmp_path):
    found = compared(capsys, *stores)["figures"]["stores"]
    names = [column["name"] for column in found["columns"]]
    for row, store in zip(found["rows"], stores, strict=True):
        facts = dict(zip(names, row, strict=True))
        layers = exported(capsys, store, tmp_path)
        rows = [each for layer in layers.values() for each in layer]
        half = [each for layer in layers if layer < len(layers) // 2 for each in layers[layer]]
        tokens = [each for each in rows if each["kind"] == "token"]
        assert facts["folder"] == store.name and facts["neurons"] == len(rows) and facts["layers"] == len(layers)
        assert facts["dead_share"] == sum(each["activations"] == "0" for each in rows) / len(rows)
        assert facts["first_half"] == sum(each["activations"] == "0" for each in half) / len(half)
        assert [facts[f"{kind}_detectors"] for kind in DETECTORS] == [
            sum(each["kind"] == kind for each in rows) for kind in DETECTORS
        ]
        assert facts["detected_tokens"] == len(set().union(*map(grams, tokens)))
        assert facts["suppressing_share"] == sum(each["suppresses_triggers"] == "true" for each in tokens) / len(tokens)
        for kind in POSITION_TYPES[1:]:
            assert facts[kind] == sum(each["position_type"] == kind for each in rows)


def test_every_neuron_before_and_after(capsys, stores, tmp_path):
    found = compared(capsys, *stores)["figures"]
    assert {key for key in found if key.startswith("changes")} == {
        f"changes_a_b_{part}" for part in ("detectors", "recheck", "kinds", "types", "positions")
    }
    before, after = (exported(capsys, store, tmp_path) for store in stores[:2])
    pairs = [(x, y) for layer in before for x, y in zip(before[layer], after[layer], strict=True)]
    for key, column, words in (("kinds", "kind", KINDS), ("types", "position_type", POSITION_TYPES)):
        table = {(a, b): n for a, b, n in found[f"changes_a_b_{key}"]["rows"]}
        assert len(table) == len(words) ** 2
        for a in words:
            for b in words:
                assert table[a, b] == sum((x[column], y[column]) == (a, b) for x, y in pairs)
    names = {(True, True): "stayed", (True, False): "vanished", (False, True): "appeared"}
    expected = [
        [int(x["layer"]), int(x["neuron"]), names[x["kind"] == "token", y["kind"] == "token"], x["kind"], y["kind"]]
        for x, y in pairs
        if "token" in (x["kind"], y["kind"])
    ]
    detectors = found["changes_a_b_detectors"]["rows"]
    assert [row[:5] for row in detectors] == expected and {row[2] for row in detectors} == set(names.values())
    with Store.open(stores[0]) as opened:
        for row in detectors:
            neuron = opened.neuron(row[0], row[1])
            texts = [opened.vocabulary.text(each.tokens[0]) for each in neuron.detected] if neuron.order == 1 else []
            assert json.loads(row[6]) == texts and row[5] == len(set(texts) & set(json.loads(row[7])))
    shape = [(x["position_type"], x["position_strength"], y["position_type"], y["position_strength"]) for x, y in pairs]
    wanted = [
        [int(x["layer"]), int(x["neuron"]), *each]
        for (x, _), each in zip(pairs, shape, strict=True)
        if each[:2] != each[2:]
    ]
    assert found["changes_a_b_positions"]["rows"] == wanted and wanted


def test_the_words_say_what_the_tables_hold(capsys, stores):
    rows = compared(capsys, *stores)["figures"]["changes_a_b_detectors"]["rows"]
    counts = {change: sum(row[2] == change for row in rows) for change in ("stayed", "vanished", "appeared")}
    code, out, _ = run(capsys, "compare", *stores)
    out = " ".join(out.split())
    assert (
        code == 0 and f"Of {counts['stayed'] + counts['vanished']} token detectors of a, {counts['stayed']} are" in out
    )
    assert f"{counts['vanished']} vanished, {counts['appeared']} appeared" in out
    assert "From a to b" in out and "From b to c" not in out and "different corpora" in out


def test_detectors_are_rechecked_on_the_other_stores_data(tmp_path, capsys):
    """The same model over other text: nearly the same neurons, so counted from its windows and top triggers."""
    one = make_store(tmp_path / "one.ffn", layers=2, neurons=200, windows=80, seed=1)
    other = make_store(tmp_path / "other.ffn", layers=2, neurons=200, windows=80, seed=5)
    found = compared(capsys, one, other)["figures"]["changes_a_b_recheck"]
    names = [column["name"] for column in found["columns"]]
    rows = [dict(zip(names, row, strict=True)) for row in found["rows"]]
    with Store.open(one) as a, Store.open(other) as b:
        tokens = [token for i in range(80) for token in b.window(i).tolist() if token != b.run.corpus.bos_id]
        detectors = [n for n in a.iterate() if n.order == 1]
        assert [(row["layer"], row["neuron"]) for row in rows] == [(n.layer, n.neuron) for n in detectors]
        for row, neuron in zip(rows, detectors, strict=True):
            there = b.neuron(neuron.layer, neuron.neuron)
            counts = {ngram.tokens[0]: ngram.count for ngram in there.top_ngrams[0]}
            mine = [each.tokens[0] for each in neuron.detected]
            mine = [t for t in mine if a.vocabulary.text(t) == b.vocabulary.text(t)]
            often = [t for t in mine if tokens.count(t) >= 5]
            # Of a token that is not listed: none where places are free, else at most as many as the last has and are left.
            left = there.ngram_activations[0] - sum(counts.values())
            last = min(counts.values()) if len(counts) == 20 else 0
            most = {t: counts.get(t, min(last, left, tokens.count(t))) for t in mine}
            known = [t for t in often if counts.get(t, 0) == most[t]]
            assert row["checked"] == len(known) and row["occurrences"] == sum(tokens.count(t) for t in known)
            assert row["on_them"] == sum(counts.get(t, 0) for t in known)
            assert row["covered"] == sum(counts.get(t, 0) for t in mine)
            verdicts = {
                all(of.get(t, 0) >= 0.95 * tokens.count(t) for t in often)
                and sum(of.get(t, 0) for t in mine) >= 0.95 * there.ngram_activations[0]
                for of in (counts, most)
            }
            assert row["holds"] == (verdicts.pop() if often and len(verdicts) == 1 else None)
    assert any(row["holds"] is False for row in rows)


def test_every_detector_holds_on_its_own_data(stores):
    with Store.open(stores[0]) as one, Store.open(stores[2]) as deep:
        checks = recheck(one, one, one.layers())
        assert checks and all(each.holds for each in checks)
        assert all(each.probability >= 0.95 and each.covered >= 0.95 * each.activations for each in checks)
        assert recheck(one, deep, one.layers()) == ()


def test_a_detector_that_is_activated_on_much_else_does_not_hold(stores):
    class Noisy(Store):
        def __init__(self, store):
            self.__dict__.update(store.__dict__)

        def column(self, layer, name):
            return super().column(layer, name) * (2 if name == "ngram_activations" else 1)

    with Store.open(stores[0]) as one:
        checks = recheck(one, Noisy(one), one.layers())
        assert {each.holds for each in checks} == {False}
        assert all(each.probability >= 0.95 and 0.4 < each.covered / each.activations <= 0.5 for each in checks)


@pytest.mark.parametrize(
    ("left", "checked", "holds"), [(0, 21, False), (5, 20, False), (10, 20, None), (900, 20, False)]
)
def test_a_token_that_is_not_listed_leaves_open_what_it_can(stores, left, checked, holds):
    """A neuron with 21 tokens of 10 occurrences each: 20 are listed with 10 activations, ``left`` more are on others."""

    class Many(Store):
        def __init__(self, store):
            self.__dict__.update(store.__dict__)

        def column(self, layer, name):
            array = super().column(layer, name)
            if name in ("detected_tokens", "detected_neuron"):
                tokens = np.arange(1, 22)[:, None] if name == "detected_tokens" else np.zeros(21, np.uint32)
                return tokens.astype(np.uint32)
            made = np.zeros_like(array)
            if name == "order":
                made[0] = 1
            elif name == "top_unigrams":
                made[0, :, 0] = np.arange(1, 21)
            elif name == "top_unigrams_count":
                made[0] = 10
            elif name == "ngram_activations":
                made[0, 0] = 200 + left
            return made

        def unigram_totals(self):
            return np.full(self.run.model.vocabulary, 10, np.uint32)

    with Store.open(stores[0]) as one:
        (check,) = recheck(Many(one), Many(one), (0,))
    assert (check.tokens, check.checked, check.holds) == (21, checked, holds)
    assert (check.on_them, check.covered) == (200, 200)


def test_a_report_is_of_one_moment_of_a_growing_store(tmp_path, monkeypatch):
    """The run ends while the figures are read."""
    path = make_store(tmp_path / "s.ffn", layers=3, neurons=160, complete=False)
    with Store.open(path) as store:
        read = gather(store)
        monkeypatch.setattr(store, "progress", lambda: replace(Store.progress(store), state="complete"))
        monkeypatch.setattr(store, "layers", lambda: (0, 1, 2))
        document = comparison_document([replace(read, label="a"), replace(read, label="b")])
        assert sum("Unfinished (collecting): layers 1-2 are missing" in text for text in document.warnings) == 2


def test_a_store_with_itself_changes_nothing(stores):
    with Store.open(stores[0]) as one:
        found = changes(one, one, one.layers())
        assert found.count("stayed") == len(found.detectors) > 0 and found.positions == ()
        assert found.kinds.sum() == found.kinds.trace() == found.neurons == 480
        assert all(each.common == len(set(each.tokens_before)) > 0 for each in found.detectors)


def test_shapes_that_differ_compare_curves_only(capsys, stores):
    assert not [key for key in compared(capsys, stores[0], stores[2])["figures"] if key.startswith("changes")]
    with Store.open(stores[0]) as one, Store.open(stores[2]) as other:
        assert not equal_shape(one, other)
        # Of mixtures, each layer has a width of its own.
        model = replace(one.run.model, layer_neurons=(160, 160, 80))
        narrower = SimpleNamespace(run=SimpleNamespace(model=model))
        assert not equal_shape(one, narrower) and equal_shape(narrower, narrower)
        with pytest.raises(UserError, match="equal shape"):
            changes(one, other, one.layers())


def test_unfinished_stores_compare_the_layers_of_both(capsys, stores, tmp_path):
    path = make_store(tmp_path / "half.ffn", layers=3, neurons=160, seed=4, complete=False)
    code, out, _ = run(capsys, "compare", stores[0], path)
    assert code == 0 and "b: Unfinished (collecting): layers 1-2 are missing" in " ".join(out.split())
    assert "160 neurons in layers 0." in out
    empty = make_store(tmp_path / "none.ffn", layers=3, neurons=160, complete=False, written=0)
    assert run(capsys, "compare", path, empty)[0] == 0


def test_files_are_the_same_each_time(capsys, stores, tmp_path):
    for name in "xy":
        assert run(capsys, "compare", *stores, "--csv", tmp_path / name, "--html", tmp_path / f"{name}.html")[0] == 0
    assert (tmp_path / "x.html").read_bytes() == (tmp_path / "y.html").read_bytes()
    files = sorted(path.name for path in (tmp_path / "x").iterdir())
    assert "changes_a_b_kinds.csv" in files and "stores.csv" in files
    for name in files:
        assert (tmp_path / "x" / name).read_bytes() == (tmp_path / "y" / name).read_bytes()
    with (tmp_path / "x" / "figure_1a_dead_neurons.csv").open(newline="") as lines:
        assert [row["store"] for row in csv.DictReader(lines)] == ["a"] * 3 + ["b"] * 3 + ["c"] * 5
    parsed = Page((tmp_path / "x.html").read_text("utf-8"))
    assert parsed.tags.count("script") == 1 and "a: synthetic" in parsed.text
    text = (tmp_path / "x.html").read_text("utf-8")
    for start in range(text.count("<svg")):
        figure = text.split("<svg")[start + 1].split("</svg>")[0]
        ElementTree.fromstring(f"<svg{figure}</svg>")


def test_one_store_is_not_compared(capsys, stores):
    twice = [stores[0], stores[1], stores[0].parent / "." / stores[0].name]
    for arguments, says in (
        ([stores[0]], "1 store"),
        (twice, "given twice"),
        ([stores[0], "nope.ffn"], "nope.ffn"),
        ([], "STORE"),
    ):
        code, out, err = run(capsys, "compare", *arguments)
        assert (code, out) == (2, "") and says in err and err.count("\n") == 1, err
