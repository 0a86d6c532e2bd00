"""A model's shape from its configuration alone: no weight is read."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ffnscope.core.model.layered import LayeredModel
from ffnscope.core.model.source import ModelSource
from ffnscope.core.model.text_part import auto_class


@dataclass(frozen=True)
class ModelShape:
    """L layers of F neurons, width d, V tokens; values of a layer's weights, bytes of them, and of what surrounds the
    layers (the embeddings, and the unembedding where it is a matrix of its own)."""

    layers: int
    neurons: int
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
    layer, whole = layered.layer(0), _bytes(model)
    return ModelShape(
        layers=layered.count,
        neurons=layered.neurons,
        width=layered.width,
        vocabulary=source.vocabulary,
        layer_values=sum(parameter.numel() for parameter in layer.parameters()),
        layer_bytes=_bytes(layer),
        around_bytes=whole - sum(_bytes(layered.layer(index)) for index in range(layered.count)),
    )


def _bytes(module: nn.Module) -> int:
    return sum(parameter.nbytes for parameter in module.parameters())
