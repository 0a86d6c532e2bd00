"""Files that appear whole or not at all; a pipe or a device is written straight into."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

from ffnscope.store.errors import UserError

_NUMBERS = itertools.count()  # of unfinished files: two threads may write at once


def check_writable(path: Path, overwrite: bool) -> None:
    """Raise UserError where ``path`` is a folder, a file that is not to be replaced, or not a name that a file can have."""
    try:
        mode = _mode(path)
    except OSError as error:
        raise _cannot(path, error) from error
    if mode is not None and stat.S_ISDIR(mode):
        raise UserError(f"{path}: is a folder; give a file to write")
    if mode is not None and stat.S_ISREG(mode) and not overwrite:
        raise _there(path)


def write_whole(files: Mapping[Path, Callable[[TextIO], Any]], overwrite: bool = False) -> list[Any]:
    """Call each function with its file, open for UTF-8 text; what they return. None appears before all are written.

    A link stays one: what it points to is written. Raises UserError as ``check_writable`` does, and where the disk does
    not take it.
    """
    for path in files:
        check_writable(path, overwrite)
    moves: dict[Path, Path] = {}  # target -> unfinished
    returned, path = [], Path()
    try:
        for path, write in files.items():
            mode, target = _mode(path), path
            if mode is None or stat.S_ISREG(mode):
                target = path.resolve() if path.is_symlink() else path
                moves[target] = target.with_name(f".ffnscope-{os.getpid()}-{next(_NUMBERS)}.tmp")
            with moves.get(target, path).open("w", encoding="utf-8", errors="backslashreplace", newline="") as out:
                returned.append(write(out))
                out.flush()
                if target in moves:
                    os.fsync(out.fileno())
        for path, unfinished in moves.items():
            _move(unfinished, path, overwrite)
    except OSError as error:
        raise _cannot(path, error) from error
    finally:
        for unfinished in moves.values():
            unfinished.unlink(missing_ok=True)
    return returned


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


def _move(unfinished: Path, path: Path, overwrite: bool) -> None:
    if not overwrite:
        try:
            # Unlike a rename, a link never replaces a file that has come in the meantime.
            path.hardlink_to(unfinished)
            return
        except FileExistsError:
            raise _there(path) from None
        except OSError:
            pass  # a file system without hard links
    unfinished.replace(path)


def _there(path: Path) -> UserError:
    return UserError(f"{path}: exists already; give another path, or --overwrite")


def _cannot(path: Path, error: OSError) -> UserError:
    return UserError(f"{path}: cannot be written ({error.strerror or error})")
