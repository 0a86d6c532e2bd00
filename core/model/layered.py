"""A causal LM run layer by layer with Hugging Face's own modules; only the layers that run need their weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from ffnscope.core.model.experts import (
    WEIGHT_DTYPES,
    Experts,
    Handle,
    Mixture,
    RoutedRows,
    expert_rows,
    find_layer_ffns,
    is_transposed,
    listen,
)
from ffnscope.core.model.ffn import Ffn, find_layers, in_out, is_mixture, is_projection, output_rows
from ffnscope.core.model.layer_gate import Call, LayerGate
from ffnscope.core.model.variants.expert_kernels import implementation
from ffnscope.core.model.variants.text_part import text_base
from ffnscope.store.errors import UserError, is_device_error

Hook = Callable[[nn.Module, tuple[torch.Tensor, ...], torch.Tensor], None]
PreHook = Callable[[nn.Module, tuple[torch.Tensor, ...]], None]


class _Stop(Exception):
    """The forward pass has done what it was run for."""


def _stop(*_: Any) -> None:
    """A hook that ends the forward pass."""
    raise _Stop


class LayeredModel:
    """A causal LM whose decoder layers can be run one at a time, bit-equal to its ordinary forward pass.

    Raises UserError where layers, FFN, experts or unembedding are not found.
    """

    def __init__(self, model: Any, name: str, device: torch.device):
        self.name = name
        self.model = model.eval()
        self.config = model.config.get_text_config()
        self.device = device
        if getattr(self.config, "num_kv_shared_layers", None):
            raise UserError(
                f"{name}: some of its layers use the keys of earlier ones, so they cannot be run one by one"
            )
        self.base = text_base(model, name)
        count = int(self.config.num_hidden_layers)
        self.layers_path, self.layers = find_layers(self.base, count, name)
        self.width = int(self.config.hidden_size)
        self.ffns = find_layer_ffns(self.layers, self.width, name, is_mixture(self.config))
        self._originals = list(self.layers)
        self._separate_activations()
        self.hidden_dtype = next(self.base.parameters()).dtype
        self._returned: int | None = None

    @property
    def count(self) -> int:
        """L, how many decoder layers there are."""
        return len(self._originals)

    @property
    def neurons(self) -> int:
        """F, FFN neurons of the widest layer; of every layer in models without experts."""
        return max(ffn.neurons for ffn in self.ffns)

    @property
    def layer_neurons(self) -> tuple[int, ...]:
        """F of each layer."""
        return tuple(ffn.neurons for ffn in self.ffns)

    @property
    def experts(self) -> tuple[Experts, ...]:
        """The routed experts of the layers that have some; none in a dense model."""
        return tuple(ffn.experts for ffn in self.ffns if isinstance(ffn, Mixture))

    @property
    def experts_implementation(self) -> str:
        """How transformers computes the experts, which share one configuration; empty in a dense model."""
        pairs = zip(self._originals, self.ffns, strict=True)
        homes = (layer.get_submodule(ffn.experts.module) for layer, ffn in pairs if isinstance(ffn, Mixture))
        return next(map(implementation, homes), "")

    @property
    def prepared(self) -> bool:
        """Whether ``prepare`` has been called, so that ``hidden_dtype`` is that of the hidden states between layers."""
        return self._returned is not None

    def layer(self, index: int) -> nn.Module:
        """Decoder layer ``index`` itself."""
        return self._originals[index]

    def activation(self, index: int) -> nn.Module:
        """The activation function of a dense layer's FFN. Raises UserError for a layer with experts."""
        return self.layer(index).get_submodule(self.dense_ffn(index).activation)

    def dense_ffn(self, index: int) -> Ffn:
        """The FFN of a dense layer. Raises UserError for a layer with experts."""
        ffn = self.ffns[index]
        if isinstance(ffn, Mixture):
            raise UserError(f"{self.name}: layer {index} is a mixture of experts, which has no FFN of all neurons")
        return ffn

    def listen(
        self, index: int, hook: Hook | None, see: Callable[[RoutedRows], None], values: PreHook | None = None
    ) -> list[Handle]:
        """Register ``hook`` on the activation function that every token passes through in a layer (of its FFN or its
        shared experts), ``values`` on the second matrix behind it, and ``see`` on its routed experts, until the handles
        are removed."""
        layer, ffn = self.layer(index), self.ffns[index]
        handles: list[Handle] = []
        if ffn.dense is not None:
            if hook is not None:
                handles.append(layer.get_submodule(ffn.dense.activation).register_forward_hook(hook))
            if values is not None:
                handles.append(layer.get_submodule(ffn.dense.second).register_forward_pre_hook(values))
        if isinstance(ffn, Mixture):
            handles.append(listen(layer, ffn.experts, see))
        return handles

    def second(self, index: int) -> nn.Module:
        """The second matrix of a dense layer's FFN, whose input the neurons' values are. Raises UserError for a layer with
        experts."""
        return self.layer(index).get_submodule(self.dense_ffn(index).second)

    def _separate_activations(self) -> None:
        """Give every layer an activation function of its own: some models share one, whose hooks each layer would run."""
        seen: set[int] = set()
        for layer, ffn in zip(self._originals, self.ffns, strict=True):
            names = [ffn.activation] if isinstance(ffn, Ffn) else ffn.activations
            for path in names:
                activation = layer.get_submodule(path)
                if id(activation) in seen:
                    home, _, name = path.rpartition(".")
                    activation = copy.deepcopy(activation)
                    setattr(layer.get_submodule(home), name, activation)
                seen.add(id(activation))

    def load_layers(self, first: int, last: int) -> None:
        """Load the weights of layers first .. last - 1 to the device; here they are loaded already."""

    def read_ahead(self, first: int, last: int) -> None:
        """Begin to read the weights of layers first .. last - 1, which run next; here they are loaded already."""

    def release_layers(self, first: int, last: int) -> None:
        """Free the weights of layers first .. last - 1; here they stay, because the whole model is on the device."""

    def most_layers(self) -> int | None:
        """The most layers per group that the device holds; None where there is no limit."""
        return None

    @property
    def host_bytes(self) -> int:
        """Bytes of weights that a GPU's run holds in the host's memory with one layer per group; none here."""
        return 0

    # Running

    @torch.inference_mode()
    def frame(self, tokens: torch.Tensor, last: int) -> tuple[torch.Tensor, list[Call]]:
        """Run everything of the model but its decoder layers on ``tokens`` [B, T] int64.

        Returns the hidden states [B, T, d] that enter layer 0, and what the model passes to layers 0 .. last.
        """
        assert self._returned is not None, "prepare() comes first"
        entering: list[torch.Tensor] = []
        calls: list[Call] = []

        def keep(hidden: torch.Tensor, call: Call) -> None:
            entering.append(hidden)
            calls.append(call)
            if len(calls) > last:
                raise _Stop

        with self._gates(keep, self._returned):
            self._forward(tokens)
        return entering[0], calls

    @torch.inference_mode()
    def run_layer(self, index: int, hidden: torch.Tensor, call: Call) -> torch.Tensor:
        """The hidden states [B, T, d] that leave layer ``index``."""
        output = self.layer(index)(hidden, *call.arguments, **call.named)
        return output[0] if isinstance(output, tuple | list) else output

    @torch.inference_mode()
    def run_to_activation(self, index: int, hidden: torch.Tensor, call: Call) -> None:
        """Run layer ``index`` only as far as its activation function: the second matrix is not multiplied. A layer with
        experts is run whole."""
        if isinstance(self.ffns[index], Mixture):
            self.run_layer(index, hidden, call)
            return
        self._run_until(index, hidden, call, self.activation(index).register_forward_hook(_stop))

    @torch.inference_mode()
    def run_to_second(self, index: int, hidden: torch.Tensor, call: Call) -> None:
        """Run layer ``index`` only as far as its second matrix, which is not multiplied; a layer with experts whole."""
        if isinstance(self.ffns[index], Mixture):
            self.run_layer(index, hidden, call)
            return
        self._run_until(index, hidden, call, self.second(index).register_forward_pre_hook(_stop))

    def _run_until(self, index: int, hidden: torch.Tensor, call: Call, stop: RemovableHandle) -> None:
        try:
            self.layer(index)(hidden, *call.arguments, **call.named)
        except _Stop:
            pass
        finally:
            stop.remove()

    @torch.inference_mode()
    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """[B, n, V] float32: the logits that hidden states [B, n, d] leaving the last layer give, n at most T: the final norm,
        the unembedding and what the model does to its logits, each the model's own."""
        assert self._returned is not None, "prepare() comes first"
        tokens = torch.zeros(hidden.shape[:2], dtype=torch.int64, device=self.device)
        with self._gates(lambda *_: None, self._returned, hidden):
            return self.model(input_ids=tokens, use_cache=False).logits.float()

    @torch.inference_mode()
    def prepare(self, tokens: torch.Tensor) -> None:
        """Find out with a few ``tokens`` [1, 2] int64 whether decoder layers return a tuple; call this before ``frame``.

        Raises UserError for models whose layers cannot be run one by one, and for quantised FFNs.
        """
        self.load_layers(0, 1)
        passed: list[torch.Tensor] = []
        try:
            self._returned = self._probe(tokens)
            with self._gates(lambda hidden, _: passed.append(hidden), self._returned):
                self._forward(tokens)
            for index in range(self.count):
                self._check_second(index)
        except UserError:
            raise
        except Exception as error:
            if is_device_error(error):
                raise
            # Whatever torch or transformers make of impossible settings (negative heads, a dropout of 2).
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise UserError(f"{self.name}: cannot be run ({reason}); check its config.json") from error
        finally:
            self.release_layers(0, 1)
        if len(passed) != self.count or not all(torch.equal(hidden, passed[0]) for hidden in passed):
            raise UserError(
                f"{self.name}: does more between its decoder layers than pass hidden states on, so they cannot be "
                "run one by one"
            )

    def _probe(self, tokens: torch.Tensor) -> int:
        """How many values a decoder layer returns in a tuple, 0 where it returns a bare tensor."""
        seen: list[tuple[torch.Tensor, Call]] = []

        def keep(hidden: torch.Tensor, call: Call) -> None:
            seen.append((hidden, call))
            raise _Stop

        with self._gates(keep, 0):
            self._forward(tokens)
        hidden, call = seen[0]
        output = self.layer(0)(hidden, *call.arguments, **call.named)
        leaving = output[0] if isinstance(output, tuple | list) else output
        self._check_hidden(hidden, leaving, tokens)
        return len(output) if isinstance(output, tuple | list) else 0

    def _check_hidden(self, entering: torch.Tensor, leaving: torch.Tensor, tokens: torch.Tensor) -> None:
        wanted = (*tokens.shape, self.width)
        for hidden in (entering, leaving):
            if tuple(hidden.shape) != wanted or hidden.dtype != entering.dtype:
                raise UserError(
                    f"{self.name}: its decoder layers exchange {tuple(hidden.shape)} {hidden.dtype} where "
                    f"{wanted} {entering.dtype} was expected, so they cannot be run one by one"
                )
        self.hidden_dtype = entering.dtype

    def _check_second(self, index: int) -> None:
        """Raise UserError where the second FFN matrix, if it is here, is not what a neuron's value is multiplied with."""
        dense = self.ffns[index].dense
        if dense is None:
            return
        module: Any = self.layer(index).get_submodule(dense.second)
        if module.weight.is_meta:
            return
        neurons = dense.neurons
        few = torch.tensor([0, neurons // 2, neurons - 1], device=self.device)
        dtype = module.weight.dtype if module.weight.dtype in WEIGHT_DTYPES else self.hidden_dtype
        added = module(nn.functional.one_hot(few, neurons).to(dtype)).float()
        rows = output_rows(module, module.weight.detach())
        if rows.shape == (neurons, self.width):
            rows = rows[few].float()
            bias = torch.zeros_like(rows[0]) if module.bias is None else module.bias.float()
            # Roundings to 8 bits and more pass; another scale, or rounding to a few values, does not.
            allowed = 2**-6 * (rows.abs().amax(1) + bias.abs().amax())
            # What is not finite passes here: the sums over the weights end the run, and say so.
            wrong = (added - bias - rows).abs().amax(1) > allowed
            if not bool(wrong.any()):
                return
        raise UserError(
            f"{self.name}: its FFN matrices are stored in a form of their own ({type(module).__name__}), from which "
            "projections would be wrong; give the checkpoint that is not quantised"
        )

    def _forward(self, tokens: torch.Tensor) -> None:
        try:
            self.base(input_ids=tokens, use_cache=False)
        except _Stop:
            return

    @contextmanager
    def _gates(
        self, keep: Callable[[torch.Tensor, Call], None], returned: int, leaving: torch.Tensor | None = None
    ) -> Iterator[None]:
        for index, layer in enumerate(self._originals):
            self.layers[index] = LayerGate(layer, keep, returned, leaving)
        try:
            yield
        finally:
            for index, layer in enumerate(self._originals):
                self.layers[index] = layer

    # Vocabulary projection

    def output_rows(self, index: int) -> torch.Tensor:
        """[F, e]: each neuron's row of the second FFN matrix (of its expert's own, in a mixture), through the output
        projection where there is one."""
        ffn, parts = self.ffns[index], []
        if ffn.dense is not None:
            module = self.layer(index).get_submodule(ffn.dense.second)
            parts.append(output_rows(module, self.layer_weight(index, f"{ffn.dense.second}.weight")))
        if isinstance(ffn, Mixture):
            experts = self.layer(index).get_submodule(ffn.experts.module)
            stacked = self.layer_weight(index, f"{ffn.experts.module}.down_proj")
            parts.append(expert_rows(ffn.experts, stacked, is_transposed(experts)))
        rows = parts[0] if len(parts) == 1 else torch.cat([part.to(parts[-1].device) for part in parts])
        onward = self.output_projection()
        return rows if onward is None else rows.float() @ onward.to(rows.device).float()

    def layer_weight(self, index: int, name: str) -> torch.Tensor:
        """A weight of a layer, by its name in the layer, as its module has it."""
        return self.layer(index).get_parameter(name).detach()

    def unembedding(self) -> torch.Tensor:
        """[V, e]: the unembedding matrix."""
        head = self.model.get_output_embeddings()
        if head is None:
            raise UserError(f"{self.name}: has no unembedding matrix; give a causal LM")
        return head.weight.detach()

    def output_projection(self) -> torch.Tensor | None:
        """[d, e]: the projection before the unembedding (OPT-350m), None where the widths agree."""
        wanted = int(self.unembedding().shape[1])
        if wanted == self.width:
            return None
        for path, module in self.base.named_modules():
            outside = not path.startswith(f"{self.layers_path}.")
            if outside and is_projection(module) and in_out(module) == (self.width, wanted):
                weight: Any = module.weight
                return output_rows(module, weight.detach())
        raise UserError(
            f"{self.name}: its unembedding has {wanted} columns and the residual stream {self.width} values, "
            "but no projection between them was found"
        )
