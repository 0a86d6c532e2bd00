"""The scratch files of one group: activation bits of its layers, and hidden states between groups."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from ffnscope.core.activations.recorder import BatchRecord
from ffnscope.store.errors import UserError

READERS = 4  # threads that read a block of neurons
SUM_WINDOWS = 64  # windows summed at a time, in order


def byte_width(seq_len: int) -> int:
    """B: bytes that the bits of one neuron take in one window of ``seq_len`` positions."""
    return -(-seq_len // 8)


class ScratchFile:
    """A file of known size that is written and read at offsets, never mapped (mapped pages count as memory)."""

    def __init__(self, path: Path, size: int, fresh: bool = True):
        self.path = path
        self.size = size
        try:
            self._handle = os.open(path, os.O_RDWR | (os.O_CREAT if fresh else 0), 0o666)
            if fresh:
                _reserve(self._handle, size)
            elif os.fstat(self._handle).st_size != size:
                os.close(self._handle)
                raise self._unreadable("shorter than it was written")
        except OSError as error:
            raise scratch_error(path, error) from error

    def write(self, offset: int, array: np.ndarray) -> None:
        """Write an array's items at ``offset`` bytes."""
        view = np.ascontiguousarray(array).data.cast("B")
        try:
            while len(view):
                written = os.pwrite(self._handle, view, offset)
                view, offset = view[written:], offset + written
        except OSError as error:
            raise scratch_error(self.path, error) from error

    def read(self, offset: int, out: np.ndarray) -> None:
        """Fill the contiguous array ``out`` from ``offset`` bytes on."""
        view = out.data.cast("B") if out.size else memoryview(b"")
        while len(view):
            try:
                count = os.preadv(self._handle, [view], offset)
            except OSError as error:
                raise self._unreadable(error.strerror or str(error)) from error
            if count <= 0:
                raise self._unreadable("shorter than it was written")
            view, offset = view[count:], offset + count

    def _unreadable(self, why: str) -> UserError:
        # A resumed run must not read the same file again.
        self.path.unlink(missing_ok=True)
        return UserError(f"{self.path}: cannot be read ({why}); it was removed: run again with --resume")

    def flush(self) -> None:
        """Wait until the file is on the disk."""
        try:
            os.fsync(self._handle)
        except OSError as error:
            raise scratch_error(self.path, error) from error

    def reopen(self) -> None:
        """Open it again after all processes have closed it: only then do hosts see each other's writes on a network disk."""
        self._handle = os.open(self.path, os.O_RDWR)

    def close(self) -> None:
        """Close it; the file stays."""
        os.close(self._handle)


class WindowSums:
    """Sum and maximum of the activations per window, of ``neurons`` over ``windows``: float32 [S, F] each on disk."""

    def __init__(self, folder: Path, name: str, windows: int, neurons: int, fresh: bool = True):
        self._windows = windows
        self._neurons = neurons
        self._sums = ScratchFile(folder / f"sums-{name}", windows * neurons * 4, fresh)
        self._maxima = ScratchFile(folder / f"maxima-{name}", windows * neurons * 4, fresh)

    @property
    def files(self) -> tuple[ScratchFile, ...]:
        """Its files."""
        return self._sums, self._maxima

    def write(self, first_window: int, sums: torch.Tensor, maxima: torch.Tensor) -> None:
        """Write those of a batch, [B, F] float32 each."""
        self._sums.write(first_window * self._neurons * 4, sums.numpy())
        self._maxima.write(first_window * self._neurons * 4, maxima.numpy())

    def sums(self) -> np.ndarray:
        """[F] float64: sum of the activations over all windows, added in the windows' order."""
        total = np.zeros(self._neurons)
        for part in self._parts(self._sums):
            total += part.sum(axis=0, dtype=np.float64)
        return total

    def maxima(self) -> np.ndarray:
        """[F] float32: the largest activation."""
        largest = np.full(self._neurons, -np.inf, np.float32)
        for part in self._parts(self._maxima):
            np.maximum(largest, part.max(axis=0), out=largest)
        return largest

    def _parts(self, file: ScratchFile) -> Iterator[np.ndarray]:
        for first in range(0, self._windows, SUM_WINDOWS):
            part = np.empty((min(SUM_WINDOWS, self._windows - first), self._neurons), np.float32)
            file.read(first * self._neurons * 4, part)
            yield part


class ScratchFiles:
    """Files of one layer that are opened, closed and deleted together."""

    def __init__(self, values: WindowSums, *files: ScratchFile):
        """``values`` are among the files of the layer, too."""
        self._values = values
        self._files = (*files, *values.files)

    def sums(self) -> np.ndarray:
        """[F] float64: sum of the activations over all windows, added in the windows' order."""
        return self._values.sums()

    def maxima(self) -> np.ndarray:
        """[F] float32: the largest activation."""
        return self._values.maxima()

    def reopen(self) -> None:
        """Read what others wrote, once all have closed it."""
        for file in self._files:
            file.reopen()

    def close(self) -> None:
        """Close the files; they stay until the group is done."""
        for file in self._files:
            file.close()

    def remove(self) -> None:
        """Close the files and delete them."""
        self.close()
        for file in self._files:
            file.path.unlink(missing_ok=True)


class LayerScratch(ScratchFiles):
    """What was recorded of one layer over all S windows: bits, and the sum and the maximum per window.

    ``bits`` is [S, F, B] uint8 on disk, ``sums`` and ``maxima`` [S, F] float32.
    """

    def __init__(self, folder: Path, layer: int, windows: int, neurons: int, seq_len: int, fresh: bool = True):
        self.layer = layer
        self.windows = windows
        self.neurons = neurons
        self.width = byte_width(seq_len)
        self._bits = ScratchFile(folder / f"bits-{layer:05d}", windows * neurons * self.width, fresh)
        super().__init__(WindowSums(folder, f"{layer:05d}", windows, neurons, fresh), self._bits)

    def write(self, first_window: int, record: BatchRecord) -> None:
        """Write what was recorded of a batch."""
        record = record.cpu()
        self._bits.write(first_window * self.neurons * self.width, record.bits.numpy())
        self._values.write(first_window, record.sums, record.maxima)

    def block(self, first: int, last: int) -> np.ndarray:
        """Bits of neurons first .. last - 1 over all windows: [last - first, S, B] uint8."""
        number = last - first
        out = np.empty((number, self.windows, self.width), np.uint8)

        def read(part: range) -> None:
            row = np.empty((number, self.width), np.uint8)
            for window in part:
                self._bits.read((window * self.neurons + first) * self.width, row)
                out[:, window] = row

        # A disk answers several questions at a time faster than one after the other.
        share = max(1, -(-self.windows // READERS))
        parts = [range(start, min(start + share, self.windows)) for start in range(0, self.windows, share)]
        with ThreadPoolExecutor(len(parts) or 1) as readers:
            for _ in readers.map(read, parts):
                pass
        return out

    def window(self, window: int, first: int, last: int) -> np.ndarray:
        """Bits of neurons first .. last - 1 in one window: [last - first, B] uint8."""
        out = np.empty((last - first, self.width), np.uint8)
        self._bits.read((window * self.neurons + first) * self.width, out)
        return out

    @staticmethod
    def bytes_needed(windows: int, neurons: int, seq_len: int) -> int:
        """Scratch bytes of one layer."""
        return windows * neurons * (byte_width(seq_len) + 8)


def scratch_error(path: Path, error: OSError) -> UserError:
    """The error for a scratch file that could not be written."""
    return UserError(
        f"{path}: cannot be written ({error.strerror}); finished layers are kept: free some space or name another "
        "folder with --scratch, then run the same command with --resume"
    )


def _reserve(handle: int, size: int) -> None:
    """Allocate the space now, so that a full disk is noticed before the work is done."""
    os.ftruncate(handle, 0)
    if not size:
        return
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(handle, 0, size)
    else:
        os.ftruncate(handle, size)
