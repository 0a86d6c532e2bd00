"""What a long command prints on stderr while it runs: a bar on a terminal, else a line every half minute."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from ffnscope.tui.drawing.glyphs import choose_glyphs
from ffnscope.tui.drawing.numbers import count, duration, percent
from ffnscope.tui.drawing.text import fit, visible

if TYPE_CHECKING:
    from ffnscope.store.records import Progress

LINE_SECONDS = 30.0  # between two lines where stderr is not a terminal


class Reporter:
    """Takes a run's progress and lines for the log; use as a context manager and call it with either."""

    def __init__(self) -> None:
        # Asked for once: a live bar puts a stream without an encoding in the place of stderr.
        self._glyphs = choose_glyphs(getattr(sys.stderr, "encoding", None))
        self._bar: Any = None
        self._task: Any = None
        # What happens at once needs no line: in a log, a refusal then stands alone.
        self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TextColumn("{task.fields[numbers]}", markup=False),
                console=Console(stderr=True, highlight=False, markup=False, emoji=False),
                transient=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None and self._task is not None:
            with ignore_lost_stderr():
                self._bar.stop()

    def __call__(self, event: Progress | str) -> None:
        """Show progress, or log a line."""
        with ignore_lost_stderr():
            if isinstance(event, str):
                self._log(visible(event, self._glyphs, spaces=False))
            elif self._bar is not None:
                self._draw(event)
            elif event.state != "collecting" or time.monotonic() - self._last_line >= LINE_SECONDS:
                self._last_line = time.monotonic()
                self._log(f"{self._phase(event)}: {_numbers(event)}")

    def _log(self, line: str) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.console.print(line, soft_wrap=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def _draw(self, event: Progress) -> None:
        if self._task is None:
            self._task = self._bar.add_task("", total=1.0, numbers="")
            self._bar.start()
        self._bar.update(
            self._task,
            completed=event.fraction,
            description=self._phase(event),
            numbers=_numbers(event),
        )

    def _phase(self, event: Progress) -> str:
        return visible(event.phase or event.state, self._glyphs, spaces=False)


@contextmanager
def ignore_lost_stderr() -> Iterator[None]:
    """Drop messages that can no longer be written because the terminal or the reader of a pipe is gone: the run matters
    more."""
    try:
        yield
    except OSError:
        discard(2)


def discard(stream: int) -> None:
    """Let what is still written to standard output (1) or error (2), at the exit too, go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream)
    os.close(nowhere)


def _numbers(event: Progress) -> str:
    parts = [percent(event.fraction)]
    if event.layers_total:
        parts.append(f"{event.layers_done} of {event.layers_total} layers")
    if event.tokens_per_second:
        parts.append(f"{count(round(event.tokens_per_second))} tokens/s")
    if event.seconds_left is not None:
        parts.append(f"{duration(event.seconds_left)} left")
    return ", ".join(parts)


class Status:
    """One line on a terminal's stderr that says what is being done and how far it is; nothing elsewhere."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._glyphs = choose_glyphs(getattr(sys.stderr, "encoding", None))
        self._live = sys.stderr.isatty()
        self._drawn = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()

    def update(self, what: str, share: float) -> None:
        """Say what is being done, and which share of all is done."""
        if self._live:
            doing = visible(what, self._glyphs, spaces=False)
            print(f"\r\x1b[K{self._what} {doing} {percent(share)}", end="", file=sys.stderr, flush=True)
            self._drawn = True

    def say(self, what: str) -> None:
        """Say what is being done, where nobody knows how far it is."""
        if self._live:
            doing = fit(visible(what, self._glyphs, spaces=False), 60, glyphs=self._glyphs).rstrip()
            print(f"\r\x1b[K{self._what} {doing}", end="", file=sys.stderr, flush=True)
            self._drawn = True

    def print_result(self, line: str) -> None:
        """A line of the result, on stdout."""
        self._clear()
        print(line, flush=True)

    def _clear(self) -> None:
        if self._drawn:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._drawn = False
