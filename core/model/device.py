"""The device and dtype that a model runs in."""

from __future__ import annotations

from typing import Any

import torch

from ffnscope.core.model.source import ModelSource
from ffnscope.store.errors import UserError, is_device_full


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """The device for ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``; of several GPUs the one of this process.

    Raises UserError where it is not there.
    """
    if name in ("auto", "cuda") and torch.cuda.is_available():
        name = f"cuda:{local_rank % torch.cuda.device_count()}"
    if name == "auto":
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()
        if device.type == "cuda":
            # What asks for the current device, as quantised loaders and kernels do, must mean this one.
            torch.cuda.set_device(device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {name}: not available on this machine{_why(name, error)}") from error
    return device


def _why(name: str, error: Exception) -> str:
    """What torch says, and the way out."""
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:160].rstrip(".")
    if is_device_full(error):
        return f" now: its memory is full ({reason}); `nvidia-smi` lists what is on it, --device cuda:1 is the next GPU"
    if "exclusive" in reason or "busy" in reason:
        return f" now: another process has it to itself ({reason})"
    return f" ({reason}); use auto, cpu, cuda or mps"


def device_name(device: torch.device) -> str | None:
    """The GPU's name, such as NVIDIA H100 80GB HBM3; None for a CPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else None


def choose_dtype(name: str, source: ModelSource, device: torch.device) -> torch.dtype:
    """The dtype to compute in: ``auto`` is float32 on a CPU, else the checkpoint's own."""
    known = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
    if name in known:
        return known[name]
    if name != "auto":
        raise UserError(f"--dtype {name}: unknown; use auto, {', '.join(known)}")
    own: Any = getattr(source.text_config, "dtype", None) or getattr(source.config, "dtype", None)
    if isinstance(own, str):
        own = known.get(own)
    return own if device.type != "cpu" and own in known.values() else torch.float32
