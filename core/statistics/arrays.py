"""All statistics of a layer as the arrays of the store (schema.LAYER_ARRAYS): the one place where they are joined."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from ffnscope.core.statistics.counts import LayerCounts, concatenate
from ffnscope.core.statistics.explained.tree import MODELS, explained, layer_sums
from ffnscope.core.statistics.positional import classify, is_positional, mi_bias, mutual_information
from ffnscope.core.statistics.projection import project
from ffnscope.core.statistics.similarity import similar_within
from ffnscope.core.statistics.tables import CorpusTables
from ffnscope.store.definitions import KINDS
from ffnscope.store.errors import UserError
from ffnscope.store.format.schema import ABSENT

CURVE_BLOCK = 2048  # neurons whose position curves are classified together
ORDER_NAMES = ("unigrams", "bigrams", "trigrams")

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class ActivationValues:
    """The activation function's output at activated positions: ``sums`` [F] float64, ``maxima`` [F] float32, and the
    ``strongest`` [F, C] float32 with their ``places`` [F, C] int64 (window * T + position, -1 where fewer)."""

    sums: np.ndarray
    maxima: np.ndarray
    strongest: np.ndarray
    places: np.ndarray


@dataclass(frozen=True, eq=False)
class ThresholdValues:
    """What a run by thresholds adds: ``thresholds`` [F] float32, ``positive`` [F] int64 activated positions where a > 0,
    and the strongest below 0, ``negative`` [F, C] float32 as -a with their ``places`` [F, C] int64."""

    thresholds: np.ndarray
    positive: np.ndarray
    negative: np.ndarray
    places: np.ndarray


@dataclass(frozen=True, eq=False)
class Routing:
    """How a layer's neurons belong to experts: ``first`` see every token, then ``neurons`` of each of E routed experts.
    ``counts`` [S, E] int64: positions of each window that an expert was chosen for."""

    first: int
    neurons: int
    counts: np.ndarray

    @property
    def sizes(self) -> list[int]:
        """Neurons of each group: the shared experts, where there are some, and every routed one."""
        return ([self.first] if self.first else []) + [self.neurons] * self.counts.shape[1]


class OutputWeights(Protocol):
    """The weights that a neuron writes with: a LayeredModel, or arrays."""

    def output_rows(self, index: int) -> torch.Tensor:
        """[F, e]: each neuron's row of the layer's second FFN matrix."""

    def unembedding(self) -> torch.Tensor:
        """[V, e]."""


def layer_arrays(
    layer: int,
    counts: LayerCounts,
    tables: CorpusTables,
    *,
    values: ActivationValues,
    thresholds: ThresholdValues | None = None,
    model: OutputWeights,
    top_k: int,
    routing: Routing | None = None,
    enter: Callable[[str], None] = lambda phase: None,
) -> Arrays:
    """Every array that the store keeps of a layer. ``routing`` is that of a layer with experts. ``enter`` is told what is
    being computed.

    Raises UserError where the weights give projections that are not finite.
    """
    arrays = (
        _activation_arrays(counts, values)
        | _context_arrays(counts, values, tables.seq_len)
        | _ngram_arrays(counts, tables)
        | _detected_arrays(counts, tables)
        | _positional_arrays(counts, tables)
        | _explained_arrays(counts)
        | _description_arrays(counts)
        | _routing_arrays(routing, len(counts.activations), tables)
    )
    arrays["kind"] = _kinds(arrays)
    if thresholds is not None:
        arrays |= _threshold_arrays(counts, thresholds, tables.seq_len)
    enter(f"projecting layer {layer}")
    outputs, unembedding = model.output_rows(layer), model.unembedding()
    arrays |= project(outputs, unembedding, top_k, neurons=arrays["detected_neuron"], tokens=_last_tokens(arrays))
    _check_projections(layer, arrays)
    enter(f"comparing output rows of layer {layer}")
    sizes = [len(outputs)] if routing is None else routing.sizes
    return arrays | similar_within(outputs, sizes, unembedding.device)


def check_finite(layer: int, sums: np.ndarray, dtype: str) -> None:
    """Raise UserError where activations overflowed, or were none to begin with: their ``sums`` [F] show it."""
    broken = int(np.count_nonzero(~np.isfinite(sums)))
    if broken:
        remedy = "its weights are broken" if dtype == "float32" else "run it with --dtype float32"
        raise UserError(f"layer {layer}: activations of {broken} of its neurons are not finite in {dtype}; {remedy}")


def _check_projections(layer: int, arrays: Arrays) -> None:
    if not all(np.isfinite(arrays[f"{name}_projection"]).all() for name in ("promoted", "suppressed")):
        raise UserError(
            f"layer {layer}: projections of its neurons are not finite; its second FFN matrix or the unembedding is broken"
        )


def _activation_arrays(counts: LayerCounts, values: ActivationValues) -> Arrays:
    alive = counts.activations > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(alive, values.sums / counts.activations, np.nan)
    return {
        "activations": counts.activations.astype(np.uint64),
        "bos_activations": counts.bos_activations.astype(np.uint64),
        "domain_activations": counts.domain_activations.astype(np.uint64),
        "max_activation": np.where(alive, values.maxima, np.nan).astype(np.float32),
        "mean_activation": means.astype(np.float32),
    }


def _context_arrays(counts: LayerCounts, values: ActivationValues, seq_len: int) -> Arrays:
    """Where the strongest and the random activations are; ABSENT and NaN where there are fewer than C."""
    present = values.places >= 0
    return {
        "strongest_window": _absent(values.places // seq_len),
        "strongest_position": _absent(np.where(present, values.places % seq_len, -1)),
        "strongest_value": np.where(present, values.strongest, np.nan).astype(np.float32),
        "random_window": _absent(counts.drawn // seq_len),
        "random_position": _absent(np.where(counts.drawn < 0, -1, counts.drawn % seq_len)),
    }


def _threshold_arrays(counts: LayerCounts, values: ThresholdValues, seq_len: int) -> Arrays:
    present = values.places >= 0
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = np.where(counts.activations > 0, values.positive / counts.activations, np.nan)
    return {
        "threshold": values.thresholds.astype(np.float32),
        "positive_share": shares.astype(np.float32),
        "negative_window": _absent(values.places // seq_len),
        "negative_position": _absent(np.where(present, values.places % seq_len, -1)),
        "negative_value": np.where(present, -values.negative, np.nan).astype(np.float32),
    }


def _ngram_arrays(counts: LayerCounts, tables: CorpusTables) -> Arrays:
    arrays = {
        "order": counts.order,
        "split_order": counts.split_order,
        "split_held": counts.split_held,
        "ngram_activations": counts.ngram_activations.astype(np.uint64),
        "ngrams_distinct": counts.ngrams_distinct.astype(np.uint32),
    }
    for index, (name, table) in enumerate(zip(ORDER_NAMES, tables.ngrams, strict=True)):
        top = counts.top[:, index]
        tokens = np.where(top[..., None] < 0, -1, table.tokens[np.maximum(top, 0)] if len(table.tokens) else -1)
        arrays[f"{name}_95"] = counts.coverage[:, index].astype(np.uint32)
        arrays[f"top_{name}"] = _absent(np.broadcast_to(tokens, (*top.shape, index + 1)))
        arrays[f"top_{name}_count"] = counts.top_count[:, index].astype(np.uint32)
        arrays[f"top_{name}_total"] = counts.top_total[:, index].astype(np.uint32)
    return arrays


def _detected_arrays(counts: LayerCounts, tables: CorpusTables) -> Arrays:
    """The detected n-grams of all detectors, by neuron, one after another."""
    neurons, tokens, numbers, totals = [], [], [], []
    for neuron in sorted(counts.detected):
        ids, ngram_counts = counts.detected[neuron]
        table = tables.ngrams[counts.order[neuron] - 1]
        padded = np.full((len(ids), 3), -1, np.int64)
        padded[:, : table.order] = table.tokens[ids]
        neurons.append(np.full(len(ids), neuron))
        tokens.append(padded)
        numbers.append(ngram_counts)
        totals.append(table.totals[ids])
    return {
        "detected_neuron": concatenate(neurons, (0,)).astype(np.uint32),
        "detected_tokens": _absent(concatenate(tokens, (0, 3))),
        "detected_count": concatenate(numbers, (0,)).astype(np.uint32),
        "detected_total": concatenate(totals, (0,)).astype(np.uint32),
    }


def _last_tokens(arrays: Arrays) -> np.ndarray:
    """[M] int64: the last token of each detected n-gram."""
    tokens = arrays["detected_tokens"].astype(np.int64)
    order = (tokens != ABSENT).sum(axis=1)
    return tokens[np.arange(len(tokens)), order - 1]


def _positional_arrays(counts: LayerCounts, tables: CorpusTables) -> Arrays:
    """Mutual information with the position and its bias; codes of type and strength, 0 where not positional."""
    neurons, windows = len(counts.curves), tables.counted_windows
    information, bias = np.zeros(neurons), np.zeros(neurons)
    types, strengths = np.zeros(neurons, np.uint8), np.zeros(neurons, np.uint8)
    for first in range(0, neurons, CURVE_BLOCK):
        rows = slice(first, first + CURVE_BLOCK)
        curves = counts.curves[rows].sum(axis=1, dtype=np.int64)
        information[rows], bias[rows] = mutual_information(curves, windows), mi_bias(curves, windows)
        positional = np.flatnonzero(is_positional(information[rows], bias[rows]))
        if len(positional):
            types[first + positional], strengths[first + positional] = classify(curves[positional], windows)
    return {
        "position_mi": information.astype(np.float32),
        "position_bias": bias.astype(np.float32),
        "position_type": types,
        "position_strength": strengths,
    }


def _description_arrays(counts: LayerCounts) -> Arrays:
    return {"concept_formula": counts.formulas, "concept_figures": counts.formula_figures.astype(np.float32)}


def _routing_arrays(routing: Routing | None, neurons: int, tables: CorpusTables) -> Arrays:
    """The expert of each neuron, and the positions of each domain that an expert was chosen for."""
    domains = len(tables.edges) - 1
    if routing is None:
        return {"expert": np.full(neurons, ABSENT, np.uint32), "expert_positions": np.zeros((0, domains), np.uint64)}
    experts = routing.counts.shape[1]
    expert = np.repeat(np.arange(experts), routing.neurons)
    chosen = [
        routing.counts[first:last].sum(axis=0) for first, last in zip(tables.edges, tables.edges[1:], strict=False)
    ]
    return {
        "expert": np.concatenate([np.full(routing.first, ABSENT), expert]).astype(np.uint32),
        "expert_positions": np.stack(chosen, axis=1).astype(np.uint64),
    }


def _explained_arrays(counts: LayerCounts) -> Arrays:
    """How much the token, the tokens before and the position explain; the token set."""
    shares = explained(counts.code_lengths)
    return {f"{name}_explained": shares[:, index].astype(np.float32) for index, name in enumerate(MODELS)} | {
        "explained_sums": layer_sums(counts.code_lengths),
        "token_set": _absent(counts.token_set),
        "token_set_size": counts.token_set_size.astype(np.uint32),
        "token_f1": counts.token_f1.astype(np.float32),
    }


def _kinds(arrays: Arrays) -> np.ndarray:
    """[F] uint8, codes of KINDS: the first that fits of dead, detector, positional, other."""
    order = arrays["order"]
    kind = np.full(len(order), KINDS.index("other"), np.uint8)
    kind[arrays["position_type"] > 0] = KINDS.index("positional")
    kind[order > 0] = order[order > 0]
    kind[arrays["activations"] == 0] = KINDS.index("dead")
    return kind


def _absent(values: np.ndarray) -> np.ndarray:
    return np.where(values < 0, ABSENT, values).astype(np.uint32)
