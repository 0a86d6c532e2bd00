"""Work that quitting does not wait for, and the end of a process in which it still goes on."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

_NAME = "not waited for"


def start(work: Callable[[], None]) -> None:
    """Begin work in a thread of its own."""
    threading.Thread(target=work, name=_NAME, daemon=True).start()


def leave(code: int) -> int:
    """The exit code, or the process's end with it where such work goes on: torch aborts where Python ends a thread in it."""
    if any(thread.name == _NAME for thread in threading.enumerate()):
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
    return code
