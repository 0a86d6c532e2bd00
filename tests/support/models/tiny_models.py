"""Tiny random checkpoints of every supported family, made by Hugging Face's own classes in a fraction of a second."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers as hf
from rule_model import Rule, default_rules, expected_active, rule_model
from tiny_tokenizers import BOS_ID, EOS_ID, HOSTILE, INVALID_BYTES, WORDS, tiny_tokenizer, words

__all__ = [
    "BOS_ID", "EOS_ID", "FAMILIES", "HOSTILE", "INVALID_BYTES", "SEQ_LEN", "VOCAB", "WORDS", "Rule",
    "default_rules", "expected_active", "random_text", "random_windows", "rule_model", "tiny", "tiny_tokenizer",
    "words",
]  # fmt: skip

VOCAB = 64
SEQ_LEN = 32
WIDTH = 16
NEURONS = 24
LAYERS = 3

_COMMON = {
    "vocab_size": VOCAB, "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 2,
    "intermediate_size": NEURONS, "max_position_embeddings": SEQ_LEN, "tie_word_embeddings": False,
}  # fmt: skip
_GROUPED = _COMMON | {"num_attention_heads": 4, "num_key_value_heads": 2}
_OPT = {
    "vocab_size": VOCAB, "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 2,
    "ffn_dim": NEURONS, "max_position_embeddings": SEQ_LEN, "word_embed_proj_dim": WIDTH,
}  # fmt: skip
_GPT2 = {"vocab_size": VOCAB, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": 2, "n_positions": SEQ_LEN}
_FALCON = {
    "vocab_size": VOCAB, "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 4,
    "ffn_hidden_size": NEURONS, "max_position_embeddings": SEQ_LEN,
}  # fmt: skip
_GEMMA = _GROUPED | {
    "head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 8, "tie_word_embeddings": True,
    "num_hidden_layers": 4,
}  # fmt: skip
_ALTERNATING = {"layer_types": ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"]}

# family: (configuration class, model class, settings, name of the setting of the activation function)
_FAMILIES: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "opt": ("OPTConfig", "OPTForCausalLM", _OPT, "activation_function"),
    "opt350": (
        "OPTConfig",
        "OPTForCausalLM",
        _OPT | {"do_layer_norm_before": False, "word_embed_proj_dim": 12},
        "activation_function",
    ),
    "gpt2": ("GPT2Config", "GPT2LMHeadModel", _GPT2 | {"n_inner": NEURONS}, "activation_function"),
    "gpt_neox": ("GPTNeoXConfig", "GPTNeoXForCausalLM", _COMMON, "hidden_act"),
    "gpt_neox_sequential": (
        "GPTNeoXConfig",
        "GPTNeoXForCausalLM",
        _COMMON | {"use_parallel_residual": False},
        "hidden_act",
    ),
    "llama": ("LlamaConfig", "LlamaForCausalLM", _GROUPED, "hidden_act"),
    "llama_tied": ("LlamaConfig", "LlamaForCausalLM", _GROUPED | {"tie_word_embeddings": True}, "hidden_act"),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM", _GROUPED, "hidden_act"),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM", _GROUPED | {"head_dim": 8}, "hidden_act"),
    "gemma2": ("Gemma2Config", "Gemma2ForCausalLM", _GEMMA, "hidden_activation"),
    "gemma3": ("Gemma3TextConfig", "Gemma3ForCausalLM", _GEMMA | _ALTERNATING, "hidden_activation"),
    "phi": ("PhiConfig", "PhiForCausalLM", _COMMON, "hidden_act"),
    "phi3": ("Phi3Config", "Phi3ForCausalLM", _GROUPED | {"pad_token_id": None}, "hidden_act"),
    "falcon": ("FalconConfig", "FalconForCausalLM", _FALCON | {"bias": True}, "activation"),
    "falcon_new": (
        "FalconConfig",
        "FalconForCausalLM",
        _FALCON | {"new_decoder_architecture": True, "num_kv_heads": 2},
        "activation",
    ),
    "bloom": (
        "BloomConfig",
        "BloomForCausalLM",
        {"vocab_size": VOCAB, "hidden_size": WIDTH, "n_layer": LAYERS, "n_head": 2},
        "",
    ),
    "gptj": (
        "GPTJConfig",
        "GPTJForCausalLM",
        _GPT2 | {"n_inner": NEURONS, "rotary_dim": 4},
        "activation_function",
    ),
    "nemotron": ("NemotronConfig", "NemotronForCausalLM", _GROUPED | {"mlp_bias": True}, "hidden_act"),
    "mistral": ("MistralConfig", "MistralForCausalLM", _GROUPED | {"sliding_window": 8}, "hidden_act"),
    "starcoder2": ("Starcoder2Config", "Starcoder2ForCausalLM", _GROUPED, "hidden_act"),
    "olmo2": ("Olmo2Config", "Olmo2ForCausalLM", _GROUPED | {"pad_token_id": None}, "hidden_act"),
}

FAMILIES = list(_FAMILIES)
"""Every dense family; mixtures of experts are made by `tiny_experts`."""

_FIRST_PROJECTIONS = (
    "fc1", "mlp.c_fc", "dense_h_to_4h", "gate_proj", "fc_in", "up_proj", "gate_up_proj",
)  # fmt: skip


def _randomise(model: torch.nn.Module, generator: torch.Generator) -> None:
    """Weights and biases of a size that makes neurons differ: some rarely active, some almost always, one (number 0)
    whose input is exactly 0, which does not count as activated."""

    def normal(like: torch.Tensor) -> torch.Tensor:
        return torch.randn(like.shape, generator=generator)

    projections = {id(m): name for name, m in model.named_modules() if name.endswith(_FIRST_PROJECTIONS)}
    gated = any(name.endswith("gate_proj") for name in projections.values())
    for module_name, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            transposed = type(module).__name__ == "Conv1D"
            with torch.no_grad():
                if isinstance(module, torch.nn.Embedding):
                    # A direction shared by all tokens gives each neuron an offset of its own, biases or not.
                    shared = torch.randn(parameter.shape[1], generator=generator)
                    parameter.copy_(normal(parameter) + 0.5 * shared)
                elif parameter.ndim == 1:
                    parameter.add_(normal(parameter) * (0.5 if name == "bias" else 0.1))
                else:
                    fan_in = parameter.shape[0] if transposed else parameter.shape[-1]
                    parameter.copy_(normal(parameter) * 1.5 / math.sqrt(fan_in))
                if id(module) in projections and not (gated and module_name.endswith("up_proj")):
                    if parameter.ndim == 1:
                        parameter.add_(torch.linspace(-3.0, 2.0, parameter.shape[0]))
                        parameter[0] = 0.0
                    else:
                        (parameter.T if transposed else parameter)[0] = 0.0


def tiny(
    family: str,
    directory: Path,
    seed: int = 0,
    *,
    activation: str | None = None,
    shards: bool = False,
    bin: bool = False,
    dtype: str = "float32",
    tokenizer: bool = False,
    **overrides: Any,
) -> Path:
    """A folder, new inside `directory`, with a random model of one of `FAMILIES`.

    `activation`: relu, gelu, gelu_new, silu ... in place of the family's own (not for bloom, which has no choice).
    `shards`: several safetensors files with an index; `bin`: one `pytorch_model.bin`; `tokenizer`: a word-level
    tokenizer of the same vocabulary too. `overrides` are settings of the family's configuration class.
    """
    config_name, model_name, settings, activation_name = _FAMILIES[family]
    settings = {"bos_token_id": BOS_ID, "eos_token_id": EOS_ID} | settings
    if activation is not None:
        if not activation_name:
            raise ValueError(f"{family} has one activation function only")
        settings[activation_name] = activation
    config = getattr(hf, config_name)(**(settings | overrides))
    generator = torch.Generator().manual_seed(seed)
    model = getattr(hf, model_name)(config)
    _randomise(model, generator)
    model = model.to(getattr(torch, dtype)).eval()

    directory.mkdir(parents=True, exist_ok=True)
    taken = sum(1 for path in directory.iterdir() if path.name.startswith(f"{family}-"))
    folder = directory / f"{family}-{taken}"
    if bin:
        folder.mkdir()
        config.architectures, config.dtype = [model_name], dtype
        config.save_pretrained(folder)
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    else:
        model.save_pretrained(folder, max_shard_size="10KB" if shards else "1GB")
    if tokenizer:
        tiny_tokenizer(folder, vocab=words(config.vocab_size - 3))
    return folder


def random_windows(
    rng: np.random.Generator, S: int, T: int, V: int, bos_id: int | None = None, zipf: bool = True
) -> np.ndarray:
    """Windows int64 [S, T] of token ids below V, frequent and rare ones (`zipf`) or all alike. With `bos_id` the
    first column is BOS, and BOS appears now and then inside, as where a document ends; nowhere else."""
    weights = 1.0 / np.arange(1, V + 1) if zipf else np.ones(V)
    rng.shuffle(weights)
    if bos_id is not None:
        weights[bos_id] = 0.03 * weights.sum()
    windows = rng.choice(V, size=(S, T), p=weights / weights.sum()).astype(np.int64)
    if bos_id is not None:
        windows[:, 0] = bos_id
    return windows


def random_text(rng: np.random.Generator, count: int, V: int = VOCAB) -> str:
    """`count` words of the vocabulary of `tiny(..., tokenizer=True)`, frequent and rare ones."""
    known = words(V - 3)
    weights = 1.0 / np.arange(1, len(known) + 1)
    return " ".join(rng.choice(known, size=count, p=weights / weights.sum()))
