"""The gates of experts: where the activation function is, and what it is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ffnscope.store.errors import UserError

_PROBE_ROWS = 16

Gate = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def activation_of(module: nn.Module, neurons: int, name: str) -> str | None:
    """The name of the activation function in an experts module, None where ``gate_of`` stands for it. What its gates are
    given is tried on some numbers, which needs no weights. Raises UserError where it cannot be seen."""
    generator = torch.Generator().manual_seed(0)
    columns = 2 * neurons if getattr(module, "has_gate", True) else neurons
    trial = 4 * torch.randn(_PROBE_ROWS, columns, generator=generator)
    given: list[tuple[torch.Tensor, ...]] = []
    function: Any = getattr(module, "act_fn", None)
    run: Any = module._apply_gate if getattr(module, "has_gate", True) else function
    if isinstance(function, nn.Module):
        handle = function.register_forward_hook(lambda _, inputs, output: given.append((*inputs, output)))
        try:
            with torch.device("cpu"):
                run(trial)
        finally:
            handle.remove()
    if given:
        if len(given) == 1 and [tensor.shape for tensor in given[0]] == [torch.Size((_PROBE_ROWS, neurons))] * 2:
            return "act_fn"
    elif gate_of(module) is not None:
        return None
    raise UserError(
        f"{name}: the activation function of its experts ({type(module).__name__}) cannot be seen, so ffnscope cannot "
        "record them exactly"
    )


def gate_of(module: nn.Module) -> Gate | None:
    """Of experts that compute their activation function in place: input and output of it [R, I], from the first product
    [R, 2 I]; None for a kind that is not known, which a trial against the experts' own result decides."""
    apply: Any = module._apply_gate
    trial = 8 * torch.randn(_PROBE_ROWS, 64, generator=torch.Generator().manual_seed(0))
    expected = apply(trial)
    for interleaved in (False, True):
        for scaled in (False, True):
            split = _Split(module, interleaved, scaled)
            if split.known and torch.equal(split.result(trial), expected):
                return split
    return None


class _Split:
    """A gate that is clamped, then passed through SiLU, or through x * sigmoid(alpha x) with 1 added to the other
    branch: gpt-oss's."""

    def __init__(self, module: nn.Module, interleaved: bool, scaled: bool):
        self._interleaved = interleaved
        self._limit = _number(module, "limit", "swiglu_limit")
        self._alpha = _number(module, "alpha", "swiglu_alpha") if scaled else None
        self.known = self._limit is not None and (self._alpha is not None or not scaled)

    def __call__(self, product: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        gate = (product[..., ::2] if self._interleaved else product.chunk(2, dim=-1)[0]).clamp(max=self._limit)
        if self._alpha is None:
            return gate, nn.functional.silu(gate)
        return gate, gate * torch.sigmoid(gate * self._alpha)

    def result(self, product: torch.Tensor) -> torch.Tensor:
        """What the second matrix is given."""
        limit: Any = self._limit
        other = product[..., 1::2] if self._interleaved else product.chunk(2, dim=-1)[1]
        other = other.clamp(min=-limit, max=limit)
        gate = self(product)[1]
        return gate * other if self._alpha is None else (other + 1) * gate


def _number(module: nn.Module, *names: str) -> float | None:
    values = (getattr(module, name, None) for name in names)
    return next((float(value) for value in values if isinstance(value, int | float)), None)
