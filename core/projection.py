"""The vocabulary projection of a neuron's output (definitions.md, "Vocabulary projection"; paper 4.4)."""

from __future__ import annotations

import numpy as np
import torch

BLOCK_CELLS = 1 << 25  # projections held at a time


@torch.inference_mode()
def project(
    outputs: torch.Tensor,
    unembedding: torch.Tensor,
    top_k: int,
    neurons: np.ndarray,
    tokens: np.ndarray,
) -> dict[str, np.ndarray]:
    """Promoted and suppressed tokens of every neuron, and the projections of the detected n-grams' last tokens.

    ``outputs`` [F, d]: row i is neuron i's row of the second FFN matrix (through the output projection where the
    model has one); ``unembedding`` [V, d]. ``neurons`` [M] and ``tokens`` [M]: the detected n-grams' neurons,
    ascending, and last tokens. Computed in float32. Returns the arrays ``promoted`` ... ``detected_rank`` and
    ``trigger_projection`` of schema.LAYER_ARRAYS; ties go to the lower token id.
    """
    count, vocabulary = len(outputs), len(unembedding)
    kept = min(top_k, vocabulary)
    ids = {name: np.empty((count, kept), np.uint32) for name in ("promoted", "suppressed")}
    values = {name: np.empty((count, kept), np.float32) for name in ids}
    projections, ranks = np.zeros(len(tokens), np.float32), np.zeros(len(tokens), np.uint32)
    unembedding = unembedding.float()
    block = max(1, BLOCK_CELLS // vocabulary)
    for first in range(0, count, block):
        part = outputs[first : first + block].float() @ unembedding.T
        last = first + len(part)
        for name, sign in (("promoted", 1.0), ("suppressed", -1.0)):
            best, which = _top(part * sign, kept)
            ids[name][first:last] = which.cpu().numpy().astype(np.uint32)
            values[name][first:last] = (best * sign).cpu().numpy()
        start, stop = np.searchsorted(neurons, [first, last])
        if stop > start:
            rows = part[torch.from_numpy(neurons[start:stop].astype(np.int64) - first).to(part.device)]
            own = rows.gather(1, torch.from_numpy(tokens[start:stop].astype(np.int64))[:, None].to(rows.device))
            projections[start:stop] = own[:, 0].cpu().numpy()
            ranks[start:stop] = (rows < own).sum(dim=1).cpu().numpy().astype(np.uint32)
    return {
        "promoted": ids["promoted"],
        "promoted_projection": values["promoted"],
        "suppressed": ids["suppressed"],
        "suppressed_projection": values["suppressed"],
        "detected_projection": projections,
        "detected_rank": ranks,
        "trigger_projection": _means(neurons, projections, count),
    }


def _top(values: torch.Tensor, kept: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The ``kept`` largest of each row and their columns, ties by lower column."""
    best, which = values.topk(kept, dim=1)
    least = best[:, -1:]
    # topk picks any of the columns that tie with the last: those rows are done again, by column.
    tied = ((values == least).sum(dim=1) > (best == least).sum(dim=1)).nonzero()[:, 0]
    if len(tied):
        order = values[tied].sort(dim=1, descending=True, stable=True)
        best[tied], which[tied] = order.values[:, :kept], order.indices[:, :kept]
    which, by_column = which.sort(dim=1)
    best = best.gather(1, by_column)
    best, by_value = best.sort(dim=1, descending=True, stable=True)
    return best, which.gather(1, by_value)


def _means(neurons: np.ndarray, projections: np.ndarray, count: int) -> np.ndarray:
    sums = np.bincount(neurons, weights=projections.astype(np.float64), minlength=count)
    numbers = np.bincount(neurons, minlength=count)
    with np.errstate(invalid="ignore"):
        return np.where(numbers > 0, sums / np.maximum(numbers, 1), np.nan).astype(np.float32)
