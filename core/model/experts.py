"""The experts of a mixture: where they are in a decoder layer, and what the gates of their neurons are given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ffnscope.core.model.ffn import CONVOLUTIONS, Ffn, find_ffn, find_ffns, in_out, is_projection
from ffnscope.core.model.variants.every_token import EveryTokenTap, Pairs, runs_for_every_token
from ffnscope.core.model.variants.expert_gates import activation_of, gate_of
from ffnscope.core.model.variants.expert_kernels import BATCHED, choose_implementation, implementation, refuse_capacity
from ffnscope.store.errors import UserError

WEIGHT_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
ROUTERS = ("gate", "router")  # module names: as wide as the residual stream where there are d experts


@dataclass(frozen=True)
class Experts:
    """The routed experts of one decoder layer: ``count`` of them with ``neurons`` each, ``chosen`` for a token.

    ``module`` is its name inside the layer. The activation function is the module ``activation`` in it, or, where there
    is none, something that ``gate_of`` knows. ``router`` is the name in the layer of the router of experts that all run for
    every token (variants/every_token.py), None where each runs for the tokens that are routed to it.
    """

    module: str
    count: int  # E
    neurons: int  # I, of one expert
    chosen: int  # k
    gated: bool
    activation: str | None
    router: str | None = None


@dataclass(frozen=True)
class Mixture:
    """The neurons of a decoder layer with experts: first those of the shared experts, which see every token, then
    those of the routed ones, expert by expert."""

    shared: Ffn | None
    experts: Experts

    @property
    def dense(self) -> Ffn | None:
        """The FFN that every token passes through, where there is one."""
        return self.shared

    @property
    def first(self) -> int:
        """The first neuron of a routed expert."""
        return 0 if self.shared is None else self.shared.neurons

    @property
    def neurons(self) -> int:
        """F, of the layer."""
        return self.first + self.experts.count * self.experts.neurons

    @property
    def activations(self) -> list[str]:
        """The names of its activation functions in the layer."""
        shared = [] if self.shared is None else [self.shared.activation]
        own = [] if self.experts.activation is None else [f"{self.experts.module}.{self.experts.activation}"]
        return shared + own

    @property
    def gated(self) -> bool:
        """Whether the activation function's output is multiplied with another product of the input."""
        return self.experts.gated


@dataclass(frozen=True)
class RoutedRows:
    """What the gates of a layer's experts saw in one forward pass: a row for each pair of a token and an expert that it
    was routed to.

    ``before`` and ``after`` [R, I]: the activation function's input and output; ``values`` [R, I]: a, what the expert's
    second matrix is given, the router's weight not being part of it. ``tokens`` and ``experts`` [R] int64; ``count`` is E,
    the number of experts.
    """

    before: torch.Tensor
    after: torch.Tensor
    values: torch.Tensor
    tokens: torch.Tensor
    experts: torch.Tensor
    count: int


class Handle(Protocol):
    """What ends the listening."""

    def remove(self) -> None:
        """Stop listening."""


def find_layer_ffns(layers: nn.ModuleList, width: int, name: str, mixture: bool) -> list[Ffn | Mixture]:
    """The FFN, or the experts, of every layer; ``mixture`` says that the configuration is one of experts."""
    mixtures = [find_mixture(layer, width, name) for layer in layers]
    ffns: list[Ffn | Mixture] = []
    for layer, experts in zip(layers, mixtures, strict=True):
        if experts is None and (mixture or any(mixtures)):
            _refuse_other_experts(layer, name, "")
        ffns.append(experts or find_ffn(layer, width, name))
    if mixture and not any(mixtures):
        raise UserError(f"{name}: is a mixture of experts of a kind that ffnscope cannot record exactly")
    return ffns


def find_mixture(layer: nn.Module, width: int, name: str) -> Mixture | None:
    """The mixture of experts of a decoder layer whose residual stream has ``width`` values; None where it has none that
    transformers' grouped product runs, or that all run for every token. Raises UserError for experts that cannot be
    recorded exactly."""
    groups = [
        (path, module) for path, module in layer.named_modules() if _is_experts(module) or runs_for_every_token(module)
    ]
    if not groups:
        return None
    if len(groups) > 1:
        raise UserError(f"{name}: its layers have several groups of experts ({', '.join(path for path, _ in groups)})")
    path, module = groups[0]
    shared = _shared(layer, path, width, name)
    _refuse_other_experts(layer, name, path)
    refuse_capacity(layer, path, name)
    weights: Any = module.down_proj
    transposed = is_transposed(module)
    count, rows, columns = (int(size) for size in weights.shape)
    neurons, out = (rows, columns) if transposed else (columns, rows)
    if out != width or weights.dtype not in WEIGHT_DTYPES:
        raise UserError(
            f"{name}: the second matrices of its experts are {tuple(weights.shape)} {weights.dtype}, which is not a row "
            f"of {width} values for each neuron; ffnscope does not know this kind of experts"
        )
    chosen = _chosen(layer, path, name)
    if not _is_experts(module):
        return Mixture(shared, Experts(path, count, neurons, chosen, True, "act_fn", _router(layer, path, count, name)))
    choose_implementation(module, neurons, width)
    activation = activation_of(module, neurons, name)
    return Mixture(shared, Experts(path, count, neurons, chosen, bool(module.has_gate), activation))


def _is_experts(module: nn.Module) -> bool:
    """Whether transformers can run the module's experts in a grouped product: its weights are stacked, and it has the
    attributes that the grouped product reads."""
    weights: Any = getattr(module, "down_proj", None)
    grouped = all(
        hasattr(module, attribute)
        for attribute in ("has_gate", "is_transposed", "has_bias", "num_experts", "_apply_gate")
    )
    return grouped and isinstance(weights, nn.Parameter) and weights.ndim == 3


def _shared(layer: nn.Module, path: str, width: int, name: str) -> Ffn | None:
    """The FFN beside the experts ``path``: shared experts, or a dense FFN that is added to them. Raises UserError where
    there is something else that may be one."""
    home = path.rpartition(".")[0]
    inside = f"{home}." if home else ""
    ffns, _ = find_ffns(layer, width)
    # Attention with an activation function (MiniMax's) looks like an FFN.
    shared = [ffn for ffn in ffns if ffn.second.startswith(inside or "\0") or not _in_attention(layer, ffn.second)]
    if len(shared) > 1:
        listed = ", ".join(ffn.second for ffn in shared)
        raise UserError(f"{name}: its layers have more than one FFN beside the experts ({listed}); ffnscope needs one")
    known = [own for ffn in shared for own in (ffn.second, *_first_matrices(layer, ffn, width))]
    for own, module in layer.get_submodule(home).named_modules() if home else ():
        if own.rpartition(".")[2] in ROUTERS or inside + own in known:
            continue
        if is_projection(module) and in_out(module)[1] == width:
            raise UserError(
                f"{name}: its layers have a projection {inside}{own} beside the experts, which ffnscope does not know, so "
                "that it cannot record all neurons exactly"
            )
    return shared[0] if shared else None


def _first_matrices(layer: nn.Module, ffn: Ffn, width: int) -> list[str]:
    """The projections of an FFN that its neurons come from: they have ``width`` outputs too where it has as many neurons."""
    home = ffn.second.rpartition(".")[0]
    children = dict(layer.get_submodule(home).named_children())
    paths = {f"{home}.{child}": module for child, module in children.items() if is_projection(module)}
    sizes = ((width, ffn.neurons), (width, 2 * ffn.neurons))
    return [path for path in paths if path != ffn.second and in_out(paths[path]) in sizes][: 1 + ffn.gated]


def _in_attention(layer: nn.Module, path: str) -> bool:
    parts = path.split(".")
    homes = (layer.get_submodule(".".join(parts[:end])) for end in range(1, len(parts)))
    return any("attention" in type(home).__name__.lower() for home in homes)


def _refuse_other_experts(layer: nn.Module, name: str, known: str) -> None:
    for path, module in layer.named_modules():
        if (path == known and known) or isinstance(module, CONVOLUTIONS):
            continue
        stacked = [parameter for parameter, weight in module.named_parameters(recurse=False) if weight.ndim == 3]
        several = isinstance(module, nn.ModuleList) and len(module) > 1 and any(map(is_projection, module.modules()))
        if stacked or several:
            what = f"{path}.{stacked[0]}" if stacked else path
            raise UserError(
                f"{name}: is a mixture of experts of a kind that ffnscope cannot record exactly ({what} of its layers is "
                "not run as transformers' grouped experts)"
            )


def _chosen(layer: nn.Module, path: str, name: str) -> int:
    """k: experts per token, as the router beside the experts has it."""
    home = layer.get_submodule(path.rpartition(".")[0])
    for module in (*home.children(), home, layer.get_submodule(path)):
        for attribute in ("top_k", "num_experts_per_tok"):
            value = getattr(module, attribute, None)
            if isinstance(value, int) and value > 0:
                return value
    raise UserError(f"{name}: how many experts a token is routed to was not found in its layers")


def _router(layer: nn.Module, path: str, count: int, name: str) -> str:
    """The router beside the experts, which gives each token a logit for each of them."""
    home = path.rpartition(".")[0]
    for child, module in layer.get_submodule(home).named_children():
        if is_projection(module) and in_out(module)[1] == count and child in ROUTERS:
            return f"{home}.{child}" if home else child
    raise UserError(f"{name}: the router of its experts was not found in its layers")


# Listening


class _SortedPairs(TorchFunctionMode):
    """Sees in which order the grouped product sorts the pairs of tokens and experts."""

    def __init__(self) -> None:
        super().__init__()
        self.order: torch.Tensor | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.sort and self.order is None:
            self.order = result[1]
        return result


class _Tap:
    """Listens to one experts module until it is removed. The module computes as before."""

    def __init__(self, module: nn.Module, experts: Experts, see: Callable[[RoutedRows], None]):
        self._module = module
        self._experts = experts
        self._see = see
        self._pairs: tuple[_SortedPairs, torch.Tensor] | None = None
        self._gates: tuple[torch.Tensor, torch.Tensor] | None = None  # seen, while the other branch is multiplied
        self._hook: Any = None
        forward: Any = module.forward
        changed: Any = module

        def run(hidden: torch.Tensor, index: torch.Tensor, *rest: Any, **named: Any) -> Any:
            with _SortedPairs() as pairs:
                self._pairs = pairs, index
                try:
                    return forward(hidden, index, *rest, **named)
                finally:
                    self._pairs = None

        changed.forward = run
        gate = None
        if experts.activation is not None:
            self._hook = module.get_submodule(experts.activation).register_forward_hook(self._activated)
        else:
            gate = gate_of(module)
        if experts.gated:
            apply = changed._apply_gate

            def gated(product: torch.Tensor) -> Any:
                if gate is not None:
                    self._gates = gate(product)
                values = apply(product)
                gates, self._gates = self._gates, None
                if gates is None:
                    raise RuntimeError("the experts' activation function was not called")
                self._rows(*gates, values)
                return values

            changed._apply_gate = gated

    def _activated(self, function: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if self._experts.gated:
            self._gates = inputs[0], output
        else:
            self._rows(inputs[0], output, output)

    def _rows(self, before: torch.Tensor, after: torch.Tensor, values: torch.Tensor) -> None:
        if self._pairs is None:
            return
        pairs, index = self._pairs
        chosen, order = self._experts.chosen, pairs.order
        if implementation(self._module) == BATCHED:
            order = torch.arange(index.numel(), device=index.device)
        wanted = (index.numel(), self._experts.neurons)
        if order is None or not before.shape == values.shape == wanted or index.shape[-1] != chosen:
            raise UserError(
                f"{type(self._module).__name__}: its experts saw {tuple(before.shape)} for {tuple(index.shape)} choices; "
                "ffnscope does not know this kind of experts"
            )
        strangers = (index < 0) | (index >= self._experts.count)
        if strangers.any():
            raise UserError(
                f"{type(self._module).__name__}: its router chose expert {int(index[strangers][0])} of "
                f"{self._experts.count}, as routers do that drop tokens; ffnscope does not know this kind of experts"
            )
        self._see(RoutedRows(before, after, values, order // chosen, index.reshape(-1)[order], self._experts.count))

    def remove(self) -> None:
        """Give the module back as it was."""
        changed: Any = self._module
        del changed.forward
        if self._experts.gated:
            del changed._apply_gate
        if self._hook is not None:
            self._hook.remove()


def listen(layer: nn.Module, experts: Experts, see: Callable[[RoutedRows], None]) -> Handle:
    """Call ``see`` at every forward pass of the layer with what the gates of its experts saw."""
    if experts.router is not None:
        module, router = layer.get_submodule(experts.module), layer.get_submodule(experts.router)

        def show(before: torch.Tensor, after: torch.Tensor, values: torch.Tensor, pairs: Pairs) -> None:
            see(RoutedRows(before, after, values, pairs.tokens, pairs.experts, experts.count))

        return EveryTokenTap(module, router, experts.chosen, show)
    return _Tap(layer.get_submodule(experts.module), experts, see)


# The second matrices


def is_transposed(module: nn.Module) -> bool:
    """Whether an experts module has its second matrices as [E, I, d]."""
    return bool(getattr(module, "is_transposed", True))


def expert_rows(experts: Experts, weights: torch.Tensor, transposed: bool) -> torch.Tensor:
    """[E * I, d]: row i is what neuron i of the experts adds to the residual stream, from the stacked second matrices."""
    return second_rows(weights, transposed).reshape(experts.count * experts.neurons, -1)


def second_rows(weights: torch.Tensor, transposed: bool) -> torch.Tensor:
    """[..., I, d]: the same of second matrices, stacked or a single one, without a copy."""
    return weights if transposed else weights.transpose(-1, -2)
