"""Scratch files: what is written is read, whatever the order, and a full disk is told in one line."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ffnscope.core.activations import scratch as module
from ffnscope.core.activations import scratch_folder
from ffnscope.core.activations.recorder import BatchRecord, pack_bits
from ffnscope.core.activations.scratch import SUM_WINDOWS, LayerScratch, ScratchFile, byte_width
from ffnscope.core.activations.scratch_folder import lock_folder
from ffnscope.core.processes import Processes
from ffnscope.store.errors import UserError


def record_of(active: np.ndarray, values: np.ndarray) -> BatchRecord:
    """A batch's record of ``active`` and ``values`` [B, T, F]."""
    kept = torch.from_numpy(np.where(active, values, 0).astype(np.float32))
    return BatchRecord(pack_bits(torch.from_numpy(active)), kept.sum(1), kept.amax(1))


@given(
    S=st.integers(1, 12),
    T=st.integers(1, 20),
    F=st.integers(1, 11),
    batch=st.integers(1, 5),
    seed=st.integers(0, 999),
)
@settings(max_examples=60)
def test_a_layer_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, S: int, T: int, F: int, batch: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    active, values = rng.random((S, T, F)) < 0.4, rng.random((S, T, F)).astype(np.float32)
    folder = tmp_path_factory.mktemp("scratch")
    layer = LayerScratch(folder, 3, S, F, T)
    starts = list(range(0, S, batch))
    rng.shuffle(starts)
    for first in starts:
        layer.write(first, record_of(active[first : first + batch], values[first : first + batch]))
    expected = np.packbits(active.transpose(2, 0, 1), axis=2, bitorder="little")
    first, last = sorted(rng.choice(F + 1, 2, replace=False).tolist())
    assert np.array_equal(layer.block(first, last), expected[first:last])
    assert np.array_equal(layer.block(0, F), expected)
    kept = np.where(active, values, 0)
    np.testing.assert_allclose(layer.sums(), kept.sum((0, 1)), rtol=1e-5)
    assert np.array_equal(layer.maxima(), kept.max((0, 1)))
    size = sum(path.stat().st_size for path in folder.iterdir())
    assert size == LayerScratch.bytes_needed(S, F, T) == S * F * (byte_width(T) + 8)
    layer.remove()
    assert not list(folder.iterdir())


def test_sums_of_more_windows_than_are_read_at_a_time(tmp_path: Path) -> None:
    S = 2 * SUM_WINDOWS + 3
    values = np.random.default_rng(0).random((S, 4, 5)).astype(np.float32)
    layer = LayerScratch(tmp_path, 0, S, 5, 4)
    layer.write(0, record_of(values > 0, values))
    np.testing.assert_allclose(layer.sums(), values.sum((0, 1), dtype=np.float64), rtol=1e-6)
    assert np.array_equal(layer.maxima(), values.max((0, 1)))


def test_sums_are_added_in_double_precision(tmp_path: Path) -> None:
    """One large window and many small ones, which single precision would lose."""
    S = 3000
    values = np.full((S, 1, 1), 0.25, np.float32)
    values[0] = 2.0**24
    layer = LayerScratch(tmp_path, 0, S, 1, 1)
    layer.write(0, record_of(values > 0, values))
    assert layer.sums()[0] == 2.0**24 + 0.25 * (S - 1)


@pytest.mark.parametrize("reserves", [True, False])
def test_fresh_files_are_empty_and_others_are_kept(
    tmp_path: Path, reserves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not reserves:  # as on macOS
        monkeypatch.delattr(module.os, "posix_fallocate")
    first = ScratchFile(tmp_path / "file", 8)
    first.write(0, np.arange(8, dtype=np.uint8))
    first.close()
    out = np.zeros(8, np.uint8)
    kept = ScratchFile(tmp_path / "file", 8, fresh=False)
    kept.read(0, out)
    assert out.tolist() == list(range(8))
    kept.close()
    fresh = ScratchFile(tmp_path / "file", 8)
    fresh.read(0, out)
    assert not out.any()
    fresh.close()


def test_a_file_that_ends_early_says_so(tmp_path: Path) -> None:
    file = ScratchFile(tmp_path / "file", 8)
    os.truncate(tmp_path / "file", 5)
    with pytest.raises(UserError, match=r"shorter than it was written.*--resume"):
        file.read(0, np.zeros(8, np.uint8))
    assert not (tmp_path / "file").exists()


def test_a_disk_that_fails_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    file = ScratchFile(tmp_path / "file", 8)
    monkeypatch.setattr(module.os, "preadv", fail)
    with pytest.raises(UserError, match=r"cannot be read \(Input/output error\).*--resume"):
        file.read(0, np.zeros(8, np.uint8))


@pytest.mark.parametrize("call", ["posix_fallocate", "pwrite", "open"])
def test_a_full_disk_is_told_with_the_way_out(tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module.os, call, full)
    with pytest.raises(UserError, match=r"cannot be written \(No space left.*--scratch.*--resume") as caught:
        ScratchFile(tmp_path / "file", 8).write(0, np.zeros(8, np.uint8))
    assert "\n" not in str(caught.value)


def test_a_write_that_takes_several_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.pwrite
    monkeypatch.setattr(module.os, "pwrite", lambda handle, data, offset: whole(handle, data[:3], offset))
    file = ScratchFile(tmp_path / "file", 16)
    file.write(2, np.arange(13, dtype=np.uint8))
    out = np.empty(16, np.uint8)
    file.read(0, out)
    assert out.tolist() == [0, 0, *range(13), 0]


class OtherHost(Processes):
    """The second process of a run, on a host where the first one's files never come."""

    def broadcast(self, value: Any) -> Any:
        return value

    def on_main(self, work: Callable[[], Any]) -> Any:
        return None

    def on_all(self, work: Callable[[], Any]) -> Any:
        return work()


def test_a_process_that_sees_another_folder_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch_folder, "PATIENCE", 0.05)
    with pytest.raises(UserError, match="process 1 sees another folder under this path than process 0"):
        with lock_folder(tmp_path, OtherHost(1, 2)):
            raise AssertionError("not reached")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EROFS])
def test_a_folder_without_locks_is_used_and_one_that_cannot_be_made_is_not(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(scratch_folder, "take_lock", refuse)
    expected = nullcontext() if number == errno.ENOLCK else pytest.raises(UserError, match="Read-only file system")
    with expected, lock_folder(tmp_path / "scratch", Processes()):
        assert (tmp_path / "scratch").is_dir()
