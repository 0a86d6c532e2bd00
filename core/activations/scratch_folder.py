"""The folder of one run's scratch files: held by one run at a time, and the same one for all its processes."""

from __future__ import annotations

import errno
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ffnscope.core.processes import Team
from ffnscope.core.run.request import CollectRequest
from ffnscope.store.errors import UserError
from ffnscope.store.format.lock import take_lock
from ffnscope.store.records import RunInfo

LOCK_NAME = "lock"
PATIENCE = 10.0  # seconds in which a network file system shows one host what another has made


@contextmanager
def held(folder: Path, team: Team) -> Iterator[None]:
    """Make the folder, and keep it for this run.

    Raises UserError where it cannot be made, where another run has it (two of the same model, corpus and settings into
    two stores, say with and without --offload), and where a process of the team sees another folder by that name.
    """
    handle = team.together(lambda: _take(folder) if team.leads else None)
    try:
        if team.size > 1:
            _check_shared(folder, team)
        yield
    finally:
        if handle is not None:
            os.close(handle)


def bytes_held(folder: Path) -> int:
    """Bytes on the disk that an earlier attempt at the run has left; it goes on with them or writes over them."""
    if not folder.is_dir():
        return 0
    return sum(each.stat().st_blocks * 512 for each in folder.iterdir() if each.is_file())


def _take(folder: Path) -> int | None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return take_lock(folder / LOCK_NAME)
    except BlockingIOError:
        raise UserError(
            f"{folder}: another run of the same model, corpus and settings keeps its scratch files there; wait for it, "
            "or name another folder with --scratch"
        ) from None
    except OSError as error:
        # A file system without locks: two runs at once cannot be told from one.
        if error.errno in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
            return None
        raise UserError(f"{folder}: cannot be made ({error.strerror}); name another folder with --scratch") from error


def _check_shared(folder: Path, team: Team) -> None:
    name = team.gather(f"seen-{secrets.token_hex(8)}")[0]

    def look() -> None:
        end = time.monotonic() + PATIENCE
        while not (folder / name).exists():
            if time.monotonic() > end:
                raise UserError(
                    f"{folder}: process {team.rank} sees another folder by this name than process 0; give --scratch a "
                    "folder that all hosts share, by its whole path"
                )
            time.sleep(0.1)

    team.together(lambda: (folder / name).touch() if team.leads else None)
    team.together(look)
    team.together(lambda: (folder / name).unlink(missing_ok=True) if team.leads else None)


def scratch_folder(request: CollectRequest) -> Path:
    """Where a run's scratch files lie: in the folder of --scratch, else inside the store's."""
    return request.scratch or request.store / "scratch"


def run_folder(request: CollectRequest, run: RunInfo) -> Path:
    """Where the scratch files of this very run lie."""
    return scratch_folder(request) / f"run-{run.run_id[:16]}"
