"""Counting a group of layers while the GPU runs the next: one piece of work at a time, behind the caller."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self


class _Stopped(Exception):
    """The caller has failed or was interrupted: what is done behind it is not wanted any more."""


class Behind:
    """Does pieces of work in order: at once, or with ``overlap`` in a thread of its own while the caller goes on.

    ``do`` waits for the piece before, so that two are on the way at most: one that is done, and what the caller makes
    ready. Leaving the context waits for the last piece; where it is left by an exception, work that calls ``proceed``
    ends there.
    """

    def __init__(self, overlap: bool):
        self.overlap = overlap
        self._pool = ThreadPoolExecutor(1) if overlap else None
        self._pending: Future[None] | None = None
        self._stopped = False

    def do(self, work: Callable[[], None]) -> None:
        """Do ``work``. Raises what it raises, or what the piece before it did."""
        if self._pool is None:
            work()
            return
        self._wait()
        self._pending = self._pool.submit(work)

    def proceed(self) -> None:
        """Raise where the work is not wanted any more."""
        if self._stopped:
            raise _Stopped

    def _wait(self) -> None:
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped = kind is not None
        try:
            if kind is None:
                self._wait()
        except BaseException:
            self._stopped = True
            raise
        finally:
            if self._pool is not None:
                self._pool.shutdown()
