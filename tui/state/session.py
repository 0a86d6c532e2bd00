"""One opened store with the user's notes: reads what the panes draw, and keeps slow work off the interface's thread."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from ffnscope.store import Store
from ffnscope.store.errors import UserError
from ffnscope.store.figures.layers import LayerFigures, layer_figures
from ffnscope.store.notes import Notes
from ffnscope.store.query.detector_index import Hit, TokenIndex
from ffnscope.store.query.projection_index import ProjectionIndex
from ffnscope.store.query.trigger_index import TriggerHit, TriggerIndex
from ffnscope.store.records import Context, Progress
from ffnscope.tui.drawing.glyphs import Glyphs
from ffnscope.tui.neuron.data import ContextText, PageData
from ffnscope.tui.state.gc_pause import keeping
from ffnscope.tui.state.neuron_list import Key, NeuronList
from ffnscope.tui.state.remembered import MAX_FILTERS, Place
from ffnscope.tui.state.task import Proceed, Result, Task

if TYPE_CHECKING:
    from ffnscope.core.prompt import PromptModel

AROUND = 40  # tokens read to each side of a context's own


def remember(texts: list[str], text: str) -> None:
    """Make a text the last of those used before."""
    texts[:] = [*(earlier for earlier in texts if earlier != text), text]


class Session:
    """A store, its notes, its token index, its model, and the list of neurons that is shown.

    Notes are written on one thread of its own, in order: a commit waits for the disk.
    """

    def __init__(self, path: Path, glyphs: Glyphs):
        self.store = Store.open(path)
        self.glyphs = glyphs
        self.notes = Notes.open(path)
        self.neurons = NeuronList(self.store, self.notes, self._write)
        # In this order: what lands in between is seen at the next look.
        self.progress: Progress = self.store.progress()
        self.layers: tuple[int, ...] = self.store.layers()
        self.failure = ""  # why the run that fills the store failed, in one line
        self.figures: dict[int, LayerFigures] = {}
        self.kept: dict[type, Any] = {}  # what screens keep as long as the session, by its class
        self.index: TokenIndex | None = None
        self.triggers = TriggerIndex(self.store)
        self._indexing = Lock()
        self.projections = {name: ProjectionIndex(self.store, name) for name in ("promoted", "suppressed")}
        self.filters: list[str] = []  # used before, oldest first
        self.queries: list[str] = []  # sets of positions asked for, oldest first
        self.prompts: list[str] = []  # texts run through the model, oldest first
        self._model: PromptModel | None = None
        self._loading = Lock()
        self.failed: Callable[[str], object] = lambda message: None  # called in any thread
        self._tasks: list[Task[Any]] = []
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="notes")

    def close(self) -> list[str]:
        """Wait for pending writes and close everything; returns a sentence for each write that failed."""
        for task in self._tasks:
            task.give_up(wait=True)
        failures: list[str] = []
        self.failed = failures.append
        self._writing.shutdown(wait=True)
        self.notes.close()
        self.store.close()
        return failures

    def _write(self, work: Callable[..., None], *arguments: Any) -> None:
        def done(future: Future[None]) -> None:
            if error := future.exception():
                self.failed(str(error))

        self._writing.submit(work, *arguments).add_done_callback(done)

    def start(self, place: Place | None = None) -> None:
        """Open the place where the user was, else the layer with the most detectors.

        Raises UserError where every layer is damaged.
        """
        if not self.layers:
            return
        if place is not None and self._restore(place):
            self.neurons.steps.clear()
            return
        *others, last = sorted(self.layers, key=lambda layer: (-self._detectors(layer), layer))
        for layer in others:
            try:
                self.neurons.open_layer(layer)
                return
            except UserError:
                continue
        self.neurons.open_layer(last)

    def _detectors(self, layer: int) -> int:
        try:
            return int(np.count_nonzero(self.store.column(layer, "order")))
        except UserError:
            return -1  # damaged: any other layer comes first

    def _restore(self, place: Place) -> bool:
        self.filters = place.filters[-MAX_FILTERS:]
        if place.layer not in self.layers:
            return False
        neurons = self.neurons
        try:
            neurons.open_layer(place.layer)
        except UserError:
            return False
        # Each by itself: another version's filters or columns may differ, and one may be damaged.
        with suppress(UserError):
            neurons.set_filter(place.filter)
        with suppress(UserError):
            neurons.set_sort(place.sort, place.descending)
        rows = np.flatnonzero(neurons.rows == place.neuron)
        neurons.move_to(int(rows[0]) if len(rows) else 0)
        return True

    @property
    def place(self) -> Place:
        """Where the user is now."""
        neurons = self.neurons
        neuron = -1 if neurons.neuron is None else neurons.neuron
        return Place(
            neurons.layer, neuron, neurons.sort, neurons.descending, neurons.filter_text, self.filters[-MAX_FILTERS:]
        )

    def begin(self, work: Callable[[Proceed], Result], done: Callable[[Result | None, str], object]) -> Task[Result]:
        """Begin work on the store in a thread, as ``Task``; closing the store waits for it a moment."""
        task = Task(work, done)
        self._tasks = [*(earlier for earlier in self._tasks if not earlier.ended), task]
        return task

    # What the panes draw

    @property
    def title(self) -> str:
        """The store's folder name."""
        return self.store.path.name or str(self.store.path)

    @property
    def rule(self) -> str:
        """When a neuron counts as activated, where that is by thresholds: ``share:0.01``; else nothing."""
        activated = self.store.run.activated
        return str(activated) if activated.has_thresholds else ""

    def text(self, token: int) -> str:
        """A token's text."""
        return self.store.vocabulary.text(token)

    def page(self, key: Key, order: int = 1, contexts: bool = True) -> PageData:
        """Everything about one neuron. Raises UserError."""
        neuron = self.store.neuron(*key)
        corpus = self.store.run.corpus
        contexts_read: list[ContextText] = []
        if contexts:
            strongest = (*neuron.strongest, *neuron.negative)
            contexts_read = [self.context(context, False) for context in strongest]
            contexts_read += [self.context(context, True) for context in neuron.drawn]
        return PageData(
            neuron=neuron,
            text=self.text,
            glyphs=self.glyphs,
            windows=corpus.counted_windows,
            contexts=tuple(contexts_read),
            marked=key in self.neurons.marks,
            note=self.neurons.note(key),
            domains=tuple(domain.name for domain in corpus.counted_domains),
            order=order,
            concepts=self.store.concepts,
        )

    def context(self, context: Context, drawn: bool) -> ContextText:
        """The tokens around one activated position, as texts."""
        window = self.store.window(context.window)
        at = context.position
        left = window[max(at - AROUND, 0) : at].tolist()
        right = window[at + 1 : at + 1 + AROUND].tolist()
        running = self.store.vocabulary.running
        return ContextText(
            tuple(running(left)),
            self.text(int(window[at])),
            tuple(running(right)),
            context.activation,
            context.window,
            at,
            self.domain_of(context.window),
            drawn,
        )

    def domain_of(self, window: int) -> str:
        """The name of the domain that a window belongs to."""
        for domain in self.store.run.corpus.domains:
            if domain.first_window <= window < domain.first_window + domain.windows:
                return domain.name
        return ""

    # Slow: call these in a thread

    def read_figures(self, layer: int) -> LayerFigures:
        """The figures of one layer, for the layer list. Raises UserError."""
        figures = layer_figures(self.store, layer)
        self.figures[layer] = figures
        return figures

    def search(self, text: str, limit: int = 200) -> list[Hit | TriggerHit]:
        """The detectors of what a text fits, strongest first, over the layers finished by now; below them the neurons
        that come closest. Raises UserError for a bad regular expression."""
        detectors = self.read_index().search(text)
        try:
            with keeping():
                self.triggers.refresh()
        except UserError:
            if not detectors:
                raise
            # A damaged layer hides what comes close, not what is known of the detectors.
            return list(detectors[:limit])
        known = {(hit.layer, hit.neuron) for hit in detectors}
        return [*detectors[:limit], *self.triggers.search(text, max(limit - len(detectors), 0), known)]

    def read_index(self) -> TokenIndex:
        """The token index of the layers finished by now."""
        with self._indexing:
            if self.index is None:
                with keeping():
                    self.index = TokenIndex(self.store)
            else:
                self.index.refresh()
            return self.index

    def model(self) -> PromptModel:
        """The store's model, loaded when it is first asked for. Raises UserError where it cannot be."""
        with self._loading:
            if self._model is None:
                # torch takes seconds to import, and most sessions never need it.
                from ffnscope.core.prompt import PromptModel

                self._model = PromptModel.load(self.store.run, self._thresholds)
            return self._model

    def _thresholds(self, layer: int) -> np.ndarray:
        """[F] float32: a layer's thresholds; infinite until the layer is finished."""
        if layer not in self.store.layers():
            return np.full(self.store.run.model.neurons_of(layer), np.inf, np.float32)
        return self.store.column(layer, "threshold")

    def look(self) -> tuple[Progress, tuple[int, ...]]:
        """How far the collector is, and the layers in the store."""
        return self.store.progress(), self.store.layers()

    def matches_everywhere(self, text: str) -> int:
        """How many neurons of the whole model a filter keeps. Raises UserError for a bad filter."""
        return sum(self.neurons.matches(text, layer) for layer in self.layers)

    def export(self, path: Path, selection: np.ndarray, overwrite: bool) -> int:
        """Write neurons [N, 2] as CSV; how many. Raises UserError, also where the file is there and not to be replaced."""
        from ffnscope.store.export.write import write_file

        return write_file(path, self.store, selection, overwrite=overwrite)

    def csv_row(self, key: Key) -> str:
        """One neuron as `ffnscope export` writes it, without the header."""
        from ffnscope.store.export.write import write

        out = io.StringIO()
        write(self.store, out, np.array([key], np.int64))
        return out.getvalue().partition("\n")[2].rstrip("\n")
