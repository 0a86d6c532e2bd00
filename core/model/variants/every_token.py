"""Experts that all run for every token: their input is multiplied with the router's score first, which is 0 where a token is
not routed to them. Llama 4's are of this kind."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ffnscope.store.errors import UserError

_TRIAL_TOKENS = 2


class Pairs(NamedTuple):
    """Pairs of a token and an expert that it is routed to: [R] int64 each."""

    tokens: torch.Tensor
    experts: torch.Tensor


See = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, Pairs], None]
"""Called with ``before``, ``after`` and ``values`` [R, I], as in experts.RoutedRows, and the pairs that they are of."""


class _Products(TorchFunctionMode):
    """Shows both factors of each product of stacked matrices before they are multiplied."""

    def __init__(self, see: Callable[[torch.Tensor, torch.Tensor], None]):
        super().__init__()
        self._see = see

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.bmm:
            self._see(args[0], args[1])
        return func(*args, **(kwargs or {}))


def runs_for_every_token(module: nn.Module) -> bool:
    """Whether a module multiplies the inputs of all its experts, [E * N, d], with stacked first and second matrices, with
    one gated activation function between them. Tried on tensors without values, which needs no weights."""
    first, second = getattr(module, "gate_up_proj", None), getattr(module, "down_proj", None)
    activation = getattr(module, "act_fn", None)
    if (
        not isinstance(first, nn.Parameter)
        or not isinstance(second, nn.Parameter)
        or not isinstance(activation, nn.Module)
    ):
        return False
    if hasattr(module, "_apply_gate") or first.ndim != 3 or second.ndim != 3:
        return False
    count, width, columns = first.shape
    neurons = columns // 2
    products: list[tuple[torch.Size, ...]] = []
    gates: list[torch.Size] = []
    handle = activation.register_forward_hook(lambda _, inputs, output: gates.extend((inputs[0].shape, output.shape)))
    weights = {name: weight.to("meta") for name, weight in module.named_parameters()}
    trial = torch.empty(count * _TRIAL_TOKENS, width, dtype=first.dtype, device="meta")
    try:
        with _Products(lambda left, right: products.append((left.shape, right.shape))):
            torch.func.functional_call(module, weights, (trial,))
    except Exception:  # whatever a module of another kind makes of such an input
        return False
    finally:
        handle.remove()
    shape = count, _TRIAL_TOKENS
    expected = [((*shape, width), (count, width, columns)), ((*shape, neurons), (count, neurons, width))]
    return products == expected and gates == [(*shape, neurons)] * 2


class EveryTokenTap:
    """Listens to such experts, ``module``, and to their ``router``, which chooses the ``chosen`` experts of a token with the
    largest logits, until it is removed. The module computes as before, with what ``see`` makes of the values it is shown."""

    def __init__(self, module: nn.Module, router: nn.Module, chosen: int, see: See):
        self._module, self._chosen, self._see = module, chosen, see
        self._index: torch.Tensor | None = None  # [N, k], of the pass that is running
        self._gates: tuple[torch.Tensor, torch.Tensor] | None = None  # [E, N, I]
        self._watching = ExitStack()  # products, while the module runs
        activation: Any = module.act_fn
        self._hooks = (
            router.register_forward_hook(self._routed),
            module.register_forward_pre_hook(self._enter),
            activation.register_forward_hook(self._activated),
            module.register_forward_hook(self._leave, always_call=True),
        )

    def _routed(self, router: nn.Module, inputs: tuple[torch.Tensor, ...], output: Any) -> None:
        _, logits = output
        self._index = logits.topk(self._chosen, dim=-1).indices

    def _enter(self, module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self._check(inputs[0])
        self._watching.enter_context(_Products(self._multiplied))

    def _leave(self, *_: object) -> None:
        self._watching.close()
        self._index = self._gates = None

    def _check(self, hidden: torch.Tensor) -> None:
        """Raise UserError where an expert is given anything of a token that is not routed to it."""
        second: Any = self._module.down_proj
        if self._index is not None and len(hidden) == len(second) * len(self._index):
            routed = torch.zeros(len(self._index), len(second), dtype=torch.bool, device=hidden.device)
            routed.scatter_(1, self._index, True)
            given = (hidden.view(len(second), len(self._index), -1) != 0).any(dim=-1)
            if not (given & ~routed.T).any():
                return
        raise UserError(
            f"{type(self._module).__name__}: its experts are given tokens that are not routed to them; ffnscope does not know "
            "this kind of experts"
        )

    def _activated(self, function: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        self._gates = inputs[0], output

    def _multiplied(self, values: torch.Tensor, matrices: torch.Tensor) -> None:
        if matrices is not self._module.down_proj:
            return
        assert self._index is not None and self._gates is not None
        tokens = torch.arange(len(self._index), device=values.device).repeat_interleave(self._chosen)
        pairs = Pairs(tokens, self._index.reshape(-1))
        at = pairs.experts, pairs.tokens
        before, after = (gate[at] for gate in self._gates)
        rows = values[at]
        self._see(before, after, rows, pairs)
        values[at] = rows

    def remove(self) -> None:
        """Give the module back as it was."""
        for hook in self._hooks:
            hook.remove()
