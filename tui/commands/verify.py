"""``ffnscope verify``: is everything in a store what was written, and does it agree with itself."""

from __future__ import annotations

import sys

import typer

from ffnscope.store.errors import UserError
from ffnscope.tui.commands.stores import StorePath, open_store, safe


def verify(store: StorePath) -> None:
    """Read everything, check checksums and invariants; exit 1 and a list where something is wrong."""
    from ffnscope.store.verify import verify as check
    from ffnscope.tui.progress import Status

    wrong = 0
    try:
        with open_store(store) as opened, Status("verifying") as status:
            for line in check(opened, status.update):
                wrong += 1
                status.print_result(safe(line))
            layers = len(opened.layers())
    except UserError as error:
        if "damaged" not in str(error):
            raise
        print(safe(str(error)))
        wrong += 1
        layers = 0
    if wrong:
        print(f"ffnscope: {safe(str(store), sys.stderr)}: {wrong} things are wrong", file=sys.stderr)
        raise typer.Exit(1)
    print(f"{safe(str(store))}: {layers} layers, nothing wrong")
