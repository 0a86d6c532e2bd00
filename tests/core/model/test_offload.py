"""Offloaded runs give the store of an ordinary one, hold one group's weights at a time, and never invent weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_models as tm
import torch
from exact import run, sources_of
from safetensors.torch import load_file, save_file
from same_store import differing
from sweeping import CPU, ordinary, same, swept
from tiny_experts import tiny_experts
from transformers import LlamaForCausalLM
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import Concatenate, MergeModulelist, Transpose, WeightConverter, WeightRenaming

from ffnscope.core.model import host_experts, offload
from ffnscope.core.model.checkpoint import Checkpoint
from ffnscope.core.model.files.stored_weights import StoredWeight
from ffnscope.core.model.load import load_model
from ffnscope.core.model.offload import OffloadedModel, load_offloaded
from ffnscope.core.model.source import open_model
from ffnscope.store.errors import UserError


@pytest.fixture
def windows() -> np.ndarray:
    return tm.random_windows(np.random.default_rng(5), 7, 24, tm.VOCAB)


def _offloaded(folder: Path) -> OffloadedModel:
    return load_offloaded(open_model(str(folder)), CPU, torch.float32)


def _rewrite(folder: Path, change) -> None:
    """Save the folder's one safetensors file again with `change` applied to its tensors."""
    file = folder / "model.safetensors"
    save_file({name: each.contiguous() for name, each in change(load_file(file)).items()}, file, {"format": "pt"})


def _refused(folder: Path) -> str:
    with pytest.raises(UserError) as error:
        _offloaded(folder)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("family", "form"), [("opt350", {"shards": True}), ("llama", {}), ("llama_tied", {"bin": True}), ("gpt2", {})]
)
def test_the_store_is_that_of_an_ordinary_run(family: str, form: dict, windows: np.ndarray, tmp_path: Path) -> None:
    folder = tm.tiny(family, tmp_path, **form)
    sources = sources_of(tmp_path / "data", {"one": windows, "two": windows[:2, ::-1].copy()})
    plain = run(folder, sources, tmp_path / "plain", batch_size=3)
    for size in (None, 1, 2, 9):
        offloaded = run(folder, sources, tmp_path / f"off-{size}", batch_size=3, offload=True, group_layers=size)
        assert differing(plain, offloaded) == []


@pytest.mark.parametrize(("kind", "options"), [("qwen2_moe", {}), ("gpt_oss", {"activated": "share:0.1"})])
def test_experts_that_stay_in_the_hosts_memory(
    kind: str, options: dict, windows: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layers that do not fit the device: of the experts' matrices, those that tokens are routed to are moved, here two
    at a time."""
    folder = tiny_experts(kind, tmp_path)
    sources = sources_of(tmp_path / "data", {"one": windows, "two": windows[:2, ::-1].copy()})
    plain = run(folder, sources, tmp_path / "plain", batch_size=3, bos_id=tm.BOS_ID, **options)
    moved: list[tuple[int, int]] = []
    slices = host_experts._slices

    def counted(edges: list[int], most: int):
        parts = list(slices(edges, 2))
        moved.extend(parts)
        return iter(parts)

    monkeypatch.setattr(offload, "layer_fits", lambda layer_bytes, device: False)
    monkeypatch.setattr(host_experts, "_slices", counted)
    lines: list = []
    off = run(folder, sources, tmp_path / "off", lines.append, batch_size=3, bos_id=tm.BOS_ID, offload=True, **options)
    assert differing(plain, off) == []
    assert {last - first for first, last in moved} == {1, 2}
    assert any("their matrices stay in the host's memory" in line for line in lines if isinstance(line, str))


def test_only_experts_that_have_rows_are_moved() -> None:
    edges = [0, 3, 3, 3, 5, 6, 9, 11, 11]
    assert list(host_experts._slices(edges, 2)) == [(0, 1), (3, 5), (5, 7)]
    assert list(host_experts._slices([0, 0], 1)) == []


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("family", tm.FAMILIES)
def test_tables_that_are_computed_are_those_of_a_model_loaded_whole(
    family: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    source = open_model(str(tm.tiny(family, tmp_path)))
    plain, offloaded = load_model(source, CPU, dtype).model, load_offloaded(source, CPU, dtype).model
    buffers = dict(offloaded.named_buffers())
    assert buffers.keys() == dict(plain.named_buffers()).keys()
    for name, expected in plain.named_buffers():
        assert buffers[name].dtype == expected.dtype, name
        assert torch.equal(buffers[name], expected), name


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("family", ["opt", "gptj", "gemma3"])
def test_half_precision_offloaded_is_half_precision(
    family: str, dtype: str, windows: np.ndarray, tmp_path: Path
) -> None:
    folder = tm.tiny(family, tmp_path)
    sources = sources_of(tmp_path / "data", {"one": windows})
    plain = run(folder, sources, tmp_path / "plain", batch_size=3, dtype=dtype)
    assert differing(plain, run(folder, sources, tmp_path / "off", batch_size=3, dtype=dtype, offload=True)) == []


def test_only_one_groups_weights_are_there_at_a_time(windows: np.ndarray, tmp_path: Path) -> None:
    model = _offloaded(tm.tiny("llama", tmp_path, shards=True))
    seen = []

    def count(*_: object) -> None:
        seen.append(sum(not each.is_meta for layer in model.layers for each in layer.parameters()))

    per_layer = sum(1 for _ in model.layer(0).parameters())
    for layer in range(model.count):
        model.activation(layer).register_forward_hook(count)
    swept(model, windows, 2, tmp_path / "scratch")
    # The first is the probe of layer 0; then groups of two layers and of one, three batches each.
    assert seen == [per_layer] + [2 * per_layer] * 6 + [per_layer] * 3
    count()
    assert seen[-1] == 0
    assert model.most_layers() == 1
    assert not any(each.is_meta for name, each in model.base.named_parameters() if ".layers." not in f".{name}")
    assert model.model.lm_head.weight.is_meta


@pytest.mark.parametrize("family", ["opt350", "llama", "llama_tied", "gpt2", "falcon"])
def test_matrices_for_the_projection(family: str, tmp_path: Path) -> None:
    folder = tm.tiny(family, tmp_path)
    plain, offloaded = load_model(open_model(str(folder)), CPU, torch.float32), _offloaded(folder)
    assert torch.equal(plain.unembedding(), offloaded.unembedding())
    tied = offloaded.unembedding().data_ptr() == offloaded.model.get_input_embeddings().weight.data_ptr()
    assert tied == plain.config.tie_word_embeddings
    for layer in range(plain.count):
        assert torch.equal(plain.output_rows(layer), offloaded.output_rows(layer))
        assert plain.output_rows(layer).stride() == offloaded.output_rows(layer).stride()


@pytest.mark.parametrize("family", ["opt", "gpt2", "llama"])
def test_names_without_the_base_models_prefix(family: str, windows: np.ndarray, tmp_path: Path) -> None:
    folder = tm.tiny(family, tmp_path)
    expected = ordinary(folder, windows)
    prefix = "transformer." if family == "gpt2" else "model."
    _rewrite(folder, lambda tensors: {name.removeprefix(prefix): each for name, each in tensors.items()})
    seen, _ = swept(_offloaded(folder), windows, 1, tmp_path / "scratch")
    same(seen, expected)


def test_a_checkpoint_that_holds_the_tied_matrix_as_unembedding_only(windows: np.ndarray, tmp_path: Path) -> None:
    folder = tm.tiny("llama_tied", tmp_path)
    expected = ordinary(folder, windows)
    embedding = "model.embed_tokens.weight"
    _rewrite(
        folder, lambda found: {"lm_head.weight" if name == embedding else name: each for name, each in found.items()}
    )
    model = _offloaded(folder)
    seen, _ = swept(model, windows, 1, tmp_path / "scratch")
    same(seen, expected)
    assert torch.equal(model.unembedding(), load_model(open_model(str(folder)), CPU, torch.float32).unembedding())


def test_an_unembedding_of_its_own_counts_whatever_the_configuration_says(tmp_path: Path) -> None:
    folder = tm.tiny("llama", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
    plain, offloaded = load_model(open_model(str(folder)), CPU, torch.float32), _offloaded(folder)
    assert not torch.equal(plain.unembedding(), plain.model.get_input_embeddings().weight)
    assert torch.equal(plain.unembedding(), offloaded.unembedding())


@pytest.mark.parametrize(
    "lacking",
    ["model.layers.2.mlp.down_proj.weight", "model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"],
)
def test_weights_that_are_missing_are_not_invented(lacking: str, tmp_path: Path) -> None:
    folder = tm.tiny("llama", tmp_path)
    _rewrite(folder, lambda tensors: {name: each for name, each in tensors.items() if name != lacking})
    message = _refused(folder)
    assert lacking in message
    with pytest.raises(UserError) as error:
        load_model(open_model(str(folder)), CPU, torch.float32)
    assert str(error.value) == message


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module."])
def test_weights_of_a_model_inside_a_wrapper_say_what_to_save(prefix: str, tmp_path: Path) -> None:
    folder = tm.tiny("llama", tmp_path)
    _rewrite(folder, lambda tensors: {prefix + name: tensor for name, tensor in tensors.items()})
    with pytest.raises(UserError) as error:
        load_model(open_model(str(folder)), CPU, torch.float32)
    for message in (_refused(folder), str(error.value)):
        assert f"is called {prefix}" in message and "save the model inside the wrapper" in message


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    folder = tm.tiny("llama", tmp_path)
    name = "model.layers.1.mlp.up_proj.weight"
    _rewrite(folder, lambda tensors: tensors | {name: tensors[name][:-1]})
    assert f"{name} has shape (23, 16) in the checkpoint and (24, 16)" in _refused(folder)
    with pytest.raises(UserError):
        load_model(open_model(str(folder)), CPU, torch.float32)


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Callable:
    """What gives a family rules of conversion until the test ends."""
    import transformers.conversion_mapping as mapping

    mapping.get_checkpoint_conversion_mapping("legacy")  # makes the table of all rules
    monkeypatch.setattr(
        mapping, "_checkpoint_conversion_mapping_cache", dict(mapping._checkpoint_conversion_mapping_cache)
    )
    monkeypatch.setattr(mapping, "USER_REGISTERED_MAPPINGS", set(mapping.USER_REGISTERED_MAPPINGS))
    return register_checkpoint_conversion_mapping


def test_weights_that_need_converting_are_refused(tmp_path: Path, register: Callable) -> None:
    folder = tm.tiny("starcoder2", tmp_path)
    _offloaded(folder)
    rule = WeightConverter("mlp.c_proj.weight", "mlp.c_proj.weight", operations=[Transpose(0, 1)])
    register("starcoder2", [rule])
    message = _refused(folder)
    assert "model.layers.0.mlp.c_proj.weight in another form" in message
    assert "run without --offload" in message


def test_names_that_a_rule_should_leave_alone(tmp_path: Path, register: Callable) -> None:
    folder = tm.tiny("starcoder2", tmp_path)
    register("starcoder2", [WeightRenaming("mlp.c_proj", "mlp.second")])
    model, expected = _offloaded(folder), load_file(folder / "model.safetensors")
    for layer in range(model.count):
        assert torch.equal(model.output_rows(layer).T, expected[f"model.layers.{layer}.mlp.c_proj.weight"])


@pytest.mark.parametrize(
    ("patterns", "operations", "expected"),
    [
        (["a", "b"], [Concatenate(0)], lambda a, b: torch.cat(a + b)),
        (["a"], [MergeModulelist(0)], lambda a: torch.stack(a)),
        (["a"], [MergeModulelist(1)], lambda a: torch.stack(a, 1)),
        (
            ["a", "b"],
            [MergeModulelist(0), Concatenate(1)],
            lambda a, b: torch.cat([torch.stack(a), torch.stack(b)], 1),
        ),
        (
            ["a", "b"],
            [MergeModulelist(0), Concatenate(2)],
            lambda a, b: torch.cat([torch.stack(a), torch.stack(b)], 2),
        ),
        (["a", "b"], [MergeModulelist(0), Concatenate(0)], lambda a, b: torch.stack(a + b)),
        (
            ["a", "b", "none"],
            [MergeModulelist(0), Concatenate(1)],
            lambda a, b: torch.cat([torch.stack(a), torch.stack(b)], 1),
        ),
    ],
)
def test_a_weight_is_put_together_from_its_parts(
    patterns: list[str], operations: list, expected: Callable, tmp_path: Path
) -> None:
    tensors = {f"{name}.{part}": torch.randn(4, 5) for name in patterns if name != "none" for part in range(3)}
    save_file(tensors, tmp_path / "model.safetensors")
    parts = tuple((name, name[0]) for name in tensors)
    weight = expected(*([tensors[f"{name}.{part}"] for part in range(3)] for name in patterns if name != "none"))
    stored = StoredWeight("whole", parts, WeightConverter(patterns, "whole", operations))
    checkpoint = Checkpoint.open(tmp_path)
    stored.check("m", checkpoint, tuple(weight.shape))
    made = stored.read(SimpleNamespace(config=None), checkpoint, tuple(weight.shape), torch.float32, CPU)
    assert torch.equal(made, weight)


def test_layers_are_read_ahead_once_and_in_order() -> None:
    ahead, reads = offload._Ahead(), []

    def read(layer: int) -> dict[str, torch.Tensor]:
        reads.append(layer)
        return {"weight": torch.tensor(layer)}

    for layer in (1, 2, 2, 3):
        ahead.begin(layer, partial(read, layer))
    assert ahead.take(2) == {"weight": torch.tensor(2)}  # what is before it is given up
    assert ahead.take(1) is None and ahead.take(3) == {"weight": torch.tensor(3)} and ahead.take(3) is None
    ahead.begin(4, partial(read, 4))
    assert ahead.take(4) == {"weight": torch.tensor(4)}
    assert [layer for layer in reads if layer > 1] == [2, 3, 4]


def test_a_model_without_unembedding_is_run_and_has_no_projections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tm.tiny("llama", tmp_path)
    monkeypatch.setattr(LlamaForCausalLM, "get_output_embeddings", lambda self: None)
    model = _offloaded(folder)
    model.load_layers(0, 1)
    assert not any(weight.is_meta for weight in model.layer(0).parameters())
    with pytest.raises(UserError, match="has no unembedding matrix; give a causal LM"):
        model.unembedding()


def test_quantised_weights_are_refused(tmp_path: Path) -> None:
    folder = tm.tiny("llama", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    quantised = {"quantization_config": {"quant_method": "fp8"}}
    (folder / "config.json").write_text(json.dumps(config | quantised))
    assert "quantised" in _refused(folder)


def test_a_cpu_takes_one_layer_at_a_time_unless_told_otherwise(windows: np.ndarray, tmp_path: Path) -> None:
    folder = tm.tiny("llama", tmp_path)
    sources = sources_of(tmp_path / "data", {"one": windows})
    for size, said in ((None, "3 groups of 1 layer, "), (2, "2 groups of 2 layers, ")):
        heard: list[object] = []
        run(folder, sources, tmp_path / f"store-{size}", heard.append, offload=True, group_layers=size)
        assert any(str(line).startswith(said) for line in heard)
