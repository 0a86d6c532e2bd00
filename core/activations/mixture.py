"""A layer of a mixture as one: its shared experts, which see every token, and its routed ones."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from ffnscope.core.activations.recorder import BatchRecord, Recorder, Strongest
from ffnscope.core.activations.routed import RoutedRecord, RoutedRecorder
from ffnscope.core.activations.routed_scratch import RoutedScratch
from ffnscope.core.activations.scratch import LayerScratch
from ffnscope.core.activations.threshold_recorder import ByThresholds, RoutedThresholdRecorder, ThresholdRecorder
from ffnscope.core.model.experts import Handle, Mixture
from ffnscope.core.model.ffn import Ffn
from ffnscope.core.model.layered import LayeredModel


@dataclass(frozen=True)
class MixtureRecord:
    """What a layer of a mixture did on a batch: ``shared`` is None where it has no shared experts."""

    shared: BatchRecord | None
    routed: RoutedRecord

    def tensors(self) -> list[torch.Tensor]:
        """Its arrays, in order."""
        return [*([] if self.shared is None else self.shared.tensors()), *self.routed.tensors()]


LayerRecord = BatchRecord | MixtureRecord
_DENSE, _ROUTED = len(fields(BatchRecord)), len(fields(RoutedRecord))


class LayerRecorder(Protocol):
    """Records one layer: a Recorder, or a MixtureRecorder. Its attributes are a Recorder's."""

    layer: int
    hands: Executor | None

    @property
    def values(self) -> np.ndarray:
        """[F, CONTEXTS] float32: the strongest activations."""

    @property
    def places(self) -> np.ndarray:
        """[F, CONTEXTS] int64: where they are."""

    @property
    def batch(self) -> LayerRecord | None:
        """What it saw last."""

    def attach(self, model: LayeredModel) -> Sequence[Handle]:
        """Register this on its layer of the model."""

    def expect(self, first_window: int, windows: int, seq_len: int, counted: int) -> None:
        """Announce the next windows; only the first ``counted`` of them may give contexts."""

    def parts(self) -> tuple[np.ndarray, ...]:
        """What ``merge`` needs of a recorder: ``values`` and ``places``, with thresholds also those of the strongest below 0,
        and ``positive`` [F]."""

    def merge(self, others: Sequence[tuple[np.ndarray, ...]]) -> None:
        """Join the ``parts`` of several recorders of one layer, each over windows of its own."""

    def forget(self) -> None:
        """Let what it saw last go."""


class MixtureRecorder:
    """Records a layer of a mixture; its parts fill ``values`` and ``places`` [F, C], those of shared experts first, those of
    routed ones from neuron ``first`` on."""

    def __init__(self, layer: int, mixture: Mixture):
        self.layer = layer
        self._strongest = Strongest(mixture.neurons)
        self._shared, self._routed = self._make_parts(mixture)
        self._parts: list[Recorder | RoutedRecorder] = [self._routed]
        if self._shared is not None:
            self._parts.insert(0, self._shared)
        self.first = first = mixture.first
        self._slices = [slice(first, None)] if self._shared is None else [slice(first), slice(first, None)]
        for part, own in zip(self._parts, self._slices, strict=True):
            part.strongest.values, part.strongest.places = self.values[own], self.places[own]

    def _make_parts(self, mixture: Mixture) -> tuple[Recorder | None, RoutedRecorder]:
        shared = Recorder(self.layer, mixture.first) if mixture.first else None
        return shared, RoutedRecorder(self.layer, mixture.experts)

    @property
    def values(self) -> np.ndarray:
        """[F, CONTEXTS] float32: the strongest activations."""
        return self._strongest.values

    @property
    def places(self) -> np.ndarray:
        """[F, CONTEXTS] int64: where they are."""
        return self._strongest.places

    @property
    def batch(self) -> MixtureRecord | None:
        """What the parts saw last, None where one of them saw nothing."""
        if any(part.batch is None for part in self._parts) or self._routed.batch is None:
            return None
        return MixtureRecord(None if self._shared is None else self._shared.batch, self._routed.batch)

    @property
    def hands(self) -> Executor | None:
        """Threads that share the work on a CPU."""
        return self._routed.hands

    @hands.setter
    def hands(self, hands: Executor | None) -> None:
        for part in self._parts:
            part.hands = hands

    def attach(self, model: LayeredModel) -> Sequence[Handle]:
        """Register the parts on the layer."""
        return model.listen(self.layer, self._shared, self._routed)

    def expect(self, first_window: int, windows: int, seq_len: int, counted: int) -> None:
        """Announce the next windows; only the first ``counted`` of them may give contexts."""
        for part in self._parts:
            part.expect(first_window, windows, seq_len, counted)

    def parts(self) -> tuple[np.ndarray, ...]:
        """What ``merge`` needs of a recorder."""
        return self.values, self.places

    def merge(self, others: Sequence[tuple[np.ndarray, ...]]) -> None:
        """Join the ``parts`` of several recorders of one layer, each over windows of its own."""
        self._strongest.merge(others)

    def forget(self) -> None:
        """Let what the parts saw last go."""
        for part in self._parts:
            part.batch = None


class MixtureThresholdRecorder(ByThresholds, MixtureRecorder):
    """Records a layer of a mixture by thresholds; attributes are those of ThresholdRecorder."""

    _shared: ThresholdRecorder | None
    _routed: RoutedThresholdRecorder

    def __init__(self, layer: int, mixture: Mixture):
        super().__init__(layer, mixture)
        self.positive = np.zeros(mixture.neurons, np.int64)
        self.negative = Strongest(mixture.neurons)
        for part, own in zip(self._threshold_parts, self._slices, strict=True):
            part.positive = self.positive[own]
            part.negative.values, part.negative.places = self.negative.values[own], self.negative.places[own]

    def _make_parts(self, mixture: Mixture) -> tuple[ThresholdRecorder | None, RoutedThresholdRecorder]:
        shared = ThresholdRecorder(self.layer, mixture.first) if mixture.first else None
        return shared, RoutedThresholdRecorder(self.layer, mixture.experts)

    @property
    def _threshold_parts(self) -> list[ThresholdRecorder | RoutedThresholdRecorder]:
        return [self._routed] if self._shared is None else [self._shared, self._routed]

    @property
    def thresholds(self) -> np.ndarray:
        """[F] float32: of the neurons."""
        return np.concatenate([part.thresholds for part in self._threshold_parts])

    @thresholds.setter
    def thresholds(self, thresholds: np.ndarray) -> None:
        for part, own in zip(self._threshold_parts, self._slices, strict=True):
            part.thresholds = thresholds[own]

    def attach(self, model: LayeredModel) -> Sequence[Handle]:
        """Register the parts on the layer."""
        values = None if self._shared is None else self._shared.record_values
        return model.listen(self.layer, self._shared, self._routed, values)

    def parts(self) -> tuple[np.ndarray, ...]:
        """What ``merge`` needs of a recorder."""
        return *super().parts(), *self.signed_parts()

    def merge(self, others: Sequence[tuple[np.ndarray, ...]]) -> None:
        """Join the ``parts`` of several recorders of one layer, each over windows of its own."""
        super().merge(others)
        self.merge_signed([part[2:] for part in others])


class MixtureScratch:
    """The scratch files of a layer of a mixture, read as one layer of F neurons."""

    def __init__(self, folder: Path, layer: int, windows: int, mixture: Mixture, seq_len: int, fresh: bool = True):
        self.layer = layer
        self.neurons = mixture.neurons
        self.first = mixture.first
        self._shared = LayerScratch(folder, layer, windows, self.first, seq_len, fresh) if self.first else None
        self.routed = RoutedScratch(folder, layer, windows, mixture.experts, seq_len, fresh)

    @property
    def _parts(self) -> list[LayerScratch | RoutedScratch]:
        return [self.routed] if self._shared is None else [self._shared, self.routed]

    def write(self, first_window: int, record: MixtureRecord) -> None:
        """Write what was recorded of a batch."""
        self.routed.write(first_window, record.routed)
        if self._shared is not None and record.shared is not None:
            self._shared.write(first_window, record.shared)

    def block(self, first: int, last: int) -> np.ndarray:
        """Bits of neurons first .. last - 1 over all windows: [last - first, S, B] uint8."""
        return np.concatenate([part.block(*rows) for part, rows in self._ranges(first, last)])

    def window(self, window: int, first: int, last: int) -> np.ndarray:
        """Bits of neurons first .. last - 1 in one window: [last - first, B] uint8."""
        return np.concatenate([part.window(window, *rows) for part, rows in self._ranges(first, last)])

    def _ranges(self, first: int, last: int) -> list[tuple[LayerScratch | RoutedScratch, tuple[int, int]]]:
        """The parts that neurons first .. last - 1 lie in, and which of a part's own neurons they are."""
        ranges, start = [], 0
        for part in self._parts:
            low, high = max(first - start, 0), min(last - start, part.neurons)
            if low < high:
                ranges.append((part, (low, high)))
            start += part.neurons
        return ranges

    def sums(self) -> np.ndarray:
        """[F] float64: sum of the activations over all windows, added in the windows' order."""
        return np.concatenate([part.sums() for part in self._parts])

    def maxima(self) -> np.ndarray:
        """[F] float32: the largest activation."""
        return np.concatenate([part.maxima() for part in self._parts])

    def reopen(self) -> None:
        """Read what others wrote, once all have closed it."""
        for part in self._parts:
            part.reopen()

    def close(self) -> None:
        """Close the files; they stay until the group is done."""
        for part in self._parts:
            part.close()

    def remove(self) -> None:
        """Close the files and delete them."""
        for part in self._parts:
            part.remove()


def make_recorder(layer: int, ffn: Ffn | Mixture, thresholds: bool = False) -> LayerRecorder:
    """What records a layer with such an FFN, by ``thresholds`` or not."""
    if isinstance(ffn, Mixture):
        return MixtureThresholdRecorder(layer, ffn) if thresholds else MixtureRecorder(layer, ffn)
    return ThresholdRecorder(layer, ffn.neurons) if thresholds else Recorder(layer, ffn.neurons)


def make_scratch(
    folder: Path, layer: int, windows: int, ffn: Ffn | Mixture, seq_len: int, fresh: bool = True
) -> LayerScratch | MixtureScratch:
    """The scratch files of a layer with such an FFN."""
    if isinstance(ffn, Mixture):
        return MixtureScratch(folder, layer, windows, ffn, seq_len, fresh)
    return LayerScratch(folder, layer, windows, ffn.neurons, seq_len, fresh)


def write_record(
    scratch: LayerScratch | MixtureScratch, first_window: int, tensors: Sequence[torch.Tensor]
) -> Sequence[torch.Tensor]:
    """Write what a batch left of a layer: ``tensors``, in the host's memory, begin with those of its record. Returns the
    others."""
    if isinstance(scratch, LayerScratch):
        scratch.write(first_window, BatchRecord(*tensors[:_DENSE]))
        return tensors[_DENSE:]
    shared = BatchRecord(*tensors[:_DENSE]) if scratch.first else None
    routed = tensors[_DENSE:] if scratch.first else tensors
    scratch.write(first_window, MixtureRecord(shared, RoutedRecord(*routed[:_ROUTED])))
    return routed[_ROUTED:]


def scratch_bytes(windows: int, ffn: Ffn | Mixture, seq_len: int) -> int:
    """Scratch bytes of a layer with such an FFN."""
    if not isinstance(ffn, Mixture):
        return LayerScratch.bytes_needed(windows, ffn.neurons, seq_len)
    routed = RoutedScratch.bytes_needed(windows, ffn.experts, seq_len)
    return routed + LayerScratch.bytes_needed(windows, ffn.first, seq_len)
