"""The hidden states between groups of layers: in files, or in the host's memory, where each batch overwrites its own."""

from __future__ import annotations

import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ffnscope.core import pinned_memory
from ffnscope.core.activations.scratch import ScratchFile
from ffnscope.core.processes import Processes

SNAPSHOT_SECONDS = 600.0  # of the forward pass that a killed run repeats, where there is room to write hidden states


@dataclass(frozen=True)
class Layout:
    """S windows of T positions with d values each; ``pinned``: batches are read into memory that a GPU copies from."""

    windows: int
    seq_len: int
    width: int
    dtype: torch.dtype
    pinned: bool = False

    @property
    def window_bytes(self) -> int:
        """Bytes of one window."""
        return self.seq_len * self.width * self.dtype.itemsize

    @property
    def bytes(self) -> int:
        """Bytes of all windows."""
        return self.windows * self.window_bytes

    def empty(self, windows: int) -> torch.Tensor:
        """Memory for a batch: [windows, T, d]."""
        return pinned_memory.empty((windows, self.seq_len, self.width), self.dtype, self.pinned)


class HiddenStates(ABC):
    """What leaves a group, kept until the next one has run. Between ``begin`` and ``complete`` the batches of one group are
    read and written, each once, and read before it is written; any thread may do so."""

    def __init__(self, folder: Path, layout: Layout, processes: Processes):
        self.folder, self.layout, self.processes = folder, layout, processes
        self._entering: ScratchFile | None = None

    def path(self, layer: int) -> Path:
        """The file of the hidden states that enter ``layer``; it appears only when it is complete."""
        return self.folder / f"hidden-{layer:05d}"

    def kept(self, last: int) -> list[int]:
        """The layers from 1 to ``last`` that can start from a file, ascending."""
        return [layer for layer in range(1, last + 1) if self.path(layer).exists()]

    def resumable(self, layer: int) -> int:
        """The last layer up to ``layer`` that can start: from a file, or else layer 0, from the embeddings."""
        return max(self.kept(layer), default=0)

    def discard(self, layer: int) -> None:
        """Forget what enters ``layer``: it was made from files that have changed."""
        self.path(layer).unlink(missing_ok=True)

    def begin(self, first: int, last: int | None) -> None:
        """Prepare for the group that enters at layer ``first`` and leaves to ``last``, None where nothing is kept then.
        Called by every process."""
        due = self.processes.broadcast(self._snapshot_is_due(first))
        # The main process makes the files; the others open them after that.
        fresh = self.processes.is_main_process
        self.processes.main_process_first(lambda: self._open(first, last, due, fresh))

    def _snapshot_is_due(self, first: int) -> bool:
        return False

    @abstractmethod
    def _open(self, first: int, last: int | None, due: bool, fresh: bool) -> None:
        """``begin`` in one process; ``due``: what enters is to be written to a file."""

    @abstractmethod
    def read(self, first: int, last: int) -> torch.Tensor:
        """What enters the group, [last - first, T, d] of windows first .. last - 1."""

    @abstractmethod
    def write(self, first: int, hidden: torch.Tensor) -> None:
        """Keep what leaves the group: ``hidden`` [B, T, d] in the host's memory, of the windows from ``first`` on."""

    @abstractmethod
    def complete(self) -> None:
        """All batches of all processes have been written. Called by every process."""

    @abstractmethod
    def finish(self, first: int, last: int) -> None:
        """The group that entered at ``first`` is in the store: layers before ``last`` need not run again."""

    def close(self) -> None:
        """Close what the group was read from."""
        if self._entering is not None:
            self._entering.close()
            self._entering = None

    def read_ahead(self, first: int, batches: list[tuple[int, int]]) -> Iterator[torch.Tensor | None]:
        """What enters each of the ``batches`` (first, last + 1 window) of the group at layer ``first``: [B, T, d], the next
        one's read while one is computed; None where that is the embeddings."""
        if not first or not batches:
            yield from [None] * len(batches)
            return
        with ThreadPoolExecutor(1) as reader:
            ahead = [reader.submit(self.read, *batch) for batch in batches[:1]]
            for batch in [*batches[1:], None]:
                hidden = ahead.pop().result()
                if batch is not None:
                    ahead.append(reader.submit(self.read, *batch))
                yield hidden

    def _open_entering(self, layer: int) -> None:
        self._entering = ScratchFile(self.path(layer), self.layout.bytes, fresh=False)

    def _read_file(self, file: ScratchFile, first: int, last: int) -> torch.Tensor:
        hidden = self.layout.empty(last - first)
        file.read(first * self.layout.window_bytes, hidden.view(torch.uint8).numpy())
        return hidden

    def _new_file(self, layer: int, fresh: bool) -> ScratchFile:
        return ScratchFile(self.path(layer).with_suffix(".part"), self.layout.bytes, fresh)

    def _appear(self, file: ScratchFile, layer: int) -> None:
        """The file is complete when all processes are here."""
        file.flush()
        file.close()
        self.processes.wait_for_everyone()
        if self.processes.is_main_process:
            file.path.replace(self.path(layer))


class HiddenOnDisk(HiddenStates):
    """Hidden states in files of the scratch folder: what enters a group stays until the group is in the store."""

    _leaving: ScratchFile | None = None
    _last = 0

    def _open(self, first: int, last: int | None, due: bool, fresh: bool) -> None:
        self._leaving, self._last = (None, 0) if last is None else (self._new_file(last, fresh), last)
        if first:
            self._open_entering(first)

    def read(self, first: int, last: int) -> torch.Tensor:
        assert self._entering is not None
        return self._read_file(self._entering, first, last)

    def write(self, first: int, hidden: torch.Tensor) -> None:
        assert self._leaving is not None
        self._leaving.write(first * self.layout.window_bytes, _bytes(hidden))

    def complete(self) -> None:
        if self._leaving is not None:
            self._appear(self._leaving, self._last)
            self._leaving = None

    def finish(self, first: int, last: int) -> None:
        self.path(first).unlink(missing_ok=True)


class HiddenInMemory(HiddenStates):
    """One copy of the hidden states in the host's memory, of the windows that this process runs.

    With ``snapshots``, what enters a group is written to a file too, every SNAPSHOT_SECONDS: a run that was killed
    repeats the forward pass from there, and else from the embeddings. Finished layers are in the store either way.
    """

    def __init__(
        self, folder: Path, layout: Layout, processes: Processes, windows: tuple[int, int], snapshots: bool = False
    ):
        super().__init__(folder, layout, processes)
        self._first = windows[0]
        self._states = torch.empty(windows[1] - windows[0], layout.seq_len, layout.width, dtype=layout.dtype)
        self._layer = self._last = 0  # whose entering states are in memory, and will be
        self._snapshot: ScratchFile | None = None
        self._snapshots, self._written = snapshots, time.monotonic()

    def _open(self, first: int, last: int | None, due: bool, fresh: bool) -> None:
        self._last = 0 if last is None else last
        if first and self._layer != first:
            self._open_entering(first)
        elif due:
            self._snapshot = self._new_file(first, fresh)

    def _snapshot_is_due(self, first: int) -> bool:
        if not first or first != self._layer or not self._snapshots:
            return False
        if time.monotonic() - self._written < SNAPSHOT_SECONDS or self.path(first).exists():
            return False
        return shutil.disk_usage(self.folder).free > self.layout.bytes

    def read(self, first: int, last: int) -> torch.Tensor:
        if self._entering is not None:
            return self._read_file(self._entering, first, last)
        hidden = self.layout.empty(last - first)
        hidden.copy_(self._states[first - self._first : last - self._first])
        if self._snapshot is not None:
            self._snapshot.write(first * self.layout.window_bytes, _bytes(hidden))
        return hidden

    def write(self, first: int, hidden: torch.Tensor) -> None:
        start = first - self._first
        self._states[start : start + len(hidden)].copy_(hidden)

    def complete(self) -> None:
        if self._snapshot is not None:
            self._appear(self._snapshot, self._layer)
            self._snapshot, self._written = None, time.monotonic()
        self._layer = self._last

    def finish(self, first: int, last: int) -> None:
        for layer in self.kept(last)[:-1]:
            self.path(layer).unlink(missing_ok=True)


def _bytes(hidden: torch.Tensor) -> np.ndarray:
    return hidden.contiguous().view(torch.uint8).numpy()
