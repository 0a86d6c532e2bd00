"""Work that quitting does not wait for, and how the process ends while it still runs."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

_NAME = "not waited for"


def start(work: Callable[[], None]) -> None:
    """Start work in its own thread."""
    threading.Thread(target=work, name=_NAME, daemon=True).start()


def leave(code: int) -> int:
    """Return the exit code; while such work runs, end the process with it: torch aborts if Python stops a thread inside it."""
    if any(thread.name == _NAME for thread in threading.enumerate()):
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
    return code
