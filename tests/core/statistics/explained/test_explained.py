"""How much the token explains, against plain counting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from reference_explained import Halves, explain, layer_figure

from ffnscope.core.statistics.counts import LayerCounts, count_layer
from ffnscope.core.statistics.explained.code_lengths import log
from ffnscope.core.statistics.explained.tree import MODELS, explained, layer_sums
from ffnscope.core.statistics.ngrams import ngram_tables
from ffnscope.core.statistics.tables import CorpusTables


class Bits:
    """Activation bits held in memory, from ``active`` [S, T, F]."""

    def __init__(self, active: np.ndarray):
        self.bits = np.packbits(active, axis=1, bitorder="little").transpose(2, 0, 1)
        self.neurons = len(self.bits)

    def block(self, first: int, last: int) -> np.ndarray:
        return np.ascontiguousarray(self.bits[first:last])


def tables_of(tokens: np.ndarray, bos: int | None, vocabulary: int, counted: int | None = None) -> CorpusTables:
    """Tables of one counted domain of the first ``counted`` windows, and a count-only one of the others."""
    windows = len(tokens) if counted is None else counted
    is_bos = np.zeros(tokens.shape, bool) if bos is None else tokens == bos
    return CorpusTables(
        tokens.shape[1],
        np.array([0, windows, len(tokens)]),
        1,
        ngram_tables(tokens[:windows], bos, vocabulary),
        np.packbits(is_bos, axis=1, bitorder="little"),
    )


def check(counts: LayerCounts, active: np.ndarray, tokens: np.ndarray, bos: int | None, counted: int) -> None:
    """Compare a layer's counts with the reference."""
    halves = Halves(tokens, range(counted), bos)
    own = [explain(active[:, :, neuron], halves) for neuron in range(active.shape[2])]
    shares = explained(counts.code_lengths)
    for neuron, expected in enumerate(own):
        lengths = counts.code_lengths[neuron]
        if expected.lengths is None:
            assert np.isnan(shares[neuron]).all() and np.isnan(lengths).all()
        else:
            np.testing.assert_allclose(lengths, expected.lengths, rtol=1e-11)
            np.testing.assert_allclose(shares[neuron], expected.explained, rtol=1e-9, atol=1e-9)
        assert counts.token_set_size[neuron] == len(expected.token_set)
        listed = counts.token_set[neuron]
        assert listed[listed >= 0].tolist() == expected.token_set[:20]
        assert (listed < 0).sum() == 20 - len(expected.token_set[:20])
        if expected.token_f1 is None:
            assert np.isnan(counts.token_f1[neuron])
        else:
            assert counts.token_f1[neuron] == expected.token_f1
    np.testing.assert_allclose(layer_sums(counts.code_lengths), layer_figure(own), rtol=1e-11)


def corpus(rng: np.random.Generator, S: int, T: int, V: int, bos: bool) -> np.ndarray:
    """Windows in which some n-grams repeat and some don't; BOS, where there is one, first and now and then inside."""
    weights = 1 / np.arange(1, V)
    tokens = 1 + rng.choice(V - 1, (S, T), p=weights / weights.sum())
    if bos:
        tokens[:, 0] = 0
        tokens[rng.random((S, T)) < 0.05] = 0
    return tokens


def firing(rng: np.random.Generator, tokens: np.ndarray, F: int, V: int) -> np.ndarray:
    """[S, T, F]: neurons that follow the token, the token before, the position or nothing, at every density."""
    S, T = tokens.shape
    rates = rng.random((F, V)) ** rng.choice([0.1, 1, 8, 40], (F, 1))
    before = np.roll(tokens, 1, axis=1)
    place = np.broadcast_to(np.arange(T) % V, tokens.shape)
    source = rng.integers(0, 3, F)
    follow = np.stack([np.stack([tokens, before, place])[s] for s in source], axis=2)
    active = rng.random((S, T, F)) < rates[np.arange(F), follow]
    active[..., 0], active[..., 1] = False, True
    active[1::2, :, 2] = False
    active[::2, :, 3] = False
    return active


cases = st.tuples(
    st.integers(1, 14),
    st.integers(1, 12) | st.integers(63, 66),
    st.integers(3, 30),
    st.booleans(),
    st.integers(0, 2**32),
)


@given(cases, st.integers(0, 3))
@settings(max_examples=60)
def test_any_corpus_is_explained_as_by_hand(case: tuple[int, int, int, bool, int], extra: int) -> None:
    S, T, V, has_bos, seed = case
    rng = np.random.default_rng(seed)
    bos = 0 if has_bos else None
    tokens = corpus(rng, S, T, V, has_bos)
    active = firing(rng, tokens, 10, V)
    counted = max(S - extra, 1)
    counts = count_layer(0, Bits(active), tables_of(tokens, bos, V, counted), min_occurrences=5)
    check(counts, active, tokens, bos, counted)


@pytest.mark.parametrize("seed", range(3))
def test_a_corpus_with_many_repeated_ngrams(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tokens = corpus(rng, 60, 40, 60, True)
    active = firing(rng, tokens, 16, 60)
    check(count_layer(0, Bits(active), tables_of(tokens, 0, 60), min_occurrences=5), active, tokens, 0, 60)


def test_how_the_neurons_are_divided_changes_no_byte() -> None:
    rng = np.random.default_rng(1)
    tokens = corpus(rng, 30, 64, 40, True)
    tables = tables_of(tokens, 0, 40)
    layer = Bits(firing(rng, tokens, 13, 40))
    whole = count_layer(0, layer, tables, min_occurrences=5)
    threads = count_layer(0, layer, tables, min_occurrences=5, threads=3)
    parts = LayerCounts.joined(
        [count_layer(0, layer, tables, min_occurrences=5, neurons=part) for part in (range(5), range(5, 13))]
    )
    for other in (threads, parts):
        for name in ("code_lengths", "token_set", "token_set_size", "token_f1"):
            assert getattr(whole, name).tobytes() == getattr(other, name).tobytes()
        assert layer_sums(whole.code_lengths).tobytes() == layer_sums(other.code_lengths).tobytes()


def test_what_decides_a_neuron_explains_it() -> None:
    rng = np.random.default_rng(0)
    tokens = corpus(rng, 200, 64, 20, True)
    before = np.roll(tokens, 1, axis=1)
    active = np.stack([tokens == 3, (tokens == 3) & (before == 2), np.broadcast_to(np.arange(64) < 8, tokens.shape)], 2)
    tables = tables_of(tokens, 0, 20)
    counts = count_layer(0, Bits(active), tables, min_occurrences=5)
    token, bigram, trigram, position = explained(counts.code_lengths).T
    assert MODELS == ("token", "bigram", "trigram", "position")
    assert token[0] > 0.98 and position[0] < 0.1
    assert token[1] < 0.9 < bigram[1] and trigram[1] > 0.9
    assert position[2] > 0.98 and token[2] < 0.1
    assert counts.token_set[0, :2].tolist() == [3, -1] and counts.token_f1[0] == 1


def test_logarithms_are_as_exact_as_the_library_s() -> None:
    """Each of them also where it is one of many."""

    @njit(error_model="numpy")
    def logs(x: np.ndarray) -> np.ndarray:
        out = np.empty_like(x)
        for index in range(len(x)):
            out[index] = log(x[index])
        return out

    rng = np.random.default_rng(0)
    x = np.concatenate([np.exp(rng.uniform(-60, 60, 5000)), 1 + rng.normal(0, 1e-6, 1000), 1 / np.arange(1.0, 99)])
    expected = np.log(x)
    assert np.abs(logs(x) - expected).max(initial=0, where=expected == 0) == 0
    np.testing.assert_array_less(np.abs(logs(x) - expected), 1.01 * np.spacing(np.abs(expected)) + 1e-300)
    assert logs(x).tolist() == [logs(x[index : index + 1]).item() for index in range(len(x))]


def test_few_activations_are_explained_as_by_hand() -> None:
    """Where fewer terms of the series are added up, below a chance of 0.004."""
    rng = np.random.default_rng(4)
    tokens = corpus(rng, 120, 100, 40, True)
    active = rng.random((*tokens.shape, 6)) < np.array([0.0002, 0.0005, 0.001, 0.003, 0.005, 0.1])
    check(count_layer(0, Bits(active), tables_of(tokens, 0, 40), min_occurrences=5), active, tokens, 0, 120)
