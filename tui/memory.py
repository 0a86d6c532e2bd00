"""Keeps the garbage collector from stopping the screen."""

from __future__ import annotations

import gc


def keep() -> None:
    """Tell the garbage collector that what is there now stays: libraries, indexes, figures.

    A full collection looks at every object there is: 0.5 ms of the interface's thread a thousand, 60 ms once plots and
    indexes are there. Called after something big that stays has been read; the little garbage that is kept with it is
    never given back.
    """
    gc.freeze()
