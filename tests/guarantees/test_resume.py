"""However a run is cut, stopped and gone on with, the store is the same to the last byte."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
import tiny_models as tm
from exact import run, sources_of

from ffnscope.core.corpus.sources import DomainSource
from ffnscope.core.run import prepare
from ffnscope.store.errors import UserError
from ffnscope.store.export.write import write
from ffnscope.store.format.environment import BITS, DATABASES
from ffnscope.store.reader import Store
from ffnscope.store.records import Progress
from ffnscope.store.writer import StoreWriter

OPTIONS: dict[str, Any] = {"bos_id": tm.BOS_ID, "batch_size": 4, "min_occurrences": 2}
CLOCKED = ("format", "run", "progress", "layer:")  # what says when


def contents(path: Path) -> dict[tuple[str, bytes], bytes]:
    """(database, key) -> value of everything in a store that does not say when it was made."""
    with Store.open(path) as store:
        assert store.complete
        run_id = store.run.run_id
    found: dict[tuple[str, bytes], bytes] = {("run", b"id"): run_id.encode()}
    with lmdb.open(str(path), readonly=True, lock=False, max_dbs=8) as environment:
        for name in (*DATABASES, BITS):
            database = environment.open_db(name.encode(), create=False)
            with environment.begin(db=database) as transaction:
                for key, value in transaction.cursor():
                    if name != "meta" or not key.decode().startswith(CLOCKED):
                        found[name, bytes(key)] = bytes(value)
    return found


def exported(path: Path) -> str:
    """The whole CSV."""
    with Store.open(path) as store, io.StringIO() as out:
        write(store, out)
        return out.getvalue()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five layers, so that groups of two leave one over."""
    return tm.tiny("llama", tmp_path_factory.mktemp("model"), num_hidden_layers=5)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[DomainSource, ...]:
    """Two counted domains and a count-only one; batches reach over their edges."""
    rng = np.random.default_rng(0)
    domains = {f"domain{i}": tm.random_windows(rng, count, 12, tm.VOCAB, 0) for i, count in enumerate((9, 6, 4))}
    return sources_of(tmp_path_factory.mktemp("data"), domains, ["domain2"])


@pytest.fixture(scope="module")
def whole(
    model: Path, sources: tuple[DomainSource, ...], tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[tuple[str, bytes], bytes], str]:
    """What an uninterrupted run says."""
    store = run(model, sources, tmp_path_factory.mktemp("whole") / "run.ffn", **OPTIONS)
    return contents(store), exported(store)


@pytest.mark.parametrize("offload", [False, True])
@pytest.mark.parametrize("size", [None, 1, 2, 3, 9])
def test_group_sizes_and_offloading_do_not_matter(
    size: int | None, offload: bool, model: Path, sources: tuple[DomainSource, ...], whole: Any, tmp_path: Path
) -> None:
    store = run(model, sources, tmp_path / "run.ffn", group_layers=size, offload=offload, **OPTIONS)
    assert (contents(store), exported(store)) == whole


@pytest.mark.parametrize("threads", [1, 2, 5, 16])
def test_counting_threads_do_not_matter(
    threads: int,
    model: Path,
    sources: tuple[DomainSource, ...],
    whole: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def count_threads(*_: Any, **__: Any) -> int:
        asked.append(threads)
        return threads

    monkeypatch.setattr(prepare, "count_threads", count_threads)
    store = run(model, sources, tmp_path / "run.ffn", **OPTIONS)
    assert contents(store) == whole[0]
    assert asked


def test_scratch_elsewhere_does_not_matter(
    model: Path, sources: tuple[DomainSource, ...], whole: Any, tmp_path: Path
) -> None:
    store = run(model, sources, tmp_path / "run.ffn", scratch=tmp_path / "scratch", scratch_gb=0.01, **OPTIONS)
    assert contents(store) == whole[0]
    assert not [path for path in (tmp_path / "scratch").rglob("*") if path.name.startswith(("bits", "hidden"))]


def test_nothing_is_left_in_the_scratch_folder(model: Path, sources: tuple[DomainSource, ...], tmp_path: Path) -> None:
    store = run(model, sources, tmp_path / "run.ffn", group_layers=2, **OPTIONS)
    assert {path.name for path in store.iterdir()} <= {"data.mdb", "lock.mdb", "collector.lock"}


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
    assert any("begun by an earlier version" in str(event) and "explained" in str(event) for event in events)
    with Store.open(store) as opened:
        assert opened.complete and not opened.groups


class Stopper:
    """Raises KeyboardInterrupt at the ``at``-th event."""

    def __init__(self, at: int):
        self.at = at
        self.events = 0

    def __call__(self, event: Any) -> None:
        self.events += 1
        if self.events == self.at:
            raise KeyboardInterrupt


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


def test_a_run_is_gone_on_with_in_groups_of_another_size(
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
    run(model, sources, store, said.append, resume=True, **OPTIONS)
    assert (store / "data.mdb").read_bytes() == before
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
def test_a_killed_process_is_gone_on_with(
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


@pytest.fixture(scope="module")
def started(model: Path, sources: tuple[DomainSource, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two of five layers."""
    store = tmp_path_factory.mktemp("started") / "run.ffn"

    def stop(event: Any) -> None:
        if isinstance(event, Progress) and event.state == "collecting" and event.layers_done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(model, sources, store, stop, group_layers=1, **OPTIONS)
    return store


def other_model(folder: Path) -> Path:
    """The same configuration, other weights."""
    return tm.tiny("llama", folder, seed=1, num_hidden_layers=5)


def other_windows(folder: Path, seq_len: int = 12) -> tuple[DomainSource, ...]:
    """Other windows of the same number."""
    rng = np.random.default_rng(9)
    domains = {f"domain{i}": tm.random_windows(rng, n, seq_len, tm.VOCAB, 0) for i, n in enumerate((9, 6, 4))}
    return sources_of(folder, domains, ["domain2"])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda folder, model, sources: (other_model(folder), sources, {}), "model"),
        (lambda folder, model, sources: (model, other_windows(folder), {}), "corpus"),
        (lambda folder, model, sources: (model, sources[:2], {}), "corpus"),
        (lambda folder, model, sources: (model, sources, {"bos_id": 1}), "corpus|bos"),
        (lambda folder, model, sources: (model, sources, {"bos_id": None}), "corpus|bos"),
        (lambda folder, model, sources: (model, other_windows(folder, 11), {}), "seq-len"),
        (lambda folder, model, sources: (model, sources, {"min_occurrences": 3}), "min-occurrences"),
        (lambda folder, model, sources: (model, sources, {"top_k": 7}), "top-k"),
        (lambda folder, model, sources: (model, sources, {"batch_size": 5}), "batch-size"),
        (lambda folder, model, sources: (model, sources, {"layers": "0-2"}), "layers"),
        (lambda folder, model, sources: (model, sources, {"dtype": "bfloat16"}), "dtype"),
    ],
)
def test_another_run_is_not_gone_on_with(
    change: Callable[..., Any],
    named: str,
    started: Path,
    model: Path,
    sources: tuple[DomainSource, ...],
    tmp_path: Path,
) -> None:
    other, data, options = change(tmp_path, model, sources)
    before = (started / "data.mdb").read_bytes()
    with pytest.raises(UserError, match=rf"run\.ffn: .*differs in .*({named}).*--overwrite") as caught:
        run(other, data, started, resume=True, **(OPTIONS | options))
    assert "\n" not in str(caught.value)
    assert (started / "data.mdb").read_bytes() == before


SECOND = """
import json, sys
from pathlib import Path
from ffnscope.core.collect import collect
from ffnscope.core.run.request import CollectRequest
from ffnscope.core.corpus.sources import DomainSource
from ffnscope.store.errors import UserError
model, store, sources, options = json.loads(sys.argv[1])
sources = tuple(DomainSource(name, Path(path), count_only) for name, path, count_only in sources)
for option in ({}, {"resume": True}, {"overwrite": True}):
    try:
        collect(CollectRequest(model, sources, Path(store), device="cpu", **options, **option))
    except UserError as error:
        print(error)
"""


def test_two_collectors_never_write_one_store(
    model: Path, sources: tuple[DomainSource, ...], whole: Any, tmp_path: Path
) -> None:
    store = tmp_path / "run.ffn"
    what = json.dumps([str(model), str(store), [[s.name, str(s.path), s.count_only] for s in sources], OPTIONS])
    said: list[str] = []

    def second(event: Any) -> None:
        if not said and isinstance(event, Progress) and event.layers_done == 2:
            done = subprocess.run([sys.executable, "-c", SECOND, what], capture_output=True, text=True, check=True)
            said.extend(done.stdout.splitlines())

    run(model, sources, store, second, group_layers=1, **OPTIONS)
    assert len(said) == 3
    assert "2 of 5 layers finished" in said[0]
    assert "another collector" in said[1] and "another collector" in said[2]
    assert contents(store) == whole[0]
