"""Counting n-grams on a GPU: the sums that counts.py takes neuron by neuron, taken for many neurons at once.

All neurons meet the same corpus. So the positions are put in the order of their n-grams once a run, and counting every
n-gram for all neurons is a sum over consecutive rows of the matrix [positions, neurons] of their activations: plain torch
operations, exact integers. What needs a neuron's own positions stays on the host (complete_kernel.py): the drawn contexts,
detectors and their held-out halves, and lists of the most frequent into which n-grams reach that occur once. What the host
counts along the n-grams' order, how much the token explains, gets its bits in order from the device (device_order.py).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch.nn.functional import embedding_bag

from ffnscope.core import pinned_memory
from ffnscope.core.statistics.device.device_order import DeviceOrder
from ffnscope.core.statistics.kernels import FEW, Ngrams
from ffnscope.core.statistics.suffix_kernel import NEURONS
from ffnscope.core.statistics.tables import CorpusTables
from ffnscope.store.definitions import COVERED_PERCENT, WHOLE_PERCENT
from ffnscope.store.format.schema import TOP_NGRAMS

BAG = 1024  # rows that are summed together at most: a thread of a GPU adds them one by one
CELLS = 1 << 28  # activations of positions and neurons that are on the device at a time
BYTES_PER_CELL = 12  # at most, with what is computed from them
ORDERED_CELLS = 1 << 30  # whose bits are put in order at a time
BYTES_PER_ORDERED_CELL = 1  # at most, with what that takes
SHARE_OF_FREE = 0.25  # of a GPU's free memory that may be used: the model needs the rest
EXACT = 1 << 24  # up to which float32 counts


@dataclass(frozen=True, eq=False)
class NgramCounts:
    """What was counted for n neurons, as LayerCounts has it: ngram_activations, ngrams_distinct and coverage [n, 3], top,
    top_count and top_total [n, 3, TOP_NGRAMS], all int64.

    ``lists`` [n, 3] bool: whose lists of the most frequent are left to the host (and are empty here); ``possible`` [n, 3]
    bool: orders in which a neuron may be a detector on the even windows.
    """

    ngram_activations: np.ndarray
    ngrams_distinct: np.ndarray
    coverage: np.ndarray
    top: np.ndarray
    top_count: np.ndarray
    top_total: np.ndarray
    lists: np.ndarray
    possible: np.ndarray


class _Order:
    """The n-grams of one order on the device: R of them occur more than once, ``ids`` [R] and ``totals`` [R]."""

    def __init__(self, ngrams: Ngrams, device: torch.device):
        slots = torch.from_numpy(ngrams.slots).to(device).long()
        self.repeated = len(ngrams.repeated)
        self.ids = torch.from_numpy(ngrams.repeated.astype(np.int64)).to(device)
        self.totals = torch.from_numpy(ngrams.totals[ngrams.repeated]).to(device)
        self.without = (slots == self.repeated + 1).nonzero()[:, 0]
        counted = slots < self.repeated
        # Positions by n-gram, and where each n-gram's begin; long ones in parts, which are put together by a second sum.
        self.rows = torch.sort(torch.where(counted, slots, self.repeated), stable=True).indices[: int(counted.sum())]
        sizes = torch.bincount(slots[counted], minlength=self.repeated)
        parts = torch.div(sizes + BAG - 1, BAG, rounding_mode="floor")
        first = torch.cumsum(parts, 0) - parts
        ngram = torch.repeat_interleave(torch.arange(self.repeated, device=device), parts)
        begin = torch.cumsum(sizes, 0) - sizes
        self.offsets = begin[ngram] + (torch.arange(len(ngram), device=device) - first[ngram]) * BAG
        self.joins = first if len(ngram) > self.repeated else None

    def counts(self, active: torch.Tensor) -> torch.Tensor:
        """[R, n] int32 of ``active`` [P, n] float32: activations on each n-gram."""
        if not self.repeated:
            return active.new_zeros((0, active.shape[1]), dtype=torch.int32)
        sums = embedding_bag(self.rows, active, self.offsets, mode="sum")
        if self.joins is not None:
            every = torch.arange(len(sums), device=sums.device)
            sums = embedding_bag(every, sums, self.joins, mode="sum")
        return sums.int()


class DeviceCounter:
    """Counts the n-grams of blocks of neurons on ``device``, and puts their bits in order for the host; ``beside`` gives the
    stream on which to do so."""

    def __init__(
        self,
        tables: CorpusTables,
        device: torch.device,
        beside: Callable[[], AbstractContextManager[object]] = nullcontext,
    ):
        self._tables, self._device, self._beside = tables, device, beside
        self._orders: list[_Order] = []
        self._order: DeviceOrder | None = None

    @staticmethod
    def exact(tables: CorpusTables) -> bool:
        """Whether no count can be too large for float32."""
        return tables.counted_windows * tables.seq_len <= EXACT

    def count(self, bits: np.ndarray) -> NgramCounts | None:
        """Count the neurons with ``bits`` [n, S, B] uint8 over the counted windows, as ``LayerBits.block`` has them. None
        where the device has no room for that, beside the model: the host counts them."""
        try:
            return self._in_parts(bits)
        except torch.OutOfMemoryError:
            return None

    def order(self, bits: np.ndarray) -> np.ndarray | None:
        """The bits [n, S, B] uint8 over the counted windows in the n-grams' order, [n, V] uint64 as ``Reordering`` makes them
        on the host. None where the device has no room for that."""
        try:
            return self._ordered(bits)
        except torch.OutOfMemoryError:
            return None

    @torch.inference_mode()
    def _ordered(self, bits: np.ndarray) -> np.ndarray:
        cells = self._cells(ORDERED_CELLS, BYTES_PER_ORDERED_CELL) // max(1, bits[0].size * 8)
        step = max(NEURONS, cells - cells % NEURONS)
        cuda = self._device.type == "cuda"
        with self._beside():
            if self._order is None:
                places = self._tables.suffix_order.places
                self._order = DeviceOrder(places, self._tables.seq_len, bits.shape[2], self._device)
            # Pinned memory that is let go serves the next block: torch keeps it.
            out = pinned_memory.empty((len(bits), self._order.words), torch.int64, cuda)
            for first in range(0, len(bits) if self._order.words else 0, step):
                part = bits[first : first + step]
                packed = torch.zeros(
                    (-(-len(part) // NEURONS) * NEURONS, *part.shape[1:]), dtype=torch.uint8, device=self._device
                )
                packed[: len(part)].copy_(torch.from_numpy(np.ascontiguousarray(part)))
                out[first : first + step].copy_(self._order(packed)[: len(part)], non_blocking=cuda)
            if cuda:
                torch.cuda.current_stream(self._device).record_event().synchronize()
        return out.numpy().view(np.uint64)

    @torch.inference_mode()
    def _in_parts(self, bits: np.ndarray) -> NgramCounts:
        length = self._tables.seq_len
        step = max(1, self._cells(CELLS, BYTES_PER_CELL) // max(1, bits.shape[1] * length))
        with self._beside():
            if not self._orders:
                self._orders = [_Order(ngrams, self._device) for ngrams in self._tables.orders]
            parts = []
            for first in range(0, len(bits), step):
                packed = torch.from_numpy(np.ascontiguousarray(bits[first : first + step])).to(self._device)
                parts.append([part.cpu().numpy() for part in self._count(_active(packed, length))])
        return NgramCounts(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def _cells(self, most: int, bytes_per_cell: int) -> int:
        """How many activations there is room for at a time, ``most`` at most."""
        if self._device.type != "cuda":
            return most
        free, _ = torch.cuda.mem_get_info(self._device)
        unused = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
        return min(most, int((free + unused) * SHARE_OF_FREE) // bytes_per_cell)

    def _count(self, active: torch.Tensor) -> list[torch.Tensor]:
        """The fields of NgramCounts of ``active`` [P, n]."""
        activations = active.sum(0).long()
        windows = active.view(-1, self._tables.seq_len, active.shape[1])
        evens = windows[::2].sum((0, 1)).long()
        columns: list[list[torch.Tensor]] = [[] for _ in fields(NgramCounts)]
        for order, few in zip(self._orders, FEW.tolist(), strict=True):
            counts = order.counts(active)
            without = active[order.without].sum(0).long()
            total = activations - without
            once = total - counts.sum(0, dtype=torch.int64)
            best, slots = _most_frequent(counts, max(TOP_NGRAMS, few))
            listed = _lists(order, best[:, :TOP_NGRAMS], slots[:, :TOP_NGRAMS])
            full = best.shape[1] >= TOP_NGRAMS
            least = best[:, TOP_NGRAMS - 1] if full else torch.zeros_like(total)
            lists = (least <= 1) & (once > 0)
            for part, empty in zip(listed, (-1, 0, 0), strict=True):
                part[lists] = empty
            largest = best[:, :few]
            most = largest.sum(1) + torch.minimum(once, few - (largest > 0).sum(1))
            possible = (WHOLE_PERCENT * most >= COVERED_PERCENT * (evens - without)) & (activations > 0)
            distinct = (counts > 0).sum(0) + once
            parts = (total, distinct, _coverage(counts, total), *listed, lists, possible)
            for column, part in zip(columns, parts, strict=True):
                column.append(part)
        return [torch.stack(column, dim=1) for column in columns]


def _active(packed: torch.Tensor, length: int) -> torch.Tensor:
    """[S * T, n] float32 of bits [n, S, B] uint8."""
    places = torch.arange(8, device=packed.device, dtype=torch.uint8)
    bits = ((packed[..., None] >> places) & 1).flatten(2)[:, :, :length]
    return bits.flatten(1).T.float().contiguous()


def _most_frequent(counts: torch.Tensor, kept: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest of ``counts`` [R, n] for each neuron and their slots, [n, k] int64 each, ties by lower slot."""
    repeated, neurons = counts.shape
    if not repeated:
        return counts.new_zeros((neurons, 0), dtype=torch.int64), counts.new_zeros((neurons, 0), dtype=torch.int64)
    late = torch.arange(repeated - 1, -1, -1, device=counts.device)
    keys = (counts.T.long() * repeated + late).topk(min(kept, repeated), dim=1).values
    return torch.div(keys, repeated, rounding_mode="floor"), repeated - 1 - keys % repeated


def _lists(order: _Order, best: torch.Tensor, slots: torch.Tensor) -> list[torch.Tensor]:
    """top, top_count and top_total [n, TOP_NGRAMS] of one order."""
    neurons, kept = best.shape
    made = [best.new_full((neurons, TOP_NGRAMS), empty) for empty in (-1, 0, 0)]
    met = best > 0
    for part, values, empty in zip(made, (order.ids[slots], best, order.totals[slots]), (-1, 0, 0), strict=True):
        part[:, :kept] = torch.where(met, values, empty)
    return made


def _coverage(counts: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
    """[n] int64: the smallest m such that the m most frequent n-grams cover at least 95% of ``total``, of which ``counts``
    [R, n] leaves out those that occur once.

    Bisected is the largest c such that n-grams which count at least c cover it; of those that count c exactly, as many
    are taken as are needed.
    """
    need = COVERED_PERCENT * total
    low = torch.ones_like(total)  # with 1, all are taken
    largest = counts.amax(0).long() if len(counts) else torch.zeros_like(total)
    high = largest.clamp(min=1) + 1
    for _ in range(int(high.max()).bit_length()):
        middle = torch.div(low + high, 2, rounding_mode="floor")
        part = torch.where(counts >= middle, counts, 0).sum(0, dtype=torch.int64)
        covers, open_ = WHOLE_PERCENT * part >= need, high - low > 1
        low, high = torch.where(covers & open_, middle, low), torch.where(~covers & open_, middle, high)
    above = counts > low
    part = torch.where(above, counts, 0).sum(0, dtype=torch.int64)
    step = WHOLE_PERCENT * low
    taken = above.sum(0) + torch.div(need - WHOLE_PERCENT * part + step - 1, step, rounding_mode="floor")
    return torch.where(total > 0, taken, 0)
