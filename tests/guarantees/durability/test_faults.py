"""Full disks, small address spaces, readers killed amid a read, hang-ups: the store stays whole and nothing is lost."""

from __future__ import annotations

import os
import resource
import select
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models as tm
from exact import run, sources_of
from forks import SECONDS, ended, forked
from pty_browser import PtyBrowser
from same_store import contents
from synthetic import make_store

from ffnscope.core.corpus.sources import DomainSource
from ffnscope.store.errors import UserError
from ffnscope.store.format import schema
from ffnscope.store.reader import Store
from ffnscope.store.records import Progress
from ffnscope.store.writer import StoreWriter, is_begun

OPTIONS: dict[str, Any] = {"bos_id": tm.BOS_ID, "batch_size": 4, "min_occurrences": 2, "group_layers": 1}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five layers."""
    return tm.tiny("opt", tmp_path_factory.mktemp("model"), num_hidden_layers=5)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[DomainSource, ...]:
    """Two domains of windows."""
    rng = np.random.default_rng(0)
    domains = {f"domain{i}": tm.random_windows(rng, count, 12, tm.VOCAB, 0) for i, count in enumerate((40, 20))}
    return sources_of(tmp_path_factory.mktemp("data"), domains)


@pytest.fixture(scope="module")
def whole(model: Path, sources: tuple[DomainSource, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an undisturbed run makes."""
    return run(model, sources, tmp_path_factory.mktemp("whole") / "run.ffn", **OPTIONS)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.5, 0.7, 0.85, 0.97])
def test_a_full_disk_loses_nothing(
    share: float, model: Path, sources: tuple[DomainSource, ...], whole: Path, tmp_path: Path
) -> None:
    store, most = tmp_path / "run.ffn", int((whole / "data.mdb").stat().st_size * share)

    def work(pipe: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        try:
            run(model, sources, store, **OPTIONS)
        except UserError as error:
            os.write(pipe, str(error).encode())

    status, said = ended(*forked(work))
    assert status == 0, said
    assert said and b"\n" not in said and (b"File too large" in said or b"space" in said), said
    if (store / "data.mdb").is_file() and (store / "data.mdb").stat().st_size:
        assert (store / "data.mdb").stat().st_size <= most
    run(model, sources, store, resume=True, **OPTIONS)
    assert contents(store) == contents(whole)


def limited(*arguments: str, megabytes: int) -> subprocess.CompletedProcess[str]:
    """A command in so much address space."""
    return subprocess.run(
        [sys.executable, "-m", "ffnscope.tui", *arguments],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20)),
    )


@pytest.mark.parametrize("command", ["info", "export", "verify"])
def test_a_small_address_space_reads_the_same(whole: Path, command: str) -> None:
    done = limited(command, str(whole), megabytes=600)
    free = subprocess.run([sys.executable, "-m", "ffnscope.tui", command, whole], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, free.stdout), done.stderr


HOLDER = """
import sys, time, lmdb
environment = lmdb.open(sys.argv[1], readonly=True, max_dbs=8, map_size=1 << 40)
transaction = environment.begin()
print("in", flush=True)
time.sleep(600)
"""


@pytest.fixture
def parts(tmp_path: Path) -> tuple[Any, ...]:
    """What a writer needs, of a store that is there already."""
    path = make_store(tmp_path / "from.ffn", layers=2, neurons=64, vocabulary=300)
    with Store.open(path) as store:
        windows = np.stack([store.window(i) for i in range(store.run.corpus.counted_windows)])
        arrays = {name: store.column(0, name) for name in schema.LAYER_ARRAYS}
        curves = [(n, store.curves(0, n).astype(np.uint16)) for n in np.flatnonzero(arrays["activations"]).tolist()]
        texts = tuple(store.vocabulary.all_texts())
        begin = store.run, texts, np.ones(len(texts), np.uint8), windows, store.unigram_totals()
    return begin, arrays, curves


def test_a_reader_killed_in_a_transaction_does_not_hold_the_writer(parts: tuple[Any, ...], tmp_path: Path) -> None:
    (begin, arrays, curves), path = parts, tmp_path / "s.ffn"
    with StoreWriter.open(path) as writer:
        writer.begin(*begin)
        with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True) as reader:
            assert reader.stdout is not None and reader.stdout.readline() == "in\n"
            writer.write_layer(0, arrays, curves, {})
            reader.kill()
        for _ in range(20):
            writer.write_progress(Progress("collecting", "", 1, 2, 0.5))
        # A reader that opens the store clears what the dead one held.
        subprocess.run([sys.executable, "-m", "ffnscope.tui", "info", path], check=True, capture_output=True)
        grown = (path / "data.mdb").stat().st_size
        for _ in range(200):
            writer.write_progress(Progress("collecting", "", 1, 2, 0.5))
        assert (path / "data.mdb").stat().st_size <= grown + 16 * 4096
        writer.write_layer(1, arrays, curves, {})
    with Store.open(path) as store:
        assert store.layers() == (0, 1) and np.array_equal(store.column(0, "kind"), arrays["kind"])


def test_a_run_cut_before_its_first_layer_can_be_begun_anew(
    parts: tuple[Any, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, *_ = parts
    kept = {"raw": [b""] * len(begin[1]), "labels": {"name": np.ones(8, bool)}}
    commits = 0

    class Cut(Exception):
        pass

    def commit(writer: StoreWriter, items: Any, original: Any = StoreWriter._commit) -> None:
        nonlocal commits
        if not commits:
            raise Cut
        commits -= 1
        original(writer, items)

    monkeypatch.setattr(StoreWriter, "_commit", commit)
    for allowed in range(20):
        path, commits = tmp_path / f"{allowed}.ffn", allowed
        try:
            with StoreWriter.open(path) as writer:
                writer.begin(*begin, **kept)
        except Cut:
            assert not is_begun(path)
        else:
            break
    assert allowed >= 3 and is_begun(path)


WATCHER = """
import sys
from ffnscope.store.format import schema
from ffnscope.store.reader import Store
seen = 0
print("ready", flush=True)
with Store.open(sys.argv[1]) as store:
    while not store.complete:
        layers = store.layers()
        assert len(layers) >= seen, "a layer went away"
        seen = len(layers)
        for layer in layers[-2:]:
            for name in schema.LAYER_ARRAYS:
                store.column(layer, name)
            counted = sum(int(store.curves(layer, n).sum()) for n in range(store.neurons(layer)))
            assert counted == int(store.column(layer, "activations").sum())
print(store.path and seen, flush=True)
"""


def test_eight_readers_during_a_write(parts: tuple[Any, ...], tmp_path: Path) -> None:
    (begin, arrays, curves), path = parts, tmp_path / "s.ffn"
    with StoreWriter.open(path) as writer:
        writer.begin(*begin)
        command = [sys.executable, "-c", WATCHER, str(path)]
        readers = [
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(8)
        ]
        for reader in readers:
            assert reader.stdout is not None and reader.stdout.readline() == "ready\n"
        for layer in range(12):
            writer.write_layer(layer, arrays, curves, {})
            writer.write_progress(Progress("collecting", "", layer, 12, layer / 12))
            time.sleep(0.05)
        writer.write_progress(Progress("complete", "", 12, 12, 1.0))
        for reader in readers:
            out, err = reader.communicate(timeout=SECONDS)
            assert reader.returncode == 0, err
            assert 0 <= int(out) <= 12


def test_verify_finds_nothing_wrong_with_a_store_that_is_being_written(parts: tuple[Any, ...], tmp_path: Path) -> None:
    (begin, arrays, curves), path = parts, tmp_path / "s.ffn"
    command = [sys.executable, "-c", VERIFIER, str(path)]
    with StoreWriter.open(path) as writer:
        writer.begin(*begin)
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as reader:
            assert reader.stdout is not None and reader.stdout.readline() == "ready\n"
            for layer in (0, 1):
                for _ in range(30):
                    writer.write_progress(Progress("collecting", "", layer, 2, layer / 2))
                    time.sleep(0.01)
                writer.write_layer(layer, arrays, curves, {})
            time.sleep(0.3)
            writer.write_progress(Progress("complete", "", 2, 2, 1.0))
            out, err = reader.communicate(timeout=SECONDS)
    assert reader.returncode == 0, err
    assert int(out) > 2


VERIFIER = """
import sys
from ffnscope.store.reader import Store
from ffnscope.store.verify.check import verify
times = 0
print("ready", flush=True)
with Store.open(sys.argv[1]) as store:
    done = False
    while not done:
        done = store.complete
        wrong = list(verify(store))
        assert not wrong, wrong
        times += 1
print(times)
"""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_the_collect_command_and_it_goes_on(
    how: signal.Signals, model: Path, sources: tuple[DomainSource, ...], whole: Path, tmp_path: Path
) -> None:
    store = tmp_path / "run.ffn"
    arguments = ["collect", str(model), "--store", str(store), "--bos-id", str(tm.BOS_ID), "--batch-size", "4"]
    arguments += ["--min-occurrences", "2", "--device", "cpu"]
    for source in sources:
        arguments += ["--data", f"{source.name}={source.path}"]

    def work(pipe: int) -> None:
        from ffnscope.tui.cli import main
        from ffnscope.tui.commands import progress

        def slowly(self: Any, event: Any) -> None:
            if isinstance(event, Progress) and event.layers_total:
                os.write(pipe, b".")
                time.sleep(0.05)

        progress.Reporter.__call__ = slowly  # type: ignore[method-assign]
        for each in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        os._exit(main(arguments))

    child, reading = forked(work)
    for _ in range(6):
        assert os.read(reading, 1)
    os.kill(child, how)
    status, _ = ended(child, reading)
    code = os.waitstatus_to_exitcode(status)
    assert code == 130, code  # stopped in order: it says how to go on
    with Store.open(store) as opened:
        assert not opened.complete
    run(model, sources, store, resume=True, **OPTIONS)
    assert contents(store) == contents(whole)


@pytest.mark.parametrize(
    "how",
    [signal.SIGTERM, signal.SIGHUP, signal.SIGINT],
)
def test_a_signal_leaves_the_terminal_as_it_was(how: signal.Signals, tmp_path: Path) -> None:
    path = make_store(tmp_path / "s.ffn", layers=1, neurons=16)
    browser = PtyBrowser(path, 80, 24)
    terminal = browser._terminal
    before = termios.tcgetattr(terminal)
    browser.wait_for("layers")
    assert not termios.tcgetattr(terminal)[3] & termios.ICANON
    os.kill(browser.process, how)
    deadline, status = time.monotonic() + SECONDS, (0, 0)
    while time.monotonic() < deadline and not status[0]:
        if select.select([terminal], [], [], 0.05)[0]:
            browser.read(0.05)
        status = os.waitpid(browser.process, os.WNOHANG)
    assert status[0], "it goes on"
    browser.read(0.2)
    after = termios.tcgetattr(terminal)
    os.close(terminal)
    assert browser.raw.rfind(b"\x1b[?1049l") > browser.raw.rfind(b"\x1b[?1049h") >= 0
    assert browser.raw.rfind(b"\x1b[?25h") > browser.raw.rfind(b"\x1b[?25l")
    assert after[3] & (termios.ICANON | termios.ECHO) == before[3] & (termios.ICANON | termios.ECHO)
    with Store.open(path) as store:
        assert store.complete
