"""Recording which neurons are activated: bits, sums, maxima and the strongest activations of one layer."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from ffnscope.core.activations import recorder_kernel
from ffnscope.core.jit import compiled
from ffnscope.core.model.layered import LayeredModel
from ffnscope.store.errors import UserError
from ffnscope.store.format.schema import CONTEXTS

CANDIDATE_CELLS = 1 << 24  # activations that are searched for the strongest at a time, outside a CPU
COLUMNS_PER_THREAD = 64  # threads' shares of the neurons are multiples of this


@dataclass(frozen=True)
class BatchRecord:
    """What one layer did on a batch of B windows.

    ``bits`` [B, F, ceil(T / 8)] uint8: position p of a window in bit p % 8 of byte p // 8. ``sums`` and ``maxima``
    [B, F] float32: sum and largest of the activation function's output over a window's activated positions.
    """

    bits: torch.Tensor
    sums: torch.Tensor
    maxima: torch.Tensor

    def tensors(self) -> list[torch.Tensor]:
        """Its arrays, in order."""
        return [self.bits, self.sums, self.maxima]

    def cpu(self) -> BatchRecord:
        """The same in the host's memory."""
        return BatchRecord(self.bits.cpu(), self.sums.cpu(), self.maxima.cpu())


def pack_bits(active: torch.Tensor) -> torch.Tensor:
    """Pack ``active`` [B, T, F] bool to [B, F, ceil(T / 8)] uint8, position p in bit p % 8 of byte p // 8."""
    batch, length, neurons = active.shape
    if length % 8 or neurons % 8:
        active = nn.functional.pad(active, (0, -neurons % 8, 0, -length % 8))
    batch, padded, columns = active.shape
    # Eight neurons to a machine word: no carry crosses a byte, because each holds a 0 or 1 that moves up at most 7.
    words = active.contiguous().view(torch.int64).view(batch, padded // 8, 8, columns // 8)
    packed = words[:, :, 7].clone()
    for bit in range(6, -1, -1):
        packed.bitwise_left_shift_(1).bitwise_or_(words[:, :, bit])
    return packed.view(torch.uint8)[:, :, :neurons].transpose(1, 2).contiguous()


class Strongest:
    """The strongest activations of each neuron so far: ``values`` [F, CONTEXTS] float32 and ``places`` [F, CONTEXTS]
    int64 (window * T + position, -1 where fewer), strongest first, ties by lower place: exact, because windows come in
    ascending order and a later equal never displaces an earlier."""

    def __init__(self, neurons: int):
        self.values = np.zeros((neurons, CONTEXTS), np.float32)
        self.places = np.full((neurons, CONTEXTS), -1, np.int64)

    def merge(self, others: Sequence[tuple[np.ndarray, ...]]) -> None:
        """Keep the strongest of several (values, places), each over windows of its own."""
        values = np.concatenate([part[0] for part in others], axis=1)
        places = np.concatenate([part[1] for part in others], axis=1)
        late = np.where(places < 0, np.iinfo(np.int64).max, places)
        order = np.lexsort((late, -values), axis=1)[:, :CONTEXTS]
        self.values, self.places = np.take_along_axis(values, order, 1), np.take_along_axis(places, order, 1)

    def add(self, after: torch.Tensor, maxima: torch.Tensor, first_window: int) -> None:
        """Add windows from number ``first_window`` on: ``after`` [B, T, F] at least 0, with its ``maxima`` [B, F]."""
        length = after.shape[1]
        least = torch.from_numpy(self.values[:, -1]).to(maxima.device)
        window, neuron = (maxima > least).nonzero(as_tuple=True)
        # The patterns of positive floats sort like the floats; the position below them breaks ties.
        late = torch.arange(length - 1, -1, -1, device=after.device)
        step = max(1, CANDIDATE_CELLS // length)
        for start in range(0, len(window), step):
            some, columns = window[start : start + step], neuron[start : start + step]
            values = after[some, :, columns].float().contiguous()
            keys = values.view(torch.int32).long() * length + late
            best = keys.topk(min(CONTEXTS, length), dim=1).values
            positions = length - 1 - best % length
            places = (first_window + some[:, None]) * length + positions
            insert(
                columns.cpu().numpy(),
                values.gather(1, positions).cpu().numpy(),
                places.cpu().numpy(),
                self.values,
                self.places,
            )


class Recorder:
    """A forward hook on the activation function of one layer.

    ``batch`` is what it saw last, ``strongest`` the strongest activations so far. ``hands`` are threads that share the
    work on a CPU.
    """

    def __init__(self, layer: int, neurons: int):
        self.layer = layer
        self.neurons = neurons
        self.batch: BatchRecord | None = None
        self.strongest = Strongest(neurons)
        self.hands: Executor | None = None
        self._first_window = 0
        self._shape = (0, 0)
        self._counted = 0

    @property
    def values(self) -> np.ndarray:
        """[F, CONTEXTS] float32: the strongest activations."""
        return self.strongest.values

    @property
    def places(self) -> np.ndarray:
        """[F, CONTEXTS] int64: where they are."""
        return self.strongest.places

    def attach(self, model: LayeredModel) -> list[RemovableHandle]:
        """Register the hook."""
        return [model.activation(self.layer).register_forward_hook(self)]

    def expect(self, first_window: int, windows: int, seq_len: int, counted: int) -> None:
        """Announce the next windows; only the first ``counted`` of them may give contexts."""
        self._first_window, self._shape, self._counted = first_window, (windows, seq_len), counted
        self.batch = None

    def parts(self) -> tuple[np.ndarray, ...]:
        """What ``merge`` needs of a recorder."""
        return self.values, self.places

    def forget(self) -> None:
        """Let what it saw last go."""
        self.batch = None

    def merge(self, others: Sequence[tuple[np.ndarray, ...]]) -> None:
        """Join the ``parts`` of several recorders of one layer, each over windows of its own."""
        self.strongest.merge(others)

    def check_shape(self, before: torch.Tensor, again: bool) -> None:
        """Raise UserError where the activation function's input ``before`` is not that of the expected windows, or where
        the function runs ``again``."""
        windows, length = self._shape
        if again:
            raise UserError(
                f"layer {self.layer}: its activation function runs more than once per forward pass; ffnscope does not "
                "know this kind of FFN"
            )
        if before.numel() != windows * length * self.neurons:
            raise UserError(
                f"layer {self.layer}: its activation function saw {tuple(before.shape)}, "
                f"not {self.neurons} neurons at {windows} x {length} positions; ffnscope does not know this kind of FFN"
            )

    def __call__(self, module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        windows, length = self._shape
        before = inputs[0]
        self.check_shape(before, again=self.batch is not None)
        before = before.reshape(windows, length, self.neurons)
        after = output.reshape(windows, length, self.neurons)
        if before.device.type == "cpu" and before.dtype == after.dtype == torch.float32:
            # Where it is open, ReLU passes on what it was given: one array less to read.
            self._record(before, before if isinstance(module, nn.ReLU) else after)
            return
        active = before > 0
        if not isinstance(module, nn.ReLU):
            after = torch.where(active | before.isnan(), after, 0)
        # A NaN is passed on by both, so that the sum says whether all was finite.
        self.batch = BatchRecord(pack_bits(active), after.sum(dim=1, dtype=torch.float32), after.amax(dim=1).float())
        self.strongest.add(after[: self._counted], self.batch.maxima[: self._counted], self._first_window)

    def _record(self, before: torch.Tensor, after: torch.Tensor) -> None:
        windows, length, neurons = before.shape
        bits = torch.empty(windows, neurons, -(-length // 8), dtype=torch.uint8)
        sums, maxima = torch.empty(2, windows, neurons)
        arrays = [tensor.contiguous().numpy() for tensor in (before, after)]
        out = [tensor.numpy() for tensor in (bits, sums, maxima)]

        def part(first: int) -> None:
            columns = (first, min(first + share, neurons))
            recorder_kernel.record(*arrays, self._counted, self._first_window, columns, *out, self.values, self.places)

        share = -(-neurons // (torch.get_num_threads() * COLUMNS_PER_THREAD)) * COLUMNS_PER_THREAD
        deque((map if self.hands is None else self.hands.map)(part, range(0, neurons, share)), 0)
        self.batch = BatchRecord(bits, sums, maxima)


@compiled
def insert(
    neurons: np.ndarray, values: np.ndarray, places: np.ndarray, best: np.ndarray, best_places: np.ndarray
) -> None:
    """Insert candidates (ascending windows; strongest first within one) into the lists of the strongest."""
    size = best.shape[1]
    for row in range(len(neurons)):
        neuron = neurons[row]
        for column in range(values.shape[1]):
            value = values[row, column]
            if not value > best[neuron, size - 1]:
                break
            slot = size - 1
            while slot > 0 and value > best[neuron, slot - 1]:
                best[neuron, slot] = best[neuron, slot - 1]
                best_places[neuron, slot] = best_places[neuron, slot - 1]
                slot -= 1
            best[neuron, slot] = value
            best_places[neuron, slot] = places[row, column]
