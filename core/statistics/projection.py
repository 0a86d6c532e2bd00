"""The vocabulary projection of a neuron's output (core/DEFINITIONS.md, "Vocabulary projection"; paper 4.4)."""

from __future__ import annotations

import numpy as np
import torch

from ffnscope.core.statistics.row_extremes import extremes

BLOCK_CELLS = 1 << 24  # projections in memory at a time
GPU_BLOCK_CELLS = 1 << 27  # there the host waits for each block: fewer and larger ones
FEWEST_ROWS = 4  # of a block


@torch.inference_mode()
def project(
    outputs: torch.Tensor,
    unembedding: torch.Tensor,
    top_k: int,
    *,
    neurons: np.ndarray,
    tokens: np.ndarray,
) -> dict[str, np.ndarray]:
    """Promoted and suppressed tokens of every neuron, and the projections of the detected n-grams' last tokens.

    ``outputs`` [F, d]: row i is neuron i's row of the second FFN matrix (through the output projection where the
    model has one); ``unembedding`` [V, d]. ``neurons`` [M] and ``tokens`` [M]: the detected n-grams' neurons,
    ascending, and last tokens. Computed in float32 on the unembedding's device. Returns the arrays ``promoted`` ...
    ``detected_rank`` and ``trigger_projection`` of schema.LAYER_ARRAYS; ties go to the lower token id.
    """
    count, vocabulary = len(outputs), len(unembedding)
    kept = min(top_k, vocabulary)
    ids = {name: np.empty((count, kept), np.uint32) for name in ("promoted", "suppressed")}
    values = {name: np.empty((count, kept), np.float32) for name in ids}
    projections, ranks = np.zeros(len(tokens), np.float32), np.zeros(len(tokens), np.uint32)
    unembedding = unembedding.float()
    # Blocks of one size, none very small: of 1 to 3 rows, kernels sum the columns in orders that differ, and ties break.
    cells = GPU_BLOCK_CELLS if unembedding.device.type == "cuda" else BLOCK_CELLS
    blocks = max(1, -(-count // max(1, cells // vocabulary)))
    block = max(1, -(-count // blocks))
    buffer = torch.empty(max(min(block, count), FEWEST_ROWS), vocabulary, device=unembedding.device)
    if count < FEWEST_ROWS:
        outputs = torch.nn.functional.pad(outputs, (0, 0, 0, FEWEST_ROWS - count))
    for first in range(0, count, block):
        last = min(first + block, count)
        end = max(last, FEWEST_ROWS)
        begin = min(first, end - FEWEST_ROWS)
        part = buffer[: end - begin]
        torch.mm(outputs[begin:end].to(unembedding.device, torch.float32), unembedding.T, out=part)
        part = part[first - begin : last - begin]
        rows = slice(first, last)
        values["promoted"][rows], ids["promoted"][rows], values["suppressed"][rows], ids["suppressed"][rows] = extremes(
            part, kept
        )
        start, stop = np.searchsorted(neurons, [first, last])
        if stop > start:
            whole = part[torch.from_numpy(neurons[start:stop].astype(np.int64) - first).to(part.device)]
            own = whole.gather(1, torch.from_numpy(tokens[start:stop].astype(np.int64))[:, None].to(part.device))
            projections[start:stop] = own[:, 0].cpu().numpy()
            ranks[start:stop] = (whole < own).sum(dim=1).cpu().numpy().astype(np.uint32)
    return {
        "promoted": ids["promoted"],
        "promoted_projection": values["promoted"],
        "suppressed": ids["suppressed"],
        "suppressed_projection": values["suppressed"],
        "detected_projection": projections,
        "detected_rank": ranks,
        "trigger_projection": _means(neurons, projections, count),
    }


def _means(neurons: np.ndarray, projections: np.ndarray, count: int) -> np.ndarray:
    sums = np.bincount(neurons, weights=projections.astype(np.float64), minlength=count)
    numbers = np.bincount(neurons, minlength=count)
    with np.errstate(invalid="ignore"):
        return np.where(numbers > 0, sums / np.maximum(numbers, 1), np.nan).astype(np.float32)
