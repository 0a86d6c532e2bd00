"""A dry run: what a run would take of this machine for this model and corpus, without starting it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from ffnscope.core.activations.budget import (
    Plan,
    available_memory,
    count_threads,
    make_plan,
    size_text,
)
from ffnscope.core.activations.mixture import scratch_bytes
from ffnscope.core.activations.thresholds import ThresholdWindows
from ffnscope.core.corpus.windows import Corpus
from ffnscope.core.model.device import choose_device, choose_dtype, device_name
from ffnscope.core.model.experts import Mixture
from ffnscope.core.model.shape import ModelShape, model_shape
from ffnscope.core.model.source import ModelSource
from ffnscope.core.model.variants.expert_kernels import describe_implementation
from ffnscope.core.run.corpus import read_corpus
from ffnscope.core.run.keep import choose_keep, kept_bytes
from ffnscope.core.run.prepare import open_source
from ffnscope.core.run.progress import Report
from ffnscope.core.run.request import (
    CollectRequest,
    choose_batch_size,
    counting_overlaps,
    counts_on_device,
    hidden_place,
    parse_layers,
)
from ffnscope.core.statistics.counts import count_layer, counting_bytes
from ffnscope.core.statistics.device.device_counts import DeviceCounter
from ffnscope.core.statistics.tables import CorpusTables, make_tables
from ffnscope.store.activation_rule import ActivationRule

EXACT, MEASURED, ARITHMETIC = "exact", "measured here", "arithmetic"
PROBE_SECONDS = 0.5  # for measuring the speed of products
PROBE_SIZE = {"cpu": 1024}  # rows of the matrices
GPU_PROBE_SIZE = 8192
MODEL_SHARE = 0.6  # of the speed of bare products that a forward pass reaches
PROBE_NEURONS = 64  # that are counted to see how long it takes: as many as are put in order together
ACTIVE = 0.06  # of their positions


@dataclass(frozen=True)
class PlanLine:
    """One line of a plan: what, how much, and whether it is exact, measured here or arithmetic."""

    name: str
    text: str
    kind: str


@dataclass(frozen=True)
class Speeds:
    """``products`` in the model's dtype and ``float32`` on the device, floating-point operations per second;
    ``counting``: seconds per neuron and position of a thread."""

    products: float
    float32: float
    counting: float


def plan_run(request: CollectRequest, report: Report) -> list[PlanLine]:
    """What ``request`` would take. Reads the corpus and the model's configuration, no weights, and writes nothing but
    tokens into --scratch DIR, where that is given.

    Raises UserError as a run would that cannot start.
    """
    device = choose_device(request.device)
    source, tokenizer = open_source(request)
    dtype = choose_dtype(request.dtype, source, device)
    shape = model_shape(source, dtype)
    with TemporaryDirectory() as folder:
        kept = request if request.scratch is not None else replace(request, scratch=Path(folder))
        corpus = read_corpus(kept, source, tokenizer, report)
        tables = make_tables(corpus)
        on_device = counts_on_device(request.count_on, device)
        counter = DeviceCounter(tables, device) if on_device and DeviceCounter.exact(tables) else None
        report("measuring how fast this machine multiplies and counts")
        speeds = Speeds(_products(device, dtype), _products(device, torch.float32), _counting(tables, counter))
    layers = parse_layers(request.layers, shape.layers)
    overlaps = counting_overlaps(device)
    threads = count_threads(overlaps=overlaps)
    counting = counting_bytes(tables, shape.neurons, threads, on_device)
    available = available_memory()
    counted = [domain.windows for domain in corpus.domains if not domain.count_only]
    rule = ActivationRule.parse(request.activated)
    chosen = ThresholdWindows.choose(rule, corpus.tokens, counted, corpus.bos_id)
    on_host = request.offload and shape.experts_on_host(device)
    host_weights = shape.host_bytes(device) if request.offload else 0
    most_layers = (1 if on_host else shape.group_fits(device)) if request.offload else None
    if chosen is not None:
        counting += chosen.bytes_needed(shape.neurons)
        most_layers = chosen.most_layers(shape.neurons, most_layers)
    plan = make_plan(
        layers,
        len(corpus.tokens),
        corpus.seq_len,
        layer_bytes=max(scratch_bytes(len(corpus.tokens), ffn, corpus.seq_len) for ffn in shape.ffns),
        width=shape.width,
        itemsize=dtype.itemsize,
        folder=request.scratch_folder,
        scratch_gb=request.scratch_gb,
        group_layers=request.group_layers,
        most_layers=most_layers,
        groups_at_once=2 if overlaps else 1,
        hidden=hidden_place(request.hidden, device.type),
        memory=None if available is None else available - counting - host_weights,
    )
    batch = choose_batch_size(request.batch_size, corpus.seq_len, device)
    batches = _batches(len(corpus.tokens), batch, chosen, shape)
    name = device_name(device)
    return [
        PlanLine("model", f"{source.title}: {shape.layers} layers of {shape.neurons:,} neurons, width {shape.width:,}, "
                          f"{str(dtype).removeprefix('torch.')} on {device}{f' ({name})' if name else ''}", EXACT),
        PlanLine("corpus", f"{corpus.tokens.size:,} positions in {len(corpus.tokens):,} windows of {corpus.seq_len:,}, "
                           f"{batch} windows per batch", EXACT),
        PlanLine("groups", str(plan).split(", ")[0], EXACT),
        PlanLine("hidden states", plan.hidden_line(), EXACT),
        *_experts(source, shape, on_host),
        *_space(request, plan, shape, corpus, counted, layers=layers, counting=counting, batches=batches, on_host=on_host,
                device=device),
        *_times(plan, shape, corpus, speeds, windows=sum(batches), layers=layers, threads=threads, overlaps=overlaps),
    ]  # fmt: skip


def _batches(windows: int, batch: int, chosen: ThresholdWindows | None, shape: ModelShape) -> list[int]:
    """Windows of each batch that runs through a layer; thresholds take a pass of their own."""
    sizes = [min(batch, windows - first) for first in range(0, windows, batch)]
    if chosen is not None:
        whole = any(isinstance(ffn, Mixture) for ffn in shape.ffns)
        sizes += [len(together) for together, _ in chosen.batches(windows, batch, whole=whole)]
    return sizes


def _experts(source: ModelSource, shape: ModelShape, on_host: bool) -> list[PlanLine]:
    """How a mixture's experts are computed, and where their matrices are."""
    if not shape.experts_implementation:
        return []
    lines = [
        PlanLine("experts", describe_implementation(shape.experts_implementation, source.experts_implementation), EXACT)
    ]
    if on_host:
        lines.append(PlanLine(
            "experts", f"a layer's {size_text(shape.layer_bytes)} do not fit half of the GPU's free memory: the matrices of "
            f"its experts, {size_text(shape.expert_bytes)}, stay in the host's memory, and those that a batch is routed to are "
            f"moved for it, {size_text(shape.moved_bytes)} at a time", MEASURED))  # fmt: skip
    return lines


def _space(
    request: CollectRequest,
    plan: Plan,
    shape: ModelShape,
    corpus: Corpus,
    counted: list[int],
    *,
    layers: tuple[int, ...],
    counting: int,
    batches: list[int],
    on_host: bool,
    device: torch.device,
) -> list[PlanLine]:
    """Memory, scratch, the store, and what is moved."""
    total = layers[-1] + 1
    group = min(plan.group_layers, total)
    layer_bytes = shape.layer_bytes - (shape.expert_bytes if on_host else 0)  # that are on the device
    weights = layer_bytes * (group if request.offload else shape.layers) + shape.around_bytes
    if on_host:
        weights += shape.moved_bytes
    activations = max(batches) * corpus.seq_len * shape.neurons * 10
    in_memory = plan.hidden_bytes if plan.hidden_in_memory else 0
    hidden_files = 0 if plan.hidden_in_memory else 2 * (plan.groups - 1) * plan.hidden_bytes
    bits = sum(scratch_bytes(len(corpus.tokens), shape.ffns[layer], corpus.seq_len) for layer in layers)
    size = {"seq_len": corpus.seq_len, "neurons": shape.neurons, "layers": len(layers)}
    keep = choose_keep(request.keep, request.keep_gb, counted, **size)
    parts = {"counting": counting, "hidden states": in_memory}
    if request.offload and device.type == "cuda":
        # Those of the group, and all of the next one, which is read meanwhile.
        ahead = shape.layer_bytes * min(plan.group_layers, total - group)
        parts["weights on their way to the GPU"] = ahead + (shape.expert_bytes * group if on_host else 0)
    listed = ", ".join(f"{size_text(size)} for {name}" for name, size in parts.items())
    lines = [
        PlanLine("memory", f"{size_text(sum(parts.values()))}: {listed}; beside the corpus and the model", EXACT),
        PlanLine("scratch", f"{size_text(plan.scratch_bytes)} at most, in {request.scratch_folder}", EXACT),
        PlanLine("scratch traffic", f"{size_text(2 * bits + hidden_files)} written and read again", ARITHMETIC),
        PlanLine("store", f"{size_text(kept_bytes(keep, **size))} of kept activation bits at most, beside the statistics",
                 EXACT),
    ]  # fmt: skip
    if device.type == "cuda":
        moved = 2 * (plan.groups - 1) * plan.hidden_bytes
        bus = f"{size_text(layer_bytes * total)} of weights once"
        if on_host:
            bus += f", {size_text(_routed_bytes(shape, corpus.seq_len, batches) * total)} of experts at most"
        lines += [
            PlanLine("GPU memory", f"{size_text(weights)} of weights, about {size_text(activations)} for a batch", ARITHMETIC),
            PlanLine("bus", f"{bus}, {size_text(bits)} of bits, {size_text(moved)} of hidden states", ARITHMETIC),
        ]  # fmt: skip
    return lines


def _routed_bytes(shape: ModelShape, seq_len: int, batches: list[int]) -> int:
    """Bytes of a layer's experts that its batches need at most, each moved once for each batch that is routed to it."""
    experts = next(ffn.experts for ffn in shape.ffns if isinstance(ffn, Mixture))
    needed = sum(min(experts.count, windows * seq_len * experts.chosen) for windows in batches)
    return needed * (shape.expert_bytes // experts.count)


def _times(
    plan: Plan,
    shape: ModelShape,
    corpus: Corpus,
    speeds: Speeds,
    *,
    windows: int,
    layers: tuple[int, ...],
    threads: int,
    overlaps: bool,
) -> list[PlanLine]:
    """How long the parts take, and the whole."""
    total, positions = layers[-1] + 1, corpus.tokens.size
    matrices = 2 * shape.layer_values + 4 * corpus.seq_len * shape.width
    forward = matrices * total * windows * corpus.seq_len / (MODEL_SHARE * speeds.products)
    counting = speeds.counting * positions * shape.neurons * len(layers) / threads
    columns = shape.vocabulary + shape.neurons
    projecting = 2 * shape.neurons * columns * shape.width * len(layers) / speeds.float32
    behind = counting + projecting
    last = behind / plan.groups
    whole = max(forward, behind - last) + last if overlaps else forward + behind
    how = "the last group behind the forward pass, the others beside it" if overlaps else "one after the other"
    return [
        PlanLine("forward", f"{_duration(forward)} at {MODEL_SHARE:.0%} of {_speed(speeds.products)}", MEASURED),
        PlanLine("counting", f"{_duration(counting)} on {threads} {'thread' if threads == 1 else 'threads'}, with "
                             f"{ACTIVE:.0%} of the positions active", MEASURED),
        PlanLine("projecting", f"{_duration(projecting)} at {_speed(speeds.float32)}", MEASURED),
        PlanLine("time", f"about {_duration(whole)}: {how}; loading the model and slow disks come on top", ARITHMETIC),
    ]  # fmt: skip


def _products(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations per second of a product of two square matrices."""
    size = PROBE_SIZE.get(device.type, GPU_PROBE_SIZE)
    one, other = torch.ones(2, size, size, device=device, dtype=dtype).unbind()

    def product() -> None:
        (one @ other)[0, 0].item()  # waits for the device

    product()
    number, seconds = _repeated(product)
    return number * 2 * size**3 / seconds


def _counting(tables: CorpusTables, counter: DeviceCounter | None) -> float:
    """Seconds per neuron and position that a thread takes to count a layer."""
    windows, width = tables.bos.shape
    rng = np.random.default_rng(0)
    window = np.packbits(rng.random((PROBE_NEURONS, tables.seq_len)) < ACTIVE, axis=1, bitorder="little")

    class Invented:
        neurons = PROBE_NEURONS

        def block(self, first: int, last: int) -> np.ndarray:
            """Bits that differ from window to window."""
            bits = np.empty((last - first, windows, width), np.uint8)
            for index in range(windows):
                bits[:, index] = np.roll(window[first:last], index, axis=0)
            return bits

    count_layer(0, Invented(), tables, min_occurrences=5, device=counter)  # compiles the loops
    started = time.perf_counter()
    count_layer(0, Invented(), tables, min_occurrences=5, device=counter)
    return (time.perf_counter() - started) / (PROBE_NEURONS * windows * tables.seq_len)


def _repeated(work: Callable[[], None]) -> tuple[int, float]:
    """How often ``work`` was done, in how many seconds."""
    started, number = time.perf_counter(), 0
    while time.perf_counter() - started < PROBE_SECONDS:
        work()
        number += 1
    return number, time.perf_counter() - started


def _speed(operations: float) -> str:
    return f"{operations / 1e12:,.0f} TFLOP/s" if operations >= 1e13 else f"{operations / 1e9:,.0f} GFLOP/s"


def _duration(seconds: float) -> str:
    """As a user reads it."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
