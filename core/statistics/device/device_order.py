"""Putting activation bits in the n-grams' order on a GPU: what suffix_kernel.py does on the host, in plain torch operations.

Eight neurons by eight positions are the bits of one 64-bit integer, which are transposed by shifts. So bits are never
unpacked, and what is gathered by position is rows of the bits of all neurons.
"""

from __future__ import annotations

import numpy as np
import torch

from ffnscope.core.statistics.bits import WORD

SWAPS = ((7, 0x00AA00AA00AA00AA), (14, 0x0000CCCC0000CCCC), (28, 0x00000000F0F0F0F0))


class DeviceOrder:
    """The order of ``places`` [Q] int32 (window * seq_len + position) of windows that have ``window_bytes`` bytes of bits."""

    def __init__(self, places: np.ndarray, seq_len: int, window_bytes: int, device: torch.device):
        self.words = -(-len(places) // WORD)
        rows = np.zeros(self.words * WORD, np.int32)
        rows[: len(places)] = places // seq_len * (8 * window_bytes) + places % seq_len
        self._rows = torch.from_numpy(rows).to(device)
        self._last = (1 << len(places) % WORD) - 1  # bits of the last word, where it is not full

    def __call__(self, packed: torch.Tensor) -> torch.Tensor:
        """Bits [n, S, B] uint8 as [n, ceil(Q / 64)] int64 in order, for n that is a multiple of 64."""
        neurons = len(packed)
        blocks = packed.reshape(neurons // 8, 8, -1).transpose(1, 2).contiguous().flatten().view(torch.int64)
        _transpose(blocks)
        table = blocks.view(torch.uint8).view(neurons // 8, -1).T.contiguous().view(torch.int64)  # [8 * S * B, n / 64]
        ordered = table.index_select(0, self._rows).view(torch.uint8)
        del blocks, table
        blocks = ordered.view(-1, 8, neurons // 8).permute(2, 0, 1).contiguous().flatten().view(torch.int64)
        _transpose(blocks)
        out = blocks.view(torch.uint8).view(neurons // 8, -1, 8).transpose(1, 2).contiguous()
        out = out.view(neurons, -1).view(torch.int64)
        if self._last:
            out[:, -1] &= self._last
        return out


def _transpose(blocks: torch.Tensor) -> None:
    """Make bit c of byte r bit r of byte c, of each int64 of ``blocks``."""
    for shift, mask in SWAPS:
        change = (blocks >> shift).bitwise_xor_(blocks).bitwise_and_(mask)
        blocks ^= change
        blocks ^= change.bitwise_left_shift_(shift)
