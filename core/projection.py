"""The vocabulary projection of a neuron's output (definitions.md, "Vocabulary projection"; paper 4.4)."""

from __future__ import annotations

import numpy as np
import torch

BLOCK_CELLS = 1 << 24  # projections held at a time
CHUNK = 64  # columns whose maximum is taken together


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
    unembedding, outputs = unembedding.float(), outputs.float()
    padded = vocabulary + -vocabulary % CHUNK
    block = max(1, BLOCK_CELLS // padded)
    buffer = torch.empty(min(block, count), padded, device=outputs.device)
    for first in range(0, count, block):
        last = min(first + block, count)
        whole = buffer[: last - first]
        part = whole[:, :vocabulary]
        torch.mm(outputs[first:last], unembedding.T, out=part)
        for name, largest in (("promoted", True), ("suppressed", False)):
            whole[:, vocabulary:] = -torch.inf if largest else torch.inf
            best, which = extreme(whole, kept, largest)
            ids[name][first:last] = which.cpu().numpy().astype(np.uint32)
            values[name][first:last] = best.cpu().numpy()
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


def extreme(values: torch.Tensor, kept: int, largest: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """The ``kept`` largest (or smallest) of each row and their columns, ties by lower column.

    Every one of them lies in one of the ``kept`` chunks of columns with the most extreme values, so that one pass for
    those and a look at the chunks is enough; rows where a tie could be cut are sorted whole.
    """
    rows, columns = values.shape
    chunks = values.view(rows, columns // CHUNK, CHUNK)
    peaks = chunks.amax(dim=2) if largest else chunks.amin(dim=2)
    chosen = peaks.topk(min(kept, peaks.shape[1]), dim=1, largest=largest).indices
    candidates = chunks.gather(1, chosen[:, :, None].expand(-1, -1, CHUNK)).view(rows, -1)
    best, places = candidates.topk(kept, dim=1, largest=largest)
    which = chosen.gather(1, places // CHUNK) * CHUNK + places % CHUNK
    which, by_column = which.sort(dim=1)
    best, by_value = best.gather(1, by_column).sort(dim=1, descending=largest, stable=True)
    which = which.gather(1, by_value)
    least = best[:, -1:]
    beyond = [each >= least if largest else each <= least for each in (candidates, peaks, peaks.gather(1, chosen))]
    within, everywhere, looked_at = (each.sum(dim=1) for each in beyond)
    tied = ((within > kept) | (everywhere > looked_at)).nonzero()[:, 0]
    if len(tied):
        again = values[tied].sort(dim=1, descending=largest, stable=True)
        best[tied], which[tied] = again.values[:, :kept], again.indices[:, :kept]
    return best, which


def _means(neurons: np.ndarray, projections: np.ndarray, count: int) -> np.ndarray:
    sums = np.bincount(neurons, weights=projections.astype(np.float64), minlength=count)
    numbers = np.bincount(neurons, minlength=count)
    with np.errstate(invalid="ignore"):
        return np.where(numbers > 0, sums / np.maximum(numbers, 1), np.nan).astype(np.float32)
