"""The store of one run: an LMDB environment of exact neuron statistics, and how to read and write it.

Needs numpy and lmdb only. ``open(path)`` is where a notebook starts; FORMAT.md is the format byte for byte.
"""

from __future__ import annotations

from ffnscope.store.reader import Store

open = Store.open

__all__ = ["Store", "open"]
