"""Work in a process of its own, forked from the one that runs the tests: it need not start and import all again."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

SECONDS = 60  # no child may need more


def forked(work: Callable[[int], None]) -> tuple[int, int]:
    """``work(pipe)`` in a process of its own: its number, and what it writes to the pipe, last what it raises."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        signal.alarm(SECONDS)
        try:
            work(writing)
            os._exit(0)
        except BaseException:
            os.write(writing, traceback.format_exc().encode())
        finally:
            os._exit(1)
    os.close(writing)
    return child, reading


def ended(child: int, reading: int) -> tuple[int, bytes]:
    """The wait status of a process and what it wrote."""
    with os.fdopen(reading, "rb") as file:
        said = file.read()
    return os.waitpid(child, 0)[1], said


def forked_code(code: str, folder: Path) -> tuple[int, int]:
    """``forked`` for Python's code in ``folder``, whose modules it can import; it writes its output and errors to the pipe."""

    def work(pipe: int) -> None:
        os.chdir(folder)
        sys.path.insert(0, str(folder))
        sys.stdout = sys.stderr = open(pipe, "w", encoding="utf-8", buffering=1)  # noqa: SIM115
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})

    return forked(work)
