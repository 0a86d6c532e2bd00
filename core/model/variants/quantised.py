"""Quantised checkpoints: turned back into matrices where transformers can do that, else refused before the corpus is read.

Neurons, counts and projections are then those of the matrices that the checkpoint stands for, in the run's own dtype, and
the same on every device: nothing is computed in a quantised form.
"""

from __future__ import annotations

import copy
import inspect
from typing import Any

import torch
from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING, AUTO_QUANTIZER_MAPPING
from transformers.quantizers.base import HfQuantizer

from ffnscope.store.errors import UserError

# Packed in forms of their own, which transformers only computes with.
PACKED = ("gptq", "awq", "aqlm", "vptq", "spqr", "auto-round", "eetq", "fp_quant", "nvfp4", "fbgemm_fp8", "higgs")


def settings_of(config: Any) -> dict[str, Any]:
    """How a checkpoint is quantised, as its configuration says; empty where it is not."""
    settings = getattr(config, "quantization_config", None)
    return dict(settings) if isinstance(settings, dict) else dict(getattr(settings, "to_dict", dict)())


def quantised_by(config: Any) -> str:
    """The method by which a checkpoint is quantised, as transformers names it; "" where it is not."""
    settings = settings_of(config)
    return _method(settings) if settings else ""


def check_quantised(name: str, config: Any) -> None:
    """Raise UserError where a checkpoint's weights cannot be turned back into matrices, or packages for that are missing."""
    settings = settings_of(config)
    if not settings:
        return
    method = _method(settings)
    if method in PACKED:
        raise UserError(f"{name}: its weights are quantised by {method}, which cannot be turned back into matrices here, and "
                        "projections would be wrong; give the checkpoint that is not quantised")  # fmt: skip
    try:
        config_class: Any = AUTO_QUANTIZATION_CONFIG_MAPPING[method]
        made = config_class.from_dict(dequantising(config).quantization_config)
        AUTO_QUANTIZER_MAPPING[method](made, pre_quantized=True).validate_environment(
            dtype=torch.float32, device_map=None, weights_only=True
        )
    except ImportError as error:
        raise UserError(
            f"{name}: its weights are quantised by {method}; {' '.join(str(error).split())[:200]}"
        ) from error
    except Exception:  # of a method or settings that transformers does not know: loading the model says so
        return


def dequantising(config: Any) -> Any:
    """The configuration with which transformers turns weights into matrices as it loads them, where it can."""
    settings = settings_of(config)
    known: Any = AUTO_QUANTIZATION_CONFIG_MAPPING.get(_method(settings)) if settings else None
    if known is None or "dequantize" not in inspect.signature(known).parameters:
        return config
    changed = copy.deepcopy(config)
    changed.quantization_config = settings | {"dequantize": True}
    return changed


def dequantised(model: Any, name: str, dtype: torch.dtype) -> Any:
    """A loaded model whose quantised weights, if it still has some, are matrices again. Raises UserError."""
    quantizer = getattr(model, "hf_quantizer", None)
    if quantizer is None or type(quantizer)._dequantize is HfQuantizer._dequantize:
        return model
    try:
        return model.dequantize(dtype=dtype)
    except Exception as error:  # whatever the method's own package makes of them
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{name}: its quantised weights cannot be turned back into matrices ({reason}); give the checkpoint "
                        "that is not quantised") from error  # fmt: skip


def _method(settings: dict[str, Any]) -> str:
    method = str(settings.get("quant_method") or "")
    if method in ("", "bitsandbytes"):
        return "bitsandbytes_4bit" if settings.get("load_in_4bit") else "bitsandbytes_8bit"
    return method
