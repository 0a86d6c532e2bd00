"""How the counting loops are compiled: without Python's lock, so that threads share the cores, and kept on the disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any]) -> Any:
    """``function`` compiled; for the next process too, unless neither the package's nor the user's cache folder can be
    written, which is no reason not to run."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:
        return njit(nogil=True)(function)
