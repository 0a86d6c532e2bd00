"""Direct effects: what each neuron adds to a token's logit along the residual stream, the rest of the model held as it is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from ffnscope.core.effects.hooks import Neurons
from ffnscope.core.effects.norms import FixedScale, is_norm
from ffnscope.core.effects.routed import Routed
from ffnscope.core.model.experts import Mixture, RoutedRows
from ffnscope.core.model.ffn import in_out, is_projection, output_rows
from ffnscope.core.model.layered import LayeredModel
from ffnscope.store.errors import UserError

ATTENTION, SECOND, EXPERTS = "attention", "second", "experts"  # whose output it is
TOLERANCE = 1e-4  # of the sum of the parts' sizes, by which their sum may miss the logit
_PROBED = 4  # positions at which the logits are compared with the unembedding's


@dataclass(frozen=True, eq=False)
class DirectEffects:
    """What adds up to a logit, or to the difference of two, at each of T positions; all float32.

    ``neurons``: layer -> [T, F]; 0 where a token is not routed to a neuron's expert. ``attention`` [L, T]: the output of each
    layer's attention. ``embeddings`` [T]. ``biases`` [T]: those of the second FFN matrices (times the router's weights, of
    experts), the norms and the unembedding. ``logits`` [T]: the sum, which is the model's logit before a softcap (``softcap``
    says where there is one: the model's own logit is cap * tanh(logit / cap)).
    """

    neurons: dict[int, np.ndarray]
    attention: np.ndarray
    embeddings: np.ndarray
    biases: np.ndarray
    logits: np.ndarray
    softcap: float | None


def direct_effects(
    model: LayeredModel, tokens: np.ndarray, towards: np.ndarray | int, against: np.ndarray | int | None = None
) -> DirectEffects:
    """The direct effect of every neuron at every position of ``tokens`` [T] on the logit of token ``towards`` (one, or [T], one
    per position), or on its difference to that of token ``against``.

    The direct effect of neuron i at position k on token v is a_i(k) (w_i . E[v]) through the final norm with the norm's own
    scale at k held fixed, and likewise through a norm behind the FFN (Gemma 2 and 3, OLMo 2) or behind the layer (OPT-350m) and
    an output projection. A neuron of a routed expert adds the router's weight times that, where the token is routed to it.
    Raises UserError for token ids that the model does not have, and for models whose logits are not such a sum.
    """
    ids = np.asarray(tokens, np.int64)
    wanted = [
        np.broadcast_to(np.asarray(target, np.int64), ids.shape) for target in (towards, against) if target is not None
    ]
    line = linearise(model, ids[None], wanted[0][None], wanted[1][None] if against is not None else None)
    neurons = {layer: line.neurons(layer)[0].cpu().numpy() for layer in range(model.count)}
    attention = torch.stack([line.attention(layer)[0] for layer in range(model.count)])
    embeddings, biases, logits = (part[0].cpu().numpy() for part in (line.embeddings(), line.biases(), line.logits))
    return DirectEffects(neurons, attention.cpu().numpy(), embeddings, biases, logits, line.softcap)


@dataclass(eq=False)
class Linearised:
    """The model at B windows of T positions as a sum towards a logit: each part's output and the gradient that it meets.

    ``logits`` [B, T] float32. A part's contribution is output times gradient, summed over d.
    """

    model: LayeredModel
    logits: torch.Tensor
    softcap: float | None
    # Of neurons that see every token: layer -> what the second matrix is multiplied with [B, T, F], and the gradient at its
    # output [B, T, d].
    values: dict[int, torch.Tensor]
    outputs: dict[int, torch.Tensor]
    # Of routed ones: layer -> their rows, and the gradient at the experts' output [B * T, d].
    routed: dict[int, tuple[Routed, torch.Tensor]] = field(default_factory=dict)
    _sums: dict[str, torch.Tensor] = field(default_factory=dict)
    _attention: dict[int, torch.Tensor] = field(default_factory=dict)

    @torch.no_grad()
    def neurons(self, layer: int, neurons: torch.Tensor | None = None) -> torch.Tensor:
        """[B, T, F]: the direct effects of a layer's neurons, or [B, T, n] those of ``neurons`` [n]."""
        chosen = torch.arange(self.model.ffns[layer].neurons) if neurons is None else neurons
        own = Neurons.of(self.model, layer, chosen)
        effects = torch.zeros(*self.logits.shape, len(chosen), device=self.logits.device)
        if layer in self.values:
            module: Any = _second(self.model, layer)
            columns = slice(None) if neurons is None else own.columns  # of all, nothing is copied
            rows, values = output_rows(module, module.weight.detach())[columns], self.values[layer][..., columns]
            effects[..., own.dense] = values * (self.outputs[layer] @ rows.T.to(values.dtype))
        if layer in self.routed:
            routed, gradient = self.routed[layer]
            routed.fill(gradient, own, effects.view(-1, len(chosen)))
        return effects

    def attention(self, layer: int) -> torch.Tensor:
        """[B, T]: what a layer's attention output adds."""
        return self._attention.get(layer, torch.zeros_like(self.logits))

    def embeddings(self) -> torch.Tensor:
        """[B, T]: what enters layer 0 adds."""
        return self._sums["embeddings"]

    def biases(self) -> torch.Tensor:
        """[B, T]: what biases add."""
        return self._sums["biases"]


def linearise(
    model: LayeredModel, tokens: np.ndarray, towards: np.ndarray, against: np.ndarray | None = None
) -> Linearised:
    """Windows ``tokens`` [B, T] through the model, and back from the logits of ``towards`` [B, T] (minus ``against``) along the
    residual stream alone: what attention and FFNs read counts as given, norms as affine. Raises UserError as
    ``direct_effects``, after comparing the sum of all parts with the model's own logits."""
    vocabulary = int(model.unembedding().shape[0])
    wanted = [torch.from_numpy(np.array(target, np.int64)) for target in (towards, against) if target is not None]
    ids = torch.from_numpy(np.array(tokens, np.int64))
    for target in (*wanted, ids):
        if target.numel() and not 0 <= int(target.min()) <= int(target.max()) < vocabulary:
            raise UserError(f"a token id is outside the model's vocabulary of {vocabulary:,}")
    ids = ids.to(model.device)
    with torch.enable_grad():
        with _Cut(model) as cut, suppress(_Stop):
            model.model(input_ids=ids, use_cache=False)
        assert cut.read is not None and cut.leaving is not None
        scale, softcap = _scale(model, cut.leaving.detach(), cut.read.detach())
        head: Any = model.model.get_output_embeddings()
        logits = torch.zeros(tokens.shape, device=model.device)
        bias = torch.zeros(tokens.shape, device=model.device)
        for sign, target in zip((1.0, -1.0), wanted, strict=False):
            rows = model.unembedding()[target.to(model.device)]
            logits = logits + sign * scale * (cut.read * rows).sum(-1)
            if getattr(head, "bias", None) is not None:
                bias = bias + sign * scale * head.bias.detach()[target.to(model.device)]
        leaves = [cut.embeddings, *(leaf for _, _, leaf in cut.outputs), *cut.biases]
        grads = torch.autograd.grad(logits.sum(), leaves, allow_unused=True)
    logits = (logits.detach() + bias).float()
    return _sum_up(model, cut, logits, bias, grads, softcap)


def _sum_up(
    model: LayeredModel,
    cut: _Cut,
    logits: torch.Tensor,
    bias: torch.Tensor,
    grads: tuple[torch.Tensor | None, ...],
    softcap: float | None,
) -> Linearised:
    shape = (*logits.shape, -1)  # some models put all windows' positions into one row

    def added(part: torch.Tensor, gradient: torch.Tensor | None) -> torch.Tensor:
        if gradient is None:
            return torch.zeros_like(logits)
        return (part.detach() * gradient).sum(-1).reshape(logits.shape)

    values = {layer: value.reshape(shape) for layer, value in cut.values.items()}
    line = Linearised(model, logits, softcap, values, {})
    outputs, norms = grads[1 : 1 + len(cut.outputs)], grads[1 + len(cut.outputs) :]
    line._sums["embeddings"] = added(cut.embeddings, grads[0])
    biases = bias + sum((added(*pair) for pair in zip(cut.biases, norms, strict=True)), torch.zeros_like(bias))
    total, size = line.embeddings().clone(), line.embeddings().abs()
    for (layer, kind, leaf), gradient in zip(cut.outputs, outputs, strict=True):
        if kind == EXPERTS:
            # Where all experts run for every token, each has an output, and these are added.
            met = torch.zeros_like(leaf) if gradient is None else gradient
            met = met.reshape(-1, logits.numel(), leaf.shape[-1])[0]
            line.routed[layer] = cut.routed[layer], met
            own, sizes, of_biases = (part.reshape(logits.shape) for part in cut.routed[layer].sums(met))
            total, size, biases = total + own, size + sizes, biases + of_biases
            continue
        own = added(leaf, gradient)
        total, size = total + own, size + own.abs()
        if kind == SECOND:
            line.outputs[layer] = torch.zeros_like(leaf).reshape(shape) if gradient is None else gradient.reshape(shape)
            module: Any = _second(model, layer)
            if module.bias is not None and gradient is not None:
                of_bias = added(module.bias, gradient)
                total, biases = total - of_bias, biases + of_bias
        else:
            line._attention[layer] = line.attention(layer) + own
    line._sums["biases"] = biases
    off = (total + biases - logits).abs()
    if not bool((off <= TOLERANCE * (1 + size + biases.abs())).all()):
        raise UserError(
            f"{model.name}: its logits are not the sum of its neurons, attention outputs and embeddings through norms (off by "
            f"{float(off.max()):.3g}), so a neuron has no direct effect on them"
        )
    return line


def _scale(model: LayeredModel, leaving: torch.Tensor, read: torch.Tensor) -> tuple[float, float | None]:
    """By what the model multiplies its unembedding's products, and its softcap. Raises UserError for other changes."""
    flat, into = leaving.reshape(-1, leaving.shape[-1]), read.reshape(-1, read.shape[-1])
    places = torch.linspace(0, len(flat) - 1, min(_PROBED, len(flat))).long().to(flat.device)
    logits = torch.cat([model.logits(flat[place][None, None])[0] for place in places])
    with torch.no_grad():
        head: Any = model.model.get_output_embeddings()
        products = nn.functional.linear(into[places], head.weight, getattr(head, "bias", None)).float()
        scale = float((products * logits).sum() / (products * products).sum())
        largest = float(logits.abs().max())
        if float((products * scale - logits).abs().max()) <= 1e-3 * largest:
            return (1.0 if abs(scale - 1) < 1e-4 else scale), None
        cap = getattr(model.config, "final_logit_softcapping", None)
        if cap and float((torch.tanh(products / cap) * cap - logits).abs().max()) <= 1e-3 * largest:
            return 1.0, float(cap)
    raise UserError(f"{model.name}: changes its logits in a way of its own, so a neuron has no direct effect on them")


class _Stop(Exception):
    """The unembedding has been reached."""


class _Cut:
    """While it is entered: blocks read what they read as given, their outputs are leaves of the graph, norms are affine."""

    def __init__(self, model: LayeredModel):
        self._model = model
        self.embeddings: torch.Tensor = torch.empty(0)
        self.leaving: torch.Tensor | None = None  # the last layer
        self.read: torch.Tensor | None = None  # what the unembedding is multiplied with
        self.outputs: list[tuple[int, str, torch.Tensor]] = []  # (layer, whose output, the output)
        self.values: dict[int, torch.Tensor] = {}
        self.routed: dict[int, Routed] = {}
        self._choices: dict[int, tuple[torch.Tensor, ...]] = {}  # layer -> experts and weights of outputs, if any
        self.biases: list[torch.Tensor] = []
        self._norms: dict[nn.Module, FixedScale] = {}
        self._stack = ExitStack()

    def __enter__(self) -> _Cut:
        model = self._model
        for index in range(model.count):
            layer = model.layer(index)
            second = _second(model, index)
            for module in layer.modules():
                if is_projection(module):
                    writes = in_out(module)[1] == model.width
                    self._hook(module.register_forward_pre_hook(_detached))
                    if module is second:
                        self._hook(module.register_forward_pre_hook(self._values_of(index)))
                    if writes:
                        kind = SECOND if module is second else ATTENTION
                        self._hook(module.register_forward_hook(self._output_of(index, kind)))
            ffn = model.ffns[index]
            if isinstance(ffn, Mixture):
                experts = layer.get_submodule(ffn.experts.module)
                self._hook(experts.register_forward_pre_hook(self._choices_of(index), with_kwargs=True))
                self._hook(experts.register_forward_hook(self._output_of(index, EXPERTS)))
                for handle in model.listen(index, None, self._rows_of(index, experts)):
                    self._hook(handle)
        for module in model.base.modules():
            if is_norm(module):
                self._hook(module.register_forward_hook(self._norm))
        first, last = model.layer(0), model.layer(model.count - 1)
        self._hook(first.register_forward_pre_hook(self._enter_first, with_kwargs=True))
        self._hook(last.register_forward_hook(self._leave_last))
        self._hook(model.model.get_output_embeddings().register_forward_pre_hook(self._head))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _hook(self, handle: Any) -> None:
        self._stack.callback(handle.remove)

    def _values_of(self, layer: int) -> Any:
        def keep(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            self.values[layer] = inputs[0].detach()

        return keep

    def _choices_of(self, layer: int) -> Any:
        def keep(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
            given = _detached(module, inputs)
            held = {name: _detached(module, (value,))[0] for name, value in named.items()}
            self._choices[layer] = (*given, *held.values())[1:3]
            return given, held

        return keep

    def _rows_of(self, layer: int, module: nn.Module) -> Callable[[RoutedRows], None]:
        def keep(rows: RoutedRows) -> None:
            rows = replace(rows, values=rows.values.detach().float())
            if self._choices[layer]:
                self.routed[layer] = Routed.of(module, rows, *self._choices[layer])
            else:  # the router's score is part of the experts' input
                self.routed[layer] = Routed(module, rows, torch.ones(len(rows.tokens), device=rows.tokens.device))

        return keep

    def _output_of(self, layer: int, kind: str) -> Any:
        def cut(module: nn.Module, inputs: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
            leaf = output.detach().requires_grad_()
            self.outputs.append((layer, kind, leaf))
            return leaf.clone()  # some models add to it in place

        return cut

    def _norm(self, module: nn.Module, inputs: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
        if not torch.is_tensor(output) or not inputs or not inputs[0].requires_grad:
            return output
        if module not in self._norms:
            self._norms[module] = FixedScale(module, output.shape[-1], inputs[0])
        affine = self._norms[module](inputs[0], output)
        if affine is None:
            return output  # the sum of the parts will tell
        self.biases.append(affine[1])
        return affine[0]

    def _enter_first(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
        given = inputs[0] if inputs else named["hidden_states"]
        self.embeddings = given.detach().requires_grad_()
        entering = self.embeddings.clone()
        return ((entering, *inputs[1:]), named) if inputs else (inputs, named | {"hidden_states": entering})

    def _leave_last(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        self.leaving = output[0] if isinstance(output, tuple | list) else output

    def _head(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.read = inputs[0]
        raise _Stop


def _second(model: LayeredModel, layer: int) -> nn.Module | None:
    """The second matrix of the FFN that every token passes through in a layer; None where there is none."""
    dense = model.ffns[layer].dense
    return None if dense is None else model.layer(layer).get_submodule(dense.second)


def _detached(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(tensor.detach() if torch.is_tensor(tensor) else tensor for tensor in inputs)
