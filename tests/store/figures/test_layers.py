"""The paper's figures: equal to what independent code makes of the exported CSV, on stores of every kind."""

from __future__ import annotations

import dataclasses
import json
import math
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import figures_oracle
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import NOTHING_ALIVE, make_store

from ffnscope.store.figures import COVERING_BINS, COVERING_LABELS, POSITIONAL, layer_figures, model_figures
from ffnscope.store.figures.intervals import Z95, rank_correlation, rule_of_three, wilson
from ffnscope.store.figures.layers import bin_counts
from ffnscope.store.reader import Store
from ffnscope.tui.cli import main
from ffnscope.tui.reports.findings import findings
from ffnscope.tui.reports.reading import gather


def exported(store, tmp_path):
    """(figures of `report --json`, the same from the exported CSV)."""
    path = tmp_path / f"{store.name}.csv"
    assert main(["export", str(store), "--token-ids", "--output", str(path)]) == 0
    return figures_oracle.figures(figures_oracle.read_layers(path), Store.open(store).run.model.layers)


def reported(store, capsys):
    assert main(["report", str(store), "--json"]) == 0
    return json.loads(capsys.readouterr().out)["figures"]


def same(found, wanted):
    assert len(found) == len(wanted)
    for row, expected in zip(found, wanted, strict=True):
        assert len(row) == len(expected)
        for value, other in zip(row, expected, strict=True):
            if isinstance(other, float) and isinstance(value, float):
                assert math.isclose(value, other, rel_tol=1e-12, abs_tol=1e-12), (row, expected)
            else:
                assert value == other, (row, expected)


STORES = {
    "plain": {"layers": 4, "neurons": 200, "windows": 60},
    "hostile": {"layers": 3, "neurons": 150, "hostile": True, "seed": 3},
    "odd": {"layers": 5, "neurons": 64, "seed": 5},
    "unfinished": {"layers": 6, "neurons": 64, "complete": False, "seed": 6},
    "one": {"layers": 1, "neurons": 40, "seed": 7},
    "count-only": {"layers": 2, "neurons": 120, "count_only": ("more",), "seed": 8},
}


@pytest.mark.parametrize("name", STORES)
def test_every_figure_is_what_the_exported_csv_says(name, tmp_path, capsys):
    store = make_store(tmp_path / "s.ffn", **STORES[name])
    found, wanted = reported(store, capsys), exported(store, tmp_path)
    assert set(found) - set(wanted) == {
        "figure_5_token_detectors",
        "figure_9_position_ranges",
        "explained",
    }
    for key, rows in wanted.items():
        same(found[key]["rows"], rows)


def test_the_demo_too(demo_store, tmp_path, capsys):
    found, wanted = reported(demo_store, capsys), exported(demo_store, tmp_path)
    for key, rows in wanted.items():
        same(found[key]["rows"], rows)
    assert sum(row[4] for row in found["figure_1a_dead_neurons"]["rows"]) > 0


def test_what_explains_a_layer_is_of_its_sums(tmp_path):
    with Store.open(make_store(tmp_path / "s.ffn", layers=3, neurons=60)) as store:
        for layer in model_figures(store).layers:
            base, *sums = store.column(layer.layer, "explained_sums").tolist()
            assert layer.explained == pytest.approx([1 - each / base for each in sums]) and base > 0
    with Store.open(make_store(tmp_path / "old.ffn", neurons=60, explained=False)) as store:
        assert [layer.explained for layer in model_figures(store).layers] == [None, None]


def test_nothing_alive(tmp_path, capsys):
    store = make_store(tmp_path / "s.ffn", layers=2, neurons=30, mix=NOTHING_ALIVE)
    found, wanted = reported(store, capsys), exported(store, tmp_path)
    assert [row[4] for row in found["figure_1a_dead_neurons"]["rows"]] == [1.0, 1.0]
    for key, rows in wanted.items():
        same(found[key]["rows"], rows)


def test_model_totals_and_layers_agree(tmp_path):
    with Store.open(make_store(tmp_path / "s.ffn", layers=4, neurons=200)) as store:
        figures = model_figures(store)
        assert [x.layer for x in figures.layers] == [0, 1, 2, 3] and figures.whole and not figures.missing
        assert [x.layer for x in figures.first_half] == [0, 1]
        for x in figures.layers:
            alone = layer_figures(store, x.layer)
            assert alone.dead == x.dead and alone.positional == x.positional
            assert alone.mean_frequency_alive == x.mean_frequency_alive
            assert alone.tokens.detectors == x.tokens.detectors > 0
            assert alone.tokens.detected == x.tokens.detected and alone.tokens.suppressing == x.tokens.suppressing
            assert alone.tokens.cumulative is None and alone.tokens.new_overall is None
            for each in x.ngrams:
                assert sum(each.covering) + each.uncovered == x.alive
        assert figures.detected() == sum(x.tokens.new_overall for x in figures.layers)
        assert figures.detectors() == sum(x.tokens.detectors for x in figures.layers)


def test_a_layer_counts_its_neurons(tmp_path):
    with Store.open(make_store(tmp_path / "s.ffn", layers=2, neurons=96)) as store:
        figures, neurons = layer_figures(store, 0), list(store.iterate(0))
    live = [neuron for neuron in neurons if neuron.activations]
    tokens = [neuron for neuron in neurons if neuron.order == 1]
    assert (figures.neurons, figures.dead, figures.alive) == (96, 96 - len(live), len(live)) and figures.dead > 0
    assert figures.mean_frequency_alive == pytest.approx(np.mean([n.activations / n.positions for n in live]))
    for order in (1, 2, 3):
        assert figures.ngrams[order - 1].detectors == sum(n.order == order for n in neurons)
    assert figures.tokens.detected == len({g.tokens for n in tokens for g in n.detected})
    assert figures.tokens.suppressing_share == sum(n.suppresses_triggers for n in tokens) / len(tokens)
    for (kind, strength), number in zip(POSITIONAL, figures.positional, strict=True):
        assert number == sum((n.position_type, n.position_strength) == (kind, strength) for n in neurons)
    for kind, number in figures.positional_by_type.items():
        assert number == sum(n.position_type == kind for n in neurons)
    assert figures.positional_neurons == sum(bool(n.position_type) for n in neurons) > 0


def test_a_layer_that_is_not_there_leaves_new_to_previous_open(tmp_path, monkeypatch):
    store = Store.open(make_store(tmp_path / "s.ffn", layers=4, neurons=100))
    monkeypatch.setattr(store, "layers", lambda: (0, 2, 3))
    first, third, fourth = model_figures(store).layers
    assert first.tokens.new_against_previous == first.tokens.detected
    assert third.tokens.new_against_previous is None and third.tokens.new_overall is not None
    assert fourth.tokens.new_against_previous is not None
    assert model_figures(store).missing == (1,)


def test_ids_too_large_for_a_trigram_in_one_number_count_the_same(tmp_path, monkeypatch):
    store = Store.open(make_store(tmp_path / "s.ffn", layers=4, neurons=200))
    few = model_figures(store)
    assert all(few.detected(order) for order in (1, 2, 3))
    many = dataclasses.replace(store.run, model=dataclasses.replace(store.run.model, vocabulary=1 << 22))
    monkeypatch.setattr(store, "run", many)
    assert model_figures(store) == few


@given(st.lists(st.integers(0, 5000), max_size=50))
def test_bins_hold_every_neuron_once(values):
    counts, none = bin_counts(np.array(values, np.uint32))
    assert len(counts) == len(COVERING_BINS) == len(COVERING_LABELS)
    for (low, high), count in zip(COVERING_BINS, counts, strict=True):
        assert count == sum(low <= value <= (high or 10**9) for value in values)
    assert none == values.count(0)


@given(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_ends_are_the_shares_that_the_count_is_z_errors_from(counts):
    part, whole = counts
    low, high = (float(end) for end in wilson(part, whole))
    assert 0 <= low <= part / whole <= high <= 1
    for end in (low, high):
        if 0 < end < 1:
            error = math.sqrt(end * (1 - end) / whole)
            assert abs(part / whole - end) == pytest.approx(Z95 * error, rel=1e-6, abs=1e-12)
    mirrored = wilson(whole - part, whole)
    assert (1 - high, 1 - low) == pytest.approx(tuple(map(float, mirrored)), abs=1e-12)


def test_intervals_of_nothing_and_of_arrays():
    assert [float(end) for end in wilson(0, 0)] == [0.0, 1.0]
    low, high = wilson([0, 5, 10], 10)
    assert low[0] == 0 and high[2] == 1 and low.shape == (3,)
    with pytest.raises(ValueError):
        wilson(3, 2)
    assert rule_of_three(3000) == 0.001 and rule_of_three(2) == 1.0 and rule_of_three(0) == 1.0
    # The chance of 0 hits in n draws at the bound is at most 5%.
    assert (1 - rule_of_three(1000)) ** 1000 < 0.05


def test_rank_correlation():
    assert rank_correlation([1, 2, 3, 9], [10, 20, 30, 31]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert rank_correlation([1, 1, 2, 3], [1, 2, 3, 4]) == pytest.approx(0.9486832980505138)
    assert math.isnan(rank_correlation([1, 1], [1, 2])) and math.isnan(rank_correlation([1], [1]))


def test_position_ranges_are_where_a_strong_oscillatory_neuron_is_on(tmp_path):
    with Store.open(make_store(tmp_path / "s.ffn", layers=2, neurons=900, seq_len=96, windows=60)) as store:
        read = gather(store, every_range=True)
        checked = 0
        for each in read.ranges:
            neuron = store.neuron(each.layer, each.neuron)
            assert (neuron.position_type, neuron.position_strength) == ("oscillatory", "strong")
            on = np.concatenate([[0], store.position_frequency(each.layer, each.neuron) > 0.5, [0]])
            edges = np.flatnonzero(np.diff(on.astype(int)))
            if len(edges) < 2 or np.diff([0, *edges, 96])[np.diff([0, *edges, 96]) > 0].min() < 4:
                continue  # what is too short for an interval is no range
            assert each.ranges == tuple(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
            checked += 1
        assert checked >= 5
        assert {x.layer for x in read.drawn} == {max(read.oscillating, key=read.oscillating.get)}


@cache
def figures_of(**store_options):
    """Figures of a store that is made for them."""
    with TemporaryDirectory() as folder, Store.open(make_store(Path(folder) / "s.ffn", **store_options)) as store:
        return model_figures(store)


def judged(store_options, change=lambda figures: figures):
    return {finding.key: finding for finding in findings(change(figures_of(**store_options)))}


def test_too_few_windows_and_missing_layers_are_said():
    found = judged({"layers": 8, "neurons": 200, "windows": 40})
    assert {each.verdict for each in found.values()} == {"too little data"}
    assert all("Too few windows (40" in each.text or "oo few" in each.text for each in found.values())
    found = judged({"layers": 8, "neurons": 200, "windows": 120, "complete": False, "seed": 1})
    assert found["sparse_first_half"].verdict == found["like_350m"].verdict == "too little data"
    assert "lacks layers 4-7 of 8" in found["sparse_first_half"].text
    assert found["positional"].verdict == "shown"


def with_tokens(figures, **changes):
    """The figures with one layer alone having token detectors."""
    from dataclasses import replace

    first, *rest = figures.layers
    layers = [first] + [
        replace(x, ngrams=(replace(x.tokens, detectors=0, suppressing=0, detected=0), *x.ngrams[1:])) for x in rest
    ]
    layers[0] = replace(first, ngrams=(replace(first.tokens, **changes), *first.ngrams[1:]))
    return replace(figures, layers=tuple(layers))


@pytest.mark.parametrize(
    ("suppressing", "detectors", "verdict", "says"),
    [
        (3, 3, "too little data", "too few detectors (3) to say"),
        (0, 0, "too little data", "No token detectors"),
        (195, 200, "agrees", "97.5%"),
        (100, 200, "differs", "50.0%"),
        (164, 200, "partly", "The interval holds 80%"),
    ],
)
def test_suppression_is_judged_by_its_interval(suppressing, detectors, verdict, says):
    options = {"layers": 2, "neurons": 300, "windows": 120}
    changes = {"suppressing": suppressing, "detectors": detectors}
    found = judged(options, lambda figures: with_tokens(figures, **changes))["suppressed_triggers"]
    assert found.verdict == verdict and says in found.text
    assert found.numbers["token_detectors"] == detectors


def test_dead_halves_are_judged_by_their_shares():
    from dataclasses import replace

    def dead(*numbers):
        return lambda figures: replace(
            figures, layers=tuple(replace(x, dead=n) for x, n in zip(figures.layers, numbers, strict=True))
        )

    for dead_neurons, verdict in [
        ((60, 50, 0, 0), "agrees"),
        ((60, 50, 20, 0), "partly"),
        ((1, 0, 0, 0), "differs"),
        ((0, 0, 60, 60), "differs"),
    ]:
        found = judged({"layers": 4, "neurons": 200, "windows": 120}, dead(*dead_neurons))
        assert found["sparse_first_half"].verdict == verdict
        assert f"{sum(dead_neurons[:2])} of 400" in found["sparse_first_half"].text
    assert found["sparse_first_half"].numbers["second_half_dead"] == 120
