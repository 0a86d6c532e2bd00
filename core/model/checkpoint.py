"""Weights on disk, read one tensor at a time: safetensors or `.bin`, in one file or in shards."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from ffnscope.store.errors import UserError

SINGLE = ("model.safetensors", "pytorch_model.bin")
INDEX_ENDING = ".index.json"
WEIGHT_FILES = tuple(name for single in SINGLE for name in (single, single + INDEX_ENDING))
"""Names under which a checkpoint's weights, or the index of its shards, are looked for; the first found counts."""


@dataclass(frozen=True)
class _Place:
    file: Path
    shape: tuple[int, ...]


class Checkpoint:
    """The tensors of a checkpoint folder by name; each is read when it is asked for.

    Files are opened for each read and closed after it: pages of a file that stays mapped count as memory.
    """

    def __init__(self, folder: Path, places: dict[str, _Place]):
        self.folder = folder
        self._places = places

    @classmethod
    def open(cls, folder: Path) -> Checkpoint:
        """Find where each tensor of the checkpoint in ``folder`` lies.

        Raises UserError where there are no weights, and for files that are missing, cut short or broken.
        """
        name = _entry(folder)
        if name is None:
            raise UserError(f"{folder}: no weights in it; looked for {', '.join(WEIGHT_FILES)}")
        if not name.endswith(INDEX_ENDING):
            return cls(folder, _places(folder / name))
        listed = read_index(folder / name)
        places: dict[str, _Place] = {}
        for shard in sorted(set(listed.values())):
            shard_places = _places(folder / shard)
            wanted = [tensor for tensor, where in listed.items() if where == shard]
            absent = [tensor for tensor in wanted if tensor not in shard_places]
            if absent:
                raise UserError(f"{folder / shard}: lacks {absent[0]}, which {name} lists; fetch it again")
            places |= {tensor: shard_places[tensor] for tensor in wanted}
        return cls(folder, places)

    def names(self) -> tuple[str, ...]:
        """Every tensor's name, as the checkpoint has it."""
        return tuple(self._places)

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape. Raises KeyError for an unknown name."""
        return self._places[name].shape

    def tensor(self, name: str, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        """One tensor, copied to ``device`` as ``dtype``. Raises KeyError for an unknown name, UserError if unreadable."""
        file = self._places[name].file
        if file.suffix == ".safetensors":
            with _open_safetensors(file) as stored:
                return stored.get_tensor(name).to(device=device, dtype=dtype, copy=True)
        return _load_bin(file)[name].to(device=device, dtype=dtype, copy=True)


def weight_files(folder: Path) -> list[Path]:
    """The files that hold the weights of the checkpoint in ``folder``, sorted; none where there are no weights.

    Raises UserError for a broken index.
    """
    name = _entry(folder)
    if name is None:
        return []
    shards = set(read_index(folder / name).values()) if name.endswith(INDEX_ENDING) else {name}
    return sorted(folder / shard for shard in shards)


def read_index(file: Path) -> dict[str, str]:
    """Tensor name -> file name, from the index of a checkpoint in shards. Raises UserError for a broken one."""
    try:
        listed = json.loads(file.read_text("utf-8"))["weight_map"]
        if not listed or not all(isinstance(shard, str) for shard in listed.values()):
            raise ValueError("its weight_map is not one of names to files")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file}: not an index of weights ({type(error).__name__}: {error}); fetch it again") from error
    outside = [shard for shard in listed.values() if Path(shard).name != shard]
    if outside:
        raise UserError(f"{file}: names {outside[0]!r}, which is outside its folder")
    return dict(listed)


def _entry(folder: Path) -> str | None:
    return next((name for name in WEIGHT_FILES if (folder / name).is_file()), None)


def _places(file: Path) -> dict[str, _Place]:
    if not file.is_file():
        raise UserError(f"{file}: missing; the checkpoint is not complete, fetch it again")
    if file.suffix == ".safetensors":
        with _open_safetensors(file) as stored:
            return {name: _Place(file, tuple(stored.get_slice(name).get_shape())) for name in stored.keys()}  # noqa: SIM118
    return {name: _Place(file, tuple(tensor.shape)) for name, tensor in _load_bin(file).items()}


def _open_safetensors(file: Path) -> Any:
    try:
        return safe_open(file, framework="pt", device="cpu")
    except (SafetensorError, OSError) as error:
        raise _broken(file, error) from error


def _load_bin(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of a ``.bin`` file, mapped, not read."""
    try:
        loaded = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{file}: holds more than weights, or is broken; such files can run code and are never read: "
            "convert it to safetensors"
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        if "mmap can only be used" in str(error) and _is_old_format(file):
            raise UserError(
                f"{file}: written in the format before PyTorch 1.6, which cannot be read in part; "
                "run without --offload, or save it again as safetensors"
            ) from error
        raise _broken(file, error) from error
    if not isinstance(loaded, dict):
        raise UserError(f"{file}: holds a {type(loaded).__name__}, not tensors by name")
    return {name: tensor for name, tensor in loaded.items() if isinstance(tensor, torch.Tensor)}


def _is_old_format(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(1) == pickle.PROTO


def _broken(file: Path, error: Exception) -> UserError:
    line = " ".join(str(error).split())[:160]
    return UserError(f"{file}: cannot be read and may be truncated ({line}); fetch it again")
