"""``ffnscope view``: the browser."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from ffnscope.store.errors import UserError


def view(
    stores: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="STORE",
            help="Folder of the store; several to compare. Default: the store last viewed, or collected in this folder.",
            show_default=False,
        ),
    ] = None,
    mouse: Annotated[
        bool | None, typer.Option("--mouse/--no-mouse", help="Use the mouse; over SSH it is off by default.")
    ] = None,
    ascii: Annotated[bool, typer.Option("--ascii", help="Draw with ASCII only.")] = False,
    theme: Annotated[str | None, typer.Option(metavar="NAME", help="Colours.")] = None,
) -> None:
    """The terminal browser."""
    check_terminal()
    stores = stores or default_stores()
    for path in stores:
        # Before the browser takes the screen, so that an error is one line.
        from ffnscope.tui.commands.shared import open_store

        open_store(path).close()
    browse(stores, mouse, ascii, theme)


def default_stores() -> list[Path]:
    """The stores last viewed, or the newest one in this folder if it was written later. Raises UserError where there is
    none."""
    from ffnscope.store.format.environment import is_store
    from ffnscope.tui.state.remembered import read_last_viewed, state_path

    paths, viewed = read_last_viewed(state_path())
    last = [path for path in paths if is_store(path)]
    written = {path: (path / "data.mdb").stat().st_mtime for path in Path().iterdir() if is_store(path)}
    newest = max(written, key=written.__getitem__, default=None)
    if newest is not None and (not last or written[newest] > viewed):
        return [newest]
    if not last:
        raise UserError(
            "view: no store was viewed yet, and none is in this folder; name one, or `ffnscope demo` makes one to look at"
        )
    return last


def check_terminal(command: str = "view", others: str = "info, search, export and report work without one") -> None:
    """Raise UserError where no full-screen program can run."""
    if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout, sys.__stderr__)):
        raise UserError(f"{command} needs a terminal on standard input, output and error; {others}")
    term = os.environ.get("TERM", "")
    if term in ("", "dumb"):
        state = (
            f"TERM is {term}" if term else "TERM is not set; set it to what your terminal is, such as xterm-256color"
        )
        raise UserError(f"{command} needs a terminal that can place text ({state}); {others}")


def browse(
    stores: Sequence[Path],
    mouse: bool | None = None,
    ascii: bool = False,
    theme: str | None = None,
    failure: Callable[[], str] | None = None,
) -> None:
    """Open the browser and stay until the user leaves it; ``mouse`` None: off over SSH; ``failure`` says why the run that
    fills the first store failed, if it did. Raises typer.Exit where the browser fails."""
    from ffnscope.tui.app import run

    if code := run(stores, mouse=mouse, ascii=ascii, theme=theme, failure=failure):
        raise typer.Exit(code)
