"""Recording by thresholds (``--activated share:Q``): a neuron is activated where |a| reaches a threshold of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from ffnscope.core.activations.recorder import BatchRecord, Recorder, Strongest, pack_bits
from ffnscope.core.activations.routed import RoutedRecord, RoutedRecorder, pack_rows
from ffnscope.core.model.experts import Experts, RoutedRows
from ffnscope.core.model.layered import LayeredModel
from ffnscope.store.errors import UserError

CELLS = 1 << 24  # values of routed experts that are compared at a time


class ByThresholds:
    """What recorders of all kinds keep by thresholds: ``thresholds`` [F] float32; ``positive`` [F] int64, activated positions
    where a > 0; ``negative``, the largest -a of activated positions where a < 0."""

    thresholds: np.ndarray
    positive: np.ndarray
    negative: Strongest

    def signed_parts(self) -> tuple[np.ndarray, ...]:
        """What ``merge_signed`` needs of a recorder."""
        return self.negative.values, self.negative.places, self.positive

    def merge_signed(self, others: Sequence[tuple[np.ndarray, ...]]) -> None:
        """Join the ``signed_parts`` of several recorders of one layer, each over windows of its own."""
        self.negative.merge([part[:2] for part in others])
        self.positive = np.sum([part[2] for part in others], axis=0)


class ThresholdRecorder(ByThresholds, Recorder):
    """Hooks on the activation function of one layer and on the matrix behind it, whose input is a.

    ``thresholds`` [F] float32 are set before the first batch. Bits, sums and maxima are a Recorder's: sums and maxima of
    the activation function's output at activated positions. ``values`` and ``places`` hold the largest a above 0 of
    activated positions; ``negative`` those below 0, as -a. ``positive`` [F] int64 counts activated positions where
    a > 0.
    """

    def __init__(self, layer: int, neurons: int):
        super().__init__(layer, neurons)
        self.thresholds = np.full(neurons, np.inf, np.float32)
        self.positive = np.zeros(neurons, np.int64)
        self.negative = Strongest(neurons)
        self._output: torch.Tensor | None = None

    def attach(self, model: LayeredModel) -> list[RemovableHandle]:
        """Register the hooks."""
        second = model.second(self.layer)
        return [*super().attach(model), second.register_forward_pre_hook(self.record_values)]

    def parts(self) -> tuple[np.ndarray, ...]:
        """What ``merge`` needs of a recorder."""
        return *super().parts(), *self.signed_parts()

    def merge(self, others: Sequence[tuple[np.ndarray, ...]]) -> None:
        """Join the ``parts`` of several recorders of one layer, each over windows of its own."""
        super().merge(others)
        self.merge_signed([part[2:] for part in others])

    def expect(self, first_window: int, windows: int, seq_len: int, counted: int) -> None:
        """Announce the next windows; only the first ``counted`` of them may give contexts."""
        super().expect(first_window, windows, seq_len, counted)
        self._output = None

    def __call__(self, module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        self.check_shape(inputs[0], again=self._output is not None)
        self._output = output.reshape(*self._shape, self.neurons)

    def record_values(self, module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        """Record a, the second matrix's input: a forward pre-hook."""
        a = neuron_values(self.layer, inputs[0], self._shape, self.neurons)
        output, self._output = self._output, None
        if output is None or self.batch is not None:
            raise UserError(f"layer {self.layer}: its second FFN matrix runs apart from its activation function, so values "
                            "cannot be compared with thresholds; use --activated positive")  # fmt: skip
        active = a.abs() >= torch.from_numpy(self.thresholds).to(a.device)
        # What is not finite is passed on, so that the sum says whether all was.
        output = torch.where(a.isfinite(), output.float(), a)
        counted = active | a.isnan()
        exact = torch.float32 if a.device.type == "mps" else torch.float64  # outputs of both signs cancel
        sums = torch.where(counted, output, 0).sum(dim=1, dtype=exact).float()
        maxima = torch.where(counted, output, -torch.inf).amax(dim=1)
        self.batch = BatchRecord(pack_bits(active), sums, maxima)
        self.positive += (active & (a > 0)).sum(dim=(0, 1)).cpu().numpy()
        for strongest, value in ((self.strongest, a), (self.negative, -a)):
            shown = torch.where(active & (value > 0), value, 0)[: self._counted]
            strongest.add(shown, shown.amax(dim=1), self._first_window)


class RoutedThresholdRecorder(ByThresholds, RoutedRecorder):
    """Records the routed experts of one layer by thresholds, for E * I neurons, as ThresholdRecorder records a dense FFN.

    Where a token is not routed to an expert, none of the expert's neurons is activated, whatever their thresholds.
    """

    def __init__(self, layer: int, experts: Experts):
        super().__init__(layer, experts)
        self.thresholds = np.full(self.neurons, np.inf, np.float32)
        self.positive = np.zeros(self.neurons, np.int64)
        self.negative = Strongest(self.neurons)

    def __call__(self, rows: RoutedRows) -> None:
        """Record the values that the experts' second matrices are given."""
        windows, length = self._shape
        order, counts, positions = self.sort(rows)
        per_window = length * self.experts.chosen
        step = max(1, CELLS // (per_window * self.experts.neurons))
        parts = []
        for first in range(0, windows, step):
            last = min(first + step, windows)
            own = order[first * per_window : last * per_window]
            part = counts[first * self.experts.count : last * self.experts.count]
            parts.append(self._record_part(rows, own, part, positions[first:last], first))
        bits, sums, maxima = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        self.batch = RoutedRecord(
            counts.view(windows, -1).int(),
            positions,
            bits.view(windows, per_window, -1),
            sums.view(windows, self.neurons),
            maxima.view(windows, self.neurons),
        )

    def _record_part(
        self, rows: RoutedRows, order: torch.Tensor, counts: torch.Tensor, positions: torch.Tensor, first: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Bits, sums and maxima of the windows from ``first`` on, whose rows are at ``order`` [r]."""
        experts, neurons = rows.experts[order], self.experts.neurons
        a, output = rows.values[order].float(), rows.after[order].float()
        limits = torch.from_numpy(self.thresholds).to(a.device).view(self.experts.count, neurons)
        active = a.abs() >= limits[experts]
        output = torch.where(a.isfinite(), output, a)  # as ThresholdRecorder: the sum says whether all was finite
        counted = active | a.isnan()
        sums = _by_expert(torch.where(counted, output, 0).double(), counts, "sum", 0).float()
        maxima = _by_expert(torch.where(counted, output, -torch.inf), counts, "max", -torch.inf)
        positive = (active & (a > 0)).double()
        windows = _by_expert(positive, counts, "sum", 0).view(len(positions), -1)
        self.positive += windows.sum(dim=0).long().cpu().numpy()
        for strongest, value in ((self.strongest, a), (self.negative, -a)):
            shown = torch.where(active & (value > 0), value, 0)
            largest = _by_expert(shown, counts, "max", 0).view(len(positions), -1)
            self.keep_strongest(strongest, shown, largest, counts, positions, first)
        return pack_rows(active), sums, maxima


def _by_expert(values: torch.Tensor, counts: torch.Tensor, how: str, empty: float) -> torch.Tensor:
    """[b * E, I]: the sums or maxima over the rows of each window and expert, ``empty`` where there are none."""
    return torch.segment_reduce(values, how, lengths=counts, axis=0, initial=empty, unsafe=True)


def neuron_values(layer: int, values: torch.Tensor, shape: tuple[int, int], neurons: int) -> torch.Tensor:
    """[B, T, F] float32: a, from the second FFN matrix's input. Raises UserError for another size."""
    if values.numel() != shape[0] * shape[1] * neurons:
        raise UserError(f"layer {layer}: its second FFN matrix saw {tuple(values.shape)}, not {neurons} neurons at "
                        f"{shape[0]} x {shape[1]} positions; use --activated positive")  # fmt: skip
    return values.reshape(*shape, neurons).float()
