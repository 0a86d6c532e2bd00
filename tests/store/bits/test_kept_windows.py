"""Which windows are kept, and the rows that their positions are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import make_store
from synthetic_bits import piece_bytes

from ffnscope.store.errors import UserError
from ffnscope.store.format.kept_bits import kept_windows, windows_kept
from ffnscope.store.reader import Store


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(0, 300))
def test_windows_are_kept_in_proportion_and_evenly(sizes, keep):
    total = sum(sizes)
    kept = windows_kept(sizes, keep)
    assert sum(kept) == min(keep, total)
    assert all(0 <= count <= size for count, size in zip(kept, sizes, strict=True))
    if keep >= len(sizes):
        assert all(kept)
    expected, first = [], 0
    for size, count in zip(sizes, kept, strict=True):
        expected += [first + i * size // count for i in range(count)]
        first += size
    found = kept_windows(sizes, keep)
    assert found.tolist() == expected and (np.diff(found) > 0).all()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = make_store(tmp_path_factory.mktemp("kept") / "s.ffn", neurons=600, count_only=("more",), keep=30)
    with Store.open(path) as opened:
        yield opened


def test_rows_are_the_kept_positions_in_order(store):
    kept = store.kept
    places = [(i, p) for i in range(30) for p in range(64) if kept.tokens[i, p] != store.run.corpus.bos_id]
    assert list(zip(kept.window_of.tolist(), kept.position_of.tolist(), strict=True)) == places
    assert kept.positions == len(places) and np.array_equal(kept.token_of, [kept.tokens[place] for place in places])
    members = np.random.default_rng(0).random(kept.positions) < 0.3
    assert np.array_equal(kept.of_windows(kept.to_windows(members)), members)
    moved = {((i + 15) % 30, p) for (i, p), one in zip(places, members, strict=True) if one}
    assert {place for place, one in zip(places, kept.moved(members), strict=True) if one} == moved & set(places)


def test_hits_are_those_of_the_neurons_own_positions(store):
    kept, rng = store.kept, np.random.default_rng(1)
    sets = [rng.random(kept.positions) < share for share in (0, 0.01, 0.4, 0.7, 1)]
    hits = kept.hits(store.layers(), sets, threads=2)
    for layer in store.layers():
        active = np.stack([kept.neuron(layer, neuron) for neuron in range(600)])
        for index, members in enumerate(sets):
            for half, rows in enumerate((kept.even, ~kept.even)):
                assert np.array_equal(hits[layer][index, :, half], (active & members & rows).sum(axis=1))
        assert np.array_equal(kept.activations(layer), hits[layer][-1])


def test_whatever_proceed_raises_ends_the_work(store):
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.kept.hits(store.layers(), [np.ones(store.kept.positions, bool)], stop)


def test_neurons_and_layers_that_are_not_there(store):
    for layer, neuron in ((0, 600), (0, -1), (9, 0)):
        with pytest.raises(UserError):
            store.kept.neuron(layer, neuron)


def test_tokens_bytes(store):
    for token in range(store.run.model.vocabulary):
        text = store.vocabulary.text(token)
        whole = store.vocabulary.whole(token)
        assert store.vocabulary.encoded(token) == (text.encode() if whole else piece_bytes(text))


def test_a_store_without_bits_says_so(tmp_path):
    with Store.open(make_store(tmp_path / "s.ffn", neurons=20)) as store:
        with pytest.raises(UserError, match="keeps no activation bits; collect it with --keep"):
            _ = store.kept
