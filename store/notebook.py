"""The store that a notebook opens: the reader's arrays, with tables and questions as methods.

`reader.Store` knows the bytes and nothing above them; each method here calls the module that answers it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ffnscope.store import frames
from ffnscope.store.query.ask import Answer, ask
from ffnscope.store.reader import Store


class NotebookStore(Store):
    """What ``ffnscope.store.open`` gives: all of ``reader.Store``, and these."""

    def table(self, layer: int, columns: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Columns of one layer by name, [F] each, words as strings; see ``frames.table``."""
        return frames.table(self, layer, columns)

    def select(self, where: str) -> np.ndarray:
        """[N, 2] int64 (layer, neuron) of the neurons that a filter holds for; see ``frames.select``."""
        return frames.select(self, where)

    def ask(self, query: str, by: str = "f1", where: str = "", top: int | None = None, min_hits: int = 0) -> Answer:
        """The neurons that fire on a set of kept positions, best first; ``answer["f1"]`` is a column [N]; see
        ``query.ask.ask``. ``where``: a filter of neurons."""
        return ask(self, query, by, where, top, min_hits)
