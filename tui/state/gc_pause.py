"""Keeps the garbage collector from stopping the screen."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_lock = Lock()
_reading = 0


@contextmanager
def keeping() -> Iterator[None]:
    """Load something large that stays (libraries, indexes, figures) without the garbage collector scanning it, now or later.

    A full collection looks at every object: 0.5 ms of the interface's thread per thousand objects, 60 ms once plots and
    indexes are loaded. The little garbage that is kept with it is never freed.
    """
    global _reading
    with _lock:
        _reading += 1
        gc.disable()
    try:
        yield
    finally:
        with _lock:
            _reading -= 1
            gc.freeze()
            if not _reading:
                gc.enable()
