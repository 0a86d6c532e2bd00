"""The store of one run: an LMDB environment of exact neuron statistics, and every question asked of it.

Needs numpy and lmdb, and regex for queries. ``open(path)`` is where a notebook starts (QUERYING.md); FORMAT.md is the format,
byte for byte.

- definitions, activation_rule, errors, records, escaping, atomic_write: words, numbers and texts that the rest shares
- format/: the bytes. reader, writer, vocabulary, notes: a store is read, written, and annotated
- bits/: kept activation bits. concepts/: named sets of positions, and neurons' descriptions by them
- query/: columns, the filter language, searches. figures/: the paper's figures. verify/: is it what was written
- frames, export/: tables in memory, and CSV or JSON lines. notebook: what ``open`` returns
- figures_changes, figures_intervals, figures_recheck: the names by which scripts for earlier versions import modules of figures/
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ffnscope.store.notebook import NotebookStore as Store

__all__ = ["Store", "open"]


def open(path: str | os.PathLike[str]) -> Store:
    """The store in a folder, for reading. Raises UserError where it is none, or of a newer format."""
    from ffnscope.store.notebook import NotebookStore

    return NotebookStore.open(path)


def __getattr__(name: str) -> Any:
    # numpy and lmdb are loaded when a store is first used: `ffnscope --help` needs neither.
    if name == "Store":
        from ffnscope.store.notebook import NotebookStore

        return NotebookStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
