"""Rankings of neurons against the definitions, computed neuron by neuron from the kept bits."""

from __future__ import annotations

import csv
import io
import json
import math

import numpy as np
import pytest
from synthetic import make_store

import ffnscope.store
from ffnscope.store.errors import UserError
from ffnscope.store.export.answers import write_answer
from ffnscope.store.notes import Notes
from ffnscope.store.query.ask import COLUMNS, SCORES, coactivated, rank, scores
from ffnscope.store.query.contexts import missed, sort_rows


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = make_store(tmp_path_factory.mktemp("ask") / "s.ffn", neurons=150, keep=31)
    with ffnscope.store.open(path) as opened:
        opened.active = {
            layer: np.stack([opened.kept.neuron(layer, i) for i in range(150)]) for layer in opened.layers()
        }
        yield opened


def expected(members, active, even):
    """All columns of one neuron by the definitions."""
    P, S, A, hits = len(members), int(members.sum()), int(active.sum()), int((members & active).sum())
    nan = float("nan")

    def f1(rows):
        both = int(members[rows].sum() + active[rows].sum())
        return 2 * int((members & active)[rows].sum()) / both if both else nan

    root = math.sqrt(S * A * (P - S) * (P - A))
    mi = 0.0
    for s in (True, False):
        for a in (True, False):
            joint = int(((members == s) & (active == a)).sum()) / P
            if joint:
                mi += joint * math.log(joint / ((members == s).mean() * (active == a).mean()))
    return {
        "hits": hits,
        "matches": S,
        "activations": A,
        "precision": hits / A if A else nan,
        "recall": hits / S,
        "f1": 2 * hits / (S + A),
        "phi": (P * hits - S * A) / root if root else 0.0,
        "mi": mi,
        "lift": (hits / S) / (A / P) if A else nan,
        "f1_even": f1(even),
        "f1_odd": f1(~even),
    }


@pytest.mark.parametrize(
    "query", ["text:/school/", "token:the position:0-40", "-token:a", "", "neuron:L0N3", "domain:code"]
)
def test_every_column_of_every_neuron(store, query):
    answer = store.ask(query)
    assert tuple(answer.columns) == COLUMNS and len(answer) == 300
    from ffnscope.store.query.positions import parse_query

    members = parse_query(query, ["wiki", "code"]).members(store.kept)
    assert answer.matches == members.sum() > 0 and answer.positions == store.kept.positions
    for row in range(len(answer)):
        layer, neuron = int(answer["layer"][row]), int(answer["neuron"][row])
        for name, value in expected(members, store.active[layer][neuron], store.kept.even).items():
            np.testing.assert_allclose(
                answer[name][row], value, rtol=1e-9, atol=1e-12, err_msg=f"{name} {layer} {neuron}"
            )
    keys = [
        (-value, layer, neuron)
        for value, layer, neuron in zip(answer["f1"], answer["layer"], answer["neuron"], strict=True)
    ]
    assert keys == sorted(keys)
    moved = store.kept.moved(members)
    level = max(
        2 * (moved & active).sum() / (moved.sum() + active.sum())
        for layer in store.layers()
        for active in store.active[layer]
    )
    assert answer.chance == pytest.approx(level)


@pytest.mark.parametrize("by", SCORES)
def test_an_order_by_each_score(store, by):
    answer = store.ask("token:the", by=by)
    values = answer[by]
    known = values[~np.isnan(values)]
    assert (np.diff(known) <= 0).all() and np.isnan(values[len(known) :]).all()
    same = np.flatnonzero(np.diff(known) == 0)
    places = answer["layer"] * 1000 + answer["neuron"]
    assert (places[same] < places[same + 1]).all()
    top = store.ask("token:the", by=by, top=7)
    assert top.columns["neuron"].tolist() == answer["neuron"][:7].tolist() and top.chance == answer.chance


def test_filters_and_least_hits(store):
    every, some = store.ask("token:the"), store.ask("token:the", where="layer:1 acts>10", min_hits=2)
    rows = (every["layer"] == 1) & (every["hits"] >= 2)
    rows &= np.array(
        [store.neuron(a, b).activations > 10 for a, b in zip(every["layer"], every["neuron"], strict=True)]
    )
    assert 0 < len(some) < 150 and some.chance == every.chance
    for name in COLUMNS:
        np.testing.assert_array_equal(some[name], every[name][rows])


def test_marks_are_read_where_a_filter_asks_for_them(store):
    with Notes.open(store.path) as notes:
        notes.set_marks([(1, 7)], True)
        notes.set_note(0, 3, "a note")
    for where, place in (("marked", (1, 7)), ("Noted", (0, 3))):
        answer = store.ask("token:the", where=where)
        assert [*zip(answer["layer"].tolist(), answer["neuron"].tolist(), strict=True)] == [place]


def test_coactivation_is_the_largest_phi_to_other_neurons(store):
    found = coactivated(store, 0, 4, 10)
    own = store.active[0][4]
    phi = {}
    for layer in store.layers():
        for neuron, other in enumerate(store.active[layer]):
            if (layer, neuron) != (0, 4):
                phi[layer, neuron] = np.corrcoef(own, other)[0, 1] if other.any() and not other.all() else 0.0
    best = sorted(phi, key=lambda place: (-round(phi[place], 12), place))[:10]
    assert list(zip(found["layer"].tolist(), found["neuron"].tolist(), strict=True)) == best
    np.testing.assert_allclose(found["phi"], [phi[place] for place in best], atol=1e-9)


def test_what_a_concordance_cannot_be(store):
    neuron = int(np.flatnonzero(store.column(0, "order") == 0)[0])
    with pytest.raises(UserError, match=f"L0N{neuron}: is not a detector"):
        missed(store, 0, neuron)
    with pytest.raises(UserError, match="--sort length: known are place, strength, left, right"):
        sort_rows(store.kept, np.arange(3), "length")


def test_an_empty_set_has_no_ranking(store):
    answer = store.ask("token:the -token:the")
    assert answer.matches == 0 == len(answer) and math.isnan(answer.chance)


def test_an_unknown_score(store):
    with pytest.raises(UserError, match="known are f1, phi"):
        store.ask("token:the", by="f2")


def test_numbers_so_large_that_products_leave_64_bits():
    p = np.array([3 * 10**9, 10**9 + 1])
    hits, active = np.array([[10**9, 10**8]]), np.array([[15 * 10**8, 2 * 10**8]])
    found = scores(hits, np.array([2 * 10**9, 5 * 10**8]), active, p)
    S, A, P, h = 25 * 10**8, 17 * 10**8, 4 * 10**9 + 1, 11 * 10**8
    assert found["phi"][0] == pytest.approx((P * h - S * A) / math.sqrt(S * A * (P - S) * (P - A)))


def test_files_read_back_exactly(store):
    answer = rank(store, store.kept.neuron(0, 3), "neuron:L0N3")
    out = io.StringIO()
    assert write_answer(out, answer) == 300
    rows = list(csv.DictReader(io.StringIO(out.getvalue())))
    assert tuple(rows[0]) == COLUMNS and out.getvalue().count("\n") == 301
    lines = io.StringIO()
    write_answer(lines, answer, "jsonl")
    for index, (row, line) in enumerate(zip(rows, map(json.loads, lines.getvalue().splitlines()), strict=True)):
        for name in COLUMNS:
            value = answer[name][index].item()
            assert (
                (row[name] == "" and line[name] is None) if value != value else float(row[name]) == line[name] == value
            )
