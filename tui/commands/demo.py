"""``ffnscope demo``: the whole path on the bundled model and corpus."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ffnscope.store.errors import UserError
from ffnscope.tui.commands.collect import check_address_space
from ffnscope.tui.commands.stores import open_store, safe


def demo(
    store: Annotated[Path, typer.Option("--store", metavar="DIR", help="Where to keep the statistics.")] = Path(
        "demo.ffn"
    ),
    view: Annotated[bool, typer.Option("--view/--no-view", help="Open the browser at the end.")] = True,
) -> None:
    """Collect statistics for the bundled model over the bundled corpus, then browse them."""
    if _complete(store):
        print(f"{safe(str(store), sys.stderr)}: collected already, opening it", file=sys.stderr)
    else:
        check_address_space()
        from ffnscope.core.demo import run_demo
        from ffnscope.tui.progress import Reporter

        with Reporter() as report:
            run_demo(store, report)
    from ffnscope.tui.commands.tables import print_layers

    with open_store(store) as opened:
        print_layers(opened)
    if view and _can_browse():
        from ffnscope.tui.commands.view import browse

        browse([store])
    else:
        print(f"\nffnscope view {safe(str(store))}   opens the browser")


def _can_browse() -> bool:
    from ffnscope.tui.commands.view import check_terminal

    try:
        check_terminal()
    except UserError:
        return False
    return True


def _complete(path: Path) -> bool:
    from ffnscope.store.environment import is_store

    if not is_store(path):
        return False
    from ffnscope.tui.reports.about import is_demo

    with open_store(path) as opened:
        if opened.complete and not is_demo(opened):
            raise UserError(
                f"{path}: holds a run of {opened.run.model.name}, not the demo; give another --store, or "
                "`ffnscope view` it"
            )
        return opened.complete
