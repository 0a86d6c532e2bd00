"""Where stored neurons are on (Figure 9)."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from synthetic import make_store

from ffnscope.core.statistics.position_ranges import NeuronRanges, position_ranges, strong_oscillatory
from ffnscope.core.statistics.positional import active_ranges
from ffnscope.store.definitions import POSITION_STRENGTHS, POSITION_TYPES
from ffnscope.store.errors import DamagedStoreError
from ffnscope.store.reader import Store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = make_store(tmp_path_factory.mktemp("ranges") / "s.ffn", layers=4, neurons=160, seq_len=96, windows=60)
    with Store.open(path) as store:
        yield store


def test_ranges_are_those_of_each_neurons_curve(store):
    total = 0
    for layer in store.layers():
        neurons = strong_oscillatory(store, layer).tolist()
        assert neurons == [
            neuron
            for neuron, (type_, strength) in enumerate(
                zip(store.column(layer, "position_type"), store.column(layer, "position_strength"), strict=True)
            )
            if (POSITION_TYPES[type_], POSITION_STRENGTHS[strength]) == ("oscillatory", "strong")
        ]
        windows = store.run.corpus.counted_windows
        assert position_ranges(store, layer, neurons) == tuple(
            NeuronRanges(layer, neuron, tuple(active_ranges(store.curves(layer, neuron).sum(axis=0), windows)))
            for neuron in neurons
        )
        assert all(row.ranges for row in position_ranges(store, layer, neurons))
        total += len(neurons)
    assert total


def test_a_curve_above_its_windows_is_damage(store, monkeypatch):
    shape = store.curves(0, 3).shape
    monkeypatch.setattr(store, "curves", lambda layer, neuron: np.full(shape, 61, np.uint32))
    with pytest.raises(DamagedStoreError, match="L0N3 counts more windows"):
        position_ranges(store, 0, [3])


def test_reading_ranges_needs_no_model_libraries():
    code = (
        "import sys\nimport ffnscope.core.statistics.position_ranges\n"
        "print(sorted({'torch', 'transformers', 'numba'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
