"""A plain hooked run, for comparison: Hugging Face's whole model over all windows, one neuron set at every position."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import reference_forward as fwd
import tiny_experts
import torch


def logits(model: Any, tokens: np.ndarray, replaced: Mapping[tuple[int, int], float] = {}) -> torch.Tensor:
    """[S, T, V] float64 with (layer, neuron) -> value put in the place of what is multiplied with w_i."""
    if model.config.model_type in tiny_experts.KINDS:
        with tiny_experts.replaced(model, replaced), torch.no_grad():
            return model(input_ids=torch.from_numpy(tokens), use_cache=False).logits.double()
    handles = []
    for layer in {layer for layer, _ in replaced}:

        def hook(module, inputs, layer=layer):
            values = inputs[0].clone()
            for (at, neuron), value in replaced.items():
                if at == layer:
                    values[..., neuron] = value
            return (values,)

        last = fwd.layer_modules(model)[layer].get_submodule(fwd.MODULES[model.config.model_type].last)
        handles.append(last.register_forward_pre_hook(hook))
    try:
        with torch.no_grad():
            return model(input_ids=torch.from_numpy(tokens), use_cache=False).logits.double()
    finally:
        for handle in handles:
            handle.remove()


def losses(logits: torch.Tensor, tokens: np.ndarray) -> np.ndarray:
    """[S, T - 1] float64: nats of predicting the next token."""
    targets = torch.from_numpy(tokens)[:, 1:]
    return torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), targets, reduction="none").numpy()


def neuron_values(model: Any, tokens: np.ndarray) -> list[np.ndarray]:
    """What every layer's second FFN matrix is multiplied with, float64 [S, T, F] each."""
    return [values.astype(np.float64) for values in fwd.forward_values(model, tokens)]
