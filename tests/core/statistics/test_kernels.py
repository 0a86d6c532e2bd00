"""The counting loops against counting by hand."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from reference import coverage_95

from ffnscope.core.statistics import bits as bit_loops
from ffnscope.core.statistics import kernels
from ffnscope.core.statistics.bits import words
from ffnscope.core.statistics.ngrams import NONE, NgramTable
from ffnscope.core.statistics.suffix_order import NO_ORDER

scan, draw, coverage = njit(bit_loops.scan), njit(bit_loops.draw), njit(kernels.coverage)

active = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def pack(bits: np.ndarray) -> np.ndarray:
    """[S, T] bool as the bits of one neuron."""
    return words(np.packbits(bits, axis=1, bitorder="little"))


shapes = st.tuples(
    st.integers(1, 9), st.integers(1, 27) | st.integers(120, 130), st.sampled_from([0.0, 0.1, 0.5, 0.97, 1.0]), active
)


@given(shapes, st.data())
@settings(max_examples=100)
def test_a_scan_finds_what_is_set(shape: tuple[int, int, float, np.random.Generator], data: st.DataObject) -> None:
    S, T, share, rng = shape
    bits, bos = rng.random((S, T)) < share, rng.random((S, T)) < 0.3
    cuts = sorted(data.draw(st.lists(st.integers(0, S), max_size=3)))
    edges = np.array([0, *cuts, S], np.int64)
    counted = data.draw(st.integers(1, len(edges) - 1))
    there = bits[: edges[counted]]
    positions, curves, domains = (
        np.empty(there.size, np.int32),
        np.zeros((counted, T), np.uint16),
        np.zeros(len(edges) - 1),
    )
    found, evens, at_bos = scan(pack(bits), pack(bos), T, edges, counted, positions, curves, domains)
    assert positions[:found].tolist() == np.flatnonzero(there).tolist()
    assert evens == there[::2].sum() and at_bos == (bits & bos).sum()
    parts = [bits[start:stop] for start, stop in itertools.pairwise(edges)]
    assert domains.tolist() == [part.sum() for part in parts]
    assert all(np.array_equal(curve, part.sum(axis=0)) for curve, part in zip(curves, parts, strict=False))


def ngrams_of(ids: np.ndarray, number: int) -> kernels.Ngrams:
    """``ids`` [P] as they are counted; totals from the ids."""
    totals = np.bincount(ids[ids != NONE], minlength=number).astype(np.int64)
    table = NgramTable(1, ids.astype(np.int32)[None], np.zeros((number, 1), np.int32), totals)
    slots, repeated = table.slots()
    return kernels.Ngrams(slots, table.ids.reshape(-1), repeated, totals, totals, totals)


def space_for(ngrams: kernels.Ngrams) -> kernels.Space:
    """A thread's arrays."""
    P, R = len(ngrams.ids), len(ngrams.repeated) + 3
    counts, rest = np.zeros(R, np.int32), np.empty((2, R), np.int32)
    return kernels.Space(
        np.empty(P, np.int32), np.empty(P, np.int32), counts, rest[0], rest[1], np.zeros(P + 2, np.int32)
    )


corpora = st.tuples(st.integers(1, 80), st.integers(1, 40), st.sampled_from([0.0, 0.2, 0.9, 1.0]), active)


@given(corpora, st.integers(1, 25), st.integers(1, 6))
@settings(max_examples=400)
def test_ngrams_are_counted_as_by_hand(
    corpus: tuple[int, int, float, np.random.Generator], size: int, least: int
) -> None:
    P, M, share, rng = corpus
    ids = np.minimum(rng.zipf(1.3, P) - 2, M - 1)
    positions = np.flatnonzero(rng.random(P) < share).astype(np.int32)
    ngrams = ngrams_of(ids, M)
    space = space_for(ngrams)
    by_hand = Counter(int(each) for each in ids[positions] if each != NONE)
    total, N = sum(by_hand.values()), ngrams.totals
    for _ in range(2):  # nothing may be left over from the first time
        met = kernels.tally(positions, ngrams, space)
        assert (met[0] + met[1], len(positions) - met[2]) == (len(by_hand), total)
        assert kernels.coverage(space.histogram, met[3], total) == coverage_95(
            Counter({(g,): n for g, n in by_hand.items()})
        )
        most = sorted(by_hand.values(), reverse=True)[:size]
        assert kernels.of_the_largest(space.histogram, met[3], size) == sum(most)
        top, top_count = np.full(size, -1, np.int64), np.zeros(size, np.int64)
        kept = kernels.most_frequent(positions, ngrams, space, met, top, top_count)
        expected = sorted(by_hand.items(), key=lambda each: (-each[1], each[0]))[:size]
        assert list(zip(top[:kept].tolist(), top_count[:kept].tolist(), strict=True)) == expected
        assert (top[kept:] == -1).all()
        found, counts = kernels.detect(positions, ngrams, N, space, met, total, least)
        sure = {g: n for g, n in by_hand.items() if N[g] >= least and 100 * n >= 95 * N[g]}
        whole = 100 * sum(sure.values()) >= 95 * total
        assert dict(zip(found.tolist(), counts.tolist(), strict=True)) == (sure if whole else {})
        kernels.forget(met[0], space)
        assert not space.counts.any() and not space.histogram.any()


@pytest.mark.parametrize(
    ("counts", "expected"),
    [([], 0), ([1], 1), ([95, 5], 1), ([94, 6], 2), ([19, 1], 1), ([18, 1, 1], 2), ([1] * 20, 19), ([1] * 21, 20)],
)
def test_coverage_at_the_edge(counts: list[int], expected: int) -> None:
    histogram = np.bincount(counts, minlength=2)
    assert coverage(histogram, max(counts, default=0), sum(counts)) == expected


def test_coverage_of_large_counts_does_not_overflow() -> None:
    histogram = np.zeros(95 * 250_000 + 1, np.int32)
    histogram[[5 * 250_000, 95 * 250_000]] = 1
    assert coverage(histogram, 95 * 250_000, 25_000_000) == 1
    assert coverage(histogram, 95 * 250_000, 25_000_001) == 2


def detected(ids: list[int], least: int = 1, order: int = 1) -> tuple[int, dict[int, int]]:
    """The order of the detector that is activated at all of one window's positions, and what it detects; the n-grams
    of all orders but ``order`` are all different."""
    P = len(ids)
    other = ngrams_of(np.arange(P), P)
    orders = tuple(ngrams_of(np.array(ids), max(ids) + 1) if n == order else other for n in (1, 2, 3))
    shapes_ = {"curves": (1, P), "domain_activations": (1,), "drawn": (8,)}
    by_order = dict.fromkeys(("ngram_activations", "ngrams_distinct", "coverage"), (3,))
    lists = dict.fromkeys(("top", "top_count", "top_total"), (3, 20))
    shapes_ |= by_order | lists
    out = kernels.Counted(*(np.zeros((1, *shapes_.get(name, ())), np.int64) for name in kernels.Counted._fields))
    bits = pack(np.ones((1, P), bool))[None]
    # A thread's arrays serve all orders: those of the one with most n-grams.
    space = space_for(max(orders, key=lambda each: len(each.repeated)))
    not_ordered = (np.zeros((1, 0), np.uint64), NO_ORDER.orders)
    edges = np.array([0, 1])
    _, found, counts = kernels.count_block(bits, bits[0] * 0, 0, P, edges, 1, orders, least, *not_ordered, space, out)
    return int(out.order[0]), dict(zip(found.tolist(), counts.tolist(), strict=True))


def test_a_detector_and_its_ngrams() -> None:
    assert detected([1, -1, 1, 0, -1]) == (1, {1: 2, 0: 1})
    assert detected([1, -1, 1, 0, 0, -1], least=2) == (1, {1: 2, 0: 2})
    assert detected([1, -1, 1, 0, -1], least=2)[0] == 0


@pytest.mark.parametrize(
    ("kinds", "order", "detects"),
    [(5, 1, True), (6, 1, False), (20, 2, True), (21, 2, True), (22, 2, False), (52, 3, True), (53, 3, False)],
)
def test_the_limit_of_few(kinds: int, order: int, detects: bool) -> None:
    """20 of 21 alike cover 95%, so that 21 alike still are few enough for a limit of 20."""
    assert (detected(list(range(kinds)) * 2, least=2, order=order)[0] == order) == detects


@given(st.integers(0, 30), st.integers(0, 2**40))
@settings(max_examples=100)
def test_draws_are_distinct_and_repeatable(number: int, seed: int) -> None:
    positions = np.arange(number, dtype=np.int32) * 3
    drawn = [np.full(8, -1, np.int64) for _ in range(2)]
    sizes = [draw(positions, seed, out) for out in drawn]
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
        draw(positions, 7 << 32 | neuron, out)
        times[out] += 1
    expected = neurons * 8 / 40
    assert ((times - expected) ** 2 / expected).sum() < 80, "chi-square with 39 degrees of freedom, p = 0.0001"
