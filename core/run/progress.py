"""How far a run is: fraction of its work, speed, time left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ffnscope.store.activation_rule import THRESHOLD_WINDOWS
from ffnscope.store.errors import UserError
from ffnscope.store.records import Progress, RunInfo
from ffnscope.store.writer import StoreWriter

COUNT_WEIGHT = 0.03  # counting a layer, in forward passes through it
PASS_MATRICES = 12  # a position's way through a layer, in products of a vector with a [d, d] matrix
STORE_SECONDS = 5.0  # between two updates of the progress in the store

Report = Callable[[Progress | str], None]


class ProgressMeter:
    """Turns work done into what is shown to the caller and kept in the store for its readers."""

    def __init__(self, run: RunInfo, writer: StoreWriter | None, report: Report):
        self._writer = writer
        self._report = report
        self._positions = run.corpus.positions
        self._model_layers = run.layers[-1] + 1
        self._recorded = len(run.layers)
        self._neurons = run.model.neurons
        # Every neuron meets every token once, whatever the corpus: with few positions that is much of a run.
        self._projecting = self._neurons * run.model.vocabulary / (PASS_MATRICES * run.model.width)
        self._finishing = self._positions * COUNT_WEIGHT + self._projecting
        # Thresholds take a pass of their own over some windows.
        windows = min(THRESHOLD_WINDOWS, run.corpus.counted_windows) if run.activated.has_thresholds else 0
        self._forward_positions = self._positions + windows * run.corpus.seq_len
        self._work = self._forward_positions * self._model_layers + self._finishing * self._recorded
        self._done = 0.0
        self._skipped = 0.0
        self._layers_done = 0
        self._begun = time.monotonic()
        self._stored = float("-inf")
        self._lock = threading.Lock()
        self.phase = "running the model"

    def begin(self, first_layer: int, layers_done: int) -> None:
        """The forward pass starts at ``first_layer``, with ``layers_done`` layers in the store already."""
        self._layers_done = layers_done
        self._skipped = self._done = self._forward_positions * first_layer + self._finishing * layers_done
        self._begun = time.monotonic()
        self._say("collecting")

    def enter(self, phase: str) -> None:
        """Say what is being done now."""
        self.phase = phase
        self._say("collecting")

    def forward(self, position_layers: int) -> None:
        """Positions times layers that the model has run."""
        self.phase = "running the model"
        self._add(float(position_layers))

    def count(self, neurons: int) -> None:
        """Neurons of a layer that have been counted."""
        self._add(COUNT_WEIGHT * self._positions * neurons / self._neurons)

    def layer_done(self) -> None:
        """A layer is in the store."""
        self._layers_done += 1
        with self._lock:
            self._done += self._projecting
        self._say("collecting", store=True)

    def interrupt(self) -> None:
        """The run stops here."""
        self._say("interrupted", store=True)

    def finish(self) -> None:
        """The run is complete."""
        self._done = self._work
        self._layers_done = self._recorded
        self._say("complete", store=True)

    def _add(self, work: float) -> None:
        with self._lock:
            self._done += work
        self._say("collecting")

    def _say(self, state: str, store: bool = False) -> None:
        elapsed = max(time.monotonic() - self._begun, 1e-9)
        # The sum of the parts may be off by a rounding error, and readers refuse a value below 0.
        done = min(self._done, self._work)
        speed = max(done - self._skipped, 0.0) / elapsed
        fraction = done / self._work
        progress = Progress(
            state,
            phase=self.phase if state == "collecting" else "",
            layers_done=self._layers_done,
            layers_total=self._recorded,
            fraction=fraction,
            tokens_per_second=speed / (self._work / self._positions),
            seconds_left=(self._work - done) / speed if speed > 0 and state == "collecting" else None,
            updated=time.time(),
        )
        self._report(progress)
        if self._writer is not None and (store or time.monotonic() - self._stored > STORE_SECONDS):
            self._stored = time.monotonic()
            try:
                self._writer.write_progress(progress)
            except UserError:
                # A disk that is full for a moment must not end the run here; writing a layer raises if it is still full.
                if state == "complete":
                    raise
