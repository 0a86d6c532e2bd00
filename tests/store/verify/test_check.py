"""A whole store has nothing wrong with it; whatever is changed in one is found."""

from __future__ import annotations

import numpy as np
import pytest
from damage import alive, change, flip, problems
from synthetic import make_store

from ffnscope.store.format import schema
from ffnscope.store.format.encoding import decode_array, encode_array
from ffnscope.store.format.keys import LAYER_KEY, NEURON_KEY
from ffnscope.store.reader import Store


@pytest.fixture
def path(tmp_path):
    return make_store(tmp_path / "s.ffn", layers=1, neurons=96, count_only=("extra",))


def alter(path, name, work):
    def value(before):
        array = decode_array(before).copy()
        work(array)
        return encode_array(array)

    change(path, "columns", LAYER_KEY.pack(0) + name.encode(), value)


@pytest.mark.parametrize("options", [{}, {"hostile": True}, {"complete": False, "layers": 3}, {"count_only": ("x",)}])
def test_a_whole_store_is_right(tmp_path, options):
    assert problems(make_store(tmp_path / "s.ffn", neurons=64, **options)) == []


@pytest.mark.parametrize("name", schema.array_names([schema.EXPLAINED]))
def test_a_flipped_bit_in_any_array_is_found(path, name):
    change(path, "columns", LAYER_KEY.pack(0) + name.encode(), flip)
    found = problems(path)
    assert len(found) == 1 and f"{name} of layer 0: checksum differs" in found[0]


def rare(path):
    """A detector that few n-grams trigger and that is not positional: every count of it is in the store."""
    with Store.open(path) as store:
        few = (store.column(0, "ngrams_distinct") <= schema.TOP_NGRAMS).all(axis=1)
        return int(np.flatnonzero(few & (store.column(0, "order") > 0) & (store.column(0, "position_type") == 0))[0])


def add(amount, place):
    def work(array):
        array[place] += array.dtype.type(amount)

    return work


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("activations", "not the sum of the domains"),
        ("domain_activations", "not the sum of the domains"),
        ("kind", "kind does not follow"),
        ("order", "n-grams"),
        ("position_strength", "kind does not follow"),
        ("max_activation", "largest and mean"),
        ("ngram_activations", "n-gram"),
        ("ngrams_distinct", "most frequent"),
        ("top_unigrams_count", "most frequent"),
        ("top_unigrams_total", "most frequent"),
        ("top_bigrams_count", "most frequent"),
        ("position_mi", "positional type"),
        ("position_type", "kind"),
        ("promoted_projection", "projections"),
        ("suppressed_projection", "projections"),
        ("similar_cosine", "similar output rows"),
        ("opposed_cosine", "similar output rows"),
        ("trigger_projection", "projections"),
        ("strongest_position", "contexts"),
        ("bos_activations", "more activations at BOS"),
    ],
)
def test_a_number_that_contradicts_the_others_is_found(path, name, says):
    place = rare(path)

    def work(array):
        if name.endswith("ed_projection"):
            array[place] = array[place][::-1]
        elif name in ("kind", "position_type", "order"):
            array[place] = (array[place] + 1) % 4
        elif name == "position_strength":
            array[place] = 1
        else:
            array[place] = {"max_activation": 0, "strongest_position": 64, "bos_activations": 10**6}.get(
                name, array[place] + array.dtype.type(3)
            )

    alter(path, name, work)
    found = problems(path)
    assert any(says in line and f"L0N{place}" in line for line in found), found


@pytest.mark.parametrize("name", ["unigrams_95", "bigrams_95", "trigrams_95"])
def test_a_wrong_coverage_is_found(path, name):
    with Store.open(path) as store:
        few = int(np.flatnonzero((store.column(0, name) > 0) & (store.column(0, name) < 10))[0])
    alter(path, name, add(1, few))
    assert any("cover 95%" in line and f"L0N{few}" in line for line in problems(path))


@pytest.mark.parametrize("name", ["detected_count", "detected_total", "detected_tokens", "detected_neuron"])
def test_a_wrong_detection_is_found(path, name):
    alter(path, name, lambda array: array.__setitem__(0, 5 if name == "detected_tokens" else array[0] + 40))
    assert any("detected n-grams" in line or "projections" in line or name in line for line in problems(path))


@pytest.mark.parametrize("name", ["similar", "opposed"])
def test_a_wrong_similar_neuron_is_found(path, name):
    for value in (7, 60_000):  # itself, and none of the layer
        alter(path, name, lambda array, value=value: array[7].__setitem__(2, value))
        assert any("similar output rows" in line and "L0N7" in line for line in problems(path))


def test_other_values_are_read_too(path):
    neuron = alive(path)
    change(path, "curves", NEURON_KEY.pack(0, neuron), flip)
    change(path, "windows", (3).to_bytes(4, "big"), flip)
    change(path, "vocabulary", (0).to_bytes(4, "big") + b"bytes", flip)
    change(path, "meta", b"unigram_totals", flip)
    change(path, "meta", b"layer:00000", flip)
    found = " ".join(problems(path))
    for what in (f"position curve of L0N{neuron}", "window 3", "tokens from 0", "token counts", "layer:00000"):
        assert what in found


def test_a_curve_that_does_not_sum_is_found(path):
    neuron = alive(path)

    def more(before):
        curve = decode_array(before).copy()
        curve[0, np.argmin(curve[0])] += 1
        return encode_array(curve, compress=True)

    change(path, "curves", NEURON_KEY.pack(0, neuron), more)
    assert problems(path) == [f"layer 0: position curves do not sum to the activations: 1 neurons, L0N{neuron}"]


def test_a_missing_layer_of_a_complete_run_is_found(tmp_path):
    path = make_store(tmp_path / "s.ffn", layers=3, neurons=32, written=2)
    assert any("layers 2 are missing" in line for line in problems(path))
