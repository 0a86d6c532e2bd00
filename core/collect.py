"""One run from a model and a corpus to a store: prepare, then record, count and write one group of layers after another."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from functools import partial

import numpy as np

from ffnscope.core import pinned_memory
from ffnscope.core.activations.budget import GIB
from ffnscope.core.activations.forward import RecordedLayer, Sweep, make_groups
from ffnscope.core.activations.mixture import MixtureScratch, MixtureThresholdRecorder
from ffnscope.core.activations.scratch_folder import lock_folder
from ffnscope.core.activations.side_stream import SideStream
from ffnscope.core.activations.threshold_recorder import ByThresholds
from ffnscope.core.processes import join_processes
from ffnscope.core.run.compile_ahead import compile_ahead
from ffnscope.core.run.keep import check_room, describe_keep
from ffnscope.core.run.kept_bits import kept_values
from ffnscope.core.run.overlap import SerialWorker
from ffnscope.core.run.prepare import Prepared, prepare
from ffnscope.core.run.progress import ProgressMeter, Report
from ffnscope.core.run.request import CollectRequest
from ffnscope.core.run.signals import interruptible
from ffnscope.core.run.store import open_store
from ffnscope.core.statistics.arrays import ActivationValues, Routing, ThresholdValues, check_finite, layer_arrays
from ffnscope.core.statistics.counts import LayerCounts, count_layer
from ffnscope.store.errors import UserError
from ffnscope.store.format.schema import DESCRIBED, EXPLAINED, ROUTED, THRESHOLDS
from ffnscope.store.records import Progress
from ffnscope.store.writer import StoreWriter

SHARE_STEP = 0.125  # by which the share of counting that a GPU takes over changes from group to group


def collect(request: CollectRequest, report: Report = lambda event: None) -> None:
    """Run a model over a corpus and fill a store. ``report`` receives progress and lines for the log.

    Raises UserError for whatever the user can fix; layers finished before it stay in the store.
    """
    with interruptible(), join_processes(report) as processes, pinned_memory.reporting(report):
        report = report if processes.is_main_process else _silent
        compiling = compile_ahead()
        prepared = prepare(request, processes, report)
        # Only now: what is wrong with the request is said in one line.
        if compiling and compile_ahead():
            report("compiling the counting loops beside the run, once after installation")
        with open_store(prepared, report) as (writer, complete):
            if not complete:
                _Run(prepared, writer, report).fill_store()
            elif processes.is_main_process and not request.scratch:
                shutil.rmtree(request.scratch_folder, ignore_errors=True)


class _Run:
    """The run itself: each group of layers runs over all windows, then its layers' statistics go into the store.

    ``writer`` is None on all processes but the main one.
    """

    def __init__(self, prepared: Prepared, writer: StoreWriter | None, report: Report):
        self.prepared = prepared
        self.processes = self._counting_processes = prepared.processes
        self.run = prepared.run
        self.writer = writer
        self.report = report
        self.progress = ProgressMeter(prepared.run, writer, report, overlaps=prepared.overlaps)
        self._device_share = 1.0
        self._beside_model = SideStream(prepared.model.device, urgent=True)

    def fill_store(self) -> None:
        """Add the layers that the store lacks, and mark it complete."""
        prepared, processes = self.prepared, self.processes
        done = processes.broadcast(processes.on_all(self._layers_in_store))
        if set(self.run.layers) - done:
            with lock_folder(prepared.folder, processes):
                self._run_groups(done)
        processes.wait_for_everyone()
        if processes.is_main_process:
            self.progress.finish()
            # In a --scratch folder the tokenised windows are kept for the next run.
            shutil.rmtree(prepared.folder if prepared.request.scratch else prepared.folder.parent, ignore_errors=True)

    def _layers_in_store(self) -> set[int]:
        return set() if self.writer is None else set(self.writer.layers())

    def _run_groups(self, done: set[int]) -> None:
        prepared, processes = self.prepared, self.processes
        sweep = self._make_sweep()
        # Only now: a run that cannot start with these options, and is given others, must not have written anything.
        processes.on_all(self._write_header)
        start = processes.broadcast(sweep.hidden.resumable(min(set(self.run.layers) - done)))
        self.progress.begin(start, len(done))
        group_layers = processes.broadcast(prepared.plan.group_layers if processes.is_main_process else 0)
        try:
            beside = processes.beside() if prepared.overlaps else nullcontext(processes)
            with beside as self._counting_processes, SerialWorker(prepared.overlaps) as counting:
                for group in make_groups(self.run.layers, group_layers, start, done=done):
                    with self.progress.running():
                        recorded = sweep.run_group(group, self.progress.forward)
                    processes.on_all(partial(self._check_weights, partial(sweep.hidden.discard, group.last)))
                    release = partial(sweep.hidden.finish, group.first, group.last)
                    counting.submit(partial(self._finish_group, recorded, release, counting, last=group.final))
        except KeyboardInterrupt:
            self.progress.interrupt()
            raise

    def _make_sweep(self) -> Sweep:
        prepared, processes = self.prepared, self.processes
        plan = processes.broadcast(processes.on_main(lambda: prepared.plan))
        assert plan is not None
        processes.on_all(prepared.check_memory)
        processes.on_main(self._check_room)
        memory = prepared.counting_bytes / processes.local_size / GIB
        self.report(f"{plan} in {prepared.folder}; {memory:.2f} GiB of memory for counting, beside the model")
        self.report(plan.hidden_line())
        if prepared.chosen is not None:
            self.report(f"{self.run.activated.sentence}; thresholds are fixed on {prepared.chosen}")
        self.report(describe_keep(self.run.settings.get("keep", 0), prepared.counted_sizes, prepared.kept_bytes))
        return processes.on_all(
            lambda: Sweep(
                prepared.model,
                prepared.corpus.tokens,
                prepared.folder,
                batch_size=int(self.run.settings["batch_size"]),
                counted=prepared.tables.counted_windows,
                processes=processes,
                hidden_in_memory=plan.hidden_in_memory,
                snapshots=plan.snapshots,
                chosen=prepared.chosen,
            )
        )

    def _check_room(self) -> None:
        """Raise UserError where what is still to be kept does not fit the disk."""
        share = len(set(self.run.layers) - self._layers_in_store()) / len(self.run.layers)
        check_room(self.prepared.request.store, int(share * self.prepared.kept_bytes))

    def _write_header(self) -> None:
        """Write what precedes the first layer in the store, unless it is there."""
        present = {
            EXPLAINED: True,
            DESCRIBED: self.prepared.kept is not None,
            THRESHOLDS: self.run.activated.has_thresholds,
            ROUTED: self.run.model.experts > 0,
        }
        groups = tuple(group for group, applies in present.items() if applies)
        if self.writer is not None and self.writer.begun:
            if missing := [group for group in groups if group not in self.writer.groups]:
                self.report(
                    "the store was started by an earlier version of ffnscope and is finished in its format, without "
                    f"optional columns ({', '.join(missing)}); --overwrite starts over with them"
                )
        elif self.writer is not None:
            prepared, tables = self.prepared, self.prepared.tables
            vocabulary = prepared.vocabulary
            windows = prepared.corpus.tokens[: tables.counted_windows]
            raw = vocabulary.raw if prepared.kept is not None else None
            self.writer.begin(
                self.run,
                vocabulary.texts,
                vocabulary.whole,
                windows,
                tables.ngrams[0].totals,
                groups=groups,
                raw=raw,
                labels=self._labels(),
                concepts=prepared.concept_names,
            )

    def _labels(self) -> dict[str, np.ndarray]:
        """The kept positions [P] bool inside the corpus's labelled spans, by label."""
        corpus, kept = self.prepared.corpus, self.prepared.kept
        if corpus.labels:
            listed = ", ".join(f"{label} {len(places):,}" for label, places in corpus.labels.items())
            only = "" if kept is not None else "; left out, because no activation bits are kept"
            self.report(f"positions inside labelled spans: {listed}{only}")
        return {label: kept.members(places, corpus.seq_len) for label, places in corpus.labels.items()} if kept else {}

    def _check_weights(self, discard: Callable[[], None]) -> None:
        """Raise UserError where the model's files have changed, and ``discard`` the hidden states made from them."""
        try:
            self.prepared.weights.check()
        except UserError:
            discard()
            raise

    def _finish_group(
        self, recorded: list[RecordedLayer], release: Callable[[], None], counting: SerialWorker, *, last: bool
    ) -> None:
        """Count a group's layers, in ``counting``; ``release`` lets go of the hidden states that are no longer needed then.
        ``last``: no group runs meanwhile."""
        share = self._choose_device_share(counting.behind, last)
        with self.progress.finishing():
            for layer in recorded:
                self._counting_processes.on_all(partial(self._finish_layer, layer, counting.check_wanted, share))
        if self.processes.is_main_process:
            release()

    def _choose_device_share(self, behind: bool, last: bool) -> float:
        """The share of a group's neurons whose n-grams the device counts, where it does at all: more while counting is
        ``behind`` the model, less while it is not."""
        if last or not self.prepared.overlaps or self.prepared.request.count_on == "device":
            return 1.0
        self._device_share = min(max(self._device_share + (SHARE_STEP if behind else -SHARE_STEP), 0.0), 1.0)
        return self._device_share

    def _finish_layer(self, recorded: RecordedLayer, check_wanted: Callable[[], None], device_share: float) -> None:
        """Count a layer, and write its statistics into the store."""
        check_wanted()
        started, layer, prepared = time.monotonic(), recorded.layer, self.prepared
        self.progress.enter(f"counting layer {layer}")
        values = ActivationValues(
            recorded.scratch.sums(), recorded.scratch.maxima(), recorded.strongest.values, recorded.strongest.places
        )
        check_finite(layer, values.sums, self.run.settings["dtype"])
        thresholds = self._threshold_values(recorded)
        counts = self._count(recorded, check_wanted, device_share)
        if counts is None or self.writer is None:
            recorded.scratch.close()
            return
        # Of the model, only weights are used: nothing that is queued for the next group.
        with self._beside_model.use():
            arrays = layer_arrays(
                layer,
                counts,
                prepared.tables,
                values=values,
                thresholds=thresholds,
                model=prepared.model,
                top_k=prepared.request.top_k,
                routing=_routing(recorded),
                enter=self.progress.enter,
            )
        self.progress.enter(f"writing layer {layer}")
        alive = np.flatnonzero(counts.activations)
        curves = ((int(neuron), counts.curves[neuron]) for neuron in alive)
        info = {"seconds_counting": time.monotonic() - started}
        self.writer.write_layer(layer, arrays, curves, info, self._kept_bits(recorded, check_wanted))
        self.progress.layer_done()
        recorded.scratch.remove()

    def _threshold_values(self, recorded: RecordedLayer) -> ThresholdValues | None:
        """The layer's thresholds and what goes with them; None where its neurons have none."""
        recorder = recorded.strongest
        if not isinstance(recorder, ByThresholds):
            return None
        # Routed neurons come behind those that see every token.
        first = recorder.first if isinstance(recorder, MixtureThresholdRecorder) else len(recorder.thresholds)
        zero = recorder.thresholds == 0
        for where, neurons in (
            ("everywhere", zero[:first]),
            ("wherever a token is routed to their expert", zero[first:]),
        ):
            if neurons.any():
                self.report(
                    f"layer {recorded.layer}: {neurons.sum():,} neurons are 0 at so many positions that their threshold is 0: "
                    f"they count as activated {where}"
                )
        negative = recorder.negative
        return ThresholdValues(recorder.thresholds, recorder.positive, negative.values, negative.places)

    def _kept_bits(
        self, recorded: RecordedLayer, check_wanted: Callable[[], None]
    ) -> Iterable[tuple[bytes, bytes | bytearray]]:
        """What the store keeps of a layer's bits, made as it is written."""
        prepared = self.prepared
        if prepared.kept is None:
            return ()
        return kept_values(
            recorded.layer, recorded.scratch, prepared.kept, threads=prepared.threads, proceed=check_wanted
        )

    def _count(
        self, recorded: RecordedLayer, check_wanted: Callable[[], None], device_share: float
    ) -> LayerCounts | None:
        """The layer's counts on the main process, where those of all processes' neurons are joined; else None."""
        prepared, processes = self.prepared, self._counting_processes

        def advance(neurons: int) -> None:
            check_wanted()
            self.progress.count(neurons * processes.size / recorded.scratch.neurons)

        count_own = partial(
            count_layer,
            recorded.layer,
            recorded.scratch,
            prepared.tables,
            min_occurrences=prepared.request.min_occurrences,
            threads=prepared.threads,
            advance=advance,
            neurons=processes.share(range(recorded.scratch.neurons)),
            device=prepared.device_counter if device_share else None,
            device_share=device_share,
        )
        # Where one process fails, none waits for its counts.
        parts = processes.gather_on_main(processes.on_all(count_own))
        return LayerCounts.joined(parts) if parts else None


def _routing(recorded: RecordedLayer) -> Routing | None:
    """How a layer's neurons belong to experts; None for a dense layer."""
    scratch = recorded.scratch
    if not isinstance(scratch, MixtureScratch):
        return None
    return Routing(scratch.first, scratch.routed.experts.neurons, scratch.routed.counts)


def _silent(event: Progress | str) -> None:
    """Only the main process reports."""
