"""Several processes on one run: the store must not show how many took part."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import torch
from exact import run
from same_store import contents, differing
from several_processes import collect
from warm import WarmProcess, WarmServer

from ffnscope.core.activations.recorder import Recorder
from ffnscope.core.corpus.sources import DomainSource
from ffnscope.core.processes import Processes, join_processes
from ffnscope.store.errors import UserError
from ffnscope.store.format.environment import BITS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model and the windows of two domains."""
    folder = tmp_path_factory.mktemp("processes")
    tiny_models.tiny("opt", folder).rename(folder / "model")
    rng = np.random.default_rng(5)
    for name, windows in (("a", 13), ("b", 4)):
        np.save(folder / f"{name}.npy", tiny_models.random_windows(rng, windows, 24, 64, bos_id=2))
    return folder


@pytest.fixture(scope="module")
def alone(folder: Path) -> Path:
    """A store that one process has collected."""
    sources = (DomainSource("a", folder / "a.npy"), DomainSource("b", folder / "b.npy", True))
    return run(folder / "model", sources, folder / "one", bos_id=2, batch_size=2)


def exported(store: Path) -> bytes:
    command = [sys.executable, "-m", "ffnscope.tui", "export", store]
    return subprocess.run(command, capture_output=True, check=True).stdout


def test_the_export_does_not_depend_on_the_number_of_processes(folder: Path, alone: Path) -> None:
    two = collect(folder, "two", 2, "--group-layers", "2")
    assert two.returncode == 0, two.stderr
    expected = exported(alone)
    assert expected.count(b"\n") > 50
    assert exported(folder / "two") == expected
    assert differing(alone, folder / "two") == []
    assert any(database == BITS.encode() for database, _ in contents(folder / "two"))
    assert two.stderr.count("complete; ffnscope view") == 1


@pytest.mark.slow
def test_a_process_for_which_no_batch_is_left(folder: Path) -> None:
    stores = {"few": 1, "many": 3}
    for store, processes in stores.items():
        done = collect(folder, store, processes, "--batch-size", "16", "--group-layers", "1")
        assert done.returncode == 0, done.stderr
    assert differing(folder / "many", folder / "few") == []


@pytest.fixture(scope="module")
def warm() -> Iterator[WarmServer]:
    """What the processes of a run are forked from, where torchrun does not start them."""
    with WarmServer() as server:
        yield server


@pytest.fixture
def process(warm: WarmServer, folder: Path) -> Iterator[Callable[..., WarmProcess]]:
    """Starts a process of a run of two: its rank, a port, and Python's arguments."""
    started = []

    def start(rank: int, port: int, *command: str) -> WarmProcess:
        started.append(warm.start(command, folder, **_place(rank, port)))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait(60)


def _place(rank: int, port: int) -> dict[str, str]:
    return {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def _port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


COLLECT = ("-m", "ffnscope.tui", "collect", "model", "--data", "a=a.npy", "--bos-id", "2", "--store")


def test_a_mistake_is_said_once_and_no_process_waits(process: Callable[..., WarmProcess]) -> None:
    port = _port()
    both = [process(rank, port, *COLLECT, "three", "--data", "c=nowhere.npy") for rank in (0, 1)]
    codes, texts = zip(*(each.communicate(120) for each in both), strict=True)
    assert codes == (2, 2)
    assert "".join(texts).count("ffnscope: ") == 1
    assert "nowhere.npy" in "".join(texts)


def test_a_process_whose_others_never_come_says_so_and_ends_on_a_signal(process: Callable[..., WarmProcess]) -> None:
    waiting = process(0, _port(), *COLLECT, "alone")
    assert "process 0 of 2 waits for process 1 at 127.0.0.1:" in waiting.stderr.readline()
    waiting.send_signal(signal.SIGTERM)
    code, rest = waiting.communicate(60)
    assert code == 130
    assert "Traceback" not in rest


JOIN_AND_DIE = """
import os
from ffnscope.core.processes import join_processes
with join_processes():
    os.kill(os.getpid(), 9)
"""


def test_where_the_main_process_is_killed_the_other_says_so_in_one_line(
    folder: Path, process: Callable[..., WarmProcess]
) -> None:
    """A process from the start: torch says more unless it is told not to before it is imported."""
    port = _port()
    killed = process(0, port, "-c", JOIN_AND_DIE)
    left = subprocess.run(
        [sys.executable, *COLLECT, "left"],
        cwd=folder,
        env=os.environ | _place(1, port),
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
    )
    errors = left.stderr
    assert left.returncode == 2
    assert errors.count("\n") == 1 and "another process of this run has ended" in errors and "--resume" in errors
    assert killed.wait(60) == -signal.SIGKILL


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


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "out of memory .*--batch-size"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "out of memory"),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), r"failed \(CUDA error: an illegal"),
    ],
)
def test_every_process_hears_of_a_device_that_fails(error: Exception, said: str) -> None:
    class Two(Processes):
        def gather(self, value: object) -> list[object]:
            return [None, value]

    def full() -> None:
        raise error

    with pytest.raises(UserError, match=rf"process 1: its device (is )?{said}.*--resume"):
        Two(1, 2).on_all(full)
    with pytest.raises(type(error)):
        Processes().on_all(full)


def test_any_other_error_stays_what_it_is() -> None:
    class Two(Processes):
        def gather(self, value: object) -> list[object]:
            return [None, value]

    def wrong() -> None:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        Two(1, 2).on_all(wrong)


CALLER = """
import sys
import torch, torch.distributed as dist
from pathlib import Path
from ffnscope.core.collect import collect
from ffnscope.core.corpus.sources import DomainSource
from ffnscope.core.run.request import CollectRequest

dist.init_process_group("gloo")
own = dist.group.WORLD
refuse = lambda *_, **named: (_ for _ in ()).throw(AssertionError("the caller's group"))
gathered = dist.all_gather_object
dist.all_gather_object = lambda values, value, group=None: (
    refuse() if group in (None, own) else gathered(values, value, group=group)
)
sources = (DomainSource("a", Path("a.npy")), DomainSource("b", Path("b.npy"), True))
options = dict(bos_id=2, batch_size=2, device="cpu", hidden="memory")
collect(CollectRequest("model", sources, Path("called"), **options))
dist.all_gather_object = gathered
values = [None, None]
dist.all_gather_object(values, dist.get_rank())
assert values == [0, 1]
dist.destroy_process_group()
"""


def test_a_group_that_the_caller_has_made_is_left_alone(
    folder: Path, alone: Path, process: Callable[..., WarmProcess]
) -> None:
    """And where each process keeps its hidden states in memory, the store is that of one process too."""
    port = _port()
    for each in [process(rank, port, "-c", CALLER) for rank in (0, 1)]:
        code, said = each.communicate(120)
        assert code == 0, said
    assert exported(folder / "called") == exported(alone)


OVERLAPPING = """
import sys, time
from ffnscope.core import collect
from ffnscope.core.activations.forward import Sweep
from ffnscope.core.run.prepare import Prepared
from ffnscope.store.errors import UserError
from ffnscope.tui.cli import program

Prepared.overlaps = True  # as where the model runs on a GPU
fails, rank = sys.argv.pop(1), int(sys.argv.pop(1))
count_layer, run_group = collect.count_layer, Sweep.run_group
groups = []

def count(layer, *arguments, **named):
    if fails == "counting" and rank and layer:
        raise UserError("no more memory")
    if fails == "model" and not rank:
        for _ in range(6000):  # until the model's failure ends it
            named["advance"](0)
            time.sleep(0.01)
    return count_layer(layer, *arguments, **named)

def run(self, group, advance):
    groups.append(group)
    if fails == "model" and len(groups) == 2:
        self.processes.on_all(lambda: (_ for _ in ()).throw(UserError("the device is full")) if rank else None)
    return run_group(self, group, advance)

collect.count_layer, Sweep.run_group = count, run
sys.exit(program())
"""


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        ("nothing", "complete"),
        ("counting", "no more memory"),
        pytest.param("model", "the device is full", marks=pytest.mark.slow),
    ],
)
def test_a_group_is_counted_while_the_next_one_runs(
    fails: str, said: str, folder: Path, alone: Path, process: Callable[..., WarmProcess]
) -> None:
    """What fails in one process ends all of them, whichever thread it fails in."""
    port, store = _port(), f"overlapping-{fails}"
    options = ("collect", "model", "--data", "a=a.npy", "--count-only", "b=b.npy", "--bos-id", "2", "--batch-size", "2")
    ends = ("--group-layers", "1", "--store", store)
    both = [process(rank, port, "-c", OVERLAPPING, fails, str(rank), *options, *ends) for rank in (0, 1)]
    codes, texts = zip(*(each.communicate(120) for each in both), strict=True)
    assert said in texts[0] and not any("Traceback" in text for text in texts), texts
    assert codes == ((0, 0) if fails == "nothing" else (2, 2))
    if fails == "nothing":
        assert differing(alone, folder / store) == []


@pytest.mark.parametrize("rank", ["0", "1"])
def test_processes_that_cannot_meet_say_so(rank: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": rank, "WORLD_SIZE": "3", "MASTER_PORT": "29"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    others = "processes 1 to 2" if rank == "0" else "process 0"
    says = rf"^process {rank} of 3 waits for {others} at \?:29, but cannot reach them \(.*MASTER_ADDR.*\); check"
    with pytest.raises(UserError, match=says), join_processes():
        raise AssertionError("not reached")
