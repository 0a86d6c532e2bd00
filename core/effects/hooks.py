"""What a neuron is at a position, read and replaced: hooks on the second FFN matrix, whose input is what w_i is
multiplied with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from ffnscope.core.model.layered import LayeredModel

Replacements = Mapping[int, tuple[torch.Tensor, torch.Tensor]]
"""Layer -> neurons [n] int64, and the values [n] that they are set to at every position."""


@contextmanager
def replaced(model: LayeredModel, replacements: Replacements) -> Iterator[None]:
    """While it lasts, the neurons of ``replacements`` have these values in every pass through the model."""
    handles = []
    try:
        for layer, (neurons, values) in replacements.items():
            hook = _Replace(neurons.to(model.device), values.to(model.device))
            handles.append(model.second(layer).register_forward_pre_hook(hook))
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def observed(
    model: LayeredModel,
    layer: int,
    values: Callable[[torch.Tensor], None],
    inputs: Callable[[torch.Tensor], None] = lambda tensor: None,
) -> Iterator[None]:
    """While it lasts, call ``values`` with what the layer's second matrix is multiplied with [..., F], and ``inputs`` with
    the input of its activation function [..., F]."""
    handles = [
        model.second(layer).register_forward_pre_hook(lambda module, given: values(given[0])),
        model.activation(layer).register_forward_pre_hook(lambda module, given: inputs(given[0])),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True, eq=False)
class _Replace:
    """A forward pre-hook."""

    neurons: torch.Tensor
    values: torch.Tensor

    def __call__(self, module: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        changed = inputs[0].clone()
        changed[..., self.neurons] = self.values.to(changed.dtype)
        return (changed, *inputs[1:])
