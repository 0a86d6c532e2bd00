"""How far a run is: fraction of its work, speed, time left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from ffnscope.store.activation_rule import THRESHOLD_WINDOWS
from ffnscope.store.errors import UserError
from ffnscope.store.records import Progress, RunInfo
from ffnscope.store.writer import StoreWriter

COUNT_WEIGHT = 0.03  # counting a layer, in forward passes through it
COUNTED = 0.95  # of the work on a layer, where a GPU projects and compares
PASS_MATRICES = 12  # a position's way through a layer, in products of a vector with a [d, d] matrix
STORE_SECONDS = 5.0  # between two updates of the progress in the store

Report = Callable[[Progress | str], None]


class Pace:
    """How fast one kind of work goes: measured over the time in which it is being done."""

    def __init__(self) -> None:
        self.total = self.done = 0.0
        self._seconds = 0.0
        self._since: float | None = None

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Work of this kind is being done in this context."""
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._seconds += time.monotonic() - self._since
            self._since = None

    def seconds_left(self) -> float | None:
        """None where nothing has been done yet."""
        since = self._since
        seconds = self._seconds + (0.0 if since is None else time.monotonic() - since)
        return max(self.total - self.done, 0.0) * seconds / self.done if self.done > 0 else None


class ProgressMeter:
    """Turns work done into what is shown to the caller and kept in the store for its readers.

    Where one processor runs the model while another counts (``overlaps``), the two go at speeds that have nothing to do
    with each other: both are measured, and the time left is that of the slower one.
    """

    def __init__(self, run: RunInfo, writer: StoreWriter | None, report: Report, *, overlaps: bool = False):
        self._forward, self._finish = Pace(), Pace()
        self._overlaps = overlaps
        self._shown = 0.0
        self._writer = writer
        self._report = report
        self._positions = run.corpus.positions
        self._model_layers = run.layers[-1] + 1
        self._recorded = len(run.layers)
        # Every neuron meets every token once, whatever the corpus: with few positions that is much of a run.
        self._projecting = run.model.neurons * run.model.vocabulary / (PASS_MATRICES * run.model.width)
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
        self._forward.total = float(self._positions * (self._model_layers - first_layer))
        self._finish.total = float(self._recorded - layers_done)
        self._shown = self._done / self._work
        self._say("collecting")

    def running(self) -> AbstractContextManager[None]:
        """The model runs in this context."""
        return self._forward.busy()

    def finishing(self) -> AbstractContextManager[None]:
        """Layers are counted and written in this context."""
        return self._finish.busy()

    def enter(self, phase: str) -> None:
        """Say what is being done now."""
        self.phase = phase
        self._say("collecting")

    def forward(self, position_layers: int) -> None:
        """Positions times layers that the model has run."""
        self.phase = "running the model"
        self._forward.done += position_layers
        self._add(float(position_layers))

    def count(self, share: float) -> None:
        """A share of a layer's neurons has been counted."""
        self._finish.done += COUNTED * share
        self._add(COUNT_WEIGHT * self._positions * share)

    def layer_done(self) -> None:
        """A layer is in the store."""
        self._layers_done += 1
        with self._lock:
            self._done += self._projecting
        self._finish.done += 1 - COUNTED
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
        left = (self._work - done) / speed if speed > 0 and state == "collecting" else None
        if self._overlaps and state == "collecting":
            left = self._slower()
            fraction = self._fraction(elapsed, left)
            speed = max(fraction * self._work - self._skipped, 0.0) / elapsed
        progress = Progress(
            state,
            phase=self.phase if state == "collecting" else "",
            layers_done=self._layers_done,
            layers_total=self._recorded,
            fraction=fraction,
            tokens_per_second=speed / (self._work / self._positions),
            seconds_left=left,
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

    def _slower(self) -> float | None:
        """Seconds until both are done; None where that cannot be known yet."""
        running, finishing = self._forward.seconds_left(), self._finish.seconds_left()
        if running is None or finishing is None:
            return None  # nothing has been counted yet, and it may take far longer than the model
        # The last layer is finished when nothing runs beside it.
        return max(running + finishing / max(1, self._recorded - self._layers_done), finishing)

    def _fraction(self, elapsed: float, left: float | None) -> float:
        """The part of the run that is done: never less than what was said before."""
        begun = self._skipped / self._work
        if left is not None and elapsed + left > 0:
            self._shown = max(self._shown, begun + (1 - begun) * elapsed / (elapsed + left))
        return min(self._shown, 1.0)
