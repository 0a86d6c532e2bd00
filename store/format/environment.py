"""Opening LMDB environments: map sizes, read-only folders, clear errors."""

from __future__ import annotations

import os
import time
from pathlib import Path

import lmdb

from ffnscope.store.errors import DamagedStoreError, UserError
from ffnscope.store.format.meta_pages import DamagedFileError, Meta, least_bytes, read_metas

MAP_SIZE = 1 << 40
MIN_MAP_SIZE = 1 << 26
REMOTE = (
    "nfs",
    "lustre",
    "gpfs",
    "beegfs",
    "ceph",
    "cifs",
    "smb",
    "fuse.sshfs",
    "fuse.glusterfs",
    "afs",
    "9p",
    "wekafs",
)
LOCK_NAME = "collector.lock"  # locked while a store is written; never deleted
DATABASES = ("meta", "columns", "curves", "windows", "vocabulary")
BITS = "bits"  # one more database, of stores that keep activation bits


def is_store(path: Path) -> bool:
    """Whether the folder holds an LMDB environment."""
    return (path / "data.mdb").is_file()


def require_store(path: Path) -> None:
    """Raise UserError where the folder does not exist or holds no LMDB environment."""
    try:
        exists = path.exists()
    except OSError as error:
        raise UserError(f"{path}: cannot be a store ({error.strerror or error})") from error
    if not exists:
        raise UserError(f"{path}: no such store; `ffnscope collect MODEL --data NAME=PATH --store {path}` makes one")
    if not is_store(path):
        raise UserError(f"{path}: not an ffnscope store (no data.mdb in it); give the folder named by --store")


def open_environment(path: Path, *, write: bool, locked: bool = True, databases: int = 8) -> lmdb.Environment:
    """The LMDB environment in the folder ``path``, with the largest map that the address space allows.

    Raises UserError where there is none (reading), where it is open in this process already, cut short or damaged.
    """
    data = path / "data.mdb"
    try:
        if is_store(path) and (data.stat().st_size or not write):
            check_length(data)
    except DamagedFileError as error:
        raise DamagedStoreError(
            f"{path}: cannot be opened as a store (data.mdb: {error}); copy it again, or delete it and collect again"
        ) from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    size = MAP_SIZE
    while True:
        try:
            return lmdb.open(
                os.fsencode(path),
                map_size=size,
                readonly=not write,
                create=write,
                max_dbs=databases,
                lock=locked,
                readahead=True,
                max_readers=512,
                mode=0o666 & ~_umask(),
            )
        except (lmdb.MemoryError, MemoryError):
            # A limited address space (ulimit -v) refuses a large map: half of it may fit.
            if size <= MIN_MAP_SIZE:
                raise UserError(f"{path}: not enough address space to map the store; raise `ulimit -v`") from None
            size //= 2
        except lmdb.Error as error:
            if write and is_disk_error(error):
                raise disk_error(path, error) from error
            damaged = isinstance(
                error, (lmdb.CorruptedError, lmdb.InvalidError, lmdb.PageNotFoundError, lmdb.PanicError)
            )
            kind = DamagedStoreError if damaged else UserError
            raise kind(f"{path}: cannot be opened as a store ({_reason(error)})") from error
        except OSError as error:
            raise UserError(f"{path}: {error.strerror or error}") from error


def is_disk_error(error: lmdb.Error) -> bool:
    """Whether a write failed for the disk: full, broken, or a limit on the size of files."""
    message = str(error)
    return isinstance(error, lmdb.DiskError) or any(
        why in message for why in ("No space left", "Input/output", "File too large", "quota exceeded")
    )


def disk_error(path: Path, error: Exception) -> UserError:
    """The error for a store that could not be written."""
    return UserError(
        f"{path}: cannot be written ({_reason(error)}); finished layers are kept: "
        "free some space and run the same command with --resume"
    )


def check_length(data: Path) -> tuple[Meta, Meta] | None:
    """The meta pages of a data file that holds all pages of its last transaction: LMDB would end the process with a bus
    error where one is missing. None where only LMDB knows the file's kind.

    Raises DamagedFileError, and OSError where the file cannot be read.
    """
    for attempt in range(4):
        try:
            metas = read_metas(data)
            length = data.stat().st_size
            if metas is not None and length < least_bytes(metas):
                raise DamagedFileError(f"cut short: {length:,} bytes of {least_bytes(metas):,}")
            return metas
        except DamagedFileError:
            # A writer may have been amid the page that was read.
            if attempt == 3:
                raise
            time.sleep(0.01)
    raise AssertionError("unreachable")


def remote_file_system(path: Path) -> str | None:
    """The type of the file system that ``path`` lies on where it is a network's (nfs, lustre ...), else None."""
    mounts = Path("/proc/self/mountinfo")
    if not mounts.is_file():
        return None
    place, best, kind = path.resolve(), Path(), ""
    for line in mounts.read_text(errors="replace").splitlines():
        before, _, after = line.partition(" - ")
        mount = Path(before.split(" ")[4].replace("\\040", " "))
        if (place == mount or mount in place.parents) and len(mount.parts) >= len(best.parts):
            best, kind = mount, after.split(" ")[0]
    return kind if kind.startswith(REMOTE) else None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _reason(error: Exception) -> str:
    return str(error).rpartition(": ")[2] or type(error).__name__
