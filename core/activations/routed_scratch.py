"""The scratch files of a layer's routed experts: a row of bits for each pair of a position and one of its k experts, and
not one for each expert."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np

from ffnscope.core.activations import routed_kernel
from ffnscope.core.activations.routed import RoutedRecord
from ffnscope.core.activations.scratch import ScratchFile, ScratchFiles, WindowSums, byte_width
from ffnscope.core.model.experts import Experts


class RoutedScratch(ScratchFiles):
    """The bits, sums and maxima of the E * I neurons of a layer's routed experts over ``windows``, as LayerScratch has
    them; and which positions were routed to which expert."""

    def __init__(self, folder: Path, layer: int, windows: int, experts: Experts, seq_len: int, fresh: bool = True):
        self.layer = layer
        self.windows = windows
        self.experts = experts
        self.neurons = experts.count * experts.neurons
        self.width = byte_width(seq_len)
        self._words = -(-self.width // 8)  # machine words of a neuron's bits in one window
        self._rows = seq_len * experts.chosen
        self._row_bytes = -(-experts.neurons // 8)
        self._bits = ScratchFile(folder / f"routed-{layer:05d}", windows * self._rows * self._row_bytes, fresh)
        self._positions = ScratchFile(folder / f"positions-{layer:05d}", windows * self._rows * 4, fresh)
        self._counts = ScratchFile(folder / f"counts-{layer:05d}", windows * experts.count * 4, fresh)
        values = WindowSums(folder, f"{layer:05d}-routed", windows, self.neurons, fresh)
        super().__init__(values, self._bits, self._positions, self._counts)

    def write(self, first_window: int, record: RoutedRecord) -> None:
        """Write what was recorded of a batch."""
        self._bits.write(first_window * self._rows * self._row_bytes, record.bits.numpy())
        self._positions.write(first_window * self._rows * 4, record.positions.numpy())
        self._counts.write(first_window * self.experts.count * 4, record.counts.numpy())
        self._values.write(first_window, record.sums, record.maxima)

    @cached_property
    def counts(self) -> np.ndarray:
        """[S, E] int64: positions of each window that were routed to each expert."""
        counts = np.empty((self.windows, self.experts.count), np.int32)
        self._counts.read(0, counts)
        return counts.astype(np.int64)

    def block(self, first: int, last: int) -> np.ndarray:
        """Bits of neurons first .. last - 1 over all windows: [last - first, S, B] uint8."""
        out = np.zeros((last - first, self.windows, self._words), np.uint64)
        for window in range(self.windows):
            self._spread(window, first, last, out[:, window])
        return out.view(np.uint8)[..., : self.width]

    def window(self, window: int, first: int, last: int) -> np.ndarray:
        """Bits of neurons first .. last - 1 in one window: [last - first, B] uint8."""
        out = np.zeros((last - first, self._words), np.uint64)
        self._spread(window, first, last, out)
        return out.view(np.uint8)[..., : self.width]

    def _spread(self, window: int, first: int, last: int, out: np.ndarray) -> None:
        """Set the bits of neurons first .. last - 1 in one window: ``out`` [last - first, words] uint64, zero before."""
        size, counts = self.experts.neurons, self.counts[window]
        low, high = first // size, -(-last // size)
        start = int(counts[:low].sum())
        rows = np.empty((int(counts[low:high].sum()), self._row_bytes), np.uint8)
        self._bits.read((window * self._rows + start) * self._row_bytes, rows)
        positions = np.empty(len(rows), np.int32)
        self._positions.read((window * self._rows + start) * 4, positions)
        short = -self._row_bytes % 8
        machine_words = (np.pad(rows, ((0, 0), (0, short))) if short else rows).view("<u8")
        at = 0
        for expert in range(low, high):
            own = slice(at, at + int(counts[expert]))
            begin, end = max(first, expert * size), min(last, (expert + 1) * size)
            part = out[begin - first : end - first]
            routed_kernel.spread(machine_words[own], positions[own], begin - expert * size, part)
            at = own.stop

    @staticmethod
    def bytes_needed(windows: int, experts: Experts, seq_len: int) -> int:
        """Scratch bytes of one layer."""
        per_row = -(-experts.neurons // 8) + 4
        return windows * (seq_len * experts.chosen * per_row + experts.count * (4 + 8 * experts.neurons))
