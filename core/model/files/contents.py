"""What a model's folder or hub repository holds, told by the names of its files, where it lacks weights that can be read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ffnscope.core.git_lfs import refuse_pointer
from ffnscope.core.model.checkpoint import INDEX_ENDING, WEIGHT_FILES, weight_files
from ffnscope.store.errors import UserError

_MOST_NAMES = 6
_FETCH = "give the folder that save_pretrained wrote"
# The first that is found in a folder without weights says what it is.
_KINDS = (
    (r"(model|pytorch_model)-\d+-of-\d+\.(safetensors|bin)", "shards without their index; fetch {stem}.index.json too"),
    (r"(model|pytorch_model)\.[\w-]+\.(safetensors|bin)(\.index\.json)?|(model|pytorch_model)\.[\w-]+-\d+-of-\d+\..*",
     "weights of a variant only; load it with from_pretrained(..., variant=...) and save_pretrained without one"),
    (r"(.*/)?(__\d+_\d+|.*)\.distcp|pytorch_model_fsdp.*", "shards of FSDP; merge them with accelerate merge-weights"),
    (r"(global_step.*|zero_to_fp32\.py|.*/mp_rank_.*|.*/zero_pp_rank_.*)",
     "a checkpoint of DeepSpeed; merge it with its zero_to_fp32.py"),
    (r"consolidated.*\.(pth|safetensors)|params\.json", "weights in their maker's own format; take the "
     "model in Hugging Face's, whose name often ends in -hf"),
    (r".*\.gguf", "a .gguf file; name the file itself as MODEL"),
    (r"flax_model.*\.msgpack", "Flax weights; save the model as safetensors, with from_flax=True of transformers 4"),
    (r"tf_model.*\.h5|.*\.ckpt(\.index|\.meta|\.data.*)?|saved_model\.pb",
     "TensorFlow weights; save the model as safetensors, with from_tf=True of transformers 4"),
    (r"(.*/)?.*\.onnx(_data)?", "an ONNX export, which has no weights by name; " + _FETCH),
    (r"(.*/)?(optimizer|scheduler)\.(pt|bin)|(.*/)?(training_args\.bin|rng_state.*\.pth)",
     "the state of a trainer only; " + _FETCH),
    (r"checkpoint-\d+/.*", "checkpoints in folders of their own; name one of them as MODEL"),
    (r".*\.(pt|pth|ckpt|bin|safetensors)", "weights under a name of their own; " + _FETCH),
)  # fmt: skip


def names_in(folder: Path) -> list[str]:
    """The files of a folder and of those directly in it, by relative path, sorted."""
    return sorted(path.relative_to(folder).as_posix() for path in [*folder.glob("*"), *folder.glob("*/*")])


def missing_config(name: str, names: Sequence[str]) -> UserError:
    """The error for a folder without config.json."""
    kind = _kind(names)
    return UserError(f"{name}: no config.json in it{f', but {kind}' if kind else f'; {_holds(names)}{_FETCH}'}")


def check_weights(name: str, names: Sequence[str]) -> None:
    """Raise UserError that says what is there, where none of the files holds weights that can be read."""
    if not any(file in names for file in WEIGHT_FILES):
        kind = _kind(names)
        raise UserError(f"{name}: no weights in it, but {kind}" if kind else
                        f"{name}: no weights in it; {_holds(names)}{_FETCH}")  # fmt: skip


def check_files(folder: Path) -> None:
    """Raise UserError where a local checkpoint lacks one of its shards, or has a Git LFS pointer in place of a file."""
    for file in weight_files(folder):
        if not file.is_file():
            raise UserError(f"{file}: missing; the checkpoint is not complete, fetch it again")
        refuse_pointer(file)
    for file in folder.glob("*.*"):
        if file.suffix in (".json", ".model", ".txt"):
            refuse_pointer(file)


def _kind(names: Sequence[str]) -> str:
    for pattern, kind in _KINDS:
        match = next((name for name in names if re.fullmatch(pattern, name)), None)
        if match is not None:
            first = re.sub(r"-\d+-of-\d+", "", match)
            return (
                f"{match}: {kind.format(stem=first.removesuffix(INDEX_ENDING))}" if "{" in kind else f"{match}: {kind}"
            )
    return ""


def _holds(names: Sequence[str]) -> str:
    top = [name for name in names if "/" not in name and not name.startswith(".")]
    if not top:
        return "it is empty; "
    return f"it holds {', '.join(top[:_MOST_NAMES])}{', ...' if len(top) > _MOST_NAMES else ''}; "
