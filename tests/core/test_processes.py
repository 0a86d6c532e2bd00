"""Several processes on one run: the store must not show how many took part."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import torch
from several_processes import collect

from ffnscope.core.activations.recorder import Recorder
from ffnscope.core.processes import Processes
from ffnscope.store.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model and the windows of two domains."""
    folder = tmp_path_factory.mktemp("processes")
    tiny_models.tiny("opt", folder).rename(folder / "model")
    rng = np.random.default_rng(5)
    for name, windows in (("a", 13), ("b", 4)):
        np.save(folder / f"{name}.npy", tiny_models.random_windows(rng, windows, 24, 64, bos_id=2))
    return folder


def exported(folder: Path, store: str) -> bytes:
    command = [sys.executable, "-m", "ffnscope.tui", "export", store]
    return subprocess.run(command, cwd=folder, capture_output=True, check=True).stdout


def test_the_export_does_not_depend_on_the_number_of_processes(folder: Path) -> None:
    alone = collect(folder, "one", 1)
    assert alone.returncode == 0, alone.stderr
    two = collect(folder, "two", 2, "--group-layers", "2")
    assert two.returncode == 0, two.stderr
    expected = exported(folder, "one")
    assert expected.count(b"\n") > 50
    assert exported(folder, "two") == expected
    assert two.stderr.count("complete; ffnscope view") == 1


def test_a_process_for_which_no_batch_is_left(folder: Path) -> None:
    stores = {"few": 1, "many": 3}
    for store, processes in stores.items():
        done = collect(folder, store, processes, "--batch-size", "16", "--group-layers", "1")
        assert done.returncode == 0, done.stderr
    assert exported(folder, "many") == exported(folder, "few")


def test_a_mistake_is_said_once_and_no_process_waits(folder: Path) -> None:
    missing = collect(folder, "three", 2, "--data", "c=nowhere.npy")
    assert missing.returncode != 0
    assert missing.stderr.count("ffnscope: ") == 1
    assert "nowhere.npy" in missing.stderr


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_shares_are_everything_in_order(size: int) -> None:
    batches = [(n, n + 1) for n in range(5)]
    assert [each for rank in range(size) for each in Processes(rank, size).share(batches)] == batches


def test_the_strongest_of_two_recorders_are_the_strongest_of_all() -> None:
    rng = np.random.default_rng(0)
    halves = []
    for first in (0, 100):
        values = np.sort(rng.integers(0, 6, (4, 8)).astype(np.float32))[:, ::-1]
        halves.append((values, first + np.arange(8) + np.zeros((4, 1), np.int64)))
    recorder = Recorder(0, 4)
    recorder.merge(halves)
    for neuron in range(4):
        pairs = [(-v, p) for values, places in halves for v, p in zip(values[neuron], places[neuron], strict=True)]
        expected = sorted(pairs)[:8]
        found = zip(-recorder.values[neuron], recorder.places[neuron], strict=True)
        assert list(found) == expected


def test_every_process_hears_of_a_full_device() -> None:
    class Two(Processes):
        def gather(self, value: object) -> list[object]:
            return [None, value]

    def full() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    with pytest.raises(UserError, match=r"process 1: its device is out of memory .*--batch-size.*--resume"):
        Two(1, 2).on_all(full)
    with pytest.raises(torch.OutOfMemoryError):
        Processes().on_all(full)
