"""Running a model layer by layer over windows and writing down all that passes; and the same by Hugging Face."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import reference_forward as fwd
import torch

from ffnscope.core.activations.forward import Sweep, make_groups
from ffnscope.core.activations.scratch import LayerScratch
from ffnscope.core.model.layered import LayeredModel

CPU = torch.device("cpu")
BATCH = 3

Trace = tuple[dict[int, torch.Tensor], dict[int, torch.Tensor]]
"""By layer: the hidden states [S, T, d] that enter it, and its activation function's input [S, T, F]."""


def swept(model: LayeredModel, windows: np.ndarray, group_layers: int, folder: Path) -> tuple[Trace, list[np.ndarray]]:
    """What our sweep passes through its layers, and the bits it records, unpacked to [S, T, F] bool."""
    S, T = windows.shape
    folder.mkdir()
    seen: Trace = ({}, {})
    sweep = Sweep(model, windows.astype(np.uint32), folder, batch_size=BATCH, counted=S)
    hooks = []
    for layer in range(model.count):
        hooks += _watch(model.layer(layer), model.activation(layer), layer, T, seen)
    bits = []
    for group in make_groups(range(model.count), group_layers):
        for each in sweep.run_group(group, lambda _: None):
            bits.append(_unpacked(each.scratch, T))
            each.scratch.remove()
    for hook in hooks:
        hook.remove()
    return seen, bits


def ordinary(folder: Path, windows: np.ndarray, dtype: torch.dtype = torch.float32) -> Trace:
    """The same by Hugging Face's own forward pass over the same batches."""
    model = fwd.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
    return ordinary_of(model, windows)


def ordinary_of(model: torch.nn.Module, windows: np.ndarray) -> Trace:
    """`ordinary`, of a model that is loaded already."""
    names = fwd.MODULES[model.config.model_type]
    seen: Trace = ({}, {})
    for layer, module in enumerate(fwd.layer_modules(model)):
        _watch(module, module.get_submodule(names.activation), layer, windows.shape[1], seen)
    with torch.no_grad():
        for first in range(0, len(windows), BATCH):
            model(input_ids=torch.from_numpy(windows[first : first + BATCH]), use_cache=False)
    return seen


def same(one: Trace, other: Trace) -> None:
    """Fail unless the two are equal to the last bit."""
    for ours, theirs in zip(one, other, strict=True):
        assert ours.keys() == theirs.keys()
        for layer, value in ours.items():
            assert value.dtype == theirs[layer].dtype
            assert torch.equal(value, theirs[layer]), f"layer {layer}"


def _watch(module: torch.nn.Module, activation: torch.nn.Module, layer: int, T: int, seen: Trace) -> list:
    def keep(kept: dict[int, torch.Tensor], value: torch.Tensor) -> None:
        value = value.detach().reshape(-1, T, value.shape[-1]).clone()
        kept[layer] = torch.cat([kept[layer], value]) if layer in kept else value

    def entered(_: torch.nn.Module, inputs: tuple, named: dict) -> None:
        keep(seen[0], inputs[0] if inputs else named["hidden_states"])

    def activated(_: torch.nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        keep(seen[1], inputs[0])

    return [
        module.register_forward_pre_hook(entered, with_kwargs=True),
        activation.register_forward_hook(activated),
    ]


def _unpacked(scratch: LayerScratch, T: int) -> np.ndarray:
    packed = scratch.block(0, scratch.neurons)  # [F, S, B]
    return np.unpackbits(packed, axis=2, bitorder="little")[:, :, :T].transpose(1, 2, 0).astype(bool)
