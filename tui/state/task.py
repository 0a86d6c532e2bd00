"""Work in a thread that can be given up at once: what it finds then is thrown away, and leaving does not wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

from ffnscope.store.errors import UserError
from ffnscope.tui.state import background

Result = TypeVar("Result")
Proceed = Callable[[], None]
# Seconds that leaving waits for a reader of the store; a regular expression may take longer, and reads nothing.
LEAVING = 1.0


class GivenUpError(Exception):
    """Nobody wants the result any more."""


class Task(Generic[Result]):
    """``work(proceed)`` in a thread; ``done(result, error)`` is called in it, unless the task was given up."""

    def __init__(self, work: Callable[[Proceed], Result], done: Callable[[Result | None, str], object]):
        self._work, self._done = work, done
        self._given_up, self._ended = threading.Event(), threading.Event()
        background.start(self._run)

    def _proceed(self) -> None:
        if self._given_up.is_set():
            raise GivenUpError

    def _run(self) -> None:
        try:
            result, error = self._work(self._proceed), ""
        except GivenUpError:
            return
        except UserError as problem:
            result, error = None, str(problem)
        finally:
            self._ended.set()
        if not self._given_up.is_set():
            with suppress(RuntimeError):  # the browser has just ended
                self._done(result, error)

    @property
    def ended(self) -> bool:
        """Whether its thread does no more work."""
        return self._ended.is_set()

    def give_up(self, wait: bool = False) -> None:
        """Drop its result; with `wait`, the store is about to be closed."""
        self._given_up.set()
        if wait:
            self._ended.wait(LEAVING)
