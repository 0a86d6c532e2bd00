"""The neurons of a layer whose output rows point the same way, or the opposite way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ffnscope.core.statistics.projection import BLOCK_CELLS, GPU_BLOCK_CELLS
from ffnscope.core.statistics.row_extremes import extremes
from ffnscope.store.format.schema import ABSENT, SIMILAR


def similar_within(outputs: torch.Tensor, sizes: Sequence[int], device: torch.device) -> dict[str, np.ndarray]:
    """``similar_rows`` of ``outputs`` [F, d], computed on ``device``, within each of several groups of consecutive neurons,
    which have these ``sizes``: those of one expert. Among all neurons of a mixture it would cost more than running the
    model."""
    if len(sizes) == 1:
        return similar_rows(outputs.to(device))
    parts, first = [], 0
    for size in sizes:
        part = similar_rows(outputs[first : first + size].to(device))
        for name in ("similar", "opposed"):
            part[name] = np.where(part[name] == ABSENT, ABSENT, part[name] + first).astype(np.uint32)
        parts.append(part)
        first += size
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@torch.inference_mode()
def similar_rows(outputs: torch.Tensor) -> dict[str, np.ndarray]:
    """The SIMILAR neurons with the largest, and those with the smallest, cosine between their output rows and a
    neuron's own.

    ``outputs`` [F, d]: row i is neuron i's row of the second FFN matrix, as ``project`` takes it. Computed in float32,
    a block of rows at a time. Returns ``similar``, ``opposed`` [F, 5] uint32 and ``similar_cosine``, ``opposed_cosine``
    [F, 5] float32 of schema.LAYER_ARRAYS; ties go to the lower neuron, the neuron itself is left out, and a row without
    a direction (all zeros, or not finite) has none and appears in no list: ABSENT and NaN where there are fewer.
    """
    rows, directed = _unit(outputs.float())
    count, kept = len(rows), SIMILAR
    ids = {name: np.empty((count, kept), np.uint32) for name in ("similar", "opposed")}
    cosines = {name: np.empty((count, kept), np.float32) for name in ids}
    block = max(1, (GPU_BLOCK_CELLS if rows.device.type == "cuda" else BLOCK_CELLS) // count)
    buffer = torch.empty(min(block, count), count, device=rows.device)
    own = torch.arange(count, device=rows.device)
    for first in range(0, count, block):
        last = min(first + block, count)
        part = buffer[: last - first]
        torch.mm(rows[first:last], rows.T, out=part)
        # Rounding gives equal rows a cosine of 1.0000001, but they must tie.
        part.clamp_(-1, 1)
        part[:, ~directed] = torch.nan
        part[~directed[first:last]] = torch.nan
        part[own[: last - first], own[first:last]] = torch.nan
        lists = extremes(part, kept)
        for name, best, which in zip(ids, lists[::2], lists[1::2], strict=True):
            ids[name][first:last] = np.where(which < 0, ABSENT, which)
            cosines[name][first:last] = best
    return {
        "similar": ids["similar"],
        "similar_cosine": cosines["similar"],
        "opposed": ids["opposed"],
        "opposed_cosine": cosines["opposed"],
    }


def _unit(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows [F, d] of length 1, zero where they have no direction; which have one [F] bool."""
    largest = rows.abs().amax(dim=1, keepdim=True)
    directed = torch.isfinite(largest) & (largest > 0)
    # Scaled first: the squares of very small or very large values underflow or overflow in float32.
    rows = torch.where(directed, rows / largest, 0.0)
    return torch.where(directed, rows / rows.norm(dim=1, keepdim=True), 0.0), directed[:, 0]
