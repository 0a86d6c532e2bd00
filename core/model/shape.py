"""A model's shape from its configuration alone: no weight is read."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ffnscope.core.model.experts import Mixture
from ffnscope.core.model.ffn import Ffn
from ffnscope.core.model.host_experts import moved_bytes, stacked_bytes
from ffnscope.core.model.layered import LayeredModel
from ffnscope.core.model.offload import group_fits, layer_fits
from ffnscope.core.model.source import ModelSource
from ffnscope.core.model.variants.expert_kernels import GROUPED
from ffnscope.core.model.variants.text_part import auto_class


@dataclass(frozen=True)
class ModelShape:
    """L layers of F neurons (of the widest), width d, V tokens; values of a layer's weights that a token meets (on
    average), bytes of the largest layer, of what surrounds the layers (the embeddings, and the unembedding where it is a
    matrix of its own), and of that unembedding.

    Of a mixture: how its experts are computed, bytes of the largest layer's stacked matrices, and the most of them that
    are on a device together where they stay in the host's memory; else nothing.
    """

    layers: int
    neurons: int
    ffns: tuple[Ffn | Mixture, ...]
    width: int
    vocabulary: int
    layer_values: int
    layer_bytes: int
    around_bytes: int
    unembedding_bytes: int
    experts_implementation: str = ""
    expert_bytes: int = 0
    moved_bytes: int = 0

    def experts_on_host(self, device: torch.device) -> bool:
        """Whether with --offload the largest layer does not fit the device, so that its experts stay in the host's memory:
        what OffloadedModel finds once it has loaded what surrounds the layers."""
        grouped = self.experts_implementation == GROUPED
        return grouped and not layer_fits(self.layer_bytes, device, self.around_bytes - self.unembedding_bytes)

    def host_bytes(self, device: torch.device) -> int:
        """Bytes of weights that a run with --offload holds in the host's memory, as OffloadedModel has it."""
        if device.type != "cuda":
            return 0
        return self.layer_bytes + (self.expert_bytes if self.experts_on_host(device) else 0)

    def group_fits(self, device: torch.device) -> int:
        """The most layers per group with --offload."""
        return group_fits(self.layer_bytes, device, self.around_bytes - self.unembedding_bytes)


def model_shape(source: ModelSource, dtype: torch.dtype) -> ModelShape:
    """The shape of a model whose weights are of this ``dtype``. Raises UserError for models that cannot be collected."""
    with torch.device("meta"):
        model: Any = auto_class(source.config).from_config(
            copy.deepcopy(source.config), dtype=dtype, trust_remote_code=source.trust_remote_code
        )
    layered = LayeredModel(model, source.name, torch.device("meta"))
    layers, base = [layered.layer(index) for index in range(layered.count)], layered.base
    pairs = zip(layers, layered.ffns, strict=True)
    experts = [layer.get_submodule(ffn.experts.module) for layer, ffn in pairs if isinstance(ffn, Mixture)]
    head = model.get_output_embeddings()
    own = head is not None and all(head.weight is not parameter for parameter in base.parameters())
    unembedding = _bytes(head) if own else 0
    return ModelShape(
        layers=layered.count,
        neurons=layered.neurons,
        ffns=tuple(layered.ffns),
        width=layered.width,
        vocabulary=source.vocabulary,
        layer_values=sum(map(_values_met, layers, layered.ffns)) // len(layers),
        layer_bytes=max(map(_bytes, layers)),
        around_bytes=_bytes(base) - sum(map(_bytes, layers)) + unembedding,
        unembedding_bytes=unembedding,
        experts_implementation=layered.experts_implementation,
        expert_bytes=max(map(stacked_bytes, experts), default=0),
        moved_bytes=max(map(moved_bytes, experts), default=0),
    )


def _values_met(layer: nn.Module, ffn: Ffn | Mixture) -> int:
    """Values of a layer's weights that each token meets: of routed experts those of the k that it is routed to, unless all
    run for every token."""
    values = sum(parameter.numel() for parameter in layer.parameters())
    if isinstance(ffn, Mixture) and ffn.experts.router is None:
        routed = sum(parameter.numel() for parameter in layer.get_submodule(ffn.experts.module).parameters())
        values -= routed - routed * ffn.experts.chosen // ffn.experts.count
    return values


def _bytes(module: nn.Module) -> int:
    return sum(weight.nbytes for weight in module.state_dict().values())
