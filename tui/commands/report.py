"""``ffnscope report``: the layers of a store in numbers."""

from __future__ import annotations

from ffnscope.tui.commands.stores import StorePath, open_store


def report(store: StorePath) -> None:
    """The paper's figures as tables."""
    from ffnscope.tui.commands.tables import print_layers

    with open_store(store) as opened:
        print_layers(opened)
