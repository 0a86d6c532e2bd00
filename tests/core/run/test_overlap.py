"""Counting a group while the next one runs, as on a GPU: the same bytes, and nothing is lost where either fails."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models as tm
import torch
from exact import run, sources_of
from same_store import contents

from ffnscope.core import collect as collecting
from ffnscope.core.activations.forward import Sweep
from ffnscope.core.corpus.sources import DomainSource
from ffnscope.core.run.overlap import SerialWorker
from ffnscope.core.run.prepare import Prepared
from ffnscope.core.statistics import arrays
from ffnscope.core.statistics.device.device_counts import DeviceCounter
from ffnscope.store.errors import UserError
from ffnscope.store.reader import Store

OPTIONS: dict[str, Any] = {"bos_id": tm.BOS_ID, "batch_size": 4, "min_occurrences": 2}
PATIENCE = 30.0


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five layers."""
    return tm.tiny("llama", tmp_path_factory.mktemp("model"), num_hidden_layers=5)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[DomainSource, ...]:
    """Two domains of windows."""
    rng = np.random.default_rng(0)
    domains = {f"domain{i}": tm.random_windows(rng, count, 12, tm.VOCAB, 0) for i, count in enumerate((9, 6))}
    return sources_of(tmp_path_factory.mktemp("data"), domains)


@pytest.fixture(scope="module")
def whole(model: Path, sources: tuple[DomainSource, ...], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a run says that does one thing after the other."""
    return contents(run(model, sources, tmp_path_factory.mktemp("whole") / "run.ffn", **OPTIONS))


@pytest.fixture(autouse=True)
def overlapping(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the model runs on another processor."""
    monkeypatch.setattr(Prepared, "overlaps", True)


@pytest.mark.parametrize("offload", [False, True])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_store_is_the_same(
    size: int, offload: bool, model: Path, sources: tuple[DomainSource, ...], whole: Any, tmp_path: Path
) -> None:
    store = run(model, sources, tmp_path / "run.ffn", group_layers=size, offload=offload, **OPTIONS)
    assert contents(store) == whole


def test_the_next_group_runs_while_one_is_counted(
    model: Path, sources: tuple[DomainSource, ...], whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second, count, run_group = threading.Event(), collecting.count_layer, Sweep.run_group

    def counting(layer: int, *arguments: Any, **named: Any) -> Any:
        assert layer or second.wait(PATIENCE), "layer 1 does not run before layer 0 is counted"
        return count(layer, *arguments, **named)

    def running(self: Sweep, group: Any, advance: Any) -> Any:
        if group.first:
            second.set()
        return run_group(self, group, advance)

    monkeypatch.setattr(collecting, "count_layer", counting)
    monkeypatch.setattr(Sweep, "run_group", running)
    store = run(model, sources, tmp_path / "run.ffn", group_layers=1, **OPTIONS)
    assert contents(store) == whole


@pytest.mark.parametrize("layer", [0, 2, 4])
def test_counting_that_fails_ends_the_run_and_it_goes_on(
    layer: int,
    model: Path,
    sources: tuple[DomainSource, ...],
    whole: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project = arrays.project

    def failing(*arguments: Any, **named: Any) -> Any:
        if failing.calls == layer:
            raise UserError("the disk is full")
        failing.calls += 1
        return project(*arguments, **named)

    failing.calls = 0
    with monkeypatch.context() as patch, pytest.raises(UserError, match="the disk is full"):
        patch.setattr(arrays, "project", failing)
        run(model, sources, tmp_path / "run.ffn", group_layers=1, **OPTIONS)
    with Store.open(tmp_path / "run.ffn") as store:
        assert store.layers() == tuple(range(layer))
    assert contents(run(model, sources, tmp_path / "run.ffn", group_layers=1, resume=True, **OPTIONS)) == whole


def test_an_interruption_ends_what_is_counted_behind(
    model: Path, sources: tuple[DomainSource, ...], whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, run_group, count = threading.Event(), Sweep.run_group, collecting.count_layer

    def counting(layer: int, *arguments: Any, advance: Any, **named: Any) -> Any:
        begun.set()
        for _ in range(int(PATIENCE * 100)):
            advance(0)
            time.sleep(0.01)
        return count(layer, *arguments, advance=advance, **named)

    def running(self: Sweep, group: Any, advance: Any) -> Any:
        if group.first:
            assert begun.wait(PATIENCE)
            raise KeyboardInterrupt
        return run_group(self, group, advance)

    started = time.monotonic()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(collecting, "count_layer", counting)
        patch.setattr(Sweep, "run_group", running)
        run(model, sources, tmp_path / "run.ffn", group_layers=2, **OPTIONS)
    assert time.monotonic() - started < PATIENCE / 2
    assert contents(run(model, sources, tmp_path / "run.ffn", group_layers=2, resume=True, **OPTIONS)) == whole


@pytest.mark.parametrize("slower", ["counting", "model"])
def test_the_device_counts_what_the_host_would_be_late_with(
    slower: str,
    model: Path,
    sources: tuple[DomainSource, ...],
    whole: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Until it is known who is late, and where no group runs meanwhile, it counts too."""
    by_device: list[float] = []
    count, run_group = collecting.count_layer, Sweep.run_group
    submitted = [threading.Event() for _ in range(5)]

    class Watched(SerialWorker):
        def submit(self, work: Any) -> None:
            next(event for event in submitted if not event.is_set()).set()
            super().submit(work)

    def counting(layer: int, *arguments: Any, device: DeviceCounter | None, **named: Any) -> Any:
        by_device.append(named["device_share"] if device is not None else 0)
        assert slower == "model" or submitted[min(layer + 1, 4)].wait(PATIENCE)
        return count(layer, *arguments, device=device, **named)

    def running(self: Sweep, group: Any, advance: Any) -> Any:
        recorded = run_group(self, group, advance)
        if slower == "model" and group.first:
            piece = workers[0]._pending
            assert piece is not None
            piece.result(PATIENCE)
        return recorded

    workers: list[Watched] = []
    monkeypatch.setattr(collecting, "SHARE_STEP", 0.4)
    monkeypatch.setattr(collecting, "SerialWorker", lambda overlap: workers.append(Watched(overlap)) or workers[0])
    monkeypatch.setattr(collecting, "count_layer", counting)
    monkeypatch.setattr(Sweep, "run_group", running)
    cpu = torch.device("cpu")
    monkeypatch.setattr(Prepared, "device_counter", property(lambda prepared: DeviceCounter(prepared.tables, cpu)))
    assert contents(run(model, sources, tmp_path / "run.ffn", group_layers=1, **OPTIONS)) == whole
    assert by_device == pytest.approx([1] * 5 if slower == "counting" else [1, 0.6, 0.2, 0, 1])


def test_work_is_done_in_order_and_one_piece_at_most_waits() -> None:
    done: list[int] = []
    with SerialWorker(True) as worker:
        for piece in range(5):
            worker.submit(lambda piece=piece: done.append(piece))  # type: ignore[misc]
            assert done in (list(range(piece)), list(range(piece + 1)))
    assert done == list(range(5))
