"""Counting on a device gives what the host's kernels count, on CPU tensors; a GPU that is not there is in
test_emulated_gpu.py."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import tiny_models as tm
import torch
from counted_corpus import CORPORA, corpus
from exact import run, sources_of
from hypothesis import given, settings
from hypothesis import strategies as st
from same_store import differing

from ffnscope.core.statistics import counts as counting
from ffnscope.core.statistics.bits import words
from ffnscope.core.statistics.counts import LayerCounts, count_layer
from ffnscope.core.statistics.device import device_counts
from ffnscope.core.statistics.device.device_counts import DeviceCounter
from ffnscope.core.statistics.suffix_order import Reordering
from ffnscope.core.statistics.tables import CorpusTables
from ffnscope.store.errors import UserError

CPU = torch.device("cpu")


def check(tables: CorpusTables, bits: Any, min_occurrences: int, share: float = 1.0) -> LayerCounts:
    """Fail unless both ways count the same; what they count."""
    expected = count_layer(3, bits, tables, min_occurrences=min_occurrences)
    found = count_layer(
        3, bits, tables, min_occurrences=min_occurrences, device=DeviceCounter(tables, CPU), device_share=share
    )
    for field in fields(LayerCounts):
        if field.name != "detected":
            ours, theirs = (np.asarray(getattr(counts, field.name)) for counts in (found, expected))
            np.testing.assert_array_equal(ours, theirs, err_msg=field.name)
    assert found.detected.keys() == expected.detected.keys()
    for neuron, (ids, counts) in expected.detected.items():
        assert found.detected[neuron][0].tolist() == ids.tolist()
        assert found.detected[neuron][1].tolist() == counts.tolist()
    return expected


@pytest.mark.parametrize("min_occurrences", [1, 2, 5])
@pytest.mark.parametrize("number", range(len(CORPORA)))
def test_every_count_is_the_kernels(number: int, min_occurrences: int) -> None:
    counted = check(*corpus(number, *CORPORA[number]), min_occurrences)
    if number < 2:
        assert len(set(counted.order.tolist())) > 1 and counted.split_order.any()


@given(
    seed=st.integers(0, 1 << 30),
    shape=st.tuples(st.integers(3, 30), st.integers(2, 20), st.integers(2, 60), st.integers(1, 12)),
    bos=st.sampled_from([None, 0]),
    least=st.integers(1, 4),
)
@settings(max_examples=25)
def test_so_it_is_for_any_corpus(seed: int, shape: tuple[int, int, int, int], bos: int | None, least: int) -> None:
    check(*corpus(seed, *shape, bos), least)


def test_long_ngrams_and_many_neurons_are_counted_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_counts, "BAG", 8)
    monkeypatch.setattr(device_counts, "CELLS", 5000)
    monkeypatch.setattr(device_counts, "ORDERED_CELLS", 64 * 24 * 60)
    check(*corpus(7, 60, 24, 12, 40, 0), 2)


def test_a_share_of_the_blocks_is_counted_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    tables, bits = corpus(0, *CORPORA[0])
    monkeypatch.setattr(counting, "BLOCK_BYTES", 4 * tables.bos.size)
    sizes: list[int] = []
    count = DeviceCounter.count
    monkeypatch.setattr(DeviceCounter, "count", lambda self, bits: sizes.append(len(bits)) or count(self, bits))
    check(tables, bits, 2, share=0.4)
    assert sum(sizes) == 16, "of 40 neurons"


@pytest.mark.parametrize("lacking", ["_count", "_ordered"])
def test_a_device_without_room_leaves_it_to_the_host(lacking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    orders: list[int] = []
    reorder = Reordering.__call__
    monkeypatch.setattr(Reordering, "__call__", lambda *given: orders.append(1) or reorder(*given))
    monkeypatch.setattr(DeviceCounter, lacking, full)
    tables, bits = corpus(0, *CORPORA[0])
    count_layer(3, bits, tables, min_occurrences=2, device=DeviceCounter(tables, CPU))
    assert len(orders) == (lacking == "_ordered"), "the host puts in order what the device has not"
    check(tables, bits, 2)


@given(
    seed=st.integers(0, 1 << 30),
    shape=st.tuples(st.integers(3, 12), st.integers(2, 20) | st.integers(60, 140), st.integers(2, 60)),
    neurons=st.integers(1, 200),
    bos=st.sampled_from([None, 0]),
    cells=st.sampled_from([1, 100 * 100 * 70, 1 << 30]),
)
@settings(max_examples=25)
def test_bits_are_put_in_order_as_the_host_does(
    seed: int, shape: tuple[int, int, int], neurons: int, bos: int | None, cells: int
) -> None:
    tables, bits = corpus(seed, *shape, neurons, bos)
    packed, windows, length = bits.block(0, neurons), tables.counted_windows, tables.seq_len
    with ThreadPoolExecutor(1) as pool, mock.patch.object(device_counts, "ORDERED_CELLS", cells):
        expected = Reordering(tables.suffix_order, windows * length, length, neurons)(words(packed), pool, 1)
        found = DeviceCounter(tables, CPU).order(packed[:, :windows])
    assert found is not None and found.dtype == expected.dtype and found.flags.c_contiguous
    np.testing.assert_array_equal(found, expected)


def test_the_kernels_count_along_the_devices_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only that is left to the device, or nothing of it to the host."""

    def missing(*_: object) -> None:
        raise AssertionError("put in order by the host")

    tables, bits = corpus(0, *CORPORA[0])
    expected = count_layer(3, bits, tables, min_occurrences=2)
    monkeypatch.setattr(DeviceCounter, "count", lambda *_: None)
    monkeypatch.setattr(Reordering, "__call__", missing)
    found = count_layer(3, bits, tables, min_occurrences=2, device=DeviceCounter(tables, CPU))
    for name in ("top", "coverage", "order", "code_lengths", "token_set", "token_f1"):
        assert getattr(found, name).tobytes() == getattr(expected, name).tobytes(), name


def test_the_store_does_not_say_what_counted(tmp_path: Path) -> None:
    """Descriptions, what explains a neuron and kept bits included: they are made of the bits on the host."""
    rng = np.random.default_rng(1)
    model = tm.tiny("opt", tmp_path)
    windows = {"a": tm.random_windows(rng, 9, 16, tm.VOCAB, 0), "b": tm.random_windows(rng, 4, 16, tm.VOCAB, 0)}
    sources = sources_of(tmp_path / "data", windows, ["b"])
    options: dict[str, Any] = {"bos_id": 0, "batch_size": 4, "min_occurrences": 2, "keep": "all"}
    plain = run(model, sources, tmp_path / "host.ffn", count_on="host", **options)
    assert differing(plain, run(model, sources, tmp_path / "device.ffn", count_on="device", **options)) == []


def test_more_than_is_exact_is_left_to_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_counts, "EXACT", 100)
    model = tm.tiny("opt", tmp_path)
    sources = sources_of(tmp_path / "data", {"a": tm.random_windows(np.random.default_rng(1), 9, 16, tm.VOCAB, 0)})
    with pytest.raises(UserError, match="--count-on host"):
        run(model, sources, tmp_path / "run.ffn", bos_id=0, count_on="device")
    run(model, sources, tmp_path / "run.ffn", bos_id=0, resume=True)
