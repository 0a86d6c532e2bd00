"""Recorded walks through the browser (tests/screens/walks/*.txt): keys and what must then be on the screen, line by line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "screens" / "walks"
COMMANDS = ("size", "press", "type", "see", "not", "readme")
_SENT = {"enter": "\r", "escape": "\x1b", "tab": "\t", "space": " ", "backspace": "\x7f"}
_SENT |= {
    "up": "\x1b[A",
    "down": "\x1b[B",
    "right": "\x1b[C",
    "left": "\x1b[D",
    "pageup": "\x1b[5~",
    "pagedown": "\x1b[6~",
}


@dataclass(frozen=True)
class Step:
    """One line of a walk: a command and what stands behind it."""

    number: int
    command: str
    text: str

    @property
    def keys(self) -> list[str]:
        """The keys of `press`."""
        return self.text.split()


def read(path: Path) -> tuple[tuple[int, int], list[Step]]:
    """(size of the terminal, steps) of a walk. Raises ValueError for a line that is none."""
    size, steps = (80, 24), []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        command, _, text = line.partition(" ")
        if not line.strip() or command.startswith("#"):
            continue
        if command not in COMMANDS or not text:
            raise ValueError(f"{path.name}:{number}: no such line: {line!r}; there are {', '.join(COMMANDS)}")
        if command == "size":
            width, _, height = text.partition("x")
            size = int(width), int(height)
        else:
            steps.append(Step(number, command, text))
    return size, steps


def sent(key: str) -> str:
    """What a terminal sends for a key."""
    if key.startswith("ctrl+"):
        return chr(ord(key[-1]) & 31)
    return _SENT.get(key, key)
