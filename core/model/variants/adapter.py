"""LoRA and other adapters of peft: read, and merged with the model that they were trained on."""

from __future__ import annotations

import importlib.util
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ffnscope.core.git_lfs import refuse_pointer
from ffnscope.core.model.checkpoint import WEIGHT_FILES
from ffnscope.store.errors import UserError

CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")


@dataclass(frozen=True)
class Adapter:
    """An adapter as the user named it, the ``folder`` of its files, and its ``base``: a folder or a hub id, which may have
    a ``revision``."""

    name: str
    folder: Path
    base: str
    revision: str | None

    @property
    def files(self) -> list[Path]:
        """The file of its weights."""
        return [self.folder / name for name in WEIGHTS if (self.folder / name).is_file()][:1]

    @property
    def identity(self) -> str:
        """Its settings as JSON, without where its base was."""
        return json.dumps(
            {key: value for key, value in _settings(self.name, self.folder).items() if key not in _WHERE},
            sort_keys=True,
        )


_WHERE = ("base_model_name_or_path", "revision", "peft_version", "inference_mode")


def read_adapter(name: str, folder: Path, names: Sequence[str]) -> Adapter:
    """The adapter in ``folder``, which holds the files ``names``.

    Raises UserError for one that cannot be merged, beside complete weights (which may hold it already or not), without
    weights of its own or a base, and where peft is missing.
    """
    settings = _settings(name, folder)
    base, revision = settings.get("base_model_name_or_path"), settings.get("revision")
    of = f" (base model: {base})" if isinstance(base, str) and base else ""
    what = f"{name}: a {_kind(settings)} adapter{of}"
    if any(file in names for file in WEIGHT_FILES):
        raise UserError(f"{what} beside complete weights, which may hold it already or not; give a folder with one of the "
                        "two: the weights without adapter_config.json, or the adapter alone")  # fmt: skip
    if importlib.util.find_spec("peft") is None:
        raise UserError(f"{what}; merging it needs a package: pip install 'ffnscope[adapters]'")
    _require_mergeable(name, settings)
    if not of:
        raise UserError(
            f"{what} that does not name its base model; merge it with peft's merge_and_unload, then give that"
        )
    files = [folder / file for file in WEIGHTS if (folder / file).is_file()]
    if not files:
        raise UserError(f"{what} without its weights; looked for {', '.join(WEIGHTS)}")
    refuse_pointer(files[0])
    beside = folder.parent / str(base)
    if not _is_folder(Path(str(base))) and _is_folder(beside):
        base = str(beside)
    return Adapter(name, folder, str(base), revision if isinstance(revision, str) and revision else None)


def merged(model: Any, adapter: Adapter) -> Any:
    """``model`` with the adapter merged into its weights. Raises UserError where that is not possible."""
    from peft import PeftModel

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Of keys that the adapter lacks: it would be merged in part.
            warnings.filterwarnings("error", message=".*missing adapter keys.*")
            wrapped = PeftModel.from_pretrained(model, str(adapter.folder), autocast_adapter_dtype=False)
        return wrapped.merge_and_unload(safe_merge=True)
    except Exception as error:  # whatever peft makes of files that do not fit the model
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{adapter.name}: its adapter cannot be merged with {adapter.base} ({reason})") from error


def _require_mergeable(name: str, settings: dict[str, Any]) -> None:
    """Raise UserError for adapters that leave the model's weights as they are, such as learned prompts."""
    from peft import PEFT_TYPE_TO_TUNER_MAPPING

    kind = str(settings.get("peft_type") or "LORA").upper()
    known = {peft_type.value: tuner for peft_type, tuner in PEFT_TYPE_TO_TUNER_MAPPING.items()}
    if kind not in known:
        raise UserError(
            f"{name}: an adapter of type {kind[:40]}, which this version of peft does not know; update peft"
        )
    if not hasattr(known[kind], "merge_and_unload"):
        raise UserError(
            f"{name}: an adapter of type {kind}, which does not change the model's weights, so it cannot be merged; "
            "ffnscope reads adapters such as LoRA"
        )


def _settings(name: str, folder: Path) -> dict[str, Any]:
    file = folder / CONFIG
    try:
        refuse_pointer(file)
        settings = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{name}: its {CONFIG} cannot be read ({type(error).__name__}); fetch it again") from error
    if not isinstance(settings, dict):
        raise UserError(f"{name}: its {CONFIG} is not a JSON object; fetch it again")
    return settings


def _kind(settings: dict[str, Any]) -> str:
    kind = str(settings.get("peft_type") or "LoRA")
    return "LoRA" if kind.upper() == "LORA" else kind[:40]


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False
