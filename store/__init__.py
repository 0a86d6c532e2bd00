"""The store of one run: an LMDB environment of exact neuron statistics, and how to read and write it.

Needs numpy and lmdb only. ``open(path)`` is where a notebook starts; FORMAT.md is the format byte for byte.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ffnscope.store.reader import Store

__all__ = ["Store", "open"]


def open(path: str | os.PathLike[str]) -> Store:
    """The store in a folder, for reading. Raises UserError where it is none, or of a newer format."""
    from ffnscope.store.reader import Store

    return Store.open(path)


def __getattr__(name: str) -> Any:
    # numpy and lmdb are loaded when a store is first used: `ffnscope --help` needs neither.
    if name == "Store":
        from ffnscope.store.reader import Store

        return Store
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
