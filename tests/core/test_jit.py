"""Compiled code: cached on disk where that is possible, and never stale."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numba
import pytest
from forks import ended, forked_code

from ffnscope.core import jit
from ffnscope.core.jit import compiled


def test_a_function_that_cannot_be_kept_is_compiled_all_the_same() -> None:
    there: dict[str, object] = {}
    exec(compile("def double(x):\n    return 2 * x", "/no/such/folder/double.py", "exec"), there)
    assert compiled(there["double"])(21) == 42  # type: ignore[arg-type]


def test_cached_code_is_renewed_with_whatever_it_uses(tmp_path: Path) -> None:
    package = tmp_path / "loops"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "constants.py").write_text("FACTOR = 2\n")
    (package / "inner.py").write_text(
        "from ffnscope.core.jit import jitable\nfrom loops.constants import FACTOR\n\n"
        "@jitable\ndef scaled(x):\n    return FACTOR * x\n"
    )
    (package / "outer.py").write_text(
        "from ffnscope.core.jit import compiled\nfrom loops import inner\nscaled = inner.scaled\n\n"
        "@compiled\ndef twice(x):\n    return scaled(x) + scaled(x)\n"
    )
    code = (
        "import sys\nsys.dont_write_bytecode = True\n"
        "from loops.outer import twice\nprint(twice(5), sum(twice.stats.cache_hits.values()))"
    )

    def run() -> str:
        return output(forked_code(code, tmp_path))

    assert [run(), run()] == ["20 0", "20 1"], "compiled once, then read from the cache"
    (package / "constants.py").write_text("FACTOR = 3\n")
    assert run() == "30 0", "two files away"
    inner = (package / "inner.py").read_text()
    (package / "inner.py").write_text(inner.replace("FACTOR * x", "FACTOR + x"))
    assert [run(), run()] == ["16 0", "16 1"]


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """A module with one loop that is slow to compile; it prints whether it was read from the cache."""
    (tmp_path / "toy.py").write_text(
        "import time\nfrom ffnscope.core.jit import compiled\n\n"
        "@compiled\ndef total(values):\n    part = 0\n    for value in values:\n        part += value\n    return part\n\n"
        "def run():\n    import numpy as np\n    print(total(np.arange(5)), sum(total.stats.cache_hits.values()))\n"
    )
    return tmp_path


def start(folder: Path) -> tuple[int, int]:
    """A process that runs the loop: its number, and a pipe with what it prints."""
    return forked_code("import toy; toy.run()", folder)


def output(process: tuple[int, int]) -> str:
    """What it prints, once it has ended."""
    status, said = ended(*process)
    assert status == 0, said
    return said.decode().strip()


def test_one_of_several_processes_compiles(toy: Path) -> None:
    processes = [start(toy) for _ in range(4)]
    assert sorted(output(process) for process in processes) == ["10 0", "10 1", "10 1", "10 1"]


def test_a_process_that_was_killed_holds_up_nobody(toy: Path) -> None:
    assert output(start(toy)) == "10 0"
    lock = next(toy.rglob("toy.total*.lock"))
    hold = (
        f"import fcntl, time\nfile = open({str(lock)!r}, 'r+')\nfcntl.flock(file, fcntl.LOCK_EX)\n"
        "print(flush=True)\ntime.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        waiting = start(toy)
        time.sleep(1)
        assert os.waitpid(waiting[0], os.WNOHANG) == (0, 0), "it waits"
        holder.send_signal(signal.SIGKILL)
        assert output(waiting) == "10 1"
    with lock.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("pattern", ["*.nbi", "*.nbc"])
def test_damaged_files_are_compiled_anew(toy: Path, pattern: str) -> None:
    assert output(start(toy)) == "10 0"
    (file,) = toy.rglob(f"toy.total{pattern}")
    file.write_bytes(file.read_bytes()[: -len(file.read_bytes()) // 2])
    assert [output(start(toy)) for _ in range(2)] == ["10 0", "10 1"]


def test_without_a_folder_that_can_be_written_it_is_compiled_all_the_same(toy: Path) -> None:
    """In processes from the start: numba looks for a folder when it is imported."""
    (toy / "__pycache__").write_text("not a folder")
    nowhere = str(toy / "toy.py")  # not a folder either
    environment = os.environ | {"HOME": nowhere, "XDG_CACHE_HOME": nowhere, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", "import toy; toy.run()"]
    for _ in range(2):
        done = subprocess.run(command, cwd=toy, env=environment, capture_output=True, text=True)
        assert (done.stdout, done.stderr) == ("10 0\n", "")


def test_a_disk_that_fills_up_is_no_error(toy: Path) -> None:
    code = (
        "import errno, numba.core.caching as caching\n\n"
        "def refuse(self, name, data):\n    raise OSError(errno.ENOSPC, 'No space left on device')\n\n"
        "caching.IndexDataCacheFile._save_data = refuse\nimport toy\ntoy.run()\n"
    )
    assert output(forked_code(code, toy)) == "10 0"
    assert [output(start(toy)) for _ in range(2)] == ["10 0", "10 1"], "the index names a file that was never written"


def test_a_lock_that_another_process_keeps_is_not_waited_for_forever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jit, "PATIENCE", 0.05)
    monkeypatch.setattr(jit, "LOOK", 0.01)
    with (tmp_path / "lock").open("w") as one, (tmp_path / "lock").open("w") as other:
        fcntl.flock(one, fcntl.LOCK_EX)
        jit._lock(other.fileno())
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(one, fcntl.LOCK_UN)
        jit._lock(other.fileno())
        with pytest.raises(BlockingIOError):
            fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_without_a_compiler_python_runs_the_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    def double(x: int) -> int:
        return 2 * x

    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    assert compiled(double) is double
