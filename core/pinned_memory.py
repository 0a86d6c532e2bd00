"""Memory of the host that a GPU copies from and to while it computes: pinned, or ordinary where no more can be pinned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock

import torch


class _Listener:
    """Whom to tell that memory was not pinned, once."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._tell: Callable[[str], None] | None = None

    def set(self, tell: Callable[[str], None] | None) -> None:
        with self._lock:
            self._tell = tell

    def tell(self, line: str) -> None:
        with self._lock:
            tell, self._tell = self._tell, None
        if tell is not None:
            tell(line)


_listener = _Listener()


@contextmanager
def reporting(report: Callable[[str], None]) -> Iterator[None]:
    """In this context ``report`` is told, once, where memory cannot be pinned; it may be called by any thread."""
    _listener.set(report)
    try:
        yield
    finally:
        _listener.set(None)


def empty(shape: Sequence[int], dtype: torch.dtype, pinned: bool = True) -> torch.Tensor:
    """An uninitialised tensor of this ``shape`` in the host's memory; pinned where that is asked for and the system allows
    it. What is copied is the same either way; without pinned memory the model waits for copies."""
    if pinned:
        try:
            return torch.empty(tuple(shape), dtype=dtype, pin_memory=True)
        except RuntimeError as error:
            # A device that failed otherwise says so again when it is used next.
            reason = " ".join(str(error).split())[:100] or type(error).__name__
            _listener.tell(
                f"memory for copies to and from the GPU cannot be pinned ({reason}); ordinary memory is used: the numbers are "
                "the same, copies are slower"
            )
    return torch.empty(tuple(shape), dtype=dtype)
