"""Finding the FFN of a decoder layer by its structure: the activation function and the second matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from ffnscope.store.errors import UserError

ACTIVATION_MODULES = ("transformers.activations", "torch.nn.modules.activation")
ACTIVATION_NAMES = ("act", "activation", "gelu", "relu", "silu", "swish")
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NOT_ACTIVATIONS = (nn.MultiheadAttention, nn.Softmax, nn.Softmin, nn.LogSoftmax)


@dataclass(frozen=True)
class Ffn:
    """Where the neurons of one decoder layer are.

    ``activation`` and ``second`` are module names inside the layer: the activation function, whose input decides
    whether a neuron is activated, and the projection back to the residual stream, whose input the neurons are.
    """

    activation: str
    second: str
    neurons: int  # F
    gated: bool

    @property
    def dense(self) -> Ffn:
        """The FFN that every token passes through: this one."""
        return self


def is_projection(module: nn.Module) -> bool:
    """Whether the module is a matrix product with weights: a Linear, or GPT-2's Conv1D."""
    return isinstance(module, nn.Linear | Conv1D)


def in_out(module: nn.Module) -> tuple[int, int]:
    """Input and output widths of a projection."""
    weight: Any = module.weight
    rows, columns = weight.shape
    return (int(rows), int(columns)) if isinstance(module, Conv1D) else (int(columns), int(rows))


def output_rows(module: nn.Module, weight: torch.Tensor) -> torch.Tensor:
    """[F, d]: row i of the projection's ``weight`` is what neuron i adds to the residual stream (paper, Figure 6)."""
    return weight if isinstance(module, Conv1D) else weight.T


def find_ffn(layer: nn.Module, width: int, name: str) -> Ffn:
    """The FFN of a decoder layer: an activation function without weights beside a projection to the residual stream.

    ``width`` is d; ``name`` is the model's, for the error. Raises UserError that lists what was tried, and where
    there is more than one: which of them was meant must not be guessed.
    """
    chosen, candidates = find_ffns(layer, width)
    if len(chosen) == 1:
        return chosen[0]
    if chosen:
        raise UserError(
            f"{name}: its layers have more than one FFN ({', '.join(ffn.second for ffn in chosen)}); ffnscope needs one"
        )
    seen = "; ".join(candidates) or "no activation function without weights in " + type(layer).__name__
    raise UserError(
        f"{name}: its FFN was not found; an activation function beside a projection back to {width} values was "
        f"looked for, and there is {seen}"
    )


def find_ffns(layer: nn.Module, width: int) -> tuple[list[Ffn], list[str]]:
    """(every FFN of a decoder layer, the modules that were looked at because they have an activation function)."""
    candidates, ffns = [], []
    for path, parent in layer.named_modules():
        children = dict(parent.named_children())
        activation = next((child for child, module in children.items() if _is_activation(child, module)), None)
        if activation is None:
            continue
        projections = {child: in_out(module) for child, module in children.items() if is_projection(module)}
        back = [child for child, (_, out) in projections.items() if out == width]
        candidates.append(f"{path or 'the layer'} ({', '.join([activation, *projections])})")
        # State-space mixers have an activation function and a projection back too, with a convolution between them.
        if not back or any(isinstance(module, CONVOLUTIONS) for module in children.values()):
            continue
        second = back[-1]
        neurons = projections[second][0]
        into = [out for child, (_, out) in projections.items() if child != second]
        if not any(out in (neurons, 2 * neurons) for out in into):
            continue
        gated = 2 * neurons in into or into.count(neurons) > 1
        prefix = f"{path}." if path else ""
        ffns.append(Ffn(prefix + activation, prefix + second, neurons, gated))
    # Where a layer has a module for its FFN, what lies in the layer itself is something else (Gemma 4's gate of
    # per-layer embeddings).
    return [ffn for ffn in ffns if "." in ffn.second] or ffns, candidates


def find_layers(base: nn.Module, count: int, name: str) -> tuple[str, nn.ModuleList]:
    """The list of decoder layers inside the base model and its module name. Raises UserError where there is none."""
    module_lists = [(path, module) for path, module in base.named_modules() if isinstance(module, nn.ModuleList)]
    for path, module in module_lists:
        if len(module) == count and any(is_projection(submodule) for submodule in module[0].modules()):
            return path, module
    lists = ", ".join(f"{path} ({len(module)})" for path, module in module_lists) or "no module list at all"
    raise UserError(f"{name}: its {count} decoder layers were not found; there is {lists}")


def is_mixture(config: Any) -> bool:
    """Whether the configuration is one of a mixture of experts."""
    # Of Doge and Gemma 4, whose dense models may carry a number of experts too.
    if any(getattr(config, name, None) is False for name in ("is_moe", "enable_moe_block")):
        return False
    names = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
    return any(isinstance(getattr(config, name, None), int) and getattr(config, name) > 1 for name in names)


def _is_activation(name: str, module: nn.Module) -> bool:
    # Some have a number or two that are trained (xIELU, PReLU).
    if isinstance(module, NOT_ACTIVATIONS) or any(parameter.numel() > 1 for parameter in module.parameters()):
        return False
    home = type(module).__module__
    known = home in ACTIVATION_MODULES or any(part in type(module).__name__.lower() for part in ACTIVATION_NAMES)
    plain = not any(True for _ in module.children())
    return plain and (known or name.lower() in ACTIVATION_NAMES)
