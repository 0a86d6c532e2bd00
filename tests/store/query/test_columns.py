"""Columns agree with what one neuron's record says, under every name they have."""

from __future__ import annotations

import math

import numpy as np
import pytest
from synthetic import make_store

from ffnscope.store.errors import UserError
from ffnscope.store.query import columns
from ffnscope.store.reader import Store

DOMAINS = ("wiki", "Code", "extra")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = make_store(
        tmp_path_factory.mktemp("columns") / "s.ffn", neurons=96, domains=DOMAINS[:2], count_only=DOMAINS[2:]
    )
    with Store.open(path) as opened:
        yield opened


def expected(neuron, name):
    if name.startswith("frequency:"):
        return dict(neuron.domain_frequencies)[name.removeprefix("frequency:")]
    if name == "suppresses_triggers":
        return {None: 0, False: 1, True: 2}[neuron.suppresses_triggers]
    if columns.words(name):
        return columns.words(name).index(getattr(neuron, name))
    if name.startswith("concept"):
        return None  # a store without descriptions; tests/guarantees/exactness/test_descriptions.py has one with them
    if name == "detected":
        return len(neuron.detected)
    if name == "covered":
        return neuron.covered if neuron.order else None
    return getattr(neuron, name)


@pytest.mark.parametrize("name", columns.names(DOMAINS))
def test_a_column_is_what_the_neurons_say(store, name):
    for layer in store.layers():
        values = columns.values(store, layer, name)
        assert values.shape == (96,)
        for neuron, value in zip(store.iterate(layer), values.tolist(), strict=True):
            wanted = expected(neuron, name)
            assert (wanted is None and math.isnan(value)) or value == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize(
    ("short", "name"), [*columns.ALIASES.items(), ("FREQ", "frequency"), ("freq:wiki", "frequency:wiki")]
)
def test_short_names_mean_the_column(store, short, name):
    assert columns.resolve(short, DOMAINS) == name
    assert np.array_equal(columns.values(store, 1, short), columns.values(store, 1, name), equal_nan=True)


def test_domain_names_keep_their_case():
    assert columns.resolve("frequency:code", DOMAINS) == "frequency:Code"
    assert columns.resolve("frequency:code", ("Code", "code")) == "frequency:code"
    assert columns.find("frequency:CODE", ("Code", "code")) is None


@pytest.mark.parametrize("name", ["", "frek", "frequency:", "frequency:nope", "detected_tokens", "kind:token"])
def test_an_unknown_column_is_named_with_the_known(store, name):
    with pytest.raises(UserError) as error:
        columns.resolve(name, DOMAINS)
    for part in (repr(name), "unigrams_95 (uni)", "frequency:extra"):
        assert part in str(error.value)
    with pytest.raises(UserError, match="no layer 9"):
        columns.values(store, 9, "frequency")
