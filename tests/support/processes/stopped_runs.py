"""Runs of a small model that are stopped and resumed: their options, what stops them, and all that their stores say."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import tiny_models as tm

from ffnscope.store.export.write import write
from ffnscope.store.reader import Store

OPTIONS: dict[str, Any] = {"bos_id": tm.BOS_ID, "batch_size": 4, "min_occurrences": 2}


def exported(path: Path) -> str:
    """The whole CSV."""
    with Store.open(path) as store, io.StringIO() as out:
        write(store, out)
        return out.getvalue()


class Stopper:
    """Raises KeyboardInterrupt at the ``at``-th event."""

    def __init__(self, at: int):
        self.at = at
        self.events = 0

    def __call__(self, event: Any) -> None:
        self.events += 1
        if self.events == self.at:
            raise KeyboardInterrupt
