"""``ffnscope view``: the browser."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ffnscope.store.errors import UserError


def view(
    stores: Annotated[
        list[Path],
        typer.Argument(metavar="STORE...", help="Folder of the store; several to compare.", show_default=False),
    ],
    mouse: Annotated[
        bool | None, typer.Option("--mouse/--no-mouse", help="Use the mouse; over SSH it is off by default.")
    ] = None,
    ascii: Annotated[bool, typer.Option("--ascii", help="Draw with ASCII only.")] = False,
    theme: Annotated[str | None, typer.Option("--theme", metavar="NAME", help="Colours.")] = None,
) -> None:
    """The terminal browser."""
    check_terminal()
    for path in stores:
        # Before the browser takes the screen, so that an error is one line.
        from ffnscope.tui.commands.shared import open_store

        open_store(path).close()
    browse(stores, mouse, ascii, theme)


def check_terminal() -> None:
    """Raise UserError where no full-screen program can run."""
    if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout, sys.__stderr__)):
        raise UserError(
            "view needs a terminal on standard input, output and error; info, search, export and report work without one"
        )
    if os.environ.get("TERM", "dumb") in ("", "dumb"):
        raise UserError("view needs a terminal that can place text (TERM is dumb); info, search and export work here")


def browse(stores: Sequence[Path], mouse: bool | None = None, ascii: bool = False, theme: str | None = None) -> None:
    """Open the browser and stay until the user leaves it; ``mouse`` None: off over SSH. Raises typer.Exit where it fails."""
    from ffnscope.tui.app import run

    if code := run(stores, mouse=mouse, ascii=ascii, theme=theme):
        raise typer.Exit(code)
