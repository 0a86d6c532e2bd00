"""Load a model's weights, with one clear line for whatever is wrong with them."""

from __future__ import annotations

import copy
from contextlib import suppress
from typing import Any

import torch

from ffnscope.core.model.files.stored_weights import refuse_missing
from ffnscope.core.model.hub import snapshot
from ffnscope.core.model.layered import LayeredModel
from ffnscope.core.model.offload import empty_model, load_text_part
from ffnscope.core.model.source import ModelSource, load_failure
from ffnscope.core.model.variants.adapter import merged
from ffnscope.core.model.variants.quantised import check_quantised, dequantised, dequantising, settings_of
from ffnscope.core.model.variants.text_part import auto_class, is_wrapper
from ffnscope.store.errors import UserError, is_device_full


def check_structure(source: ModelSource) -> None:
    """Raise UserError where the model is not a causal LM, needs packages that are missing, is quantised in a form that
    cannot be read, or its layers or FFNs are not found, looked for without reading its weights."""
    if source.gguf_file is None:
        check_quantised(source.name, source.config)
    try:
        # On a thread's default device, not for good: nothing is allocated.
        with torch.device("meta"):
            model = auto_class(source.config).from_config(
                copy.deepcopy(source.config), trust_remote_code=source.trust_remote_code
            )
    except Exception as error:
        if isinstance(error, ImportError) or "for this kind of AutoModel" in str(error):
            raise UserError(f"{source.name}: {load_failure(error)}") from error
        return  # loading the model reports what else is wrong
    LayeredModel(model, source.name, torch.device("meta"))


def load_model(source: ModelSource, device: torch.device, dtype: torch.dtype) -> LayeredModel:
    """Load the whole model to the device. Raises UserError for missing or broken weights."""
    alone = source.adapter is None and source.gguf_file is None
    if is_wrapper(source.config) and alone and not settings_of(source.config):
        with suppress(UserError):  # of weights in another form than the model computes with, which are loaded whole
            return load_text_part(source, device, dtype)
    # By the folder, a model in the hub's cache is loaded without a look for its adapters on the hub.
    cached = snapshot(source.name, source.revision) if source.offline else None
    try:
        model: Any
        loaded: Any
        model, loaded = auto_class(source.config).from_pretrained(
            source.location if cached is None else str(cached),
            config=dequantising(source.config) if source.gguf_file is None else source.config,
            dtype=dtype,
            weights_only=True,
            output_loading_info=True,
            **_placed(source, device),
            **source.options,
        )
    except Exception as error:
        if is_device_full(error):
            raise _too_large(source, device) from error
        raise UserError(f"{source.name}: {load_failure(error, source.gguf_file is not None)}") from error
    refuse_missing(source.name, sorted(loaded["missing_keys"]), loaded["unexpected_keys"])
    if source.gguf_file is None:
        model = dequantised(model, source.name, dtype)
    if source.adapter is not None:
        model = merged(model, source.adapter)
    try:
        model = model.to(device)
        if _placed(source, device):
            _take_computed_buffers(model, source, dtype)
        return LayeredModel(model, source.name, device)
    except RuntimeError as error:
        if not is_device_full(error):
            raise
        raise _too_large(source, device) from error


def _placed(source: ModelSource, device: torch.device) -> dict[str, Any]:
    """How Hugging Face is told to load straight onto a GPU, so that the host never holds the whole model; nothing where it
    has to change weights on the way."""
    quantised = getattr(source.config, "quantization_config", None) is not None
    plain = source.gguf_file is None and source.adapter is None and not quantised
    return {"device_map": {"": device}} if device.type == "cuda" and plain else {}


def _take_computed_buffers(model: Any, source: ModelSource, dtype: torch.dtype) -> None:
    """Replace the tables that are in no checkpoint (rotary frequencies) by those that the host computes: a GPU may round
    them differently, and with --offload they are the host's."""
    computed = empty_model(source, dtype)
    stored = model.state_dict().keys()
    for name, value in computed.named_buffers():
        if name not in stored:
            owner, _, buffer = name.rpartition(".")
            setattr(model.get_submodule(owner), buffer, value.to(model.device))


def _too_large(source: ModelSource, device: torch.device) -> UserError:
    return UserError(f"{source.name}: does not fit on {device}; --offload keeps one group of layers there")
