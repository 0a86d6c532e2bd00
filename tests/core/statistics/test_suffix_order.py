"""Bits in the n-grams' order: every n-gram in one piece, and the counts that looking up each position gives."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields
from typing import Any
from unittest import mock

import numpy as np
import pytest
from counted_corpus import CORPORA, corpus
from hypothesis import given, settings
from hypothesis import strategies as st

from ffnscope.core.statistics import counts as counting
from ffnscope.core.statistics import suffix_order
from ffnscope.core.statistics.bits import words
from ffnscope.core.statistics.counts import LayerCounts, count_layer
from ffnscope.core.statistics.suffix_order import Reordering, make_suffix_order
from ffnscope.core.statistics.tables import CorpusTables


@contextmanager
def ordered_from(neurons: int) -> Iterator[None]:
    """Blocks of so many neurons are put in order."""
    with mock.patch.object(counting, "ORDERED_NEURONS", neurons):
        yield


def check(tables: CorpusTables, bits: Any, least: int, threads: int = 1) -> None:
    """Fail unless counting in order gives the same bytes as position by position."""
    with ordered_from(1 << 30):
        expected = count_layer(3, bits, tables, min_occurrences=least)
    with ordered_from(1):
        found = count_layer(3, bits, tables, min_occurrences=least, threads=threads)
    for field in fields(LayerCounts):
        if field.name != "detected":
            assert getattr(found, field.name).tobytes() == getattr(expected, field.name).tobytes(), field.name
    assert found.detected.keys() == expected.detected.keys()
    for neuron, (ids, numbers) in expected.detected.items():
        assert found.detected[neuron][0].tolist() == ids.tolist()
        assert found.detected[neuron][1].tolist() == numbers.tolist()


@pytest.mark.parametrize("least", [1, 5])
@pytest.mark.parametrize("number", range(len(CORPORA)))
def test_counts_are_those_of_single_positions(number: int, least: int) -> None:
    check(*corpus(number, *CORPORA[number]), least, threads=1 + number % 3)


@given(
    seed=st.integers(0, 1 << 30),
    shape=st.tuples(
        st.integers(3, 30), st.integers(2, 20) | st.integers(60, 70), st.integers(2, 60), st.integers(1, 12)
    ),
    bos=st.sampled_from([None, 0]),
    least=st.integers(1, 4),
)
@settings(max_examples=25)
def test_so_it_is_for_any_corpus(seed: int, shape: tuple[int, int, int, int], bos: int | None, least: int) -> None:
    check(*corpus(seed, *shape, bos), least)


def test_blocks_of_many_neurons_are_whole_words(monkeypatch: pytest.MonkeyPatch) -> None:
    tables, bits = corpus(7, 20, 24, 12, 150, 0)
    monkeypatch.setattr(counting, "BLOCK_BYTES", 70 * tables.bos.size)
    check(tables, bits, 2)


@pytest.mark.parametrize("few", [False, True])
def test_every_ngram_stands_in_one_place(few: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where its keys do not fit one integer."""
    tables, _ = corpus(1, 60, 24, 30, 1, 0)
    if few:
        monkeypatch.setattr(suffix_order, "KEYS", 1)
    order = make_suffix_order(tables.ngrams, tables.orders, tables.tree)
    assert sorted(order.places.tolist()) == np.flatnonzero(tables.ngrams[0].ids.reshape(-1) >= 0).tolist()
    for table in tables.ngrams:
        ids = table.ids.reshape(-1)[order.places]
        assert 1 + np.count_nonzero(ids[1:] != ids[:-1]) <= len(set(ids.tolist())) + (ids < 0).sum()
        inside = ids[ids >= 0]
        starts = np.concatenate([[True], (ids[1:] != ids[:-1])])[ids >= 0]
        assert starts.sum() == len(set(inside.tolist()))


def test_bits_in_order() -> None:
    tables, bits = corpus(2, 9, 70, 20, 130, 0)
    packed, windows = bits.block(0, 130), tables.counted_windows
    order = tables.suffix_order
    with ThreadPoolExecutor(3) as pool:
        reorder = Reordering(order, windows * 70, 70, 130)
        for first, last in ((0, 130), (100, 130), (5, 6)):
            found = reorder(words(packed[first:last]), pool, 3).view(np.uint8)
            flat = np.unpackbits(packed[first:last], axis=2, bitorder="little", count=70)[:, :windows]
            expected = flat.reshape(last - first, -1)[:, order.places]
            assert np.array_equal(np.unpackbits(found, axis=1, bitorder="little", count=len(order.places)), expected)
