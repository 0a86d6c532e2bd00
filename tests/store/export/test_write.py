"""What is exported reads back as exactly the numbers and texts of the store."""

from __future__ import annotations

import csv
import io
import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from synthetic import make_store

from ffnscope.store.errors import UserError
from ffnscope.store.export import write as export
from ffnscope.store.export.float_text import float_texts
from ffnscope.store.query.filter import parse_filter
from ffnscope.store.reader import Store

DOMAINS = ("wiki", "code")
CONTRACT = [
    "layer",
    "neuron",
    "kind",
    "positions",
    "activations",
    "frequency",
    "bos_activations",
    "max_activation",
    "mean_activation",
    "unigrams_95",
    "bigrams_95",
    "trigrams_95",
    "detected_tokens",
    "trigger_projection",
    "suppresses_triggers",
    "position_mi",
    "position_type",
    "position_strength",
    "top_unigrams",
    "promoted",
    "suppressed",
]
DESCRIBED = ["concept", "concept_precision", "concept_recall", "concept_f1"]
EXPLAINED = [
    "token_explained",
    "bigram_explained",
    "trigram_explained",
    "position_explained",
    "token_f1",
    "token_set_size",
    "token_set",
]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = make_store(tmp_path_factory.mktemp("export") / "s.ffn", neurons=120, hostile=True)
    with Store.open(path) as opened:
        yield opened


def exported(store, *arguments, **options):
    out = io.StringIO(newline="")
    export.write(store, out, *arguments, **options)
    return out.getvalue()


def rows(text):
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def number(text, kind=np.float32):
    return None if text in ("", None) else kind(text)


def as_float32(value):
    return None if value is None else np.float32(value)


def check_row(row, neuron, store, token):
    """A row of the CSV against one neuron's record; ``token``: how a token is written."""
    for name in (
        "layer",
        "neuron",
        "positions",
        "activations",
        "bos_activations",
        "unigrams_95",
        "bigrams_95",
        "trigrams_95",
    ):
        assert row[name] == str(getattr(neuron, name))
    for name in ("frequency", "max_activation", "mean_activation", "trigger_projection", "position_mi"):
        assert number(row[name]) == as_float32(getattr(neuron, name))
    assert (row["kind"], row["position_type"], row["position_strength"]) == (
        neuron.kind,
        neuron.position_type,
        neuron.position_strength,
    )
    assert row["suppresses_triggers"] == {None: "", True: "true", False: "false"}[neuron.suppresses_triggers]
    for name, share in neuron.domain_frequencies:
        assert number(row[f"frequency:{name}"]) == np.float32(share)
    detected = [
        [token(n.tokens[0]) if neuron.order == 1 else [token(t) for t in n.tokens], n.count, n.total]
        for n in neuron.detected
    ]
    assert json.loads(row["detected_tokens"]) == detected
    top = json.loads(row["top_unigrams"])
    assert [each[:2] for each in top] == [[token(n.tokens[0]), n.count] for n in neuron.top_ngrams[0]]
    assert [np.float32(each[2]) for each in top] == [np.float32(n.probability) for n in neuron.top_ngrams[0]]
    for name in ("promoted", "suppressed"):
        listed = json.loads(row[name])
        assert [(each[0], np.float32(each[1])) for each in listed] == [
            (token(t), np.float32(p)) for t, p in getattr(neuron, name)
        ]


def test_the_columns_are_the_contract(store):
    header = exported(store, export.select(store)[:0])
    assert header == ",".join([*CONTRACT, "frequency:wiki", "frequency:code", *EXPLAINED, *DESCRIBED]) + "\n"


def test_every_cell_reads_back(store):
    found = rows(exported(store))
    neurons = list(store.iterate())
    assert len(found) == len(neurons) == 240
    assert {neuron.order for neuron in neurons} == {0, 1, 2, 3} and {n.kind for n in neurons} >= {"dead", "positional"}
    for row, neuron in zip(found, neurons, strict=True):
        check_row(row, neuron, store, store.vocabulary.text)


def test_token_ids_instead_of_texts(store):
    for row, neuron in zip(rows(exported(store, token_ids=True)), store.iterate(), strict=True):
        check_row(row, neuron, store, lambda token: token)


def test_json_lines_hold_the_same(store):
    lines = exported(store, format="jsonl").splitlines()
    for row, line in zip(rows(exported(store)), lines, strict=True):
        record = json.loads(line)
        assert list(record) == list(row)
        for name, value in record.items():
            if isinstance(value, list):
                assert value == json.loads(row[name])
            elif isinstance(value, bool):
                assert row[name] == str(value).lower()
            elif value is None:
                assert row[name] == ""
            elif isinstance(value, str):
                assert row[name] == value
            else:
                assert type(value)(row[name]) == value


def test_nothing_that_acts_on_a_terminal_is_written(store):
    for text in (exported(store), exported(store, format="jsonl")):
        assert not any(not char.isprintable() for char in text.replace("\n", ""))
        text.encode("utf-8")
    assert "\\u001b[31m" in exported(store) and "\r" not in exported(store)


@pytest.mark.parametrize(
    "sort", [None, "frequency", "-acts", "max", "-max", "proj", "kind", "-freq:code", "layer", "-neuron"]
)
def test_order_of_the_rows(store, sort):
    selection = export.select(store, None, sort)
    found = [tuple(pair) for pair in selection.tolist()]
    everyone = [(layer, neuron) for layer in store.layers() for neuron in range(120)]
    assert sorted(found) == everyone
    if sort is None:
        assert found == everyone
        return
    name = {"acts": "activations", "max": "max_activation", "proj": "trigger_projection"}.get(
        sort.strip("-"), sort.strip("-")
    )

    def key(pair):
        from ffnscope.store.query import columns

        value = float(columns.values(store, pair[0], name)[pair[1]])
        return (np.isnan(value), 0.0 if np.isnan(value) else -value if sort.startswith("-") else value, pair)

    assert found == sorted(everyone, key=key)
    written = rows(exported(store, selection, ["layer", "neuron", "freq", "detected_tokens"]))
    assert [(int(row["layer"]), int(row["neuron"])) for row in written] == found
    by_place = {(row["layer"], row["neuron"]): row for row in rows(exported(store))}
    for row in written:
        whole = by_place[row["layer"], row["neuron"]]
        assert (row["frequency"], row["detected_tokens"]) == (whole["frequency"], whole["detected_tokens"])


def test_rows_in_any_order_and_repeated(store):
    wanted = [(1, 5), (0, 7), (1, 5), (0, 0), (1, 119)]
    written = rows(exported(store, np.array(wanted)))
    assert [(int(row["layer"]), int(row["neuron"])) for row in written] == wanted
    for row, (layer, neuron) in zip(written, wanted, strict=True):
        check_row(row, store.neuron(layer, neuron), store, store.vocabulary.text)


def test_only_what_a_filter_and_marks_leave(store):
    where = parse_filter("kind:token layer:1", DOMAINS)
    expected = [[1, neuron.neuron] for neuron in store.iterate(1) if neuron.kind == "token"]
    assert export.select(store, where).tolist() == expected and expected
    assert export.select(store, parse_filter("marked"), None, {(1, 3), (0, 9), (5, 5)}).tolist() == [[0, 9], [1, 3]]
    assert exported(store, export.select(store, parse_filter("freq>1"))).count("\n") == 1


def test_more_columns_than_the_default(store):
    written = rows(exported(store, columns=["cov", "top_bigrams", "TOP_TRIGRAMS", "det"]))
    for row, neuron in zip(written, store.iterate(), strict=True):
        assert list(row) == ["covered", "top_bigrams", "top_trigrams", "detected"]
        for n, name in ((1, "top_bigrams"), (2, "top_trigrams")):
            assert [each[:2] for each in json.loads(row[name])] == [
                [store.vocabulary.texts(g.tokens), g.count] for g in neuron.top_ngrams[n]
            ]


@pytest.mark.parametrize("names", [["layer", "nope"], [""], [], ["frequency:nope"]])
def test_an_unknown_column_writes_nothing(store, names):
    out = io.StringIO()
    with pytest.raises(UserError, match="known are layer, neuron, kind"):
        export.write(store, out, None, names)
    assert out.getvalue() == ""
    with pytest.raises(UserError, match="known are layer"):
        export.select(store, None, "-nope")
    with pytest.raises(UserError, match="csv, jsonl"):
        export.write(store, out, format="xml")


def test_a_file_appears_whole_and_is_never_replaced_unasked(store, tmp_path):
    path = tmp_path / "out.csv"
    assert export.write_file(path, store, columns=["layer"]) == 240
    assert path.read_bytes() == exported(store, columns=["layer"]).encode()
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()
    with pytest.raises(UserError, match=r"out\.csv: exists already"):
        export.write_file(path, store, columns=["neuron"])
    assert export.write_file(path, store, columns=["neuron"], overwrite=True) == 240
    assert path.read_text().startswith("neuron\n") and [each.name for each in tmp_path.iterdir()] == ["out.csv"]
    with pytest.raises(UserError, match="is a folder"):
        export.write_file(tmp_path, store)
    with pytest.raises(UserError, match="cannot be written"):
        export.write_file(tmp_path / "none" / "out.csv", store)


def test_a_file_that_fails_half_way_leaves_nothing(store, tmp_path):
    with pytest.raises(UserError, match="no layer 7"):
        export.write_file(tmp_path / "out.csv", store, np.array([[0, 1], [7, 1]]))
    assert list(tmp_path.iterdir()) == []


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


@given(arrays.arrays(np.uint32, st.integers(0, 200), elements=st.integers(0, 2**32 - 1)))
@settings(max_examples=200)
def test_floats_read_back_and_are_shortest(bits):
    values = bits.view(np.float32)
    for value, text in zip(values, float_texts(values), strict=True):
        if not np.isfinite(value):
            assert text == "null"
            continue
        assert np.float32(text) == value == np.float32(json.loads(text))
        digits = [each.replace(".", "").replace("-", "").split("e")[0].strip("0") for each in (text, str(value))]
        assert len(digits[0]) == len(digits[1]) and text.startswith("-") == str(value).startswith("-")


@given(arrays.arrays(np.float32, 50, elements=st.floats(-10, 10, width=32)))
@settings(max_examples=100)
def test_ordinary_floats_print_as_numpy_prints_them(values):
    assert float_texts(values) == [str(value) for value in values] or any(0 < abs(v) < 1e-3 for v in values)
