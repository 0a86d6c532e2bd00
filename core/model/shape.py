"""A model's shape from its configuration alone: no weight is read."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ffnscope.core.model.experts import Mixture
from ffnscope.core.model.ffn import Ffn
from ffnscope.core.model.layered import LayeredModel
from ffnscope.core.model.source import ModelSource
from ffnscope.core.model.variants.text_part import auto_class


@dataclass(frozen=True)
class ModelShape:
    """L layers of F neurons (of the widest), width d, V tokens; values of a layer's weights that a token meets (on
    average), bytes of the largest layer, and of what surrounds the layers (the embeddings, and the unembedding where it
    is a matrix of its own)."""

    layers: int
    neurons: int
    ffns: tuple[Ffn | Mixture, ...]
    width: int
    vocabulary: int
    layer_values: int
    layer_bytes: int
    around_bytes: int


def model_shape(source: ModelSource, dtype: torch.dtype) -> ModelShape:
    """The shape of a model whose weights are of this ``dtype``. Raises UserError for models that cannot be collected."""
    with torch.device("meta"):
        model: Any = auto_class(source.config).from_config(
            copy.deepcopy(source.config), dtype=dtype, trust_remote_code=source.trust_remote_code
        )
    layered = LayeredModel(model, source.name, torch.device("meta"))
    layers, whole = [layered.layer(index) for index in range(layered.count)], _bytes(model)
    return ModelShape(
        layers=layered.count,
        neurons=layered.neurons,
        ffns=tuple(layered.ffns),
        width=layered.width,
        vocabulary=source.vocabulary,
        layer_values=sum(map(_values_met, layers, layered.ffns)) // len(layers),
        layer_bytes=max(map(_bytes, layers)),
        around_bytes=whole - sum(map(_bytes, layers)),
    )


def _values_met(layer: nn.Module, ffn: Ffn | Mixture) -> int:
    """Values of a layer's weights that each token meets: of routed experts those of the k that it is routed to."""
    values = sum(parameter.numel() for parameter in layer.parameters())
    if isinstance(ffn, Mixture):
        routed = sum(parameter.numel() for parameter in layer.get_submodule(ffn.experts.module).parameters())
        values -= routed - routed * ffn.experts.chosen // ffn.experts.count
    return values


def _bytes(module: nn.Module) -> int:
    return sum(parameter.nbytes for parameter in module.parameters())
