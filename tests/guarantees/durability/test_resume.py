"""However a run is stopped and resumed, the store is the same to the last byte."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from exact import run
from same_store import contents
from stopped_runs import OPTIONS, Stopper, exported

from ffnscope.core.corpus.sources import DomainSource
from ffnscope.store.errors import UserError
from ffnscope.store.reader import Store
from ffnscope.store.records import Progress
from ffnscope.store.writer import StoreWriter


def test_a_run_of_an_earlier_format_is_finished_in_it_and_says_so(
    model: Path, sources: tuple[DomainSource, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, events = StoreWriter.begin, []
    monkeypatch.setattr(StoreWriter, "begin", lambda *args, **kwargs: begin(*args, **(kwargs | {"groups": ()})))
    options = OPTIONS | {"keep": "0", "group_layers": 1}
    with pytest.raises(KeyboardInterrupt):
        run(model, sources, tmp_path / "run.ffn", Stopper(40), **options)
    monkeypatch.undo()
    store = run(model, sources, tmp_path / "run.ffn", events.append, resume=True, **options)
    assert any("started by an earlier version" in str(event) and "explained" in str(event) for event in events)
    with Store.open(store) as opened:
        assert opened.complete and not opened.groups


@pytest.mark.parametrize("size", [1, 2, 5])
def test_an_interrupted_run_ends_with_the_same_bytes(
    size: int, model: Path, sources: tuple[DomainSource, ...], whole: Any, tmp_path: Path
) -> None:
    counter = Stopper(-1)
    run(model, sources, tmp_path / "counted.ffn", counter, group_layers=size, **OPTIONS)
    moments = sorted({*range(5, counter.events, max(1, counter.events // 5)), counter.events - 1})
    partly = 0
    for moment in moments:
        store = tmp_path / f"run-{moment}.ffn"
        with pytest.raises(KeyboardInterrupt):
            run(model, sources, store, Stopper(moment), group_layers=size, **OPTIONS)
        if (store / "data.mdb").is_file():
            with Store.open(store) as opened:
                assert not opened.complete
                partly += 0 < len(opened.layers()) < 5
                if opened.layers():
                    assert opened.progress().state in ("collecting", "interrupted")
        run(model, sources, store, group_layers=size, resume=True, **OPTIONS)
        assert (contents(store), exported(store)) == whole
    assert partly or size == 5


def test_a_run_is_resumed_in_groups_of_another_size(
    model: Path, sources: tuple[DomainSource, ...], whole: Any, tmp_path: Path
) -> None:
    store, rng = tmp_path / "run.ffn", random.Random(3)
    for attempt in range(12):
        try:
            size = rng.choice([1, 2, 3, 5])
            run(model, sources, store, Stopper(rng.randint(8, 40)), group_layers=size, resume=attempt > 0, **OPTIONS)
            break
        except KeyboardInterrupt:
            continue
    run(model, sources, store, resume=True, **OPTIONS)
    assert contents(store) == whole[0]


def test_a_finished_layer_is_not_run_again(model: Path, sources: tuple[DomainSource, ...], tmp_path: Path) -> None:
    store = tmp_path / "run.ffn"

    def stop_after_three(event: Any) -> None:
        if isinstance(event, Progress) and event.state == "collecting" and event.layers_done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(model, sources, store, stop_after_three, group_layers=1, **OPTIONS)
    with Store.open(store) as opened:
        assert opened.layers() == (0, 1, 2)
        assert opened.progress().state == "interrupted"
        finished = [opened.layer_info(layer)["finished"] for layer in (0, 1, 2)]
    events: list[Any] = []
    run(model, sources, store, events.append, group_layers=1, resume=True, **OPTIONS)
    with Store.open(store) as opened:
        assert [opened.layer_info(layer)["finished"] for layer in (0, 1, 2)] == finished
    shown = [event for event in events if isinstance(event, Progress) and event.layers_done]
    assert min(event.layers_done for event in shown) == 3
    assert all(event.fraction >= 0.5 for event in shown)


def test_hidden_states_that_were_cut_short_are_made_again(
    started: Path, model: Path, sources: tuple[DomainSource, ...], whole: Any, tmp_path: Path
) -> None:
    store = tmp_path / "run.ffn"
    shutil.copytree(started, store)
    hidden = [path for path in store.rglob("hidden-*") if path.stat().st_size]
    assert hidden
    for path in hidden:
        os.truncate(path, path.stat().st_size // 2)
    for _ in hidden:
        with pytest.raises(UserError, match="--resume"):
            run(model, sources, store, group_layers=1, resume=True, **OPTIONS)
    run(model, sources, store, group_layers=1, resume=True, **OPTIONS)
    assert contents(store) == whole[0]


def test_a_complete_run_is_left_as_it_is(model: Path, sources: tuple[DomainSource, ...], tmp_path: Path) -> None:
    store = run(model, sources, tmp_path / "run.ffn", **OPTIONS)
    before = (store / "data.mdb").read_bytes()
    said: list[Any] = []
    (tmp_path / "scratch").mkdir()
    run(model, sources, store, said.append, resume=True, scratch=tmp_path / "scratch", **OPTIONS)
    assert (store / "data.mdb").read_bytes() == before and (tmp_path / "scratch").is_dir()
    assert any("complete already" in event for event in said if isinstance(event, str))


def test_overwriting_ends_with_the_same_bytes(
    model: Path, sources: tuple[DomainSource, ...], whole: Any, tmp_path: Path
) -> None:
    store = run(model, sources[:1], tmp_path / "run.ffn", **OPTIONS)
    run(model, sources, store, overwrite=True, **OPTIONS)
    assert contents(store) == whole[0]


class Forked:
    """The same run in a process of its own; ``wait`` waits for so many events or its end."""

    def __init__(self, *arguments: Any, **options: Any):
        reading, writing = os.pipe()
        self.process = os.fork()
        if not self.process:
            # The parent's test runner must never go on in the child, whatever happens.
            try:
                run(*arguments, lambda event: os.write(writing, b"."), **options)  # type: ignore[arg-type]
                os._exit(0)
            finally:
                os._exit(1)
        os.close(writing)
        self.events = reading

    def wait(self, events: int) -> bool:
        """Whether so many events came."""
        return all(os.read(self.events, 1) for _ in range(events))

    def stop(self, how: signal.Signals) -> bool:
        """Send the signal; whether it ended the run."""
        os.kill(self.process, how)
        _, status = os.waitpid(self.process, 0)
        os.close(self.events)
        return status != 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("seed", range(3))
def test_a_killed_run_is_resumed(
    how: signal.Signals, seed: int, model: Path, sources: tuple[DomainSource, ...], whole: Any, tmp_path: Path
) -> None:
    """Killed twice somewhere in the middle, in groups of one layer; then run to its end."""
    store, rng, killed = tmp_path / "run.ffn", random.Random(seed), 0
    for _ in range(20):
        forked = Forked(model, sources, store, group_layers=1, resume=killed > 0, **OPTIONS)
        forked.wait(rng.randint(8, 25))
        time.sleep(rng.random() * 0.01)
        if forked.stop(how):
            killed += 1
        else:
            # On a busy machine it may end before the signal comes.
            shutil.rmtree(store)
            killed = 0
        if killed == 2:
            break
    assert killed == 2
    run(model, sources, store, group_layers=1, resume=True, **OPTIONS)
    assert (contents(store), exported(store)) == whole


@pytest.mark.parametrize(
    "state",
    [
        "no run entry",
        "empty environment",
        "scratch only",
    ],
)
def test_a_run_killed_before_its_first_entry(
    state: str, model: Path, sources: tuple[DomainSource, ...], whole: Any, tmp_path: Path
) -> None:
    store = tmp_path / "run.ffn"
    store.mkdir()
    (store / "scratch" / "tokens").mkdir(parents=True)
    if state == "empty environment":
        StoreWriter.open(store).close()
    elif state == "no run entry":
        with StoreWriter.open(store) as writer:
            writer._commit([("windows", b"\0\0\0\0\0\0\0\0", b"junk")])
    run(model, sources, store, resume=True, **OPTIONS)
    assert contents(store) == whole[0]
