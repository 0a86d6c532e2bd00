"""From the request to all that a run works with: model, corpus, identity, tables and plan."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ffnscope.core.activations.budget import (
    Plan,
    available_memory,
    check_memory,
    count_threads,
    make_plan,
)
from ffnscope.core.activations.forward import first_tokens
from ffnscope.core.activations.malloc import keep_freed_memory
from ffnscope.core.activations.mixture import scratch_bytes
from ffnscope.core.activations.side_stream import SideStream
from ffnscope.core.activations.thresholds import ThresholdWindows
from ffnscope.core.corpus.window_files import is_windows_file
from ffnscope.core.corpus.windows import Corpus
from ffnscope.core.model.device import choose_device, choose_dtype
from ffnscope.core.model.files.file_stamps import FileStamps
from ffnscope.core.model.layered import LayeredModel
from ffnscope.core.model.load import check_structure, load_model
from ffnscope.core.model.numerics import use_full_precision
from ffnscope.core.model.offload import OffloadedModel, check_in_parts, load_offloaded
from ffnscope.core.model.source import ModelSource, model_files, open_model
from ffnscope.core.model.token_texts import Vocabulary, build_vocabulary
from ffnscope.core.model.tokenizer import load_tokenizer, no_tokenizer
from ffnscope.core.model.variants.expert_kernels import describe_implementation
from ffnscope.core.model.variants.quantised import quantised_by
from ffnscope.core.model.variants.text_part import is_wrapper
from ffnscope.core.processes import Processes
from ffnscope.core.run.corpus import read_corpus
from ffnscope.core.run.identity import describe_run
from ffnscope.core.run.keep import check_room, kept_bytes
from ffnscope.core.run.kept_bits import KeptWindows
from ffnscope.core.run.progress import Report
from ffnscope.core.run.request import (
    CollectRequest,
    check_request,
    counting_overlaps,
    counts_on_device,
    hidden_place,
    parse_layers,
    stored_keep,
)
from ffnscope.core.statistics.concept_kernel import EvenSets, OddSets
from ffnscope.core.statistics.concepts import concept_sets
from ffnscope.core.statistics.counts import counting_bytes
from ffnscope.core.statistics.device.device_counts import DeviceCounter
from ffnscope.core.statistics.tables import CorpusTables, make_tables
from ffnscope.store.concepts.rules import concept_names
from ffnscope.store.errors import UserError
from ffnscope.store.records import RunInfo


@dataclass(frozen=True, eq=False)
class Prepared:
    """What a run works with, made once by ``prepare``; tables and plan when they are first asked for, because a run
    that is complete already needs neither."""

    request: CollectRequest
    processes: Processes
    source: ModelSource
    tokenizer: Any  # None where the model has none
    corpus: Corpus
    model: LayeredModel
    weights: FileStamps
    run: RunInfo

    @cached_property
    def tables(self) -> CorpusTables:
        """What counting needs of the corpus."""
        return make_tables(self.corpus, self._concepts())

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The tokens' texts."""
        return build_vocabulary(self.tokenizer, self.run.model.vocabulary)

    @property
    def concept_names(self) -> tuple[str, ...]:
        """The concepts that neurons are described by; none where no bits are kept."""
        return concept_names([domain.name for domain in self.run.corpus.counted_domains]) if self.kept else ()

    def _concepts(self) -> tuple[EvenSets, OddSets] | None:
        if self.kept is None:
            return None
        texts, whole = self.vocabulary.texts, self.vocabulary.whole
        windows, domains = self.kept.windows, self.run.corpus.counted_domains
        return concept_sets(
            windows,
            self.corpus.tokens[windows],
            self.corpus.bos_id,
            text_of=lambda token: texts[token] if token < len(texts) else "",
            whole=lambda token: token < len(texts) and bool(whole[token]),
            domain_of=np.searchsorted([domain.first_window for domain in domains], windows, side="right") - 1,
            domains=[domain.name for domain in domains],
        )

    @cached_property
    def plan(self) -> Plan:
        """Layers per group, and where hidden states are kept. Raises UserError where the scratch folder has no room for
        one layer, and where hidden states do not fit the memory as they should."""
        request, model, processes = self.request, self.model, self.processes
        self._prepare_model()
        hidden = hidden_place(request.hidden, model.device.type)
        if self.chosen is not None and processes.size > 1:
            hidden = "disk"  # the main process finds thresholds on windows that others run
        return make_plan(
            self.run.layers,
            len(self.corpus.tokens),
            self.corpus.seq_len,
            layer_bytes=max(scratch_bytes(len(self.corpus.tokens), ffn, self.corpus.seq_len) for ffn in model.ffns),
            width=model.width,
            itemsize=model.hidden_dtype.itemsize,
            folder=self.folder,
            scratch_gb=request.scratch_gb,
            group_layers=request.group_layers,
            most_layers=self._most_layers,
            groups_at_once=2 if self.overlaps else 1,
            hidden=hidden,
            memory=None if hidden == "disk" else self._memory_beside_counting(),
            host_share=processes.local_size / processes.size,
        )

    def _memory_beside_counting(self) -> int | None:
        available = available_memory()
        if available is None:
            return None
        thresholds = 0 if self.chosen is None else self.chosen.bytes_needed(self.model.neurons)
        return available - self.counting_bytes - thresholds - self.model.host_bytes * self.processes.local_size

    @cached_property
    def chosen(self) -> ThresholdWindows | None:
        """The windows that thresholds are fixed on; None where neurons have none."""
        return ThresholdWindows.choose(self.run.activated, self.corpus.tokens, self.counted_sizes, self.corpus.bos_id)

    @property
    def _most_layers(self) -> int | None:
        """The most layers per group that the device and the memory for thresholds hold; None where there is no limit."""
        most = self.model.most_layers()
        return most if self.chosen is None else self.chosen.most_layers(self.model.neurons, most)

    @property
    def folder(self) -> Path:
        """The folder of this run's scratch files."""
        return self.request.scratch_folder / f"run-{self.run.run_id[:16]}"

    @property
    def overlaps(self) -> bool:
        """Whether a group is counted while the next one runs."""
        return counting_overlaps(self.model.device)

    @property
    def threads(self) -> int:
        """Threads that count in this process."""
        return count_threads(self.processes.local_size, self.overlaps)

    @cached_property
    def device_counter(self) -> DeviceCounter | None:
        """What counts n-grams on the model's device; None where the host does. Raises UserError where --count-on device
        asks for what would not be exact."""
        device = self.model.device
        if not counts_on_device(self.request.count_on, device):
            return None
        if not DeviceCounter.exact(self.tables):
            if self.request.count_on == "auto":
                return None
            raise UserError("--count-on device: counts exactly up to 16,777,216 positions; use --count-on host")
        return DeviceCounter(self.tables, device, SideStream(device).use)

    @property
    def counting_bytes(self) -> int:
        """Memory that counting takes in all of the run's processes on this host, beside the model and hidden states."""
        on_device = counts_on_device(self.request.count_on, self.model.device)
        return counting_bytes(self.tables, self.model.neurons, self.threads, on_device) * self.processes.local_size

    def check_memory(self) -> None:
        """Raise UserError where counting needs more memory than is available."""
        check_memory(self.counting_bytes)
        if self.chosen is not None:
            check_memory(self.chosen.bytes_needed(self.model.neurons))

    @property
    def counted_sizes(self) -> tuple[int, ...]:
        """Windows of each counted domain."""
        return tuple(domain.windows for domain in self.run.corpus.counted_domains)

    @cached_property
    def kept(self) -> KeptWindows | None:
        """The windows whose bits are kept, None where there are none."""
        keep = self.run.settings.get("keep", 0)
        return KeptWindows.choose(self.corpus.tokens, self.counted_sizes, keep, self.corpus.bos_id) if keep else None

    @property
    def kept_bytes(self) -> int:
        """Bytes that the kept bits take in the store, at most."""
        keep, layers = self.run.settings.get("keep", 0), len(self.run.layers)
        return kept_bytes(keep, seq_len=self.corpus.seq_len, neurons=self.model.neurons, layers=layers)

    def check_fits(self) -> None:
        """Raise UserError where the run does not fit the disk or the memory, or the model cannot be run by layers."""
        _ = self.plan
        self.check_memory()
        check_room(self.request.store, self.kept_bytes)
        self._prepare_model()

    def _prepare_model(self) -> None:
        """Find out what the model's layers exchange, unless that is known."""
        if not self.model.prepared:
            self.model.prepare(first_tokens(self.corpus.tokens, self.model.device))


def prepare(request: CollectRequest, processes: Processes, report: Report) -> Prepared:
    """Check the request, open and load the model, read the corpus and identify the run.

    Raises UserError for whatever is wrong with any of them, on every process.
    """
    use_full_precision()
    processes.on_main(lambda: check_request(request))
    device = processes.on_all(lambda: choose_device(request.device, processes.local_rank))
    source, tokenizer = processes.on_all(lambda: open_source(request))
    for line in _describe_source(source):
        report(line)
    weights = processes.on_all(lambda: FileStamps.now(model_files(source)))
    # The main process reads and tokenises; the others find the windows in the cache.
    corpus = processes.main_process_first(lambda: read_corpus(request, source, tokenizer, report))
    load = load_offloaded if request.offload else load_model
    model = processes.on_all(lambda: load(source, device, choose_dtype(request.dtype, source, device)))
    if model.experts:
        report(f"{source.name}: {describe_implementation(model.experts_implementation, source.experts_implementation)}")
    if isinstance(model, OffloadedModel) and model.experts_on_host:
        report(f"{source.name}: a layer's experts do not fit the GPU; their matrices stay in the host's memory, and those that "
               "a batch is routed to are moved for it")  # fmt: skip
    if device.type == "cpu":
        keep_freed_memory()
    # A run is resumed with as many kept windows as it was started with, unless told otherwise.
    request = replace(request, keep=processes.broadcast(processes.on_main(lambda: stored_keep(request))))
    run = describe_run(request, source, model, corpus)
    return Prepared(request, processes, source, tokenizer, corpus, model, weights, run)


def _describe_source(source: ModelSource) -> list[str]:
    """What is run where that is not simply the model that the user named, one line for each reason."""
    lines = []
    if source.adapter is not None:
        lines.append(f"{source.adapter.name}: an adapter, merged with its base model {source.name}")
    if is_wrapper(source.config):
        classes = source.config.architectures or [type(source.config).__name__]
        lines.append(f"{source.name}: {classes[0]}; its language model is run, on text alone, and nothing else of it")
    if method := quantised_by(source.config):
        lines.append(
            f"{source.name}: its weights, quantised by {method}, are turned back into matrices as they are loaded"
        )
    return lines


def open_source(request: CollectRequest) -> tuple[ModelSource, Any]:
    """The model's configuration and its tokenizer, None where it has none. Raises UserError for what they show to be wrong,
    before a large corpus is read and the weights are loaded."""
    source = open_model(request.model, request.trust_remote_code, request.revision)
    check_structure(source)
    if request.offload:
        check_in_parts(source)
    parse_layers(request.layers, int(source.text_config.num_hidden_layers))
    tokenizer = load_tokenizer(source)
    if tokenizer is None and not all(is_windows_file(domain.path) for domain in request.sources):
        raise UserError(no_tokenizer(source))
    return source, tokenizer
