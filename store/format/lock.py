"""Files that one process at a time holds; the lock dies with the process."""

from __future__ import annotations

import os
from pathlib import Path


def take_lock(file: Path) -> int:
    """The handle of a file, made where it is not there, that this process now holds; closing it gives it back.

    Raises BlockingIOError where another process holds it, and OSError where it cannot be opened or locked.
    """
    import fcntl

    handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise
    return handle
