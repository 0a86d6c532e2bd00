"""A disk that is full, for real: a small tmpfs. A run ends in one line, and goes on where there is room again."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models as tm
from exact import run, sources_of
from same_store import contents

from ffnscope.core.corpus.sources import DomainSource
from ffnscope.store.errors import UserError
from ffnscope.store.reader import Store
from ffnscope.store.verify.check import verify

OPTIONS: dict[str, Any] = {"bos_id": tm.BOS_ID, "batch_size": 4, "min_occurrences": 2, "group_layers": 1}
SECONDS = 60
NEW_MOUNTS, NEW_USER = 0x00020000, 0x10000000
PRIVATE, REMOUNT = (1 << 18) | 16384, 32


def call(name: str, *arguments: Any) -> None:
    """A call of the system's; raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def mount(folder: Path, size: int, flags: int = 0) -> None:
    """A tmpfs of so many bytes."""
    call("mount", b"tmpfs", os.fsencode(folder), b"tmpfs", ctypes.c_ulong(flags), f"size={size}".encode())


def own_mounts() -> None:
    """Mounts that nobody else sees and that end with this process: as root, or as root of a user space of its own."""
    user, group = os.getuid(), os.getgid()
    try:
        call("unshare", NEW_MOUNTS)
    except OSError:
        call("unshare", NEW_MOUNTS | NEW_USER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    call("mount", None, b"/", None, ctypes.c_ulong(PRIVATE), None)


def on_tmpfs(folder: Path, size: int, work: Callable[[], str]) -> str:
    """What ``work()`` says, in a process where ``folder`` is a tmpfs. Skips where that may not be mounted."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        signal.alarm(SECONDS)
        try:
            try:
                own_mounts()
                mount(folder, size)
            except OSError as error:
                said = f"skip: {error}"
            else:
                said = work()
        except BaseException as error:
            said = f"failed: {type(error).__name__}: {error}"
        os.write(writing, said.encode()[:4000])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        said = file.read().decode()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == 0, f"ended by {status}"
    if said.startswith("skip: "):
        pytest.skip(f"no tmpfs can be mounted here ({said[6:]})")
    assert not said.startswith("failed: "), said
    return said


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


@pytest.mark.parametrize("share", [0.01, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95])
def test_a_full_tmpfs_loses_nothing(
    share: float, model: Path, sources: tuple[DomainSource, ...], whole: Path, tmp_path: Path
) -> None:
    size = max(int((whole / "data.mdb").stat().st_size * share) // 4096 * 4096, 4096)
    place = tmp_path / "small"
    place.mkdir()

    def work() -> str:
        store = place / "run.ffn"
        line = ""
        try:
            run(model, sources, store, **OPTIONS)
        except UserError as error:
            line = str(error)
        assert line, "it fitted"
        done: tuple[int, ...] = ()
        if (store / "data.mdb").is_file() and (store / "data.mdb").stat().st_size:
            try:
                with Store.open(store) as opened:
                    done = opened.layers()
                    assert not opened.complete and list(verify(opened)) == []
            except UserError as error:
                assert "\n" not in str(error)
        mount(place, 1 << 30, REMOUNT)
        run(model, sources, store, resume=True, **OPTIONS)
        assert contents(store) == contents(whole)
        return f"{len(done)} layers; {line}"

    said = on_tmpfs(place, size, work)
    assert "\n" not in said and str(place) in said, said
    # A write that is cut short is an input or output error to LMDB.
    assert any(why in said for why in ("No space left", "Input/output", "of scratch are needed")), said
    assert any(option in said for option in ("--resume", "--store", "--scratch")), said


def test_a_full_disk_of_scratch_files_is_a_line(
    model: Path, sources: tuple[DomainSource, ...], whole: Path, tmp_path: Path
) -> None:
    place = tmp_path / "small"
    place.mkdir()

    def work() -> str:
        store = tmp_path / "run.ffn"
        try:
            run(model, sources, store, scratch=place, scratch_gb=1.0, **OPTIONS)
        except UserError as error:
            line = str(error)
        mount(place, 1 << 30, REMOUNT)
        run(model, sources, store, resume=True, scratch=place, **OPTIONS)
        assert contents(store) == contents(whole)
        return line

    for size in (4096, 16384, 40960):
        said = on_tmpfs(place, size, work)
        assert "\n" not in said and str(place) in said and "scratch" in said, said
        for file in (tmp_path / "run.ffn").iterdir():
            file.unlink()
