"""What commands that read stores share: opening one, and text that is safe on the stream it goes to."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from ffnscope.store.reader import Store

WIDTH = 120  # of tables where there is no terminal
given: list[str] = []  # the arguments of the command that runs, as typed
OutputFile = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Into a file instead of stdout.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace FILE if it exists.")]
StorePath = Annotated[Path, typer.Argument(metavar="STORE", help="Folder of the store.", show_default=False)]


def is_main_process() -> bool:
    """Whether this process is the first of those that a launcher started together: only that one prints."""
    return os.environ.get("RANK", "0") == "0"


def open_store(path: Path) -> Store:
    """The store in a folder. Raises UserError."""
    from ffnscope.store.reader import Store

    return Store.open(path)


def safe(text: str, stream: TextIO | None = None) -> str:
    """A text as one printable line for a stream (default stdout)."""
    from ffnscope.tui.drawing.glyphs import choose_glyphs
    from ffnscope.tui.drawing.text import visible

    stream = stream or sys.stdout
    return visible(text, choose_glyphs(getattr(stream, "encoding", None)), spaces=False)


def say_rule(store: Store) -> str:
    """Print to stderr when a neuron of this store counts as activated, and return it; empty where that is an input above 0,
    which goes without saying."""
    rule = store.run.activated
    if rule.has_thresholds:
        print(rule.sentence, file=sys.stderr)
    return rule.sentence if rule.has_thresholds else ""


def quote(text: str) -> str:
    """A text as JSON that holds no raw control characters."""
    from ffnscope.store.escaping import json_text

    return json_text(text)


def prepare_stdout() -> None:
    """The same bytes everywhere: UTF-8 and ``\\n``; a terminal keeps its own encoding."""
    stdout: Any = sys.stdout
    if hasattr(stdout, "reconfigure"):
        if stdout.isatty():
            stdout.reconfigure(errors="backslashreplace")
        else:
            stdout.reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n")


def check_format(format: str, known: Sequence[str], output: Path | None, overwrite: bool) -> None:
    """Raises UserError for a --format that a command does not know, and for an --output that cannot be written."""
    from ffnscope.store.atomic_write import check_writable
    from ffnscope.store.errors import UserError

    if format not in known:
        raise UserError(f"--format {format}: known are {', '.join(known)}")
    if output is not None:
        check_writable(output, overwrite)


def write_result(write: Callable[[TextIO], None], output: Path | None, overwrite: bool) -> None:
    """Let ``write`` write to the file, whole or not at all, or to stdout."""
    from ffnscope.store.atomic_write import write_whole

    if output is not None:
        write_whole({output: write}, overwrite)
        return
    prepare_stdout()
    write(sys.stdout)


def console() -> Console:
    """Where tables go: coloured on a terminal, plain elsewhere."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else WIDTH)
