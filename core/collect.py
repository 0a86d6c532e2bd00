"""One run from a model and a corpus to a store: read, sweep, count, project, commit."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ffnscope.core.activations.budget import GIB, Plan, check_memory, count_threads, make_plan
from ffnscope.core.activations.forward import RecordedLayer, Sweep, first_tokens, make_groups
from ffnscope.core.activations.malloc import keep_freed_memory
from ffnscope.core.activations.scratch_folder import held, run_folder, scratch_folder
from ffnscope.core.corpus.windows import Corpus
from ffnscope.core.model.device import choose_device, choose_dtype
from ffnscope.core.model.file_stamps import Unchanged
from ffnscope.core.model.layered import LayeredModel
from ffnscope.core.model.load import check_structure, load_model
from ffnscope.core.model.offload import load_offloaded
from ffnscope.core.model.source import ModelSource, model_files, open_model
from ffnscope.core.model.token_texts import build_vocabulary
from ffnscope.core.model.tokenizer import load_tokenizer
from ffnscope.core.processes import Team, join_team
from ffnscope.core.run.corpus import _read_corpus
from ffnscope.core.run.identity import describe_run
from ffnscope.core.run.overlap import Behind
from ffnscope.core.run.progress import ProgressMeter, Report
from ffnscope.core.run.request import CollectRequest, check_request, parse_layers
from ffnscope.core.run.signals import interruptible
from ffnscope.core.run.store import _open_store
from ffnscope.core.statistics.arrays import _check_finite, _check_projections, layer_arrays, strongest_arrays
from ffnscope.core.statistics.counts import LayerCounts, count_layer, counting_bytes
from ffnscope.core.statistics.projection import project
from ffnscope.core.statistics.similarity import similar_rows
from ffnscope.core.statistics.tables import CorpusTables, make_tables
from ffnscope.store.errors import UserError
from ffnscope.store.format.schema import ABSENT
from ffnscope.store.records import Progress, RunInfo
from ffnscope.store.writer import StoreWriter


def collect(request: CollectRequest, report: Report = lambda event: None) -> None:
    """Run a model over a corpus and fill a store. ``report`` gets progress and lines for the log.

    Raises UserError for whatever the user can mend; what was finished by then stays in the store.
    """
    with interruptible(), join_team() as team:
        say = report if team.leads else _silent
        # float32 means all of it: TORCH_ALLOW_TF32_CUBLAS_OVERRIDE would cut the products' mantissas to 10 bits.
        torch.set_float32_matmul_precision("highest")
        team.together(lambda: check_request(request) if team.leads else None)
        device = team.together(lambda: choose_device(request.device, team.local_rank))
        source, tokenizer = team.together(lambda: _open_source(request))
        weights = team.together(lambda: Unchanged.now(model_files(source)))
        # One process reads and tokenises; the others find the windows in the cache.
        corpus = team.in_turn(lambda _: _read_corpus(request, source, tokenizer, say))
        load = load_offloaded if request.offload else load_model
        model = team.together(lambda: load(source, device, choose_dtype(request.dtype, source, device)))
        if device.type == "cpu":
            keep_freed_memory()
        run = describe_run(request, source, model, corpus)
        tables = cache(partial(make_tables, corpus))

        def fits() -> None:
            _plan(request, run, model, corpus, team)
            check_memory(_counting_bytes(tables(), model, team))
            model.prepare(first_tokens(corpus.tokens, device))

        with _open_store(request, run, fits, team, say) as (writer, complete):
            if not complete:
                _Run(request, run, model, weights, corpus, tables(), tokenizer, writer, team, say).go()
            elif team.leads and not request.scratch:
                shutil.rmtree(scratch_folder(request), ignore_errors=True)


def _open_source(request: CollectRequest) -> tuple[ModelSource, Any]:
    source = open_model(request.model, request.trust_remote_code)
    # What the configuration already tells need not wait until a large corpus is read and the weights are loaded.
    check_structure(source)
    parse_layers(request.layers, int(source.text_config.num_hidden_layers))
    return source, load_tokenizer(source)


class _Run:
    """The run itself: groups of layers through the sweep, and each layer's statistics into the store.

    ``writer`` is None in the processes that do not lead.
    """

    def __init__(
        self,
        request: CollectRequest,
        run: RunInfo,
        model: LayeredModel,
        weights: Unchanged,
        corpus: Corpus,
        tables: CorpusTables,
        tokenizer: Any,
        writer: StoreWriter | None,
        team: Team,
        report: Report,
    ):
        self.request = request
        self.run = run
        self.model = model
        self.weights = weights
        self.corpus = corpus
        self.tokenizer = tokenizer
        self.writer = writer
        self.team = team
        self.folder = run_folder(request, run)
        self.tables = tables
        self.progress = ProgressMeter(run, writer, report)
        self.report = report

    def go(self) -> None:
        done = self.team.gather(self.team.together(self._done))[0]
        if set(self.run.layers) - done:
            with held(self.folder, self.team):
                self._sweep(done)
        self.team.wait()
        if self.team.leads:
            self.progress.finish()
            # Tokenised windows in a scratch folder of the user's own serve the next run too.
            shutil.rmtree(self.folder if self.request.scratch else self.folder.parent, ignore_errors=True)

    def _done(self) -> set[int]:
        """The layers that are in the store already."""
        return set() if self.writer is None else set(self.writer.layers())

    def _begin(self) -> None:
        """Write what comes before the first layer, where it is not there yet."""
        if self.writer is not None and not self.writer.begun:
            vocabulary = build_vocabulary(self.tokenizer, self.run.model.vocabulary)
            windows = self.corpus.tokens[: self.tables.counted_windows]
            self.writer.begin(self.run, vocabulary.texts, vocabulary.whole, windows, self.tables.ngrams[0].totals)

    def _sweep(self, done: set[int]) -> None:
        plan = self.team.gather(self.team.together(self._plan))[0]
        memory = _counting_bytes(self.tables, self.model, self.team)
        self.team.together(lambda: check_memory(memory))
        self.report(
            f"{plan} in {self.folder}; {memory / self.team.local_size / GIB:.2f} GiB of memory for counting, beside the model"
        )
        batch_size = int(self.run.settings["batch_size"])
        counted = self.tables.counted_windows
        sweep = self.team.together(
            lambda: Sweep(self.model, self.corpus.tokens, counted, batch_size, self.folder, self.team)
        )
        # Only now: what cannot be run, and is given other options, has not begun.
        self.team.together(self._begin)
        start = self.team.gather(sweep.resumable(min(set(self.run.layers) - done)))[0]
        self.progress.begin(start, len(done))
        try:
            with Behind(_overlaps(self.model, self.team)) as behind:
                for group in make_groups(self.run.layers, plan.group_layers, start):
                    missing = tuple(layer for layer in group.recorded if layer not in done)
                    recorded = sweep.run_group(replace(group, recorded=missing), self.progress.forward)
                    self.team.together(partial(self._check_weights, sweep.hidden_path(group.last)))
                    behind.do(partial(self._finish_group, recorded, sweep.hidden_path(group.first), behind.proceed))
        except KeyboardInterrupt:
            self.progress.interrupt()
            raise

    def _check_weights(self, left: Path) -> None:
        """Raise UserError where the model has been changed, without what the group left for the next one."""
        try:
            self.weights.check()
        except UserError:
            left.unlink(missing_ok=True)
            raise

    def _finish_group(self, recorded: list[RecordedLayer], entered: Path, proceed: Callable[[], None]) -> None:
        for each in recorded:
            self.team.together(partial(self._finish_layer, each, proceed))
        if self.team.leads:
            entered.unlink(missing_ok=True)

    def _plan(self) -> Plan | None:
        if not self.team.leads:
            return None
        return _plan(self.request, self.run, self.model, self.corpus, self.team)

    def _finish_layer(self, recorded: RecordedLayer, proceed: Callable[[], None]) -> None:
        def counted(neurons: int) -> None:
            proceed()
            self.progress.count(neurons * self.team.size)

        proceed()
        layer, scratch = recorded.layer, recorded.scratch
        begun = time.monotonic()
        self.progress.enter(f"counting layer {layer}")
        sums = scratch.sums()
        _check_finite(layer, sums, self.run.settings["dtype"])
        own = count_layer(
            layer,
            scratch,
            self.tables,
            self.request.min_occurrences,
            count_threads(self.team.local_size),
            counted,
            self.team.share(range(scratch.neurons)),
        )
        parts = self.team.gather_to_leader(own)
        if self.writer is None:
            scratch.close()
            return
        counts = LayerCounts.joined(parts)
        arrays = layer_arrays(counts, self.tables, scratch.maxima(), sums)
        arrays |= strongest_arrays(recorded.strongest.values, recorded.strongest.places, self.corpus.seq_len)
        last = arrays["detected_tokens"].astype(np.int64)
        order = (last != ABSENT).sum(axis=1)
        tokens = last[np.arange(len(last)), order - 1] if len(last) else np.zeros(0, np.int64)
        self.progress.enter(f"projecting layer {layer}")
        outputs = self.model.output_rows(layer)
        arrays |= project(
            outputs,
            self.model.unembedding(),
            self.request.top_k,
            arrays["detected_neuron"],
            tokens,
        )
        _check_projections(layer, arrays)
        self.progress.enter(f"comparing output rows of layer {layer}")
        arrays |= similar_rows(outputs)
        self.progress.enter(f"writing layer {layer}")
        alive = np.flatnonzero(counts.activations)
        curves = ((int(neuron), counts.curves[neuron]) for neuron in alive)
        self.writer.write_layer(layer, arrays, curves, {"seconds_counting": time.monotonic() - begun})
        self.progress.layer_done()
        scratch.remove()


def _overlaps(model: LayeredModel, team: Team) -> bool:
    """Whether a group is counted while the next one runs: where those are different processors that several threads may
    use (not MPS), and one process does both, so that there is one order of what the processes say to each other."""
    return model.device.type == "cuda" and team.size == 1


def _counting_bytes(tables: CorpusTables, model: LayeredModel, team: Team) -> int:
    """Of memory, for all of the run's processes on this host."""
    return counting_bytes(tables, model.neurons, count_threads(team.local_size)) * team.local_size


def _plan(request: CollectRequest, run: RunInfo, model: LayeredModel, corpus: Corpus, team: Team) -> Plan:
    return make_plan(
        run.layers,
        len(corpus.tokens),
        corpus.seq_len,
        model.neurons,
        model.width,
        next(model.base.parameters()).element_size(),
        run_folder(request, run),
        request.scratch_gb,
        request.group_layers,
        model.most_layers(),
        2 if _overlaps(model, team) else 1,
    )


def _silent(event: Progress | str) -> None:
    """Only the process that leads speaks."""
