"""Keep memory that a CPU run frees for its next layer, rather than return it to the system and page it in again."""

from __future__ import annotations

import ctypes
import time

# Parameters of glibc's mallopt(3); a larger mmap threshold than this is refused.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
TRIM_SECONDS = 1.0  # at least, between two trims: of a small model, memory is paged in faster than it is used
_KEPT, _STEP, _LARGEST_OF_THE_HEAP = 256 << 20, 64 << 20, 32 << 20

_trimmed = 0.0  # when that was done last


def keep_freed_memory() -> None:
    """Let this process keep up to 256 MiB of memory that it freed: a forward pass allocates and frees the same hidden states in
    every layer. Does nothing where the C library is not glibc."""
    for parameter, value in ((_MMAP_THRESHOLD, _LARGEST_OF_THE_HEAP), (_TRIM_THRESHOLD, _KEPT), (_TOP_PAD, _STEP)):
        _glibc("mallopt", parameter, value)


def give_back_freed_memory() -> None:
    """Return kept memory to the system, now and then, called once per batch: free blocks between used ones would add up over
    a long run."""
    global _trimmed
    now = time.monotonic()
    if now - _trimmed >= TRIM_SECONDS:
        _trimmed = now
        _glibc("malloc_trim", 0)


def _glibc(name: str, *arguments: int) -> None:
    try:
        getattr(ctypes.CDLL(None), name)(*arguments)
    except (OSError, AttributeError):  # another C library
        return
