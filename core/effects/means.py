"""The mean value of neurons, which ``--mode mean`` puts in their place."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch

from ffnscope.core.effects.hooks import observed
from ffnscope.core.model.layered import LayeredModel


@torch.inference_mode()
def mean_values(
    model: LayeredModel,
    tokens: np.ndarray,
    bos_id: int | None,
    neurons: Mapping[int, np.ndarray],
    batch_size: int,
    progress: Callable[[float], None] = lambda share: None,
) -> dict[int, np.ndarray]:
    """Layer -> float64 [n]: the mean of what each of its ``neurons`` [n] multiplies w_i with, over the positions of windows
    ``tokens`` [K, T] whose token is not ``bos_id``; of a routed expert's neurons over those that are routed to it, 0 where
    there are none."""
    sums = {layer: np.zeros(len(numbers)) for layer, numbers in neurons.items()}
    positions = {layer: np.zeros(len(numbers), np.int64) for layer, numbers in neurons.items()}
    counted = np.ones(tokens.shape, np.bool_) if bos_id is None else tokens != bos_id
    top = max(neurons, default=-1)
    for start in range(0, len(tokens), batch_size):
        progress(start / len(tokens))
        batch = torch.from_numpy(np.ascontiguousarray(tokens[start : start + batch_size])).to(model.device)
        mask = torch.from_numpy(counted[start : start + batch_size]).to(model.device)
        hidden, calls = model.frame(batch, top)
        for layer in range(top + 1):
            if layer not in neurons:
                hidden = model.run_layer(layer, hidden, calls[layer])
                continue
            with observed(model, layer, torch.from_numpy(neurons[layer]), batch.numel()) as seen:
                hidden = model.run_layer(layer, hidden, calls[layer])
            sums[layer] += seen.values[mask.reshape(-1)].cpu().double().sum(dim=0).numpy()
            positions[layer] += seen.routed[mask.reshape(-1)].sum(dim=0).cpu().numpy()
    return {layer: total / np.maximum(positions[layer], 1) for layer, total in sums.items()}
