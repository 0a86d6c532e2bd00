"""The forward pass of a run, a group of layers at a time: each group runs over all windows before the next one does.

So only one group's weights and bits are needed at a time; the hidden states between groups are on the disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ffnscope.core.activations.malloc import give_back_freed_memory
from ffnscope.core.activations.recorder import BatchRecord, Recorder
from ffnscope.core.activations.scratch import LayerScratch, ScratchFile
from ffnscope.core.model.layered import LayeredModel
from ffnscope.core.processes import SINGLE_PROCESS, Processes

PENDING = 2  # batches that may wait to be written while the next one is computed


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
    scratch: LayerScratch
    strongest: Recorder


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

    Strongest activations are kept for the first ``counted`` windows only.
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
    ):
        self.model = model
        self.processes = processes
        self.tokens = tokens
        self.counted = counted
        self.batch_size = batch_size
        self.folder = folder
        if not model.prepared:
            model.prepare(first_tokens(tokens, model.device))
        self._item = model.hidden_dtype.itemsize

    @property
    def batches(self) -> list[tuple[int, int]]:
        """(first, last + 1) window of each batch; the same for any number of processes, so that kernels give equal results."""
        count = len(self.tokens)
        return [(first, min(first + self.batch_size, count)) for first in range(0, count, self.batch_size)]

    def hidden_path(self, layer: int) -> Path:
        """The file of the hidden states that enter ``layer``, written when the group before it has run."""
        return self.folder / f"hidden-{layer:05d}"

    def resumable(self, layer: int) -> int:
        """The last layer up to ``layer`` that can start: one whose entering hidden states are on disk, or else layer 0."""
        starts = [start for start in range(1, layer + 1) if self.hidden_path(start).exists()]
        return max(starts, default=0)

    def run_group(self, group: Group, advance: Callable[[int], None]) -> list[RecordedLayer]:
        """Run one group over all windows; ``advance`` is called with positions times layers done after every batch.

        The hidden states that leave the group are written to the scratch folder, as a file that appears only when complete.
        """
        # The main process creates the files; the others open them after that.
        fresh = self.processes.is_main_process
        recorded, leaving = self.processes.main_process_first(lambda: self._open_files(group, fresh))
        entering = ScratchFile(self.hidden_path(group.first), self._hidden_bytes, fresh=False) if group.first else None
        try:
            self.processes.on_all(lambda: self._run_batches(group, recorded, entering, leaving, advance))
        finally:
            if entering is not None:
                entering.close()
        for layer in recorded:
            layer.scratch.close()
        self.processes.wait_for_everyone()
        for layer in recorded:
            layer.scratch.reopen()
            layer.strongest.merge(self.processes.gather((layer.strongest.values, layer.strongest.places)))
        if leaving is not None:
            leaving.flush()
            leaving.close()
            self.processes.wait_for_everyone()
            if self.processes.is_main_process:
                leaving.path.replace(self.hidden_path(group.last))
        self.processes.wait_for_everyone()
        return recorded

    def _run_batches(
        self,
        group: Group,
        recorded: list[RecordedLayer],
        entering: ScratchFile | None,
        leaving: ScratchFile | None,
        advance: Callable[[int], None],
    ) -> None:
        recorders = {recording.layer: recording.strongest for recording in recorded}
        handles = [self.model.activation(layer).register_forward_hook(hook) for layer, hook in recorders.items()]
        try:
            self.model.load_layers(group.first, group.last)
            with ThreadPoolExecutor(1) as writer, ThreadPoolExecutor(torch.get_num_threads()) as hands:
                for recorder in recorders.values():
                    recorder.hands = hands
                pending: list[Future[None]] = []
                batches = self.processes.share(self.batches)
                for (first, last), entered in zip(batches, self._read_ahead(entering, batches), strict=True):
                    hidden = self._run_batch(group, first, last, recorders, entered)
                    records = [recording.strongest.batch for recording in recorded]
                    if self.model.device.type == "mps":  # which one thread may use at a time
                        records = [record and record.cpu() for record in records]
                        hidden = None if hidden is None else hidden.cpu()
                    pending.append(writer.submit(self._write, first, recorded, records, leaving, hidden))
                    if len(pending) > PENDING:
                        pending.pop(0).result()
                    if self.model.device.type == "cpu":
                        give_back_freed_memory()
                    work = (last - first) * self.tokens.shape[1] * (group.last - group.first)
                    advance(work * self.processes.size)
                for future in pending:
                    future.result()
        finally:
            for handle in handles:
                handle.remove()
            self.model.release_layers(group.first, group.last)

    def _open_files(self, group: Group, fresh: bool) -> tuple[list[RecordedLayer], ScratchFile | None]:
        windows, length = self.tokens.shape
        recorded = [
            RecordedLayer(
                layer,
                LayerScratch(self.folder, layer, windows, self.model.neurons, length, fresh),
                Recorder(layer, self.model.neurons),
            )
            for layer in group.recorded
        ]
        return recorded, None if group.final else self._leaving_file(group.last, fresh)

    def _run_batch(
        self, group: Group, first: int, last: int, recorders: dict[int, Recorder], entered: torch.Tensor | None
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
                self.model.run_to_activation(layer, hidden, calls[layer])
                return None
            hidden = self.model.run_layer(layer, hidden, calls[layer])
        return hidden

    def _write(
        self,
        first: int,
        recorded: list[RecordedLayer],
        records: list[BatchRecord | None],
        leaving: ScratchFile | None,
        hidden: torch.Tensor | None,
    ) -> None:
        for layer, record in zip(recorded, records, strict=True):
            if record is None:
                raise RuntimeError(f"layer {layer.layer} ran without its activation function being called")
            layer.scratch.write(first, record)
        if leaving is not None and hidden is not None:
            offset = first * self.tokens.shape[1] * self.model.width * self._item
            leaving.write(offset, hidden.contiguous().view(torch.uint8).cpu().numpy())

    def _leaving_file(self, layer: int, fresh: bool) -> ScratchFile:
        return ScratchFile(self.hidden_path(layer).with_suffix(".part"), self._hidden_bytes, fresh)

    @property
    def _hidden_bytes(self) -> int:
        return self.tokens.size * self.model.width * self._item

    def _read_ahead(self, file: ScratchFile | None, batches: list[tuple[int, int]]) -> Iterator[torch.Tensor | None]:
        """The hidden states [B, T, d] that enter each batch, the next one's read while one is computed; None where they
        are the embeddings."""
        if file is None or not batches:
            yield from [None] * len(batches)
            return
        with ThreadPoolExecutor(1) as reader:
            ahead = [reader.submit(self._read_hidden, file, *batch) for batch in batches[:1]]
            for batch in [*batches[1:], None]:
                now = ahead.pop().result()
                if batch is not None:
                    ahead.append(reader.submit(self._read_hidden, file, *batch))
                yield now

    def _read_hidden(self, file: ScratchFile, first: int, last: int) -> torch.Tensor:
        shape = (last - first, self.tokens.shape[1], self.model.width)
        # From pinned memory a GPU takes them while it computes.
        hidden = torch.empty(shape, dtype=self.model.hidden_dtype, pin_memory=self.model.device.type == "cuda")
        file.read(first * self.tokens.shape[1] * self.model.width * self._item, hidden.view(torch.uint8).numpy())
        return hidden
