"""Windows that are token ids already: `.npy` files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ffnscope.core.corpus.documents import require_file
from ffnscope.store.errors import UserError


def is_windows_file(path: Path) -> bool:
    """Whether the path names already tokenised windows rather than text."""
    return path.name.lower().endswith(".npy")


def load_windows_npy(path: Path, most: int | None = None) -> np.ndarray:
    """Already tokenised windows `[S, T]`, int32 or int64, memory-mapped read-only; ids >= 0, S and T >= 1.

    Of more than `most` windows only the first `most`; the others are not read.
    Raises UserError for a missing file and for anything else in it; pickled objects are never loaded.
    """
    windows = open_windows_npy(path)[:most]
    rows = max(1, (1 << 24) // windows.shape[1])  # a minimum over all at once would pull the whole file into memory
    for start in range(0, len(windows), rows):
        lowest = int(windows[start : start + rows].min())
        if lowest < 0:
            raise UserError(f"{path}: holds the negative token id {lowest}; ids count from 0")
    return windows


def open_windows_npy(path: Path) -> np.ndarray:
    """The same array with only its header read: dtype and shape are checked, ids are not."""
    require_file(path)
    wanted = "token windows are an int32 or int64 array [windows, length] written by numpy.save"
    try:
        # not np.load: it opens archives and pickles too
        windows = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # a damaged header is Python text, which can fail in any way
        raise UserError(f"{path}: cannot be read as .npy; {wanted}") from error
    if windows.dtype.kind != "i" or windows.dtype.itemsize not in (4, 8):
        raise UserError(f"{path}: holds {windows.dtype}; {wanted}")
    if windows.ndim != 2:
        raise UserError(f"{path}: has shape {list(windows.shape)}; {wanted}")
    if windows.size == 0:
        raise UserError(f"{path}: is empty, shape {list(windows.shape)}; {wanted}")
    return windows
