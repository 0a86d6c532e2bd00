"""The counting loops against counting by hand."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import coverage_95

from ffnscope.core import kernels

counts_of = st.lists(st.integers(1, 60), max_size=40)
active = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def pack(bits: np.ndarray) -> np.ndarray:
    """[S, T] bool as the bits of one neuron."""
    return np.packbits(bits, axis=1, bitorder="little")


def positions_of(bits: np.ndarray) -> np.ndarray:
    """The activated positions by the kernel."""
    out = np.empty(bits.size, np.int32)
    found = kernels.set_positions(pack(bits), bits.shape[1], out)
    return out[:found]


shapes = st.tuples(st.integers(1, 9), st.integers(1, 27), st.sampled_from([0.0, 0.1, 0.5, 0.97, 1.0]), active)


@given(shapes)
@settings(max_examples=60, deadline=None)
def test_set_positions_are_the_set_bits(shape: tuple[int, int, float, np.random.Generator]) -> None:
    S, T, share, rng = shape
    bits = rng.random((S, T)) < share
    assert positions_of(bits).tolist() == np.flatnonzero(bits).tolist()


@given(shapes, st.data())
@settings(max_examples=60, deadline=None)
def test_curves_are_counted_by_domain(shape: tuple[int, int, float, np.random.Generator], data: st.DataObject) -> None:
    S, T, share, rng = shape
    bits = rng.random((S, T)) < share
    cuts = sorted(data.draw(st.lists(st.integers(0, S), max_size=3)))
    edges = np.array([0, *cuts, S], np.int64)
    domains = len(edges) - 1
    curve = np.zeros((domains, T), np.uint16)
    kernels.count_curve(positions_of(bits), T, edges, curve)
    for domain in range(domains):
        part = bits[edges[domain] : edges[domain + 1]]
        assert np.array_equal(curve[domain], part.sum(axis=0))


def by_hand(counts: list[int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts [M] with as many n-grams that never occur between, and the ids met in any order."""
    rng = np.random.default_rng(seed)
    table = np.zeros(2 * len(counts) + 1, np.int32)
    touched = rng.permutation(len(table))[: len(counts)].astype(np.int32)
    table[touched] = counts
    return table, touched


@given(counts_of, st.integers(0, 99))
@settings(max_examples=200, deadline=None)
def test_coverage_is_the_smallest_number(counts: list[int], seed: int) -> None:
    table, touched = by_hand(counts, seed)
    histogram = np.zeros(max(counts, default=0) + 1, np.int32)
    found = kernels.coverage(table, touched, len(counts), sum(counts), histogram)
    assert found == coverage_95(Counter({(i,): count for i, count in enumerate(counts)}))
    assert not histogram.any()


@pytest.mark.parametrize(
    ("counts", "expected"),
    [([], 0), ([1], 1), ([95, 5], 1), ([94, 6], 2), ([19, 1], 1), ([18, 1, 1], 2), ([1] * 20, 19), ([1] * 21, 20)],
)
def test_coverage_at_the_edge(counts: list[int], expected: int) -> None:
    table, touched = by_hand(counts, 0)
    assert kernels.coverage(table, touched, len(counts), sum(counts), np.zeros(100, np.int32)) == expected


def test_coverage_of_large_counts_does_not_overflow() -> None:
    counts = np.array([95 * 250_000, 5 * 250_000], np.int32)
    histogram = np.zeros(95 * 250_000 + 1, np.int32)
    assert kernels.coverage(counts, np.arange(2, dtype=np.int32), 2, 25_000_000, histogram) == 1
    assert kernels.coverage(counts, np.arange(2, dtype=np.int32), 2, 25_000_001, histogram) == 2


@given(counts_of, st.integers(0, 99), st.integers(1, 25))
@settings(max_examples=200, deadline=None)
def test_most_frequent_first_ties_by_lower_id(counts: list[int], seed: int, size: int) -> None:
    table, touched = by_hand([min(count, 4) for count in counts], seed)
    out = np.full(size, -1, np.int64)
    kept = kernels.most_frequent(table, touched, len(counts), out)
    expected = sorted(touched.tolist(), key=lambda ngram: (-table[ngram], ngram))[:size]
    assert out[:kept].tolist() == expected
    assert (out[kept:] == -1).all()


@given(counts_of, st.integers(0, 99), st.integers(1, 6))
@settings(max_examples=200, deadline=None)
def test_detected_by_its_definition(counts: list[int], seed: int, least: int) -> None:
    table, touched = by_hand(counts, seed)
    rng = np.random.default_rng(seed)
    totals = table + np.where(rng.random(len(table)) < 0.5, 0, rng.integers(0, 6, len(table)))
    total, out = int(table.sum()), np.empty(len(table), np.int32)
    found, whole = kernels.detected(table, touched, len(counts), total, totals, least, out)
    expected = [g for g in touched.tolist() if totals[g] >= least and 100 * int(table[g]) >= 95 * int(totals[g])]
    assert out[:found].tolist() == expected
    assert whole == (100 * sum(int(table[g]) for g in expected) >= 95 * total)


def order_of(
    ids: list[int], occurrences: list[int], few: int, least: int = 1
) -> tuple[tuple[int, int, int, int], list[int]]:
    """``count_order`` on positions that are all activated, called twice: nothing may be left over."""
    M = len(occurrences)
    counts, touched, histogram = np.zeros(M, np.int32), np.empty(M, np.int32), np.zeros(len(ids) + 1, np.int32)
    answers = []
    for _ in range(2):
        top, top_count, top_total = np.full(20, -1, np.int64), np.zeros(20, np.int64), np.zeros(20, np.int64)
        found, found_count = np.empty(M, np.int32), np.empty(M, np.int32)
        answer = kernels.count_order(
            np.arange(len(ids), dtype=np.int32),
            np.array(ids, np.int32),
            np.array(occurrences, np.int64),
            few,
            least,
            counts,
            touched,
            histogram,
            top,
            top_count,
            top_total,
            found,
            found_count,
        )
        assert not counts.any() and not histogram.any()
        answers.append((tuple(answer), found_count[: answer[3]].tolist()))
    assert answers[0] == answers[1]
    return answers[0]


def test_an_order_is_counted_and_cleared() -> None:
    assert order_of([2, -1, 2, 0, -1], [1, 0, 2], 5) == ((2, 3, 2, 2), [2, 1])
    assert order_of([2, -1, 2, 0, -1], [1, 0, 2], 5, least=2) == ((2, 3, 2, 0), [])
    assert order_of([-1, -1], [1], 5) == ((0, 0, 0, 0), [])


@pytest.mark.parametrize(("kinds", "few", "detects"), [(5, 5, True), (6, 5, False), (20, 20, True), (21, 20, True)])
def test_the_limit_of_few(kinds: int, few: int, detects: bool) -> None:
    """20 of 21 alike cover 95%, so that 21 alike still are few enough for a limit of 20."""
    answer, _ = order_of(list(range(kinds)) * 2, [2] * kinds, few)
    assert (answer[3] > 0) == detects


@given(st.integers(0, 30), st.integers(0, 2**40))
@settings(max_examples=100, deadline=None)
def test_draws_are_distinct_and_repeatable(number: int, seed: int) -> None:
    positions = np.arange(number, dtype=np.int32) * 3
    drawn = [np.full(8, -1, np.int64) for _ in range(2)]
    sizes = [kernels.draw(positions, seed, out) for out in drawn]
    assert sizes == [min(number, 8)] * 2
    assert np.array_equal(*drawn)
    taken = drawn[0][: sizes[0]]
    assert len(set(taken.tolist())) == sizes[0] and set(taken.tolist()) <= set(positions.tolist())
    assert (drawn[0][sizes[0] :] == -1).all()


def test_draws_are_uniform() -> None:
    positions, neurons = np.arange(40, dtype=np.int32), 4000
    times = np.zeros(40, int)
    for neuron in range(neurons):
        out = np.full(8, -1, np.int64)
        kernels.draw(positions, 7 << 32 | neuron, out)
        times[out] += 1
    expected = neurons * 8 / 40
    assert ((times - expected) ** 2 / expected).sum() < 80, "chi-square with 39 degrees of freedom, p = 0.0001"
