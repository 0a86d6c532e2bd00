"""The reference against numbers worked out by hand and against itself."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import reference as ref
import tiny_models as tm
from reference_figures import coverage_bin, model_summary


def one_neuron(windows, active, bos_id=None, min_occurrences=5, domains=None, values=None) -> ref.Neuron:
    tokens, active = np.array(windows), np.array(active, dtype=bool)
    values = active.astype(np.float32) if values is None else np.array(values, dtype=np.float32)
    domains = domains or [ref.Domain("all", 0, len(tokens))]
    return ref.neuron_statistics(active, values, tokens, domains, bos_id, min_occurrences)


def test_windows_are_cut_from_documents_joined_by_bos() -> None:
    windows, dropped = ref.cut_windows([[1, 2, 3], [4, 5]], 3, 0)
    assert windows.tolist() == [[0, 1, 2], [0, 3, 0], [0, 4, 5]]
    assert dropped == 0
    windows, dropped = ref.cut_windows([[1, 2, 3], [4, 5]], 5, 0)
    assert windows.tolist() == [[0, 1, 2, 3, 0]]
    assert dropped == 2
    windows, dropped = ref.cut_windows([[1, 2, 3], [4, 5]], 2, None)
    assert windows.tolist() == [[1, 2], [3, 4]]
    assert dropped == 1
    windows, dropped = ref.cut_windows([[1]], 4, 0)
    assert windows.shape == (0, 4)
    assert dropped == 1


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([], 0),
        ([1], 1),
        ([19, 1], 1),
        ([18, 1, 1], 2),
        ([95, 5], 1),
        ([94, 6], 2),
        ([949, 51], 2),
        ([950, 50], 1),
        ([1] * 20, 19),
        ([1] * 21, 20),
        ([1] * 100, 95),
        ([5, 1, 5, 1], 4),
        ([10, 8, 1, 1], 3),
    ],
)
def test_coverage(counts: list[int], expected: int) -> None:
    assert ref.coverage_95(Counter({(i,): c for i, c in enumerate(counts)})) == expected


def test_a_neuron_by_hand() -> None:
    windows = [[0, 1, 2, 1, 2], [0, 1, 2, 0, 2]]
    active = [[1, 0, 1, 0, 1], [0, 0, 1, 0, 1]]
    values = [[0.5, 9, 1, 9, 2], [9, 9, 4, 9, 0.25]]
    neuron = one_neuron(windows, active, bos_id=0, values=values)
    assert (neuron.positions, neuron.activations, neuron.frequency) == (10, 5, 0.5)
    assert neuron.bos_activations == 1
    assert (neuron.max_activation, neuron.mean_activation) == (4.0, 1.55)
    assert neuron.ngram_activations == {1: 4, 2: 3, 3: 1}
    assert neuron.count == {1: {(2,): 4}, 2: {(1, 2): 3}, 3: {(2, 1, 2): 1}}
    assert (neuron.unigrams_95, neuron.bigrams_95, neuron.trigrams_95) == (1, 1, 1)
    assert neuron.top_unigrams == [(2, 4, 1.0)]
    assert neuron.position_counts.tolist() == [1, 0, 2, 0, 2]
    assert neuron.position_mi == pytest.approx(0.8 * 0.6931471805599453, abs=1e-15)
    assert neuron.bias == 0.05
    assert neuron.positional
    assert (neuron.detector_order, neuron.detected, neuron.kind) == (0, [], "positional")

    neuron = one_neuron(windows, active, bos_id=0, min_occurrences=4)
    assert (neuron.detector_order, neuron.kind) == (1, "token")
    assert neuron.detected == [((2,), 4, 4)]

    neuron = one_neuron(windows, active, bos_id=None, min_occurrences=1)
    assert neuron.bos_activations == 0
    assert neuron.ngram_activations == {1: 5, 2: 4, 3: 4}
    assert neuron.count[1] == {(2,): 4, (0,): 1}
    assert neuron.count[2] == {(1, 2): 3, (0, 2): 1}
    assert neuron.count[3] == {(0, 1, 2): 2, (2, 1, 2): 1, (2, 0, 2): 1}


def test_an_ngram_stays_inside_its_window() -> None:
    neuron = one_neuron([[1, 2, 3], [4, 5, 6]], [[1, 1, 1], [1, 1, 1]])
    assert neuron.count[2] == {(1, 2): 1, (2, 3): 1, (4, 5): 1, (5, 6): 1}
    assert neuron.count[3] == {(1, 2, 3): 1, (4, 5, 6): 1}
    assert one_neuron([[1], [2]], [[1], [1]]).ngram_activations == {1: 2, 2: 0, 3: 0}


def test_dead_and_bos_only() -> None:
    dead = one_neuron([[0, 1, 2]], [[0, 0, 0]], bos_id=0)
    assert (dead.kind, dead.frequency, dead.max_activation, dead.mean_activation) == ("dead", 0.0, None, None)
    assert (dead.position_mi, dead.bias, dead.positional, dead.unigrams_95) == (0.0, 0.0, False, 0)
    bos_only = one_neuron([[0, 1, 2]] * 8, [[1, 0, 0]] * 8, bos_id=0)
    assert (bos_only.activations, bos_only.bos_activations, bos_only.unigrams_95) == (8, 8, 0)
    assert (bos_only.detector_order, bos_only.kind) == (0, "positional")
    sparse_bos = one_neuron([[0, 0, 0]] * 8, [[1, 1, 1]] * 8, bos_id=0)
    assert (sparse_bos.detector_order, sparse_bos.kind) == (0, "other")


def single_tokens(rows: list[tuple[int, int, int]]) -> tuple[list[list[int]], list[list[int]]]:
    """Windows of one position from (token, occurrences, activated)."""
    windows = [[token] for token, N, _ in rows for _ in range(N)]
    return windows, [[k < count] for _, N, count in rows for k in range(N)]


@pytest.mark.parametrize(
    ("rows", "min_occurrences", "detected"),
    [
        ([(7, 20, 19)], 5, [((7,), 19, 20)]),
        ([(7, 20, 18)], 5, []),
        ([(7, 19, 18)], 5, []),
        ([(7, 20, 19), (8, 20, 1)], 5, [((7,), 19, 20)]),
        ([(7, 20, 19), (8, 20, 2)], 5, []),
        ([(7, 4, 4)], 5, []),
        ([(7, 5, 5)], 5, [((7,), 5, 5)]),
        ([(7, 4, 4)], 4, [((7,), 4, 4)]),
        ([(7, 1, 1)], 1, [((7,), 1, 1)]),
        ([(7, 76, 76), (8, 4, 4)], 5, [((7,), 76, 76)]),
        ([(7, 75, 75), (8, 4, 4)], 5, []),
        ([(9, 6, 6), (8, 6, 6), (7, 5, 5)], 5, [((8,), 6, 6), ((9,), 6, 6), ((7,), 5, 5)]),
        ([(t, 20, 20) for t in range(5)], 5, [((t,), 20, 20) for t in range(5)]),
        ([(t, 20, 20) for t in range(6)], 5, []),
        ([(0, 95, 95)] + [(t, 5, 5) for t in range(1, 2)], 5, [((0,), 95, 95), ((1,), 5, 5)]),
    ],
)
def test_token_detectors(rows, min_occurrences: int, detected) -> None:
    neuron = one_neuron(*single_tokens(rows), min_occurrences=min_occurrences)
    assert neuron.detected == detected
    assert neuron.detector_order == (1 if detected else 0)
    assert neuron.kind == ("token" if detected else "other")


@pytest.mark.parametrize(("distinct", "covering", "order"), [(20, 19, 2), (21, 20, 2), (22, 21, 0)])
def test_bigram_detectors(distinct: int, covering: int, order: int) -> None:
    firing = [[a, 50] for a in range(distinct) for _ in range(5)]
    silent = [[90, 50]] * 120
    neuron = one_neuron(firing + silent, [[0, 1]] * len(firing) + [[0, 0]] * 120)
    assert (neuron.unigrams_95, neuron.bigrams_95, neuron.trigrams_95) == (1, covering, 0)
    assert neuron.detector_order == order
    assert neuron.detected == [((a, 50), 5, 5) for a in range(distinct)] * (order == 2)


@pytest.mark.parametrize(("distinct", "covering", "order"), [(52, 50, 3), (53, 51, 0)])
def test_trigram_detectors(distinct: int, covering: int, order: int) -> None:
    firing = [[a, 60, 61] for a in range(distinct) for _ in range(5)]
    silent = [[90, 60, 61]] * 20
    neuron = one_neuron(firing + silent, [[0, 0, 1]] * len(firing) + [[0, 0, 0]] * 20)
    assert (neuron.unigrams_95, neuron.bigrams_95, neuron.trigrams_95) == (1, 1, covering)
    assert neuron.detector_order == order
    assert neuron.detected == [((a, 60, 61), 5, 5) for a in range(distinct)] * (order == 3)


@pytest.mark.parametrize(
    ("counts", "windows", "mi", "bias", "positional"),
    [
        ([0, 0], 4, 0.0, 0.0, False),
        ([4, 4], 4, 0.0, 0.0, False),
        ([2, 2], 4, 0.0, 0.125, False),
        ([4, 0], 4, 0.6931471805599453, 0.0, True),
        ([1, 3], 4, 0.13081203594113697, 0.125, False),
        ([1, 1, 1, 0], 1, 0.5623351446188083, 0.0, True),
        ([2, 1], 2, 0.21576155433883570, 0.125, True),
    ],
)
def test_position_information(counts, windows: int, mi: float, bias: float, positional: bool) -> None:
    assert ref.position_information(counts, windows) == pytest.approx(mi, abs=1e-15)
    assert ref.position_bias(counts, windows) == bias
    tokens = np.arange(len(counts) * windows).reshape(windows, len(counts))
    active = np.array([[w < c for c in counts] for w in range(windows)])
    assert one_neuron(tokens, active).positional == positional


def test_count_only_domains_count_and_nothing_else() -> None:
    domains = [ref.Domain("a", 0, 2), ref.Domain("extra", 2, 1, count_only=True), ref.Domain("b", 3, 1)]
    windows = [[0, 1, 2], [0, 2, 1], [0, 1, 2], [0, 1, 1]]
    active = [[0, 1, 0], [0, 0, 1], [1, 0, 1], [0, 1, 1]]
    values = [[0, 1, 0], [0, 0, 1], [7, 0, 1], [0, 1, 1]]
    neuron = one_neuron(windows, active, 0, 1, domains, values)
    assert (neuron.positions, neuron.activations, neuron.bos_activations) == (12, 6, 1)
    assert neuron.domain_positions == {"a": 6, "extra": 3, "b": 3}
    assert neuron.domain_activations == {"a": 2, "extra": 2, "b": 2}
    assert neuron.domain_frequency == {"a": 2 / 6, "extra": 2 / 3, "b": 2 / 3}
    assert (neuron.max_activation, neuron.mean_activation) == (7.0, 2.0)
    assert neuron.count[1] == {(1,): 4}
    assert neuron.detected == [((1,), 4, 4)]
    assert neuron.position_counts.tolist() == [0, 2, 2]
    assert neuron.bias == 2 / (2 * 3 * 3)

    only_extra = one_neuron(windows, [[0, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, 0]], 0, 1, domains)
    assert (only_extra.kind, only_extra.activations, only_extra.position_mi) == ("other", 1, 0.0)
    assert only_extra.unigrams_95 == 0


def test_top_unigrams_are_twenty_and_ties_go_to_lower_ids() -> None:
    windows, active = single_tokens([(t, 4, 1 if t != 24 else 3) for t in range(24, -1, -1)])
    top = one_neuron(windows, active).top_unigrams
    assert top == [(24, 3, 0.75)] + [(t, 1, 0.25) for t in range(19)]


def test_projection_by_hand() -> None:
    E = np.array([[1, 0], [0, 2], [1, 1], [-1, 3], [1, 0]], dtype=np.float32)
    W = np.array([[2, -1]], dtype=np.float32)
    row = ref.projection(E, W)[0]
    assert row.tolist() == [2, -2, 1, -5, 2]
    assert ref.top_k(row, 3) == [(0, 2.0), (4, 2.0), (2, 1.0)]
    assert ref.bottom_k(row, 2) == [(3, -5.0), (1, -2.0)]
    assert ref.bottom_k(-row, 2) == [(0, -2.0), (4, -2.0)]
    assert len(ref.top_k(row, 50)) == 5
    assert ref.trigger_projection(row, [((0,), 9, 9), ((3,), 7, 7)]) == -1.5
    assert ref.trigger_projection(row, [((3, 0), 9, 9), ((2, 2), 7, 7)]) == 1.5
    assert ref.trigger_projection(row, []) is None
    wide = ref.projection(E, np.array([[1, 2, 3]]), np.array([[1, 0, 0], [0, 1, -1]]))
    assert wide.tolist() == [[1, -2, 0, -4, 1]]


def test_top_lists_of_lower_precision_may_swap_near_ties_only() -> None:
    row = np.array([1.0, 1.0 + 1e-9, 0.5, 0.0])
    assert ref.is_top_k([(0, 1.0), (1, 1.0), (2, 0.5)], row, 3, 1e-6)
    assert ref.is_top_k([(0, 1.0)], row, 1, 1e-6)
    assert ref.is_top_k(ref.top_k(row, 9), row, 9, 0.0)
    assert not ref.is_top_k([(1, 1.0), (0, 1.0)], row, 2, 1e-6)
    assert not ref.is_top_k([(0, 1.0), (2, 0.5)], row, 2, 1e-6)
    assert not ref.is_top_k([(0, 1.0)], row, 2, 1e-6)
    assert not ref.is_top_k([(0, 1.1)], row, 1, 1e-6)
    assert not ref.is_top_k([(0, 1.0), (0, 1.0)], row, 2, 1e-6)


def test_summary_by_hand() -> None:
    def neuron(detected: list[int], active: int) -> ref.Neuron:
        rows = [(t, 5, 5 if t in detected else 0) for t in range(4)] + [(9, 20, active)]
        return one_neuron(*single_tokens(rows))

    layers = [[neuron([0, 1], 0), neuron([], 0)], [neuron([1], 0), neuron([2], 0)], [neuron([0], 0), neuron([], 4)]]
    rows = [np.full((2, 10), -1.0), np.full((2, 10), 1.0), np.zeros((2, 10))]
    rows[1][1] = -1.0
    first, second, third = model_summary(layers, rows)
    assert (first.dead_share, first.mean_frequency_alive) == (0.5, 0.25)
    assert first.coverage[1] == [0, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    assert [s.token_detectors for s in (first, second, third)] == [1, 2, 1]
    assert [s.detected_tokens for s in (first, second, third)] == [2, 2, 1]
    assert [s.detected_tokens_cumulative for s in (first, second, third)] == [2, 3, 3]
    assert [s.new_overall for s in (first, second, third)] == [2, 1, 0]
    assert [s.new_against_previous for s in (first, second, third)] == [2, 1, 1]
    assert [s.suppressing_share for s in (first, second, third)] == [1.0, 0.5, 0.0]
    assert [coverage_bin(m) for m in (0, 1, 3, 5, 6, 20, 21, 51, 1000, 2000, 2001)] == [
        None, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9,
    ]  # fmt: skip


@pytest.mark.parametrize("bos_id", [0, None])
def test_the_reference_agrees_with_itself(bos_id: int | None) -> None:
    rng = np.random.default_rng(5)
    S, T, F, V = 30, 12, 8, 9
    tokens = tm.random_windows(rng, S, T, V, bos_id)
    active = rng.random((S, T, F)) < rng.random((1, T, F)) * rng.random(F)
    values = np.where(active, rng.random((S, T, F)), -1).astype(np.float32)
    domains = [("a", 0, 11), ("b", 11, 19)]
    for i, neuron in enumerate(ref.layer_statistics(active, values, tokens, domains, bos_id)):
        on = active[:, :, i]
        assert neuron.activations == on.sum() == sum(neuron.domain_activations.values())
        assert (neuron.position_counts == on.sum(0)).all()
        assert neuron.ngram_activations[1] + neuron.bos_activations == neuron.activations
        assert neuron.max_activation == values[:, :, i][on].max()
        assert neuron.mean_activation == pytest.approx(values[:, :, i][on].mean(), rel=1e-6)
        for n, m in ((1, neuron.unigrams_95), (2, neuron.bigrams_95), (3, neuron.trigrams_95)):
            largest = np.sort(list(neuron.count[n].values()))[::-1]
            assert 20 * largest[:m].sum() >= 19 * largest.sum() > 20 * largest[: m - 1].sum()
        entropy = [-p * math.log(p) if p else 0.0 for p in [*on.mean(0), *(1 - on.mean(0))]]
        f = on.mean()
        whole = -f * math.log(f) - (1 - f) * math.log(1 - f)
        assert neuron.position_mi == pytest.approx(whole - sum(entropy) / T, abs=1e-12)
