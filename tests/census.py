"""Every causal and vision-language architecture of the installed transformers, made tiny, collected, and compared.

    python tests/census.py                     # all of them, in processes of their own; writes core/ARCHITECTURES.md
    python tests/census.py --only llama,opt    # some of them; prints what came of each
    python tests/census.py --results FILE      # goes on from the lines that FILE has, and adds to it

The comparison is with hooks on Hugging Face's own forward pass of the whole model. Random weights say nothing about a model's
quality, and all about whether ffnscope finds its neurons and runs its layers one by one to the same counts.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import fields
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "core" / "ARCHITECTURES.md"
CHUNK = 25  # architectures per process
SECONDS = 60  # per architecture
WINDOWS, LENGTH, VOCABULARY = 6, 16, 80

EQUAL, DIFFERENT, REFUSED, UNMADE = "equal", "different", "refused", "not made"

_WIDTH, _HEADS, _HEAD, _LAYERS, _NEURONS, _LATENT = 32, 4, 8, 4, 48, 8
_SIZES: tuple[tuple[int, tuple[str, ...]], ...] = (
    (VOCABULARY, ("vocab_size",)),
    (_WIDTH, ("hidden_size", "n_embd", "d_model", "dim", "embed_dim", "word_embed_proj_dim", "embedding_size", "emb_dim")),
    (_LAYERS, ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "depth", "decoder_layers", "encoder_layers")),
    (_HEADS, ("num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads", "encoder_attention_heads")),
    (2, ("num_key_value_heads", "num_kv_heads", "n_head_kv", "num_experts_per_tok", "moe_topk", "moe_k", "top_k",
        "num_query_groups", "topk", "num_experts_per_token")),
    (_HEAD, ("head_dim", "kv_channels", "attention_head_dim", "v_head_dim", "qk_nope_head_dim", "qk_rope_head_dim",
            "global_head_dim", "query_pre_attn_scalar", "rotary_dim", "swa_head_dim", "partial_rotary_dim")),
    (_NEURONS, ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size", "decoder_ffn_dim", "encoder_ffn_dim",
               "moe_intermediate_size", "shared_expert_intermediate_size", "ffn_intermediate_size", "mlp_dim",
               "intermediate_dim", "moe_shared_expert_intermediate_size", "expert_ffn_hidden_size")),
    (4, ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "n_experts", "num_global_experts")),
    (_LATENT, ("q_lora_rank", "kv_lora_rank", "lora_rank", "ssm_state_size", "state_size", "hidden_size_per_layer_input")),
    (64, ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx", "max_target_positions")),
    (1, ("n_group", "topk_group", "n_shared_experts", "num_shared_experts", "first_k_dense_replace", "bos_token_id")),
    (14, ("patch_size",)),
    (28, ("image_size",)),
)  # fmt: skip
_TINY = {name: value for value, names in _SIZES for name in names}
_TINY |= {"eos_token_id": 2, "pad_token_id": 0, "sliding_window": 8, "vocab_size_per_layer_input": VOCABULARY}
# What some architectures need beside: tried one after the other.
_VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"num_key_value_heads": _HEADS},
    {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}},
    {"num_key_value_heads": _HEADS, "head_dim": 4, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 4},
    {"layer_types": ["full_attention"] * _LAYERS},
    {"pad_token_id": None},
    {"attention_types": [[["global", "local"], _LAYERS // 2]]},
    {"num_hidden_layers": 8, "n_layer": 8, "num_layers": 8},
    {"hidden_size": 64, "d_model": 64, "n_embd": 64, "head_dim": 16},
    {"num_key_value_heads": 1, "num_attention_heads": 2, "head_dim": 16},
)


def tiny_config(cls: Any, extra: dict[str, Any], depth: int = 0) -> Any:
    """A small configuration of a class, its own configurations inside small too."""
    default = cls()
    named = {*default.to_dict(), *getattr(cls, "attribute_map", {}), *(field.name for field in fields(cls))}
    # Copies: some classes change what they are given.
    values = {name: deepcopy(value) for name, value in (_TINY | extra).items() if name in named}
    for name, inner in (getattr(cls, "sub_configs", None) or {}).items():
        own = getattr(default, name, None)
        kind = type(own) if own is not None and hasattr(own, "to_dict") else inner
        if depth < 2 and isinstance(kind, type) and kind.__name__ != "AutoConfig":
            values[name] = tiny_config(kind, extra, depth + 1)
    return cls(**values)


def make(cls: Any, auto: Any, folder: Path) -> Any:
    """A random model of a configuration class, saved. Raises the last error where no variant can be made and run."""
    import torch

    failure: Exception | None = None
    for extra in _VARIANTS:
        try:
            torch.manual_seed(0)
            model = auto.from_config(tiny_config(cls, extra)).float().eval()
            _randomise(model)
            with torch.no_grad():
                model(input_ids=torch.arange(3, 11)[None], use_cache=False)
            model.save_pretrained(folder)
        except Exception as error:
            failure = failure or error
        else:
            return model
    assert failure is not None
    raise failure


def _randomise(model: Any) -> None:
    import torch

    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim == 1:
                parameter.add_(0.2 * noise)
            else:
                parameter.copy_(noise * 1.2 / parameter.shape[-1] ** 0.5)


def counts_by_hooks(model: Any, tokens: Any, layered: Any) -> list[Any]:
    """Activations of each layer's neurons in one forward pass of the whole model, experts in a loop over them."""
    import torch

    from ffnscope.core.model.experts import Mixture

    found: list[dict[str, Any]] = [{} for _ in range(layered.count)]
    model.config._experts_implementation = "eager"
    for module in model.modules():
        if hasattr(getattr(module, "config", None), "_experts_implementation"):
            module.config._experts_implementation = "eager"

    def dense(index: int, neurons: int) -> Callable:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            found[index]["dense"] = (inputs[0].reshape(-1, neurons) > 0).sum(0)

        return hook

    def routed(index: int, experts: Any) -> tuple[Callable, Callable]:
        def enter(module: Any, inputs: Any) -> None:
            found[index]["hit"] = sorted(set(inputs[1].flatten().tolist()))
            found[index]["routed"] = torch.zeros(experts.count, experts.neurons, dtype=torch.int64)

        def gate(module: Any, inputs: Any, output: Any) -> None:
            expert = found[index]["hit"].pop(0)
            found[index]["routed"][expert] = (inputs[0] > 0).sum(0)

        return enter, gate

    def stacked(index: int, router: Any, activation: Any) -> None:
        """Of experts that all run for every token: those that it is routed to have a score."""
        router.register_forward_hook(lambda _, inputs, output: found[index].update(scores=output[0]))

        def gate(module: Any, inputs: Any, output: Any) -> None:
            chosen = (found[index]["scores"] > 0).T[:, :, None]
            found[index]["routed"] = ((inputs[0] > 0) & chosen).sum(1)

        activation.register_forward_hook(gate)

    for index, ffn in enumerate(layered.ffns):
        layer = layered.layer(index)
        plain = ffn.shared if isinstance(ffn, Mixture) else ffn
        if plain is not None:
            layer.get_submodule(plain.activation).register_forward_hook(dense(index, plain.neurons))
        if isinstance(ffn, Mixture):
            module: Any = layer.get_submodule(ffn.experts.module)
            if ffn.experts.router is not None:
                stacked(index, layer.get_submodule(ffn.experts.router), module.act_fn)
                continue
            enter, gate = routed(index, ffn.experts)
            module.register_forward_pre_hook(enter)
            if ffn.experts.activation is not None:
                module.get_submodule(ffn.experts.activation).register_forward_hook(gate)
            elif model.config.model_type == "gpt_oss":  # computes it in place: every other column is a gate's input
                module._apply_gate = _seen_first(
                    module._apply_gate, lambda product, see=gate: see(None, (product[..., ::2],), None)
                )
            else:
                raise NotImplementedError("the activation function of its experts is not a module")
    with torch.no_grad():
        model(input_ids=torch.from_numpy(tokens), use_cache=False)
    made = []
    for parts in found:
        both = [parts[name].flatten() for name in ("dense", "routed") if name in parts]
        made.append(torch.cat(both).numpy())
    return made


def _seen_first(function: Callable, see: Callable) -> Callable:
    """The function, whose argument is shown before."""

    def run(argument: Any) -> Any:
        see(argument)
        return function(argument)

    return run


def examine(name: str, cls: Any, auto: Any) -> tuple[str, str]:
    """(outcome, why) of one architecture."""
    import numpy as np
    import torch

    from ffnscope.core.collect import collect
    from ffnscope.core.corpus.sources import DomainSource
    from ffnscope.core.model.layered import LayeredModel
    from ffnscope.core.run.request import CollectRequest
    from ffnscope.store.errors import UserError
    from ffnscope.store.reader import Store

    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        try:
            model = make(cls, auto, folder / "model")
        except Exception as error:
            return UNMADE, f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"
        tokens = np.random.default_rng(0).integers(3, VOCABULARY, (WINDOWS, LENGTH)).astype(np.int64)
        np.save(folder / "all.npy", tokens)
        request = CollectRequest(
            str(folder / "model"), (DomainSource("all", folder / "all.npy"),), folder / "run.ffn", device="cpu",
            batch_size=WINDOWS, keep="0",
        )  # fmt: skip
        try:
            collect(request)
        except UserError as error:
            return REFUSED, str(error).removeprefix(f"{folder / 'model'}: ")
        try:
            wanted = counts_by_hooks(model, tokens, LayeredModel(model, name, torch.device("cpu")))
        except NotImplementedError as error:
            return DIFFERENT, f"not compared here: {error}"
        with Store.open(folder / "run.ffn") as store:
            for layer, expected in enumerate(wanted):
                found = store.column(layer, "activations").astype(np.int64)
                if found.shape != expected.shape or (found != expected).any():
                    return DIFFERENT, f"layer {layer}"
    return EQUAL, ""


def architectures() -> dict[str, tuple[Any, Any]]:
    """model type -> (configuration class, auto class), causal LMs first."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES, config_class_to_model_type

    known: dict[str, tuple[Any, Any]] = {}
    for auto in (AutoModelForCausalLM, AutoModelForImageTextToText):
        mapping = auto._model_mapping
        for kind in list(CONFIG_MAPPING_NAMES):
            try:
                config = mapping._config_mapping.get(kind) and mapping._load_attr_from_module(
                    kind, mapping._config_mapping[kind]
                )
            except Exception:  # a class that needs a package
                continue
            if config is not None and kind in mapping._model_mapping and kind not in known:
                known[kind] = (config, auto)
    assert config_class_to_model_type
    return known


def run_some(names: list[str]) -> None:
    """Examine these, and print a JSON line for each."""
    import transformers

    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    known = architectures()
    for name in names:
        try:
            outcome = examine(name, *known[name])
        except Exception as error:
            outcome = (DIFFERENT, f"{type(error).__name__}: {' '.join(str(error).split())[:160]}")
        print(json.dumps([name, *outcome]), flush=True)


def _in_processes(names: list[str], workers: int, results: Path | None) -> dict[str, tuple[str, str]]:
    def chunk(part: list[str]) -> dict[str, tuple[str, str]]:
        found: dict[str, tuple[str, str]] = {}
        while rest := [name for name in part if name not in found]:
            command = [sys.executable, __file__, "--only", ",".join(rest)]
            out = ""
            try:
                out = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS * len(rest)).stdout
            except subprocess.TimeoutExpired as error:
                out = (error.stdout or b"").decode()
            for line in out.splitlines():
                if line.startswith('["'):
                    name, outcome, why = json.loads(line)
                    found[name] = (outcome, why)
                    print(line, flush=True)
                    if results is not None:
                        with results.open("a", encoding="utf-8") as out_file:
                            out_file.write(line + "\n")
            stuck = next((name for name in rest if name not in found), None)
            if stuck is not None:
                found[stuck] = (UNMADE, "its process ended, or took too long")
        return found

    parts = [names[i : i + CHUNK] for i in range(0, len(names), CHUNK)]
    found: dict[str, tuple[str, str]] = {}
    with ThreadPoolExecutor(workers) as pool:
        for each in pool.map(chunk, parts):
            found |= each
    return found


def page(found: dict[str, tuple[str, str]], version: str) -> str:
    """The page that lists them."""
    by_why: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, (outcome, why) in sorted(found.items()):
        by_why[outcome][why].append(name)
    totals = {outcome: sum(map(len, reasons.values())) for outcome, reasons in by_why.items()}
    made = sum(totals.values()) - totals.get(UNMADE, 0)
    lines = [
        "# Architectures",
        "",
        "Written by `python tests/census.py`: every causal LM and vision-language model of transformers",
        f"{version} that can be made small by its configuration alone, with random weights, collected, and compared with",
        f"hooks on Hugging Face's own forward pass of the whole model. {made} of {len(found)} could be made. Of these,",
        f"{totals.get(EQUAL, 0)} have equal counts of every neuron, {totals.get(REFUSED, 0)} are refused in one line, and",
        f"{totals.get(DIFFERENT, 0)} could not be compared, or differ. Names are those of `model_type` in config.json.",
        "",
        "## Equal",
        "",
        ", ".join(name for names in by_why[EQUAL].values() for name in names) + ".",
        "",
    ]
    for outcome, title in ((REFUSED, "Refused"), (DIFFERENT, "Not compared, or different")):
        if by_why[outcome]:
            lines += [f"## {title}", "", "| why | model types |", "|---|---|"]
            lines += [f"| {why} | {', '.join(names)} |" for why, names in sorted(_joined(by_why[outcome]).items())]
            lines.append("")
    if by_why[UNMADE]:
        names = sorted(name for names in by_why[UNMADE].values() for name in names)
        lines += [
            "## Not tried",
            "",
            "Their configurations could not be made small, or they cannot run on text alone:",
            "",
        ]
        lines += [", ".join(names) + ".", ""]
    return "\n".join(lines)


def _joined(reasons: dict[str, list[str]]) -> dict[str, list[str]]:
    """Reasons that begin alike together, what is of one model alone left out."""
    joined: dict[str, list[str]] = defaultdict(list)
    for why, names in reasons.items():
        short = why.split("; ")[0].split(" (")[0].replace("|", "\\|").replace("<", "&lt;")
        joined[short] += names
    return {why: sorted(names) for why, names in joined.items()}


def main() -> None:
    """The census, or a part of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--results", type=Path)
    options = parser.parse_args()
    if options.only:
        run_some(options.only.split(","))
        return
    import transformers

    found: dict[str, tuple[str, str]] = {}
    if options.results is not None and options.results.exists():
        lines = map(json.loads, options.results.read_text("utf-8").splitlines())
        found = {name: (outcome, why) for name, outcome, why in lines}
    found |= _in_processes(
        [name for name in sorted(architectures()) if name not in found], options.workers, options.results
    )
    PAGE.write_text(page(found, transformers.__version__), "utf-8")
    print(f"{PAGE}: {len(found)} architectures", file=sys.stderr)


if __name__ == "__main__":
    main()
