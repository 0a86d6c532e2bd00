"""The paper's figures per layer and model, from the neurons of ``reference``; as slow and plain as that."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from reference import Neuron, trigger_projection

COVERAGE_BINS = [(1, 1), (2, 3), (4, 5), (6, 10), (11, 20), (21, 50), (51, 200), (201, 1000), (1001, 2000)]


def coverage_bin(m: int) -> int | None:
    """The number of the bin (0 .. 9, the last above 2000) that a coverage falls in; None for 0."""
    for number, (low, high) in enumerate(COVERAGE_BINS):
        if low <= m <= high:
            return number
    return len(COVERAGE_BINS) if m > 2000 else None


@dataclass
class LayerSummary:
    """The paper's figures for one layer. `coverage[n]` holds ten numbers of alive neurons, one a bin."""

    dead_share: float
    mean_frequency_alive: float | None
    coverage: dict[int, list[int]]
    token_detectors: int
    detected_tokens: int
    detected_tokens_cumulative: int
    new_overall: int
    new_against_previous: int
    suppressing_share: float | None


def model_summary(layers: Sequence[Sequence[Neuron]], projections: Sequence[np.ndarray]) -> list[LayerSummary]:
    """Summaries of all layers in order; `projections` holds one [F, V] a layer."""
    seen: set[int] = set()
    previous: set[int] = set()
    summaries = []
    for neurons, project in zip(layers, projections, strict=True):
        alive = [neuron for neuron in neurons if not neuron.dead]
        coverage = {n: [0] * (len(COVERAGE_BINS) + 1) for n in (1, 2, 3)}
        for neuron in alive:
            for n, m in ((1, neuron.unigrams_95), (2, neuron.bigrams_95), (3, neuron.trigrams_95)):
                number = coverage_bin(m)
                if number is not None:
                    coverage[n][number] += 1
        triggers = [
            (row, neuron.detected) for row, neuron in zip(project, neurons, strict=True) if neuron.detector_order == 1
        ]
        suppressing = sum(1 for row, detected in triggers if (trigger_projection(row, detected) or 0.0) < 0)
        tokens = {gram[0] for _, detected in triggers for gram, _, _ in detected}
        summaries.append(
            LayerSummary(
                dead_share=(len(neurons) - len(alive)) / len(neurons),
                mean_frequency_alive=math.fsum(n.frequency for n in alive) / len(alive) if alive else None,
                coverage=coverage,
                token_detectors=len(triggers),
                detected_tokens=len(tokens),
                detected_tokens_cumulative=len(seen | tokens),
                new_overall=len(tokens - seen),
                new_against_previous=len(tokens - previous),
                suppressing_share=suppressing / len(triggers) if triggers else None,
            )
        )
        seen |= tokens
        previous = tokens
    return summaries
