"""Vision-language wrappers: the language model inside is run, equal to the wrapper's own forward pass on text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models as tm
import torch
import transformers as hf
from exact import run, sources_of

from ffnscope.core.effects import next_tokens
from ffnscope.core.model.device import choose_device
from ffnscope.core.model.load import load_model
from ffnscope.core.model.source import open_model
from ffnscope.store.reader import Store

TEXT: dict[str, Any] = {
    "vocab_size": 80, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 24, "max_position_embeddings": 64,
}  # fmt: skip
ROPE = {"rope_parameters": {"rope_type": "default", "mrope_section": [1, 1], "rope_theta": 1e4}}
# As many layers, as wide, as the language model: only the text part may be found.
VISION: dict[str, Any] = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 28,
    "patch_size": 14,
}  # fmt: skip


def gemma3() -> Any:
    text = TEXT | {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 8}
    return hf.Gemma3ForConditionalGeneration(
        hf.Gemma3Config(text_config=text, vision_config=VISION, mm_tokens_per_image=4, image_token_id=70)
    )


def llava() -> Any:
    return hf.LlavaForConditionalGeneration(
        hf.LlavaConfig(
            text_config=hf.LlamaConfig(**TEXT), vision_config=hf.CLIPVisionConfig(**VISION), image_token_id=70
        )
    )


def qwen2_vl() -> Any:
    vision = {"depth": 3, "embed_dim": 16, "hidden_size": 16, "num_heads": 2, "patch_size": 14}
    return hf.Qwen2VLForConditionalGeneration(hf.Qwen2VLConfig(text_config=TEXT | ROPE, vision_config=vision))


def made(model: Any, folder: Path) -> Path:
    """The model with weights of a size that makes neurons differ, saved."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = 0.3 if parameter.ndim == 1 else 1.2 / parameter.shape[-1] ** 0.5
            added = torch.randn(parameter.shape, generator=generator) * scale
            parameter.copy_(parameter + added if parameter.ndim == 1 else added)
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("offload", [False, True])
@pytest.mark.parametrize("make", [gemma3, llava, qwen2_vl])
def test_the_language_model_of_a_wrapper_is_run_as_the_wrapper_runs_it(
    make: Any, offload: bool, tmp_path: Path
) -> None:
    model = make().eval()
    folder = made(model, tmp_path / "model")
    tokens = tm.random_windows(np.random.default_rng(0), 11, 16, 64, 0)
    lines: list[Any] = []
    sources = sources_of(tmp_path, {"all": tokens})
    store = run(folder, sources, tmp_path / "run.ffn", lines.append, bos_id=0, batch_size=11, offload=offload)
    assert f"{type(model).__name__}; its language model is run, on text alone" in str(lines[0]), (
        "before the corpus is read"
    )

    counts: dict[int, np.ndarray] = {}
    layers = model.get_decoder().layers
    for index, layer in enumerate(layers):

        def hook(module: Any, inputs: Any, output: Any, index: int = index) -> None:
            counts[index] = (inputs[0].reshape(-1, 24) > 0).sum(dim=0).numpy()

        layer.mlp.act_fn.register_forward_hook(hook)
    with torch.no_grad():
        model(input_ids=torch.from_numpy(tokens), use_cache=False)
        E = model.get_output_embeddings().weight
        with Store.open(store) as opened:
            for index, layer in enumerate(layers):
                assert np.array_equal(opened.column(index, "activations"), counts[index])
                best = (E @ layer.mlp.down_proj.weight).max(dim=0).values.numpy()
                np.testing.assert_allclose(opened.column(index, "promoted_projection")[:, 0], best, rtol=1e-4)


def test_nothing_of_the_vision_tower_is_loaded(tmp_path: Path) -> None:
    folder = made(llava(), tmp_path / "model")
    loaded = load_model(open_model(str(folder)), choose_device("cpu"), torch.float32)
    present = {name for name, parameter in loaded.model.named_parameters() if not parameter.is_meta}
    assert present and all("language_model" in name or name == "lm_head.weight" for name in present)


@pytest.mark.parametrize("make", [gemma3, llava, qwen2_vl])
def test_its_predictions_with_and_without_a_neuron_are_the_wrappers(make: Any, tmp_path: Path) -> None:
    plain = make().eval()
    folder = made(plain, tmp_path / "model")
    tokens = np.random.default_rng(0).integers(0, 64, 12)
    loaded = load_model(open_model(str(folder)), choose_device("cpu"), torch.float32)
    loaded.prepare(torch.from_numpy(tokens[None, :2]))
    found = [next_tokens(loaded, tokens, taken) for taken in ((), [(1, 5)])]

    def predictions() -> np.ndarray:
        with torch.no_grad():
            return (
                plain(input_ids=torch.from_numpy(tokens)[None], use_cache=False).logits[0].log_softmax(dim=-1).numpy()
            )

    expected = [predictions()]

    def silence(module: Any, inputs: Any) -> Any:
        values = inputs[0].clone()
        values[..., 5] = 0
        return (values,)

    plain.get_decoder().layers[1].mlp.down_proj.register_forward_pre_hook(silence)
    expected.append(predictions())
    assert np.abs(expected[0] - expected[1]).max() > 1e-3
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_buffers_are_computed_by_the_model_that_they_belong_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by the wrapper, whose configuration lacks what the models inside need."""
    plain = llava()
    folder = made(plain, tmp_path / "model")

    usual = hf.LlavaForConditionalGeneration._init_weights

    def other(self: Any, module: Any) -> None:
        if next(module.buffers(recurse=False), None) is not None:
            raise AttributeError("initializer_range")
        usual(self, module)

    monkeypatch.setattr(hf.LlavaForConditionalGeneration, "_init_weights", other)
    loaded = load_model(open_model(str(folder)), choose_device("cpu"), torch.float32)
    buffers = {name: buffer for name, buffer in loaded.model.named_buffers() if "language_model" in name}
    assert buffers
    for name, buffer in plain.named_buffers():
        assert name not in buffers or torch.equal(buffers[name], buffer)
