"""One run from a model and a corpus to a store: read, sweep, count, project, commit."""

from __future__ import annotations

import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ffnscope.core.loading import (
    ModelSource,
    choose_device,
    choose_dtype,
    load_model,
    load_tokenizer,
    open_model,
)
from ffnscope.core.meter import ProgressMeter, Report
from ffnscope.core.model import LayeredModel
from ffnscope.core.plan import count_threads, make_plan
from ffnscope.core.projection import project
from ffnscope.core.request import CollectRequest, check_request, check_same_run, describe_run
from ffnscope.core.statistics import count_layer, layer_arrays, make_tables
from ffnscope.core.sweep import Group, RecordedLayer, Sweep, make_groups
from ffnscope.core.vocabulary import build_vocabulary
from ffnscope.core.windows import Corpus, build_corpus, resolve_seq_len
from ffnscope.store.environment import is_store
from ffnscope.store.errors import UserError
from ffnscope.store.reader import Store
from ffnscope.store.records import Progress, RunInfo
from ffnscope.store.schema import ABSENT
from ffnscope.store.writer import StoreWriter, remove_store

FEW_WINDOWS = 100  # below this many, mutual information with position is mostly noise


def collect(request: CollectRequest, report: Report = lambda event: None) -> None:
    """Run a model over a corpus and fill a store. ``report`` gets progress and lines for the log.

    Raises UserError for whatever the user can mend; what was finished by then stays in the store.
    """
    check_request(request)
    with _interruptible():
        source = open_model(request.model, request.trust_remote_code)
        tokenizer = load_tokenizer(source)
        seq_len = resolve_seq_len(request.seq_len, source.positions, request.sources)
        bos_id = _bos_id(request, source, tokenizer, report)
        corpus = build_corpus(
            request.sources,
            tokenizer,
            seq_len,
            request.max_tokens,
            source.vocabulary,
            bos_id,
            _reading(report),
            scratch_folder(request) / "tokens",
        )
        _report_corpus(corpus, report)
        device = choose_device(request.device)
        model = load_model(source, device, choose_dtype(request.dtype, source, device))
        run = describe_run(request, source, model, corpus)
        with _open_store(request, run, report) as writer:
            if writer is not None:
                _Run(request, run, model, corpus, tokenizer, writer, report).go()


class _Run:
    """The part of a run that writes the store."""

    def __init__(
        self,
        request: CollectRequest,
        run: RunInfo,
        model: LayeredModel,
        corpus: Corpus,
        tokenizer: Any,
        writer: StoreWriter,
        report: Report,
    ):
        self.request = request
        self.run = run
        self.model = model
        self.corpus = corpus
        self.tokenizer = tokenizer
        self.writer = writer
        self.folder = scratch_folder(request) / f"run-{run.run_id[:16]}"
        self.tables = make_tables(corpus)
        self.progress = ProgressMeter(run, writer, report)
        self.report = report

    def go(self) -> None:
        done = set(self.writer.layers())
        wanted = self.run.layers
        missing = [layer for layer in wanted if layer not in done]
        counted = self.tables.counted_windows
        if not self.writer.begun:
            vocabulary = build_vocabulary(self.tokenizer, self.run.model.vocabulary)
            totals = self.tables.ngrams[0].totals
            self.writer.begin(self.run, vocabulary.texts, vocabulary.whole, self.corpus.tokens[:counted], totals)
        if missing:
            self._sweep(wanted, missing, done)
        self.progress.finish()
        # Tokenised windows in a scratch folder of the user's own serve the next run too.
        shutil.rmtree(self.folder if self.request.scratch else self.folder.parent, ignore_errors=True)

    def _sweep(self, wanted: tuple[int, ...], missing: list[int], done: set[int]) -> None:
        plan = make_plan(
            wanted,
            len(self.corpus.tokens),
            self.corpus.seq_len,
            self.model.neurons,
            self.model.width,
            next(self.model.base.parameters()).element_size(),
            self.folder,
            self.request.scratch_gb,
            self.request.group_layers,
        )
        self.report(f"{plan} in {self.folder}")
        _make_folder(self.folder)
        sweep = Sweep(self.model, self.corpus.tokens, self.tables.counted_windows, self.request_batch_size, self.folder)
        start = sweep.resumable(missing[0])
        groups = make_groups(wanted, plan.group_layers, start)
        self.progress.begin(start, len(done))
        try:
            for group in groups:
                still = Group(
                    group.first, group.last, tuple(each for each in group.recorded if each not in done), group.final
                )
                recorded = sweep.run_group(still, self.progress.forward)
                for each in recorded:
                    self._finish_layer(each)
                sweep.hidden_path(group.first).unlink(missing_ok=True)
        except KeyboardInterrupt:
            self.progress.interrupt()
            raise

    @property
    def request_batch_size(self) -> int:
        """Windows a batch, as the run's settings say."""
        return int(self.run.settings["batch_size"])

    def _finish_layer(self, recorded: RecordedLayer) -> None:
        layer, scratch = recorded.layer, recorded.scratch
        begun = time.monotonic()
        self.progress.phase = f"counting layer {layer}"
        sums = scratch.sums()
        if not np.isfinite(sums).all():
            raise UserError(
                f"layer {layer}: {np.count_nonzero(~np.isfinite(sums))} neurons have activations that are not finite "
                f"in {self.run.settings['dtype']}; run it with --dtype float32"
            )
        counts = count_layer(
            layer, scratch, self.tables, self.request.min_occurrences, count_threads(), self.progress.count
        )
        arrays = layer_arrays(counts, self.tables, scratch.maxima(), sums)
        arrays |= strongest_arrays(recorded.strongest.values, recorded.strongest.places, self.corpus.seq_len)
        last = arrays["detected_tokens"].astype(np.int64)
        order = (last != ABSENT).sum(axis=1)
        tokens = last[np.arange(len(last)), order - 1] if len(last) else np.zeros(0, np.int64)
        arrays |= project(
            self.model.output_rows(layer),
            self.model.unembedding(),
            self.request.top_k,
            arrays["detected_neuron"],
            tokens,
        )
        alive = np.flatnonzero(counts.activations)
        curves = ((int(neuron), counts.curves[neuron]) for neuron in alive)
        self.writer.write_layer(layer, arrays, curves, {"seconds_counting": time.monotonic() - begun})
        self.progress.layer_done()
        scratch.remove()


def strongest_arrays(values: np.ndarray, places: np.ndarray, seq_len: int) -> dict[str, np.ndarray]:
    """The store's arrays of the strongest activations from values [F, C] and places [F, C] (-1 where fewer)."""
    there = places >= 0
    return {
        "strongest_window": np.where(there, places // seq_len, ABSENT).astype(np.uint32),
        "strongest_position": np.where(there, places % seq_len, ABSENT).astype(np.uint32),
        "strongest_value": np.where(there, values, np.nan).astype(np.float32),
    }


def _bos_id(request: CollectRequest, source: ModelSource, tokenizer: Any, report: Report) -> int | None:
    if request.bos_id is not None:
        return request.bos_id
    if tokenizer is None:
        report(f"{source.name}: no tokenizer, so tokens are shown by id and none is BOS (--bos-id names one)")
        return None
    return tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id


@contextmanager
def _open_store(request: CollectRequest, run: RunInfo, report: Report) -> Iterator[StoreWriter | None]:
    """The store to write: new, overwritten, or resumed where model, corpus and settings are the same."""
    if is_store(request.store):
        if request.overwrite:
            remove_store(request.store)
        elif request.resume:
            with Store.open(request.store) as store:
                check_same_run(request.store, store.run, run)
                complete = store.complete
            if complete:
                report(f"{request.store}: complete already, nothing to do")
                yield None
                return
    with StoreWriter.open(request.store) as writer:
        yield writer


def _report_corpus(corpus: Corpus, report: Report) -> None:
    for domain in corpus.domains:
        line = f"{domain.name}: {domain.windows:,} windows of {corpus.seq_len}"
        if domain.dropped_tokens:
            line += f", {domain.dropped_tokens} tokens left over"
        notes = domain.notes.summary()
        report(line + (f"; {notes}" if notes else "") + (" (count only)" if domain.count_only else ""))
    counted = sum(domain.windows for domain in corpus.domains if not domain.count_only)
    if counted < FEW_WINDOWS:
        report(f"only {counted} windows: positional neurons need {FEW_WINDOWS} or more to be told from chance")


def _reading(report: Report) -> Callable[[str, int, int | None], None]:
    def say(domain: str, tokens: int, most: int | None) -> None:
        share = tokens / most if most else 0.0
        report(Progress("collecting", phase=f"reading {domain}: {tokens:,} tokens", fraction=share))

    return say


def scratch_folder(request: CollectRequest) -> Path:
    """Where a run's scratch files lie: in the folder of --scratch, else inside the store's."""
    return request.scratch or request.store / "scratch"


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made ({error.strerror}); name another folder with --scratch") from error


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP stop a run as Ctrl-C does: cleanly, with what was finished kept."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.signal(each, stop) for each in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
