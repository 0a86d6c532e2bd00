"""Recording the routed experts of a layer: only the neurons of the experts that a token is routed to see it."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass

import torch

from ffnscope.core.activations import routed_kernel
from ffnscope.core.activations.recorder import Strongest, insert
from ffnscope.core.model.experts import Experts, RoutedRows
from ffnscope.store.errors import UserError
from ffnscope.store.format.schema import CONTEXTS

CANDIDATES = 1 << 13  # neurons and windows whose strongest are looked for at a time


@dataclass(frozen=True)
class RoutedRecord:
    """What the experts of one layer did on a batch of B windows of T positions; each token is routed to k experts.

    A row is a pair of a position and an expert; a window's rows are sorted by expert, then position. ``counts`` [B, E]
    int32: the rows of each expert; ``positions`` [B, T * k] int32; ``bits`` [B, T * k, ceil(I / 8)] uint8: neuron n of
    the expert in bit n % 8 of byte n // 8. ``sums`` and ``maxima`` [B, E * I] float32 as BatchRecord has them.
    """

    counts: torch.Tensor
    positions: torch.Tensor
    bits: torch.Tensor
    sums: torch.Tensor
    maxima: torch.Tensor

    def tensors(self) -> list[torch.Tensor]:
        """Its arrays, in order."""
        return [self.counts, self.positions, self.bits, self.sums, self.maxima]


class RoutedRecorder:
    """Records the routed experts of one layer; ``batch``, ``strongest`` and ``hands`` as Recorder has them,
    for E * I neurons."""

    def __init__(self, layer: int, experts: Experts):
        self.layer = layer
        self.experts = experts
        self.neurons = experts.count * experts.neurons
        self.strongest = Strongest(self.neurons)
        self.batch: RoutedRecord | None = None
        self.hands: Executor | None = None
        self._first_window = 0
        self._shape = (0, 0)
        self._counted = 0

    def expect(self, first_window: int, windows: int, seq_len: int, counted: int) -> None:
        """Announce the next windows; only the first ``counted`` of them may give contexts."""
        self._first_window, self._shape, self._counted = first_window, (windows, seq_len), counted
        self.batch = None

    def __call__(self, rows: RoutedRows) -> None:
        windows = self._shape[0]
        order, counts, positions = self.sort(rows)
        before, after = rows.before, rows.after
        if before.device.type == "cpu" and before.dtype == after.dtype == torch.float32:
            self._record(before, after, order, counts, positions)
            return
        before, after = before[order], after[order]
        active = before > 0
        after = torch.where(active | before.isnan(), after, 0)
        # In float64: rows are added one after another, where the sum over a dense layer's positions is in pairs.
        sums = torch.segment_reduce(after.double(), "sum", lengths=counts, axis=0, unsafe=True).float()
        maxima = torch.segment_reduce(after.float(), "max", lengths=counts, axis=0, initial=0, unsafe=True)
        self.batch = RoutedRecord(
            counts.view(windows, -1).int(),
            positions,
            pack_rows(active).view(windows, -1, -(-self.experts.neurons // 8)),
            sums.view(windows, self.neurons),
            maxima.view(windows, self.neurons),
        )
        self.keep_strongest(self.strongest, after, self.batch.maxima, counts, positions, 0)

    def sort(self, rows: RoutedRows) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The rows by window, expert and position: their ``order`` [R] int64, ``counts`` [B * E] int64 of each expert in each
        window, ``positions`` [B, T * k] int32. Raises UserError for experts that run twice, or on other rows."""
        windows, length = self._shape
        experts = self.experts
        if self.batch is not None:
            raise UserError(
                f"layer {self.layer}: its experts run more than once per forward pass; ffnscope does not know this kind"
            )
        if len(rows.tokens) != windows * length * experts.chosen:
            raise UserError(
                f"layer {self.layer}: its experts saw {len(rows.tokens)} rows of {windows} x {length} positions, not "
                f"{experts.chosen} each; ffnscope does not know this kind of experts"
            )
        window = rows.tokens // length
        groups = window * experts.count + rows.experts
        order = torch.argsort(groups * length + rows.tokens % length)
        counts = torch.bincount(groups, minlength=windows * experts.count)
        return order, counts, (rows.tokens % length)[order].view(windows, -1).int()

    def _record(
        self,
        before: torch.Tensor,
        after: torch.Tensor,
        order: torch.Tensor,
        counts: torch.Tensor,
        positions: torch.Tensor,
    ) -> None:
        windows, length = self._shape
        experts = self.experts
        bits = torch.empty(windows, length * experts.chosen, -(-experts.neurons // 8), dtype=torch.uint8)
        sums, maxima = torch.empty(2, windows, self.neurons)
        (before, first_before), (after, first_after) = _whole_rows(before), _whole_rows(after)
        arrays = [tensor.contiguous().numpy() for tensor in (order, counts.view(windows, -1), positions)]
        out = [tensor.numpy() for tensor in (bits, sums, maxima)]

        def part(expert: int) -> None:
            routed_kernel.record(
                before.numpy(),
                after.numpy(),
                (first_before, first_after),
                *arrays,
                self._counted,
                self._first_window,
                length,
                expert,
                *out,
                self.strongest.values,
                self.strongest.places,
            )

        for _ in (map if self.hands is None else self.hands.map)(part, range(experts.count)):
            pass
        self.batch = RoutedRecord(counts.view(windows, -1).int(), positions, bits, sums, maxima)

    def keep_strongest(
        self,
        strongest: Strongest,
        values: torch.Tensor,
        maxima: torch.Tensor,
        counts: torch.Tensor,
        positions: torch.Tensor,
        first: int,
    ) -> None:
        """Put sorted rows ``values`` [r, I], at least 0, of the batch's windows from ``first`` on among the ``strongest``.
        ``maxima`` [b, E * I] are theirs, ``counts`` [b * E] and ``positions`` [b, T * k] as ``sort`` gives them."""
        length, device = self._shape[1], values.device
        neurons, every = self.experts.neurons, self.experts.count
        counted = max(self._counted - first, 0)
        if not counted:
            return
        least = torch.from_numpy(strongest.values[:, -1]).to(device)
        window, neuron = (maxima[:counted] > least).nonzero(as_tuple=True)
        starts = counts.cumsum(0) - counts
        most = int(counts.max())
        steps = torch.arange(most, device=device)
        flat = positions.flatten()
        for start in range(0, len(window), CANDIDATES):
            some, columns = window[start : start + CANDIDATES], neuron[start : start + CANDIDATES]
            group = some * every + columns // neurons
            rows = (starts[group, None] + steps).clamp(max=len(values) - 1)
            own = values[rows, columns[:, None] % neurons].float()
            own.masked_fill_(steps >= counts[group, None], 0)
            # The patterns of positive floats sort like the floats; the row below them breaks ties.
            keys = own.contiguous().view(torch.int32).long() * most + (most - 1 - steps)
            best = most - 1 - keys.topk(min(CONTEXTS, most), dim=1).values % most
            places = (self._first_window + first + some[:, None]) * length + flat[rows.gather(1, best)]
            insert(
                columns.cpu().numpy(),
                own.gather(1, best).cpu().numpy(),
                places.cpu().numpy(),
                strongest.values,
                strongest.places,
            )


def _whole_rows(tensor: torch.Tensor) -> tuple[torch.Tensor, int]:
    """(a contiguous matrix, the first of its columns that is the ``tensor``'s [R, I]): the gate's half of a product without
    a copy."""
    rows, columns = tensor.shape
    width = int(tensor.stride(0))
    first = int(tensor.storage_offset()) % width if width else 0
    begin = int(tensor.storage_offset()) - first
    if rows < 2 or tensor.stride(1) != 1 or first + columns > width:
        return tensor.contiguous(), 0
    if begin + rows * width > tensor.untyped_storage().nbytes() // tensor.element_size():
        return tensor.contiguous(), 0
    return tensor.as_strided((rows, width), (width, 1), begin), first


def pack_rows(active: torch.Tensor) -> torch.Tensor:
    """Pack ``active`` [R, I] bool to [R, ceil(I / 8)] uint8, neuron n in bit n % 8 of byte n // 8."""
    active = torch.nn.functional.pad(active, (0, -active.shape[1] % 8)) if active.shape[1] % 8 else active
    # Eight bytes of 0 or 1 as a machine word: the product gathers their lowest bits in its highest byte.
    words = active.contiguous().view(torch.int64)
    return (words * 0x0102040810204080 >> 56 & 0xFF).to(torch.uint8)
