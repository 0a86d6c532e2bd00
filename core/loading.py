"""From a folder or hub id to a model, its tokenizer and its fingerprint; one clear line for all that can be wrong."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from ffnscope.core.ffn import is_mixture
from ffnscope.core.model import LayeredModel
from ffnscope.store.errors import UserError

WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
SAMPLE_BYTES = 1 << 20
WHOLE_BYTES = 1 << 28  # checkpoints up to this size are hashed whole


@dataclass(frozen=True)
class ModelSource:
    """A model on disk or on the hub, before its weights are read."""

    name: str
    config: Any
    text_config: Any
    trust_remote_code: bool

    @property
    def positions(self) -> int | None:
        """The model's own limit of positions, None where it has none."""
        value = getattr(self.text_config, "max_position_embeddings", None)
        return int(value) if isinstance(value, int) and value > 0 else None

    @property
    def vocabulary(self) -> int:
        """V, rows of the embedding."""
        return int(self.text_config.vocab_size)


def open_model(name: str, trust_remote_code: bool = False) -> ModelSource:
    """Read a model's configuration. Raises UserError for a missing folder, a broken or unknown configuration."""
    path = Path(name)
    if not path.is_dir():
        if path.exists():
            raise UserError(f"{name}: is a file; give the folder that holds config.json and the weights")
        if name.startswith((".", "/", "~")) or name.count("/") > 1 or os.sep in name.rstrip("/").removesuffix("/")[-1:]:
            raise UserError(f"{name}: no such folder; give a local model folder or a hub id")
    elif not (path / "config.json").is_file():
        raise UserError(f"{name}: no config.json in it; give a folder saved by save_pretrained")
    _quiet()
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code)
    except Exception as error:
        raise UserError(f"{name}: {_what(error, path)}") from error
    text = config.get_text_config()
    if is_mixture(text):
        raise UserError(
            f"{name}: is a mixture of experts; ffnscope reads dense FFNs only, where every neuron sees every token"
        )
    for field in ("vocab_size", "hidden_size", "num_hidden_layers"):
        value = getattr(text, field, None)
        if not isinstance(value, int) or value <= 0:
            raise UserError(f"{name}: its config.json has no usable {field} (it says {value!r})")
    return ModelSource(name, config, text, trust_remote_code)


def load_tokenizer(source: ModelSource) -> Any | None:
    """The model's tokenizer, None where the folder has none. Raises UserError for a broken one."""
    folder = Path(source.name)
    names = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
    if folder.is_dir() and not any((folder / name).is_file() for name in names):
        return None
    try:
        return AutoTokenizer.from_pretrained(source.name, trust_remote_code=source.trust_remote_code)
    except Exception as error:
        raise UserError(f"{source.name}: its tokenizer cannot be read ({_first_line(error)})") from error


def load_model(source: ModelSource, device: torch.device, dtype: torch.dtype) -> LayeredModel:
    """Load the whole model to the device. Raises UserError for missing or broken weights."""
    try:
        model, loaded = AutoModelForCausalLM.from_pretrained(
            source.name,
            config=source.config,
            dtype=dtype,
            trust_remote_code=source.trust_remote_code,
            output_loading_info=True,
        )
    except Exception as error:
        raise UserError(f"{source.name}: {_what(error, Path(source.name))}") from error
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


def choose_device(name: str) -> torch.device:
    """The device for ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``. Raises UserError where it is not there."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {name}: not available here; give cpu, cuda, mps or auto") from error
    return device


def choose_dtype(name: str, source: ModelSource, device: torch.device) -> torch.dtype:
    """The dtype to compute in: ``auto`` is float32 on a CPU, else the checkpoint's own."""
    known = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
    if name in known:
        return known[name]
    if name != "auto":
        raise UserError(f"--dtype {name}: not known; give auto, {', '.join(known)}")
    own = getattr(source.text_config, "dtype", None) or getattr(source.config, "dtype", None)
    if isinstance(own, str):
        own = known.get(own)
    return own if device.type != "cpu" and own in known.values() else torch.float32


def fingerprint(source: ModelSource) -> str:
    """sha256 (hex) over configuration and weights.

    Checkpoints above 256 MiB are sampled: each file's name, size, first and last MiB, and a MiB of every 64.
    """
    digest = hashlib.sha256()
    config = source.config.to_dict()
    for noise in ("_name_or_path", "transformers_version"):
        config.pop(noise, None)
    digest.update(json.dumps(config, sort_keys=True, default=str).encode())
    folder = Path(source.name)
    files = sorted({file for pattern in WEIGHTS for file in folder.glob(pattern)}) if folder.is_dir() else []
    whole = sum(file.stat().st_size for file in files) <= WHOLE_BYTES
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.name}:{size}".encode())
        step = SAMPLE_BYTES if whole else 64 * SAMPLE_BYTES
        with file.open("rb") as stream:
            for offset in [*range(0, size, step), max(size - SAMPLE_BYTES, 0)]:
                stream.seek(offset)
                digest.update(stream.read(SAMPLE_BYTES))
    return digest.hexdigest()


def _quiet() -> None:
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("torch").setLevel(logging.ERROR)


def _what(error: Exception, path: Path) -> str:
    line = _first_line(error)
    if isinstance(error, OSError) and not path.is_dir():
        return f"neither a local folder nor reachable on the hub ({line})"
    if "model type" in str(error) and "not recogni" in str(error).lower():
        return f"an architecture that this transformers does not know ({line})"
    if "trust_remote_code" in str(error):
        return "needs code of its own; --trust-remote-code runs it, if you trust it"
    if isinstance(error, json.JSONDecodeError) or "valid JSON" in str(error):
        return f"its config.json is not JSON ({line})"
    return f"cannot be loaded ({line})"


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return " ".join(text.split())[:240]
