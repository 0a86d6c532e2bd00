"""A group of layers is counted while the GPU runs the next one: one piece of work at a time, in a thread."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self


class _Cancelled(Exception):
    """The caller has failed or was interrupted: the work in the thread is no longer wanted."""


class SerialWorker:
    """Does pieces of work in order: at once, or with ``overlap`` in a thread while the caller goes on.

    ``submit`` waits for the piece before, so that at most two exist: the one being done, and the one that the caller
    prepares. Leaving the context waits for the last piece; after an exception, work ends at its next ``check_wanted``.

    ``behind``: whether the caller had to wait for the piece before; True until that is known.
    """

    def __init__(self, overlap: bool):
        self.behind = True
        self._pool = ThreadPoolExecutor(1) if overlap else None
        self._pending: Future[None] | None = None
        self._cancelled = False

    def submit(self, work: Callable[[], None]) -> None:
        """Do ``work``. Raises what it raises, or what the piece before it raised."""
        if self._pool is None:
            work()
            return
        self._wait()
        self._pending = self._pool.submit(work)

    def check_wanted(self) -> None:
        """Raise, to end the work that calls this, where the caller has failed or was interrupted."""
        if self._cancelled:
            raise _Cancelled

    def _wait(self) -> None:
        if self._pending is not None:
            pending, self._pending = self._pending, None
            self.behind = not pending.done()
            pending.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cancelled = kind is not None
        try:
            if kind is None:
                self._wait()
        except BaseException:
            self._cancelled = True
            raise
        finally:
            if self._pool is not None:
                self._pool.shutdown()
