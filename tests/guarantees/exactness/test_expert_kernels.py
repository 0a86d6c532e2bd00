"""However transformers computes a mixture's experts, the counts are those of Hugging Face's own forward pass; experts
that drop tokens are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models as tm
import torch
import transformers as hf
from exact import activations, load, run, sources_of
from tiny_experts import CHOSEN, EXPERTS, tiny_experts
from torch import nn

from ffnscope.core.model.experts import find_mixture
from ffnscope.core.model.layered import LayeredModel
from ffnscope.store.errors import UserError
from ffnscope.store.reader import Store

BATCH = 5


def configure(folder: Path, **settings: Any) -> None:
    """Write settings into a model's config.json, as a user would."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | settings), "utf-8")


def windows_of(sizes: tuple[int, ...] = (7, 4)) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    return {f"d{i}": tm.random_windows(rng, size, 16, tm.VOCAB, tm.BOS_ID) for i, size in enumerate(sizes)}


def equals_hugging_face(store: Path, folder: Path, domains: dict[str, np.ndarray], asked: str | None) -> None:
    """The model is left as it is configured."""
    model = load(folder)
    assert model.config._experts_implementation == (asked or "grouped_mm")
    outcome = activations(model, np.concatenate(list(domains.values())), BATCH)
    with Store.open(store) as opened:
        for layer, (before, _) in enumerate(outcome):
            active, first = before > 0, 0
            assert active.any()
            counts = opened.column(layer, "domain_activations")
            for column, windows in enumerate(domains.values()):
                own = active[first : first + len(windows)]
                assert counts[:, column].tolist() == own.sum(axis=(0, 1)).tolist()
                first += len(windows)
            for neuron in range(0, opened.neurons(layer), 7):
                assert (
                    opened.neuron(layer, neuron).curve.sum(axis=0).tolist() == active[..., neuron].sum(axis=0).tolist()
                )


@pytest.mark.parametrize("asked", ["eager", "batched_mm", "grouped_mm", None])
@pytest.mark.parametrize("kind", ["mixtral", "qwen2_moe", "gpt_oss", "deepseek_v3"])
def test_every_implementation_of_experts(kind: str, asked: str | None, tmp_path: Path) -> None:
    folder, domains = tiny_experts(kind, tmp_path), windows_of()
    if asked is not None:
        configure(folder, experts_implementation=asked)
    lines: list[Any] = []
    store = run(
        folder,
        sources_of(tmp_path / "data", domains),
        tmp_path / "run",
        lines.append,
        bos_id=tm.BOS_ID,
        batch_size=BATCH,
    )
    equals_hugging_face(store, folder, domains, asked)
    chosen = "batched_mm" if asked == "batched_mm" else "grouped_mm"
    with Store.open(store) as opened:
        assert opened.run.model.experts_implementation == chosen
    (line,) = [line for line in lines if isinstance(line, str) and "experts are computed" in line]
    assert f"by transformers' {chosen}" in line and ("not by eager" in line) == (asked == "eager")


def test_a_run_is_not_continued_with_another_implementation(tmp_path: Path) -> None:
    folder, sources = tiny_experts("mixtral", tmp_path), sources_of(tmp_path / "data", windows_of())
    options = {"bos_id": tm.BOS_ID, "batch_size": BATCH}
    run(folder, sources, tmp_path / "run", **options)
    configure(folder, experts_implementation="batched_mm")
    with pytest.raises(UserError, match=r"differs in how the experts are computed \(it was by grouped_mm\)"):
        run(folder, sources, tmp_path / "run", resume=True, **options)


def test_layers_of_which_one_has_sizes_that_the_grouped_product_does_not_take() -> None:
    model = hf.MixtralForCausalLM(hf.MixtralConfig(**tiny_settings()))
    layers = model.model.layers
    odd = hf.MixtralForCausalLM(hf.MixtralConfig(**tiny_settings(intermediate_size=9))).model.layers[0].mlp.experts
    odd.config = model.config
    layers[0].mlp.experts = odd
    assert LayeredModel(model, "m", torch.device("cpu")).experts_implementation == "batched_mm"


def tiny_settings(**settings: Any) -> dict[str, Any]:
    return {
        "vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 8,
        "num_key_value_heads": 2, "intermediate_size": 12, "num_experts_per_tok": CHOSEN, "num_local_experts": EXPERTS,
    } | settings  # fmt: skip


# Capacity limits


def test_a_capacity_that_the_models_code_does_not_know_changes_nothing(tmp_path: Path) -> None:
    folder, domains = tiny_experts("mixtral", tmp_path), windows_of()
    configure(folder, capacity_factor=1.0, expert_capacity=3, drop_tokens=True)
    store = run(folder, sources_of(tmp_path / "data", domains), tmp_path / "run", bos_id=tm.BOS_ID, batch_size=BATCH)
    equals_hugging_face(store, folder, domains, None)


@pytest.mark.parametrize(
    ("attribute", "value"), [("expert_capacity", 64), ("capacity_factor", 1.25), ("drop_tokens", True)]
)
def test_a_router_with_a_capacity_is_refused(attribute: str, value: float) -> None:
    layer = hf.MixtralForCausalLM(hf.MixtralConfig(**tiny_settings())).model.layers[0]
    assert find_mixture(layer, 16, "m") is not None
    setattr(layer.mlp.gate, attribute, None)
    assert find_mixture(layer, 16, "m") is not None
    setattr(layer.mlp.gate, attribute, value)
    with pytest.raises(UserError, match=rf"^m: its experts have a capacity \(mlp.gate.{attribute} is {value}\)"):
        find_mixture(layer, 16, "m")


@pytest.mark.parametrize("kind", ["switch_transformers", "nllb-moe"])
def test_families_that_drop_tokens_are_refused(kind: str, tmp_path: Path) -> None:
    """They are encoders and decoders, so no causal LMs."""
    sizes = {"d_model": 16, "d_kv": 4, "d_ff": 8, "num_layers": 2, "num_heads": 2, "num_experts": 2, "vocab_size": 64}
    if kind == "nllb-moe":
        sizes |= {"encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8}
    folder = tmp_path / "model"
    hf.AutoModelForSeq2SeqLM.from_config(hf.AutoConfig.for_model(kind, **sizes)).save_pretrained(folder)
    with pytest.raises(UserError, match="is not a causal LM, the only kind of model that ffnscope reads"):
        run(folder, sources_of(tmp_path / "data", windows_of()), tmp_path / "run", bos_id=tm.BOS_ID)
    assert not (tmp_path / "run").exists()


def test_a_router_that_chooses_an_expert_that_there_is_not(tmp_path: Path) -> None:
    """As those of parallel experts do for tokens that go elsewhere."""
    model = hf.MixtralForCausalLM(hf.MixtralConfig(**tiny_settings())).eval()
    layered, seen = LayeredModel(model, "m", torch.device("cpu")), []
    gate: Any = model.model.layers[0].mlp.gate
    (handle,) = layered.listen(0, None, seen.append)
    tokens = torch.arange(3, 11)[None]
    with torch.no_grad():
        model(input_ids=tokens)
        assert len(seen) == 1

        def drop(module: nn.Module, inputs: Any, outputs: Any) -> Any:
            chosen = outputs[-1].clone()
            chosen[2, 1] = EXPERTS
            return (*outputs[:-1], chosen)

        gate.register_forward_hook(drop)
        model.model.layers[0].mlp.experts._is_expert_parallel = True
        with pytest.raises(UserError, match=f"its router chose expert {EXPERTS} of {EXPERTS}, as routers do that drop"):
            model(input_ids=tokens)
    assert len(seen) == 1
    handle.remove()
