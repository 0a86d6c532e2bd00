"""Layer by layer, in groups of any size, from memory or from the checkpoint: equal to the ordinary forward pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_models as tm
import torch
from sweeping import CPU, ordinary, ordinary_of, same, swept
from torch import nn
from transformers import AutoModelForCausalLM

from ffnscope.core.model.ffn import find_ffn, find_layers
from ffnscope.core.model.layered import LayeredModel
from ffnscope.core.model.load import load_model
from ffnscope.core.model.offload import load_offloaded
from ffnscope.core.model.source import open_model
from ffnscope.store.errors import UserError

WINDOWS, LENGTH = 7, 24  # batches of 3, 3 and 1; longer than the sliding windows of 8


@pytest.fixture
def windows() -> np.ndarray:
    return tm.random_windows(np.random.default_rng(5), WINDOWS, LENGTH, tm.VOCAB)


@pytest.mark.parametrize("family", tm.FAMILIES)
def test_every_family_equals_its_ordinary_forward_pass(family: str, windows: np.ndarray, tmp_path: Path) -> None:
    folder = tm.tiny(family, tmp_path, shards=True)
    expected = ordinary(folder, windows)
    source = open_model(str(folder))
    for load in (load_model, load_offloaded):
        for size in (1, 2, 9):
            model = load(source, CPU, torch.float32)
            seen, bits = swept(model, windows, size, tmp_path / f"{load.__name__}-{size}")
            same(seen, expected)
            for layer, active in enumerate(bits):
                np.testing.assert_array_equal(active, (expected[1][layer] > 0).numpy())


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu", "relu2"])
@pytest.mark.parametrize("family", ["opt", "llama", "gemma2"])
def test_every_activation_function(family: str, activation: str, windows: np.ndarray, tmp_path: Path) -> None:
    folder = tm.tiny(family, tmp_path, activation=activation)
    seen, bits = swept(load_model(open_model(str(folder)), CPU, torch.float32), windows, 2, tmp_path / "scratch")
    expected = ordinary(folder, windows)
    same(seen, expected)
    assert 0.05 < np.mean(bits) < 0.95
    for layer, active in enumerate(bits):
        np.testing.assert_array_equal(active, (expected[1][layer] > 0).numpy())


@pytest.mark.parametrize("load", [load_model, load_offloaded])
@pytest.mark.parametrize("family", ["opt350", "gemma3", "gpt2", "bloom"])
def test_half_precision(family: str, load, windows: np.ndarray, tmp_path: Path) -> None:
    folder = tm.tiny(family, tmp_path, dtype="bfloat16")
    model = load(open_model(str(folder)), CPU, torch.bfloat16)
    assert model.hidden_dtype == torch.bfloat16
    seen, _ = swept(model, windows, 1, tmp_path / "scratch")
    same(seen, ordinary(folder, windows, torch.bfloat16))


def test_the_comparison_notices_a_changed_weight(windows: np.ndarray, tmp_path: Path) -> None:
    folder = tm.tiny("llama", tmp_path)
    other = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        other.model.layers[1].mlp.down_proj.weight[0, 1] += 1e-3
    seen, _ = swept(load_model(open_model(str(folder)), CPU, torch.float32), windows, 1, tmp_path / "scratch")
    with pytest.raises(AssertionError):
        same(seen, ordinary_of(other, windows))


class _Strange(nn.Module):
    """An FFN without an activation module: nothing that can be hooked."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.back = nn.Linear(8, 32), nn.Linear(32, 8)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden + self.back(torch.relu(self.into(hidden)))


class _Elsewhere(_Strange):
    """An activation function that is not beside the second matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.ModuleDict({"act": nn.ReLU(), "mix": nn.Linear(32, 5)})


def test_an_ffn_that_is_not_found_names_what_was_tried() -> None:
    with pytest.raises(UserError) as error:
        find_ffn(_Strange(), 8, "strange")
    assert str(error.value).startswith("strange: its FFN was not found")
    assert "no activation function" in str(error.value)
    with pytest.raises(UserError, match=r"inner \(act, mix\)") as error:
        find_ffn(_Elsewhere(), 8, "strange")
    assert "\n" not in str(error.value)


class _Mixer(nn.Module):
    """A state-space mixer's shape: between its projections lies a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.conv, self.act, self.out = nn.Linear(8, 64), nn.Conv1d(32, 32, 4), nn.SiLU(), nn.Linear(32, 8)


class _Ffn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.act, self.down = nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 8)


def test_what_only_looks_like_an_ffn_is_not_taken_for_one() -> None:
    layer = nn.Module()
    layer.mixer = _Mixer()
    with pytest.raises(UserError, match="FFN was not found"):
        find_ffn(layer, 8, "mamba")
    layer.mlp = _Ffn()
    assert find_ffn(layer, 8, "hybrid").second == "mlp.down"
    layer.gate, layer.act, layer.back = nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 8)
    assert find_ffn(layer, 8, "with a gate of its own").second == "mlp.down"
    layer.other = _Ffn()
    with pytest.raises(UserError, match=r"more than one FFN \(mlp.down, other.down\)"):
        find_ffn(layer, 8, "two")


def test_layers_that_are_not_found_name_the_lists_there_are() -> None:
    base = nn.Module()
    base.blocks = nn.ModuleList([_Strange(), _Strange()])
    with pytest.raises(UserError, match=r"3 decoder layers were not found; there is blocks \(2\)"):
        find_layers(base, 3, "strange")


def test_work_between_layers_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model(open_model(str(tm.tiny("gpt2", tmp_path))), CPU, torch.float32)
    _between(model, lambda hidden: hidden * 1.5)
    with pytest.raises(UserError, match="between its decoder layers"):
        model.prepare(torch.tensor([[3, 4]]))


def test_hidden_states_of_another_shape_are_refused(tmp_path: Path) -> None:
    model = load_model(open_model(str(tm.tiny("gpt2", tmp_path))), CPU, torch.float32)
    model.width = 8
    with pytest.raises(UserError, match="cannot be run one by one"):
        model.prepare(torch.tensor([[3, 4]]))


def _between(model: LayeredModel, change) -> None:
    """Make the base model change the hidden states ahead of every layer but the first."""

    class Changed(nn.ModuleList):
        def __iter__(self):
            for index, layer in enumerate(super().__iter__()):
                yield (lambda hidden, *a, at=layer, **n: at(change(hidden), *a, **n)) if index else layer

        def __getitem__(self, index):
            return self if isinstance(index, slice) else super().__getitem__(index)

    changed = Changed(list(model.layers))
    parent, _, name = model.layers_path.rpartition(".")
    setattr(model.base.get_submodule(parent), name, changed)
    model.layers = changed
