"""The folder of one run's scratch files: used by one run at a time, and the same one for all its processes."""

from __future__ import annotations

import errno
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ffnscope.core.processes import Processes
from ffnscope.store.errors import UserError
from ffnscope.store.format.lock import take_lock

LOCK_NAME = "lock"
PATIENCE = 10.0  # seconds until a network file system shows one host what another has written


@contextmanager
def lock_folder(folder: Path, processes: Processes) -> Iterator[None]:
    """Make the folder, and lock it for this run.

    Raises UserError where it cannot be made, where another run uses it (the same model, corpus and settings collected
    into two stores, say with and without --offload), and where a process sees another folder under that path.
    """
    handle = processes.on_main(lambda: _take(folder))
    try:
        if processes.size > 1:
            _check_shared(folder, processes)
        yield
    finally:
        if handle is not None:
            os.close(handle)


def bytes_used(folder: Path) -> int:
    """Disk space of what an earlier attempt at the run has left; the run reads it or writes over it."""
    if not folder.is_dir():
        return 0
    return sum(path.stat().st_blocks * 512 for path in folder.iterdir() if path.is_file())


def _take(folder: Path) -> int | None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return take_lock(folder / LOCK_NAME)
    except BlockingIOError:
        raise UserError(
            f"{folder}: another run of the same model, corpus and settings has its scratch files there; wait for it, "
            "or name another folder with --scratch"
        ) from None
    except OSError as error:
        # A file system without locks, where a second run cannot be noticed.
        if error.errno in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
            return None
        raise UserError(f"{folder}: cannot be made ({error.strerror}); name another folder with --scratch") from error


def _check_shared(folder: Path, processes: Processes) -> None:
    name = processes.broadcast(f"seen-{secrets.token_hex(8)}")

    def look() -> None:
        end = time.monotonic() + PATIENCE
        while not (folder / name).exists():
            if time.monotonic() > end:
                raise UserError(
                    f"{folder}: process {processes.rank} sees another folder under this path than process 0; give "
                    "--scratch a folder that all hosts share, by its full path"
                )
            time.sleep(0.1)

    processes.on_main(lambda: (folder / name).touch())
    processes.on_all(look)
    processes.on_main(lambda: (folder / name).unlink(missing_ok=True))
