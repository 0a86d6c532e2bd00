"""The neurons of a model by Hugging Face's own forward pass, found by an explicit table and forward hooks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import reference as ref
import tiny_experts
import torch
from transformers import AutoModelForCausalLM


class Names(NamedTuple):
    """Where a family keeps its layers, and in a layer the activation module and the last FFN projection."""

    layers: str
    activation: str
    last: str


_GATED = Names("model.layers", "mlp.act_fn", "mlp.down_proj")
MODULES = {
    "opt": Names("model.decoder.layers", "activation_fn", "fc2"),
    "gpt2": Names("transformer.h", "mlp.act", "mlp.c_proj"),
    "gpt_neox": Names("gpt_neox.layers", "mlp.act", "mlp.dense_4h_to_h"),
    "llama": _GATED,
    "mistral": _GATED,
    "qwen2": _GATED,
    "qwen3": _GATED,
    "gemma2": _GATED,
    "gemma3_text": _GATED,
    "olmo2": _GATED,
    "nemotron": _GATED,
    "phi": Names("model.layers", "mlp.activation_fn", "mlp.fc2"),
    "phi3": Names("model.layers", "mlp.activation_fn", "mlp.down_proj"),
    "falcon": Names("transformer.h", "mlp.act", "mlp.dense_4h_to_h"),
    "bloom": Names("transformer.h", "mlp.gelu_impl", "mlp.dense_4h_to_h"),
    "gptj": Names("transformer.h", "mlp.act", "mlp.fc_out"),
    "starcoder2": Names("model.layers", "mlp.act", "mlp.c_proj"),
}


def load_model(path: Path) -> Any:
    """The checkpoint in float32 on the CPU, in evaluation mode."""
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()


def layer_modules(model: Any) -> list[Any]:
    return list(model.get_submodule(MODULES[model.config.model_type].layers))


def forward_all(model: Any, tokens: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """(input, output) of every layer's activation function, float32 [S, T, F] each, from one forward pass over all
    windows of `tokens` [S, T] at once."""
    if model.config.model_type in tiny_experts.KINDS:
        return tiny_experts.expert_activations(model, tokens)
    S, T = tokens.shape
    names = MODULES[model.config.model_type]
    found: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def hook_of(layer: int) -> Callable:
        def hook(module: torch.nn.Module, inputs: tuple, output: torch.Tensor) -> None:
            assert layer not in found, "an activation module ran twice"
            pre, post = (t.detach().float().reshape(S, T, -1).cpu().numpy().copy() for t in (inputs[0], output))
            found[layer] = (pre, post)

        return hook

    handles = [
        module.get_submodule(names.activation).register_forward_hook(hook_of(layer))
        for layer, module in enumerate(layer_modules(model))
    ]
    try:
        with torch.no_grad():
            windows = torch.from_numpy(np.ascontiguousarray(tokens, dtype=np.int64)).to(model.device)
            model(input_ids=windows, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    assert sorted(found) == list(range(len(handles)))
    return [found[layer] for layer in range(len(handles))]


def forward_neurons(model: Any, tokens: np.ndarray, layer: int) -> tuple[np.ndarray, np.ndarray]:
    """(input, output) of one layer's activation function, float32 [S, T, F] each."""
    return forward_all(model, tokens)[layer]


def forward_values(model: Any, tokens: np.ndarray) -> list[np.ndarray]:
    """Every layer's a, float32 [S, T, F]: the input of the last FFN projection, which is multiplied with w_i."""
    if model.config.model_type in tiny_experts.KINDS:
        return tiny_experts.expert_values(model, tokens)
    S, T = tokens.shape
    names = MODULES[model.config.model_type]
    found: list[np.ndarray] = []

    def hook(module: torch.nn.Module, inputs: tuple) -> None:
        found.append(inputs[0].detach().float().reshape(S, T, -1).numpy().copy())

    handles = [layer.get_submodule(names.last).register_forward_pre_hook(hook) for layer in layer_modules(model)]
    with torch.no_grad():
        model(input_ids=torch.from_numpy(np.ascontiguousarray(tokens, dtype=np.int64)), use_cache=False)
    for handle in handles:
        handle.remove()
    assert len(found) == len(handles)
    return found


def output_rows(model: Any, layer: int) -> np.ndarray:
    """The rows w_i of the second FFN matrix, float32 [F, d]."""
    if model.config.model_type in tiny_experts.KINDS:
        return tiny_experts.expert_output_rows(model, layer)
    last = layer_modules(model)[layer].get_submodule(MODULES[model.config.model_type].last)
    weight = last.weight.detach().float().numpy()
    # GPT-2's Conv1D keeps [inputs, outputs], Linear [outputs, inputs].
    return weight.copy() if type(last).__name__ == "Conv1D" else weight.T.copy()


def unembedding(model: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """(E [V, d], project_out [d, d_model] or None), float32."""
    E = model.get_output_embeddings().weight.detach().float().numpy().copy()
    if model.config.model_type == "opt" and model.model.decoder.project_out is not None:
        return E, model.model.decoder.project_out.weight.detach().float().numpy().copy()
    return E, None


def model_statistics(
    model: Any, tokens: np.ndarray, domains: Sequence[ref.Domain | tuple], bos_id: int | None, min_occurrences: int = 5
) -> tuple[list[list[ref.Neuron]], list[np.ndarray]]:
    """All neurons of every layer over `tokens` [S, T], and every layer's projection, float64 [F, V]."""
    layers = [
        ref.layer_statistics(pre > 0, post, tokens, domains, bos_id, min_occurrences)
        for pre, post in forward_all(model, tokens)
    ]
    E, project_out = unembedding(model)
    return layers, [ref.projection(E, output_rows(model, i), project_out) for i in range(len(layers))]
