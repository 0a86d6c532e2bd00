"""The real browser in a pseudo-terminal: what it sends for a key, and the screen that a terminal makes of it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import tempfile
import termios
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import pyte

RUN = "import sys; from pathlib import Path; from ffnscope.tui.app import run; run([Path(p) for p in sys.argv[1:]])"
SAMPLE = 0.02  # seconds
LAG = 5.0  # seconds that it may lack a processor for


class PtyBrowser:
    """`ffnscope view` on a store, `columns` x `rows`. `press` returns the bytes sent for the keys."""

    def __init__(self, store: Path, columns: int, rows: int, command: Sequence[str] = (), **environment: str):
        """`command`: the arguments of another command of ffnscope to run."""
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        # What the browser remembers belongs to this run alone.
        self._home = tempfile.TemporaryDirectory()
        self.process, self._terminal = pty.fork()
        if self.process == 0:
            for each in (signal.SIGINT, signal.SIGHUP):
                signal.signal(each, signal.SIG_DFL)  # tests run in the background have them ignored
            kept = {"XDG_STATE_HOME": self._home.name, "XDG_CONFIG_HOME": self._home.name}
            kept |= {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
            given = {
                "TERM": "xterm-256color",
                "LANG": "C.UTF-8",
                "PYTHONUTF8": "1",
                "SSH_CONNECTION": "x",
            } | environment
            program = ["-m", "ffnscope.tui", *command] if command else ["-c", RUN, str(store)]
            os.execve(sys.executable, [sys.executable, *program], kept | given)
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.raw = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.write(self._terminal, b"\x03")
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            self.read(0.05)
            if os.waitpid(self.process, os.WNOHANG)[0]:
                os.close(self._terminal)
                self._home.cleanup()
                return
        os.kill(self.process, 9)
        os.waitpid(self.process, 0)
        os.close(self._terminal)
        raise AssertionError("ctrl+c did not end the browser")

    def read(self, quiet: float, most: float = 30.0) -> bytes:
        """What it sends until it has been quiet for so many seconds. Only those count in which it had nothing to do: one
        that waits for a processor on a busy machine has not come to rest."""
        out, rested, deadline = b"", 0.0, time.monotonic() + most
        spoken = time.monotonic()
        while rested < quiet and time.monotonic() < min(deadline, spoken + quiet + LAG):
            if select.select([self._terminal], [], [], SAMPLE)[0]:
                try:
                    part = os.read(self._terminal, 1 << 16)
                except OSError:
                    break
                if not part:
                    break
                self._stream.feed(part)
                out, rested, spoken = out + part, 0.0, time.monotonic()
            elif self._at_rest():
                rested += SAMPLE
        self.raw += out
        return out

    def _at_rest(self) -> bool:
        """Whether all its threads sleep."""
        states = []
        for thread in Path(f"/proc/{self.process}/task").glob("*/stat"):
            with suppress(OSError):  # it has just ended
                states.append(thread.read_text().rpartition(")")[2].split()[0])
        return not {"R", "D"} & set(states)

    def wait_for(self, text: str, most: float = 30.0) -> None:
        """Read until the screen holds a text, then until it rests. Raises AssertionError."""
        deadline = time.monotonic() + most
        while text not in self.text:
            assert time.monotonic() < deadline, f"{text!r} never came:\n{self.text}"
            self.read(0.1)
        self.read(0.5)

    def press(self, keys: str, quiet: float = 0.4) -> bytes:
        """Send keys and return what came back until it rests."""
        os.write(self._terminal, keys.encode())
        return self.read(quiet)

    def resize(self, columns: int, rows: int) -> None:
        """Another size of the terminal."""
        self.screen.resize(rows, columns)
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        os.kill(self.process, 28)

    @property
    def text(self) -> str:
        """The screen as text."""
        return "\n".join(line.rstrip() for line in self.screen.display)
