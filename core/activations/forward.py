"""The forward pass of a run, a group of layers at a time: each group runs over all windows before the next one does.

So only one group's weights and bits are needed at a time; the hidden states between groups are in scratch files, or in
memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ffnscope.core.activations.hidden_states import HiddenInMemory, HiddenOnDisk, HiddenStates, Layout
from ffnscope.core.activations.malloc import give_back_freed_memory
from ffnscope.core.activations.mixture import (
    LayerRecorder,
    MixtureScratch,
    make_recorder,
    make_scratch,
    write_record,
)
from ffnscope.core.activations.scratch import LayerScratch
from ffnscope.core.activations.side_stream import SideStream
from ffnscope.core.activations.threshold_recorder import ByThresholds
from ffnscope.core.activations.thresholds import ThresholdWindows, find_thresholds
from ffnscope.core.model.layered import LayeredModel
from ffnscope.core.processes import SINGLE_PROCESS, Processes

PENDING = 2  # batches that may wait to be written while the next one is computed
PENDING_ON_GPU = 4  # there, what a batch leaves waits in pinned memory
WRITERS = 3  # threads that write what a GPU makes: one writes 1 to 2 GB/s, a GPU makes more


@dataclass(frozen=True)
class Group:
    """Consecutive layers first .. last - 1 that run together; ``recorded`` are those whose neurons are wanted.

    ``final``: no layer is wanted after this group, so its hidden states are not kept.
    """

    first: int
    last: int
    recorded: tuple[int, ...]
    final: bool


@dataclass(frozen=True)
class RecordedLayer:
    """One layer over all windows: its scratch files and its strongest activations."""

    layer: int
    scratch: LayerScratch | MixtureScratch
    strongest: LayerRecorder


def first_tokens(tokens: np.ndarray, device: torch.device) -> torch.Tensor:
    """[1, 2] int64 on ``device``: what ``LayeredModel.prepare`` tries, of windows [S, T]."""
    return torch.from_numpy(tokens[:1, :2].astype(np.int64)).to(device)


def make_groups(layers: Sequence[int], size: int, first: int = 0, *, done: Set[int] = frozenset()) -> list[Group]:
    """Groups of at most ``size`` consecutive layers, from layer ``first`` to the last of the wanted ``layers``; those
    that are ``done`` run but are not recorded."""
    wanted = sorted(layers)
    end = wanted[-1] + 1
    groups = []
    for start in range(first, end, size):
        stop = min(start + size, end)
        recorded = tuple(layer for layer in wanted if start <= layer < stop and layer not in done)
        groups.append(Group(start, stop, recorded, final=stop == end))
    return groups


class Sweep:
    """Runs groups of layers over the windows ``tokens`` [S, T], with scratch files in ``folder``.

    Strongest activations are kept for the first ``counted`` windows only. Hidden states between groups are kept in files
    there, or in memory, with snapshots in files now and then where these are wanted. Where windows
    are ``chosen`` for them, neurons have thresholds.
    """

    def __init__(
        self,
        model: LayeredModel,
        tokens: np.ndarray,
        folder: Path,
        *,
        batch_size: int,
        counted: int,
        processes: Processes = SINGLE_PROCESS,
        hidden_in_memory: bool = False,
        snapshots: bool = False,
        chosen: ThresholdWindows | None = None,
    ):
        self.model = model
        self.chosen = chosen
        self.processes = processes
        self.tokens = tokens
        self.counted = counted
        self.batch_size = batch_size
        self.folder = folder
        if not model.prepared:
            model.prepare(first_tokens(tokens, model.device))
        windows, length = tokens.shape
        layout = Layout(windows, length, model.width, model.hidden_dtype, pinned=model.device.type == "cuda")
        self._outward = SideStream(model.device)
        self.hidden: HiddenStates
        if hidden_in_memory:
            own = processes.share(self.batches)
            run_here = (own[0][0], own[-1][1]) if own else (0, 0)
            self.hidden = HiddenInMemory(folder, layout, processes, run_here, snapshots)
        else:
            self.hidden = HiddenOnDisk(folder, layout, processes)

    @property
    def batches(self) -> list[tuple[int, int]]:
        """(first, last + 1) window of each batch; the same for any number of processes, so that kernels give equal results."""
        count = len(self.tokens)
        return [(first, min(first + self.batch_size, count)) for first in range(0, count, self.batch_size)]

    def run_group(self, group: Group, advance: Callable[[int], None]) -> list[RecordedLayer]:
        """Run one group over all windows; ``advance`` is called with positions times layers done after every batch.

        The hidden states that leave the group are kept in ``hidden``, for the next one.
        """
        # The main process creates the files; the others open them after that.
        fresh = self.processes.is_main_process
        recorded = self.processes.main_process_first(lambda: self._open_bits(group, fresh))
        self.hidden.begin(group.first, None if group.final else group.last)
        try:
            if self.chosen is not None and recorded:
                self._set_thresholds(self.chosen, group, recorded, advance)
            self.processes.on_all(lambda: self._run_batches(group, recorded, advance))
        finally:
            self.hidden.close()
        for layer in recorded:
            layer.scratch.close()
        self.processes.wait_for_everyone()
        for layer in recorded:
            layer.scratch.reopen()
            layer.strongest.merge(self.processes.gather(layer.strongest.parts()))
        self.hidden.complete()
        self.processes.wait_for_everyone()
        return recorded

    def _set_thresholds(
        self,
        chosen: ThresholdWindows,
        group: Group,
        recorded: list[RecordedLayer],
        advance: Callable[[int], None],
    ) -> None:
        """Find the thresholds of the group's layers, on the main process, and give them to every recorder."""

        def find() -> dict[int, np.ndarray]:
            return find_thresholds(
                self.model,
                range(group.first, group.last),
                group.recorded,
                chosen,
                tokens=self.tokens,
                batch_size=self.batch_size,
                entering=(lambda window: self.hidden.read(window, window + 1)) if group.first else None,
                advance=advance,
            )

        thresholds = self.processes.broadcast(self.processes.on_main(find))
        for layer in recorded:
            if thresholds is not None and isinstance(layer.strongest, ByThresholds):
                layer.strongest.thresholds = thresholds[layer.layer]

    def _run_batches(self, group: Group, recorded: list[RecordedLayer], advance: Callable[[int], None]) -> None:
        recorders = {recording.layer: recording.strongest for recording in recorded}
        handles = [handle for recorder in recorders.values() for handle in recorder.attach(self.model)]
        on_cpu = self.model.device.type == "cpu"
        try:
            self.model.load_layers(group.first, group.last)
            if not group.final:
                self.model.read_ahead(group.last, min(2 * group.last - group.first, self.model.count))
            with (
                ThreadPoolExecutor(1 if on_cpu else WRITERS) as writers,
                ThreadPoolExecutor(torch.get_num_threads()) as hands,
            ):
                for recorder in recorders.values():
                    recorder.hands = hands
                pending: list[Future[None]] = []
                batches = self.processes.share(self.batches)
                entering = self.hidden.read_ahead(group.first, batches)
                for (first, last), entered in zip(batches, entering, strict=True):
                    hidden = self._run_batch(group, first, last, recorders, entered)
                    made = self._outward.to_host(_made(recorded, hidden))
                    del hidden
                    pending.append(writers.submit(self._write, first, recorded, made, keep=not group.final))
                    if len(pending) > (PENDING if on_cpu else PENDING_ON_GPU):
                        pending.pop(0).result()
                    if on_cpu:
                        give_back_freed_memory()
                    work = (last - first) * self.tokens.shape[1] * (group.last - group.first)
                    advance(work * self.processes.size)
                for future in pending:
                    future.result()
        finally:
            for handle in handles:
                handle.remove()
            self.model.release_layers(group.first, group.last)

    def _open_bits(self, group: Group, fresh: bool) -> list[RecordedLayer]:
        windows, length = self.tokens.shape
        return [
            RecordedLayer(
                layer,
                make_scratch(self.folder, layer, windows, self.model.ffns[layer], length, fresh),
                make_recorder(layer, self.model.ffns[layer], thresholds=self.chosen is not None),
            )
            for layer in group.recorded
        ]

    def _run_batch(
        self, group: Group, first: int, last: int, recorders: dict[int, LayerRecorder], entered: torch.Tensor | None
    ) -> torch.Tensor | None:
        length = self.tokens.shape[1]
        counted = max(0, min(last, self.counted) - first)
        for recorder in recorders.values():
            recorder.expect(first, last - first, length, counted)
        device = self.model.device
        # A queued copy needs its source until it is done: CUDA sees to that, MPS does not.
        queued = device.type == "cuda"
        tokens = torch.from_numpy(self.tokens[first:last].astype(np.int64)).to(device, non_blocking=queued)
        hidden, calls = self.model.frame(tokens, group.last - 1)
        if entered is not None:
            hidden = entered.to(device, non_blocking=queued)
        for layer in range(group.first, group.last):
            if group.final and layer == group.last - 1:
                stop = self.model.run_to_activation if self.chosen is None else self.model.run_to_second
                stop(layer, hidden, calls[layer])
                return None
            hidden = self.model.run_layer(layer, hidden, calls[layer])
        return hidden

    def _write(
        self, first: int, recorded: list[RecordedLayer], made: Callable[[], list[torch.Tensor]], *, keep: bool
    ) -> None:
        """Write what a batch left, as ``_made`` lists it; with ``keep`` the hidden states too."""
        arrived: Sequence[torch.Tensor] = made()
        for layer in recorded:
            arrived = write_record(layer.scratch, first, arrived)
        if keep:
            self.hidden.write(first, arrived[-1])


def _made(recorded: Sequence[RecordedLayer], hidden: torch.Tensor | None) -> list[torch.Tensor]:
    """What a batch left: every layer's record, and the hidden states where they are wanted."""
    made: list[torch.Tensor] = []
    for layer in recorded:
        record = layer.strongest.batch
        if record is None:
            raise RuntimeError(f"layer {layer.layer} ran without its activation function being called")
        made += record.tensors()
        layer.strongest.forget()
    return made if hidden is None else [*made, hidden]
