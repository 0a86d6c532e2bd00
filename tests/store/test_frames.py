"""A store from a notebook: a layer as columns, filters, pandas and polars."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from synthetic import make_store

import ffnscope.store
from ffnscope.store.errors import UserError
from ffnscope.store.frames import table, to_pandas, to_polars
from ffnscope.store.notes import Notes
from ffnscope.store.query import columns


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with ffnscope.store.open(make_store(tmp_path_factory.mktemp("frames") / "s.ffn", layers=3, neurons=120)) as opened:
        yield opened


def test_a_layer_as_columns_is_what_its_neurons_say(store):
    made = store.table(1)
    assert set(made) == set(columns.names(("wiki", "code"))) - {"positions"}
    assert {values.shape for values in made.values()} == {(120,)}
    for i, neuron in enumerate(store.iterate(1)):
        assert made["kind"][i] == neuron.kind and made["layer"][i] == 1 and made["neuron"][i] == i
        assert made["activations"][i] == neuron.activations and made["frequency"][i] == np.float32(neuron.frequency)
        assert made["position_type"][i] == neuron.position_type
        assert made["position_strength"][i] == neuron.position_strength
        assert made["detected"][i] == len(neuron.detected)
        assert made["suppresses_triggers"][i] == {None: "", True: "true", False: "false"}[neuron.suppresses_triggers]
        assert np.isnan(made["mean_activation"][i]) == (neuron.mean_activation is None)
        assert made["frequency:code"][i] == np.float32(dict(neuron.domain_frequencies)["code"])


def test_chosen_columns_by_short_names(store):
    assert list(store.table(0, ["kind", "uni", "freq:wiki"])) == ["kind", "unigrams_95", "frequency:wiki"]
    with pytest.raises(UserError, match="no column 'nope'"):
        store.table(0, ["nope"])
    with pytest.raises(UserError, match="no layer 9"):
        table(store, 9)


def test_a_filter_selects_neurons(store):
    found = store.select("kind:token layer:0-1")
    wanted = [(layer, n) for layer in (0, 1) for n in range(120) if store.neuron(layer, n).kind == "token"]
    assert found.dtype == np.int64 and found.tolist() == [list(each) for each in wanted] and wanted
    assert store.select("").shape == (360, 2)
    with Notes.open(store.path) as notes:
        notes.set_marks([(2, 5)], True)
    assert store.select("marked").tolist() == [[2, 5]]
    with pytest.raises(UserError, match="'nope' at position 1"):
        store.select("nope")


def test_pandas(store):
    pandas = pytest.importorskip("pandas")
    frame = to_pandas(store, None, ["kind", "freq"])
    assert list(frame.columns) == ["layer", "kind", "frequency"] and len(frame) == 360
    assert isinstance(frame["kind"].dtype, pandas.CategoricalDtype)
    dead = (frame["kind"] == "dead").groupby(frame["layer"]).mean()
    for layer in range(3):
        assert dead[layer] == (store.column(layer, "activations") == 0).mean()
    assert list(to_pandas(store, 2)["neuron"]) == list(range(120))


def test_polars(store):
    polars = pytest.importorskip("polars")
    frame = to_polars(store, None, ["kind", "freq"])
    assert isinstance(frame, polars.DataFrame) and frame.columns == ["layer", "kind", "frequency"] and len(frame) == 360


@pytest.mark.parametrize(("name", "convert"), [("pandas", to_pandas), ("polars", to_polars)])
def test_what_is_not_installed_is_named(store, monkeypatch, name, convert):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=rf"{name} is not installed; pip install 'ffnscope\[{name}\]'"):
        convert(store, 0)
