"""Tiny random mixtures of experts of every kind, and what their neurons do by Hugging Face's own forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers as hf
from tiny_tokenizers import BOS_ID, EOS_ID

VOCAB, WIDTH, SIZE, EXPERTS, CHOSEN = 64, 16, 12, 4, 2

_COMMON: dict[str, Any] = {
    "vocab_size": VOCAB, "hidden_size": WIDTH, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "intermediate_size": SIZE, "moe_intermediate_size": SIZE,
    "num_experts_per_tok": CHOSEN, "num_experts": EXPERTS, "max_position_embeddings": 64,
    "bos_token_id": BOS_ID, "eos_token_id": EOS_ID, "pad_token_id": None, "tie_word_embeddings": False,
}  # fmt: skip
_LOCAL = {key: value for key, value in _COMMON.items() if key != "num_experts"} | {"num_local_experts": EXPERTS}
_LATENT: dict[str, Any] = {
    "kv_lora_rank": 8, "q_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 4,
    "num_key_value_heads": 4, "head_dim": 4, "n_group": 2, "topk_group": 1, "first_k_dense_replace": 1,
    "intermediate_size": 20,
}  # fmt: skip


class Kind(NamedTuple):
    """A family: its classes and settings, and the module of the shared experts beside ``mlp.experts``."""

    config: str
    model: str
    settings: dict[str, Any]
    shared: str | None = None


KINDS = {
    "mixtral": Kind("MixtralConfig", "MixtralForCausalLM", _LOCAL),
    "qwen2_moe": Kind(
        "Qwen2MoeConfig",
        "Qwen2MoeForCausalLM",
        _COMMON | {"shared_expert_intermediate_size": 10, "mlp_only_layers": [1], "intermediate_size": 21},
        "mlp.shared_expert",
    ),
    "qwen3_moe": Kind("Qwen3MoeConfig", "Qwen3MoeForCausalLM", _COMMON | {"norm_topk_prob": True}),
    "olmoe": Kind("OlmoeConfig", "OlmoeForCausalLM", _COMMON | {"head_dim": WIDTH // 4}),
    "gpt_oss": Kind("GptOssConfig", "GptOssForCausalLM", _LOCAL | {"sliding_window": 8}),
    "deepseek_v3": Kind(
        "DeepseekV3Config",
        "DeepseekV3ForCausalLM",
        _COMMON | _LATENT | {"n_routed_experts": EXPERTS, "n_shared_experts": 2},
        "mlp.shared_experts",
    ),
    "llama4_text": Kind(
        "Llama4TextConfig",
        "Llama4ForCausalLM",
        _LOCAL | {"intermediate_size_mlp": 20, "interleave_moe_layer_step": 2, "attention_chunk_size": 8},
        "feed_forward.shared_expert",
    ),
}


def randomise(model: torch.nn.Module, seed: int = 0, scale: float = 1.4) -> None:
    """Weights of a size that makes neurons and experts differ; some neurons' gates never open."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim == 1:
                parameter.add_(0.2 * noise)
            elif "embed" in name:
                parameter.copy_(noise + torch.randn(parameter.shape[1], generator=generator))
            else:
                parameter.copy_(noise * scale / WIDTH**0.5)


def tiny_experts(kind: str, directory: Path, seed: int = 0, **overrides: Any) -> Path:
    """A folder, new inside ``directory``, with a random model of one of KINDS, saved as its checkpoints on the hub are."""
    config_name, model_name, settings, _ = KINDS[kind]
    model = getattr(hf, model_name)(getattr(hf, config_name)(**(settings | overrides)))
    randomise(model, seed)
    folder = directory / f"{kind}-{seed}-{len(overrides)}"
    model.eval().save_pretrained(folder)
    return folder


def unknown_experts(directory: Path) -> Path:
    """A folder with a model whose experts are not a module that transformers' grouped product runs."""
    config = hf.JetMoeConfig(**(_LOCAL | {"kv_channels": 8, "num_key_value_heads": 2}))
    folder = directory / "unknown"
    hf.JetMoeForCausalLM(config).save_pretrained(folder)
    return folder


# What the neurons do, by hooks


def layer_parts(model: Any, layer: int) -> tuple[Any, Any]:
    """(the experts module or None, the dense FFN beside it or in its place, or None) of a layer."""
    module = model.model.layers[layer]
    shared = KINDS[model.config.model_type].shared
    home = module.feed_forward if is_stacked(model) else module.mlp
    experts = getattr(home, "experts", None)
    return experts, home if experts is None else None if shared is None else module.get_submodule(shared)


def is_stacked(model: Any) -> bool:
    """Whether all experts run for every token."""
    return bool(model.config.model_type == "llama4_text")


@contextmanager
def watched_stack(model: Any, layer: int, see: Callable) -> Iterator[None]:
    """While it lasts, experts that all run for every token show ``see`` their gates, activations and a, [E, N, I] each, and
    which are routed, bool [E, N, 1]; its result takes the place of a."""
    home = model.model.layers[layer].feed_forward
    experts, scores = home.experts, []
    handle = home.router.register_forward_hook(lambda _, inputs, output: scores.append(output[0]))

    def forward(hidden: torch.Tensor) -> torch.Tensor:
        hidden = hidden.view(EXPERTS, -1, WIDTH)
        gate, up = torch.bmm(hidden, experts.gate_up_proj).chunk(2, dim=-1)
        after = experts.act_fn(gate)
        a = see(gate, after, up * after, (scores[-1] > 0).T[:, :, None])
        return torch.bmm(a, experts.down_proj).view(-1, WIDTH)

    experts.forward = forward
    try:
        yield
    finally:
        handle.remove()
        del experts.forward


def expert_activations(model: Any, tokens: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """(input, output) of every layer's activation functions, float32 [S, T, F] each, by one forward pass: neurons of
    shared experts first, then expert by expert; -inf and 0 where the token was not routed to the expert."""
    return [(before, after) for before, after, _ in _forward(model, tokens)]


def expert_values(model: Any, tokens: np.ndarray) -> list[np.ndarray]:
    """a, float32 [S, T, F], of every layer: what the second matrices are given, 0 where the token was not routed to the
    expert."""
    return [values for _, _, values in _forward(model, tokens)]


def _forward(model: Any, tokens: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(input and output of the activation functions, a) of every layer."""
    S, T = tokens.shape
    seen: dict[int, dict[str, Any]] = {layer: {} for layer in range(len(model.model.layers))}
    handles, stack = [], ExitStack()

    def keep(layer: int, name: str) -> Callable:
        def hook(module: Any, inputs: Any, output: Any = None) -> None:
            arrays = [each.detach().clone() for each in (*inputs, *(() if output is None else (output,)))]
            if name in seen[layer]:
                assert model.config._experts_implementation == "eager", "ran twice"  # expert by expert
                arrays = [torch.cat(pair) for pair in zip(seen[layer][name], arrays, strict=True)]
            seen[layer][name] = arrays

        return hook

    for layer in seen:
        experts, dense = layer_parts(model, layer)
        if dense is not None:
            activation = dense.activation_fn if is_stacked(model) else dense.act_fn
            handles.append(activation.register_forward_hook(keep(layer, "dense")))
            handles.append(dense.down_proj.register_forward_pre_hook(keep(layer, "dense values")))
        if experts is not None and is_stacked(model):

            def stacked(gate: Any, after: Any, a: Any, routed: Any, layer: int = layer) -> torch.Tensor:
                arrays = (gate.masked_fill(~routed, -torch.inf), after * routed, a * routed)
                seen[layer]["stacked"] = [each.permute(1, 0, 2).reshape(S, T, -1) for each in arrays]
                return a

            stack.enter_context(watched_stack(model, layer, stacked))
        elif experts is not None:
            handles.append(experts.register_forward_pre_hook(keep(layer, "routed")))
            if hasattr(experts, "act_fn"):
                handles.append(experts.act_fn.register_forward_hook(keep(layer, "rows")))
            experts._apply_gate = _watched_gate(experts, keep(layer, "rows"), keep(layer, "row values"))
    with torch.no_grad(), stack:
        model(input_ids=torch.from_numpy(np.ascontiguousarray(tokens, dtype=np.int64)), use_cache=False)
    for handle in handles:
        handle.remove()
    found = []
    for layer, parts in seen.items():
        experts, _ = layer_parts(model, layer)
        if experts is not None and not is_stacked(model):
            del experts._apply_gate
        before, after, values = [], [], []
        if "dense" in parts:
            for each, array in zip(parts["dense"] + parts["dense values"], (before, after, values), strict=True):
                array.append(each.float().reshape(S, T, -1).numpy())
        for each, array in zip(parts.get("stacked", ()), (before, after, values), strict=False):
            array.append(each.float().numpy())
        if "routed" in parts:
            index = parts["routed"][1].reshape(S * T, -1)
            # Rows of the grouped product are sorted by expert.
            order = torch.sort(index.flatten())[1]
            if model.config._experts_implementation == "batched_mm":
                order = torch.arange(index.numel())
            if model.config._experts_implementation == "eager":
                order = torch.cat([_pairs_of(index, expert) for expert in range(experts.num_experts)])
            token, expert = order // index.shape[1], index.flatten()[order]
            # Experts that run one by one may not show a.
            rows = parts["rows"] + parts.get("row values", [torch.full_like(parts["rows"][0], torch.nan)])
            for each, array, fill in zip(rows, (before, after, values), (-np.inf, 0.0, 0.0), strict=True):
                out = torch.full((S * T, experts.num_experts, each.shape[1]), fill)
                out[token, expert] = each.float()
                array.append(out.reshape(S, T, -1).numpy())
        found.append(tuple(np.concatenate(arrays, axis=2) for arrays in (before, after, values)))
    return found


def _pairs_of(index: torch.Tensor, expert: int) -> torch.Tensor:
    """Which of the flattened choices [tokens, k] are of an expert, in the order of its rows where each runs by itself."""
    choice, token = torch.where(expert == index.T)
    return token * index.shape[1] + choice


def _watched_gate(experts: Any, keep: Callable, keep_values: Callable) -> Callable:
    """The experts' gate that also shows what it gives, and gpt-oss's activation function, which is not a module."""
    apply = experts._apply_gate

    def gated(product: torch.Tensor) -> torch.Tensor:
        if not hasattr(experts, "act_fn"):
            gate = product[..., ::2].clamp(max=experts.limit)
            keep(experts, (gate,), gate * torch.sigmoid(gate * experts.alpha))
        values = apply(product)
        keep_values(experts, (values,))
        return values

    return gated


def expert_output_rows(model: Any, layer: int) -> np.ndarray:
    """The rows w_i of the second matrices, float32 [F, d]: each neuron's from its own expert's."""
    experts, dense = layer_parts(model, layer)
    rows = [] if dense is None else [dense.down_proj.weight.detach().float().numpy().T]
    if experts is not None:
        for second in experts.down_proj.detach().float().numpy():
            rows.append(second if model.config.model_type in ("gpt_oss", "llama4_text") else second.T)
    return np.concatenate(rows)


@contextmanager
def replaced(model: Any, values: Mapping[tuple[int, int], float]) -> Iterator[None]:
    """(layer, neuron) -> value in the place of what is multiplied with w_i; in a routed expert where it is chosen."""
    handles, changed, stack = [], [], ExitStack()
    for layer in {layer for layer, _ in values}:
        experts, dense = layer_parts(model, layer)
        size = 0 if dense is None else dense.down_proj.in_features
        own = {neuron: value for (at, neuron), value in values.items() if at == layer}

        def set_dense(module: Any, inputs: Any, own: dict = own, size: int = size) -> Any:
            a = inputs[0].clone()
            for neuron, value in own.items():
                if neuron < size:
                    a[..., neuron] = value
            return (a,)

        if dense is not None:
            handles.append(dense.down_proj.register_forward_pre_hook(set_dense))
        if experts is not None and is_stacked(model):

            def set_stacked(
                gate: Any, after: Any, a: Any, routed: Any, own: dict = own, size: int = size
            ) -> torch.Tensor:
                for neuron, value in own.items():
                    if neuron >= size:
                        expert, within = divmod(neuron - size, a.shape[2])
                        a[expert, routed[expert, :, 0], within] = value
                return a

            stack.enter_context(watched_stack(model, layer, set_stacked))
        elif experts is not None:
            chosen: list[torch.Tensor] = []
            handles.append(
                experts.register_forward_pre_hook(lambda _, inputs, to=chosen: to.append(inputs[1].flatten()))
            )

            def gated(
                product: Any, apply: Any = experts._apply_gate, chosen: Any = chosen, own: dict = own, size: int = size
            ) -> Any:
                a = apply(product).clone()
                expert = torch.sort(chosen[-1])[0]  # of each row
                for neuron, value in own.items():
                    if neuron >= size:
                        a[expert == (neuron - size) // a.shape[1], (neuron - size) % a.shape[1]] = value
                return a

            experts._apply_gate = gated
            changed.append(experts)
    try:
        with stack:
            yield
    finally:
        for handle in handles:
            handle.remove()
        for experts in changed:
            del experts._apply_gate
