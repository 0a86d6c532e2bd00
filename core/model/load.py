"""Load a model's weights, with one clear line for whatever is wrong with them."""

from __future__ import annotations

import copy
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from ffnscope.core.model.layered import LayeredModel
from ffnscope.core.model.source import ModelSource, load_failure
from ffnscope.store.errors import UserError


def check_structure(source: ModelSource) -> None:
    """Raise UserError where the model's layers or FFNs are not found, looked for without reading its weights."""
    try:
        # On a thread's default device, not for good: nothing is allocated.
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(
                copy.deepcopy(source.config), trust_remote_code=source.trust_remote_code
            )
    except Exception:  # loading the model reports what is wrong
        return
    LayeredModel(model, source.name, torch.device("meta"))


def load_model(source: ModelSource, device: torch.device, dtype: torch.dtype) -> LayeredModel:
    """Load the whole model to the device. Raises UserError for missing or broken weights."""
    try:
        model: Any
        loaded: Any
        model, loaded = AutoModelForCausalLM.from_pretrained(  # type: ignore[misc]
            source.location,
            config=source.config,
            dtype=dtype,
            weights_only=True,
            output_loading_info=True,
            **source.options,
        )
    except Exception as error:
        raise UserError(f"{source.name}: {load_failure(error)}") from error
    missing = sorted(loaded["missing_keys"])
    if missing:
        raise UserError(
            f"{source.name}: its checkpoint lacks {len(missing)} of the model's weights "
            f"({', '.join(missing[:3])}{' ...' if len(missing) > 3 else ''}); random ones would give wrong counts"
        )
    try:
        return LayeredModel(model.to(device), source.name, device)
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"{source.name}: does not fit on {device}; --offload keeps one group of layers there"
        ) from error
