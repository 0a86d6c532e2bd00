"""The text part of a model: all of it, or the language model inside a vision-language wrapper, found by its structure."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, PreTrainedModel

from ffnscope.store.errors import UserError


def is_wrapper(config: Any) -> bool:
    """Whether the configuration is one of a model around a language model, which has a configuration of its own in it."""
    return config.get_text_config(decoder=True) is not config and hasattr(config, "text_config")


def auto_class(config: Any) -> Any:
    """The class of transformers that makes a model of this configuration: that of causal LMs where it can."""
    maps = AutoModelForImageTextToText._model_mapping
    causal = type(config) in AutoModelForCausalLM._model_mapping or "AutoModelForCausalLM" in getattr(
        config, "auto_map", {}
    )
    if causal or type(config) not in maps:
        return AutoModelForCausalLM
    # A few plain causal LMs are listed with the wrappers only.
    plain = getattr(maps[type(config)], "__name__", "").endswith("ForCausalLM")
    return AutoModelForImageTextToText if plain or is_wrapper(config) else AutoModelForCausalLM


def text_base(model: Any, name: str) -> nn.Module:
    """The module that runs the decoder layers on token ids, without an unembedding. Raises UserError where there is none."""
    config = model.config.get_text_config()
    if config is model.config:
        base = model.base_model
        if base is model:  # of a wrapper's class (Llama 4's), where that name is of another module
            base = next((child for child in model.children() if isinstance(child, PreTrainedModel)), None)
        if base is None:
            kind = type(model).__name__
            raise UserError(
                f"{name}: {kind} cannot be run without its unembedding; ffnscope does not know this kind of model"
            )
        return base
    for module in model.modules():
        if isinstance(module, PreTrainedModel) and module is not model and type(module.config) is type(config):
            return module.base_model
    raise UserError(f"{name}: its language model was not found inside {type(model).__name__}")
