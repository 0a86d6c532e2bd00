"""How far a run is: work adds up to the whole, and the time left is right where everything goes at its usual speed."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models as tm
from exact import run, sources_of
from hypothesis import given
from hypothesis import strategies as st
from synthetic import make_store
from tiny_experts import tiny_experts

from ffnscope.core.run import progress as module
from ffnscope.core.run.progress import COUNT_WEIGHT, ProgressMeter
from ffnscope.store.errors import UserError
from ffnscope.store.reader import Store
from ffnscope.store.records import Progress, RunInfo


@pytest.fixture(scope="module")
def run_info(tmp_path_factory: pytest.TempPathFactory) -> RunInfo:
    """Three layers."""
    with Store.open(make_store(tmp_path_factory.mktemp("meter") / "s.ffn", layers=3, neurons=64)) as store:
        return store.run


@pytest.mark.parametrize("done", [0, 1])
def test_the_time_left_is_what_it_then_takes(done: int, run_info: RunInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    now, said = [1000.0], []
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    meter = ProgressMeter(run_info, None, lambda event: said.append((now[0], event)))
    positions, neurons, layers = run_info.corpus.positions, run_info.model.neurons, len(run_info.layers)
    projecting = neurons * run_info.model.vocabulary / (module.PASS_MATRICES * run_info.model.width)
    meter.begin(done, done)
    for _ in range(done, layers):
        for _ in range(10):
            now[0] += positions / 10
            meter.forward(positions // 10)
    for layer in range(done, layers):
        meter.enter(f"counting layer {layer}")
        now[0] += positions * COUNT_WEIGHT
        meter.count(1)
        now[0] += projecting
        meter.layer_done()
    assert all(isinstance(event, Progress) for _, event in said)
    fractions = [event.fraction for _, event in said]
    assert fractions == sorted(fractions) and fractions[-1] == pytest.approx(1.0, abs=1e-3)
    assert (fractions[0] > 0) == bool(done)
    for at, event in said[1:]:
        assert event.seconds_left == pytest.approx(now[0] - at, abs=1e-3 * (now[0] - 1000.0))
    meter.finish()
    assert (said[-1][1].state, said[-1][1].fraction, said[-1][1].layers_done) == ("complete", 1.0, layers)


@given(pieces=st.lists(st.integers(1, 7), min_size=1, max_size=12), batches=st.integers(3, 41), whole=st.booleans())
def test_what_is_said_can_be_read_at_any_moment(
    pieces: list[int], batches: int, whole: bool, run_info: RunInfo
) -> None:
    said: list[Progress] = []
    meter = ProgressMeter(run_info, None, said.append)  # type: ignore[arg-type]
    neurons, positions = run_info.model.neurons, run_info.corpus.positions
    meter.begin(0, 0)
    for _ in run_info.layers:
        for part in range(batches):
            meter.forward(positions * (part + 1) // batches - positions * part // batches)
        left = neurons
        for piece in pieces:
            meter.count(min(piece, left) / neurons)
            left -= min(piece, left)
        meter.count(left / neurons)
        meter.layer_done()
    if whole:
        meter.finish()
    for each in said:
        assert Progress.from_json(each.to_json()) == each


PARTS = 20


@pytest.mark.parametrize("counting", [0.25, 3.0])
def test_beside_each_other_the_slower_one_says_how_long_it_takes(
    counting: float, run_info: RunInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A layer takes a second of the GPU, then ``counting`` seconds of the host, which takes the next one after that."""
    now: list[float] = [0.0]
    said: list[tuple[float, Progress]] = []
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    meter = ProgressMeter(run_info, None, lambda event: said.append((now[0], event)), overlaps=True)  # type: ignore[arg-type]
    positions, layers = run_info.corpus.positions, len(run_info.layers)
    meter.begin(0, 0)
    ran = counted = running = counting_now = handed = 0
    gpu, host = ExitStack(), ExitStack()
    gpu.enter_context(meter.running())
    while counted < layers:
        now[0] += 1 / PARTS
        if ran < layers and handed == ran:
            meter.forward(positions // PARTS)
            running += 1
            if running == PARTS:
                gpu.close()
                running, ran = 0, ran + 1
        if counted < handed:
            meter.count(1 / (counting * PARTS))
            counting_now += 1
            if counting_now == counting * PARTS:
                meter.layer_done()
                host.close()
                counting_now, counted = 0, counted + 1
        if handed < ran and counted == handed:  # the layer before it is done
            handed += 1
            host.enter_context(meter.finishing())
            if ran < layers:
                gpu.enter_context(meter.running())
    whole = now[0]
    assert whole == pytest.approx(1 + layers * counting if counting > 1 else layers + counting)
    fractions = [event.fraction for _, event in said]
    assert fractions == sorted(fractions) and 0 < fractions[-1] <= 1
    known = [(at, event.seconds_left) for at, event in said if event.seconds_left is not None]
    assert known
    for at, left in known[len(known) // 4 :]:
        assert left == pytest.approx(whole - at, rel=0.2, abs=0.5)
    meter.finish()
    assert said[-1][1].fraction == 1


def test_a_disk_that_is_full_ends_the_run_only_where_it_would_be_complete(run_info: RunInfo) -> None:
    class Full:
        def write_progress(self, progress: Progress) -> None:
            raise UserError("no space left")

    meter = ProgressMeter(run_info, Full(), lambda event: None)  # type: ignore[arg-type]
    meter.begin(0, 0)
    meter.interrupt()
    with pytest.raises(UserError, match="no space left"):
        meter.finish()


def test_counting_a_narrow_layer_of_a_mixture_is_all_of_its_share(tmp_path: Path) -> None:
    windows = {"a": tm.random_windows(np.random.default_rng(0), 8, 16, tm.VOCAB, tm.BOS_ID)}
    said: list[Any] = []
    model = tiny_experts("qwen2_moe", tmp_path, mlp_only_layers=[2])  # 58, 58 and 21 neurons
    run(model, sources_of(tmp_path / "data", windows), tmp_path / "s.ffn", said.append, bos_id=tm.BOS_ID)
    *_, last, complete = [event for event in said if isinstance(event, Progress)]
    assert complete.state == "complete" and last.fraction == pytest.approx(1.0)
