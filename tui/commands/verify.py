"""``ffnscope verify``: is everything in a store what was written, and does it agree with itself and with the model."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ffnscope.tui.commands.shared import StorePath, open_store, safe

if TYPE_CHECKING:
    from ffnscope.tui.commands.progress import Status

Model = Annotated[
    str | None,
    typer.Option("--model", metavar="MODEL", help="Recompute projections from this model too.", show_default=False),
]
Neurons = Annotated[
    int,
    typer.Option("--neurons", metavar="N", min=0, help="With --model: neurons per layer, evenly spread; 0 for all."),
]
Trust = Annotated[bool, typer.Option("--trust-remote-code", help="With --model: run code that comes with the model.")]


def verify(store: StorePath, model: Model = None, neurons: Neurons = 256, trust_remote_code: Trust = False) -> None:
    """Read everything, check checksums and invariants; exit 1 and a list where something is wrong."""
    from ffnscope.store.verify.isolated import verify_isolated
    from ffnscope.tui.commands.progress import Status

    wrong, layers = 0, 0
    with Status("verifying") as status:
        for line in verify_isolated(store, status.update):
            wrong += 1
            status.print_result(safe(line))
        # A model tells nothing more of a store that cannot be read, and reading it could end this process.
        if not wrong:
            with open_store(store) as opened:
                layers = len(opened.layers())
            for line in _against(store, model, neurons, trust_remote_code, status) if model else ():
                wrong += 1
                status.print_result(safe(line))
    if wrong:
        things = "1 thing is" if wrong == 1 else f"{wrong} things are"
        print(f"ffnscope: {safe(str(store), sys.stderr)}: {things} wrong", file=sys.stderr)
        raise typer.Exit(1)
    print(f"{safe(str(store))}: {layers} layer{'s' * (layers != 1)}, nothing wrong")


def _against(path: Path, model: str, neurons: int, trust_remote_code: bool, status: Status) -> Iterator[str]:
    from ffnscope.core.check_projections import check_projections

    with open_store(path) as store:
        yield from check_projections(store, model, neurons, trust_remote_code, status.update)
