"""All statistics of a layer as the arrays of the store."""

from __future__ import annotations

import numpy as np

from ffnscope.core.statistics.counts import LayerCounts, _joined
from ffnscope.core.statistics.positional import classify, is_positional, mi_bias, mutual_information
from ffnscope.core.statistics.tables import CorpusTables
from ffnscope.store.definitions import KINDS
from ffnscope.store.errors import UserError
from ffnscope.store.format.schema import ABSENT

CURVE_BLOCK = 2048  # neurons whose position curves are looked at together
ORDER_NAMES = ("unigrams", "bigrams", "trigrams")


def _check_finite(layer: int, sums: np.ndarray, dtype: str) -> None:
    broken = int(np.count_nonzero(~np.isfinite(sums)))
    if broken:
        remedy = "its weights are broken" if dtype == "float32" else "run it with --dtype float32"
        raise UserError(f"layer {layer}: activations of {broken} of its neurons are not finite in {dtype}; {remedy}")


def _check_projections(layer: int, arrays: dict[str, np.ndarray]) -> None:
    whole = all(np.isfinite(arrays[f"{name}_projection"]).all() for name in ("promoted", "suppressed"))
    if not whole:
        raise UserError(
            f"layer {layer}: projections of its neurons are not finite; its second FFN matrix or the unembedding is broken"
        )


def strongest_arrays(values: np.ndarray, places: np.ndarray, seq_len: int) -> dict[str, np.ndarray]:
    """The store's arrays of the strongest activations from values [F, C] and places [F, C] (-1 where fewer)."""
    there = places >= 0
    return {
        "strongest_window": np.where(there, places // seq_len, ABSENT).astype(np.uint32),
        "strongest_position": np.where(there, places % seq_len, ABSENT).astype(np.uint32),
        "strongest_value": np.where(there, values, np.nan).astype(np.float32),
    }


def layer_arrays(
    counts: LayerCounts, tables: CorpusTables, maxima: np.ndarray, sums: np.ndarray
) -> dict[str, np.ndarray]:
    """The arrays of the store that the counts give (schema.LAYER_ARRAYS without projections and strongest contexts).

    ``maxima`` [F] float32: the largest output of the activation function at activated positions; ``sums`` [F]
    float64: their sum.
    """
    alive = counts.activations > 0
    information, bias, types, strengths = _positional(counts.curves, tables.counted_windows)
    positional = types > 0
    kind = np.full(len(alive), KINDS.index("other"), np.uint8)
    kind[positional] = KINDS.index("positional")
    kind[counts.order > 0] = counts.order[counts.order > 0]
    kind[~alive] = KINDS.index("dead")
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(alive, sums / counts.activations, np.nan)
    arrays = {
        "kind": kind,
        "order": counts.order,
        "split_order": counts.split_order,
        "split_held": counts.split_held,
        "activations": counts.activations.astype(np.uint64),
        "bos_activations": counts.bos_activations.astype(np.uint64),
        "domain_activations": counts.domain_activations.astype(np.uint64),
        "max_activation": np.where(alive, maxima, np.nan).astype(np.float32),
        "mean_activation": means.astype(np.float32),
        "ngram_activations": counts.ngram_activations.astype(np.uint64),
        "ngrams_distinct": counts.ngrams_distinct.astype(np.uint32),
        "position_mi": information.astype(np.float32),
        "position_bias": bias.astype(np.float32),
        "position_type": types,
        "position_strength": strengths,
        "random_window": _absent(counts.drawn // tables.seq_len),
        "random_position": _absent(np.where(counts.drawn < 0, -1, counts.drawn % tables.seq_len)),
    }
    for index, (name, table) in enumerate(zip(ORDER_NAMES, tables.ngrams, strict=True)):
        top = counts.top[:, index]
        tokens = np.where(top[..., None] < 0, -1, table.tokens[np.maximum(top, 0)] if len(table.tokens) else -1)
        arrays[f"{name}_95"] = counts.coverage[:, index].astype(np.uint32)
        arrays[f"top_{name}"] = _absent(np.broadcast_to(tokens, (*top.shape, index + 1)))
        arrays[f"top_{name}_count"] = counts.top_count[:, index].astype(np.uint32)
        arrays[f"top_{name}_total"] = counts.top_total[:, index].astype(np.uint32)
    return arrays | _detections(counts, tables)


def _positional(curves: np.ndarray, windows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mutual information, bias [F] float64, codes of type and strength [F] uint8 (0 where not positional)."""
    neurons = len(curves)
    information, bias = np.zeros(neurons), np.zeros(neurons)
    types, strengths = np.zeros(neurons, np.uint8), np.zeros(neurons, np.uint8)
    for first in range(0, neurons, CURVE_BLOCK):
        rows = slice(first, first + CURVE_BLOCK)
        whole = curves[rows].sum(axis=1, dtype=np.int64)
        information[rows], bias[rows] = mutual_information(whole, windows), mi_bias(whole, windows)
        which = np.flatnonzero(is_positional(information[rows], bias[rows]))
        if len(which):
            types[first + which], strengths[first + which] = classify(whole[which], windows)
    return information, bias, types, strengths


def _detections(counts: LayerCounts, tables: CorpusTables) -> dict[str, np.ndarray]:
    neurons, tokens, numbers, totals = [], [], [], []
    for neuron in sorted(counts.detected):
        ids, each = counts.detected[neuron]
        table = tables.ngrams[counts.order[neuron] - 1]
        padded = np.full((len(ids), 3), -1, np.int64)
        padded[:, : table.order] = table.tokens[ids]
        neurons.append(np.full(len(ids), neuron))
        tokens.append(padded)
        numbers.append(each)
        totals.append(table.totals[ids])
    return {
        "detected_neuron": _joined(neurons, (0,)).astype(np.uint32),
        "detected_tokens": _absent(_joined(tokens, (0, 3))),
        "detected_count": _joined(numbers, (0,)).astype(np.uint32),
        "detected_total": _joined(totals, (0,)).astype(np.uint32),
    }


def _absent(values: np.ndarray) -> np.ndarray:
    return np.where(values < 0, ABSENT, values).astype(np.uint32)
