"""Where a model's weights lie in its checkpoint: each under a name, or in the parts that it is put together from."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    Concatenate,
    MergeModulelist,
    WeightConverter,
    WeightRenaming,
    dot_natural_key,
    rename_source_key,
)

from ffnscope.core import pinned_memory
from ffnscope.core.model.checkpoint import Checkpoint
from ffnscope.store.errors import UserError

JOINING = (MergeModulelist, Concatenate)  # of transformers' conversions, those that put parts side by side


def refuse_missing(name: str, missing: Sequence[str], stored: Iterable[str]) -> None:
    """Raise UserError where weights are ``missing`` from a checkpoint that has weights called ``stored``."""
    if not missing:
        return
    more = " ..." if len(missing) > 3 else ""
    lacking = f"{name}: its checkpoint lacks {len(missing)} of the model's weights ({', '.join(missing[:3])}{more})"
    prefixed = next((key for key in sorted(stored) if key.endswith(f".{missing[0]}")), None)
    if prefixed is not None:
        raise UserError(
            f"{lacking}; the first is called {prefixed} there, as torch.compile and wrappers for several GPUs call it: "
            "save the model inside the wrapper (its _orig_mod or module)"
        )
    raise UserError(f"{lacking}; random ones would give wrong counts")


@dataclass(frozen=True)
class StoredWeight:
    """A weight called ``key`` in the model: one tensor of the checkpoint, or several that ``converter`` joins, such as the
    matrices of all experts. ``parts`` are their names there, each with the pattern of the converter that it fits."""

    key: str
    parts: tuple[tuple[str, str], ...]
    converter: WeightConverter | None = None

    def read(
        self,
        model: Any,
        checkpoint: Checkpoint,
        shape: tuple[int, ...],
        dtype: torch.dtype,
        device: torch.device,
        pinned: bool = False,
    ) -> torch.Tensor:
        """The weight, which has this ``shape``, on ``device``, in the host's memory ``pinned`` where that is asked for. Of
        stacked experts, one matrix at a time is read and put in its place. Raises UserError where it cannot be read."""
        places = self._places(checkpoint)
        if places is None:
            weight = self._joined(model, checkpoint, dtype, device)
            return pinned_memory.empty(shape, dtype).copy_(weight) if pinned else weight
        stacked = pinned_memory.empty(shape, dtype) if pinned else torch.empty(shape, dtype=dtype, device=device)
        for name, place in places:
            stacked[place] = checkpoint.tensor(name, dtype, device)
        return stacked

    def _places(self, checkpoint: Checkpoint) -> list[tuple[str, tuple[int | slice, ...]]] | None:
        """Where each part lies in the weight, if parts are stacked along dimension 0, those of several patterns beside
        each other; None where they are not."""
        operations = [] if self.converter is None else self.converter.operations
        if self.converter is None or not operations or not isinstance(operations[0], MergeModulelist):
            return None
        beside = operations[1].dim if len(operations) == 2 and isinstance(operations[1], Concatenate) else None
        if operations[0].dim != 0 or len(operations) > 2 or (beside is None and len(operations) == 2) or beside == 0:
            return None
        places: list[tuple[str, tuple[int | slice, ...]]] = []
        start = 0
        for pattern in self.converter.source_patterns:
            names = [name for name, own in self.parts if own == pattern]
            if not names:
                continue
            end = start if beside is None else start + checkpoint.shape(names[0])[beside - 1]
            within: tuple[slice, ...] = () if beside is None else (*[slice(None)] * (beside - 1), slice(start, end))
            places += [(name, (index, *within)) for index, name in enumerate(names)]
            start = end
        return places

    def _joined(self, model: Any, checkpoint: Checkpoint, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        if self.converter is None:
            return checkpoint.tensor(self.parts[0][0], dtype, device)
        converter = copy.deepcopy(self.converter)
        for name, pattern in self.parts:
            converter.add_tensor(self.key, name, pattern, checkpoint.tensor(name, dtype, device))  # type: ignore[arg-type]
        joined = converter.convert(self.key, model=model, config=model.config)[self.key]
        return joined[0] if isinstance(joined, list) else joined

    def check(self, name: str, checkpoint: Checkpoint, wanted: tuple[int, ...]) -> None:
        """Raise UserError where the checkpoint of the model ``name`` holds it in another shape than ``wanted``."""
        first, shape = self.parts[0][0], checkpoint.shape(self.parts[0][0])
        content = f"{first} has shape {shape}"
        fits = shape == wanted
        if self.converter is not None:
            content = f"{len(self.parts)} parts like {first} have shapes like {shape}"
            fits = sum(math.prod(checkpoint.shape(part)) for part, _ in self.parts) == math.prod(wanted)
        if not fits:
            raise UserError(
                f"{name}: {content} in the checkpoint and {wanted} by config.json; they do not belong together"
            )


def stored_weights(model: Any, name: str, checkpoint: Checkpoint, state: Mapping[str, Any]) -> dict[str, StoredWeight]:
    """Where each of the model's weights lies, by Hugging Face's own renaming and joining.

    Raises UserError for weights that Hugging Face computes otherwise from the stored ones while it loads a whole model.
    """
    rules = get_model_conversion_mapping(model)
    renamings = [rule for rule in rules if isinstance(rule, WeightRenaming)]
    converters = [rule for rule in rules if isinstance(rule, WeightConverter)]
    by_pattern = {pattern: rule for rule in converters for pattern in rule.source_patterns}
    stored: dict[str, StoredWeight] = {}
    parts: dict[str, list[tuple[str, str]]] = {}
    for original in sorted(checkpoint.names(), key=dot_natural_key):
        key, pattern = rename_source_key(original, renamings, converters, model.base_model_prefix, dict(state))
        if key not in state and original in state:
            key, pattern = original, None
        if pattern is None or key not in state:
            stored.setdefault(key, StoredWeight(key, ((original, ""),)))
        elif not _joins(by_pattern[pattern]):
            raise UserError(
                f"{name}: its checkpoint stores {original} in another form than the model computes with; "
                "run without --offload, which converts it"
            )
        else:
            parts.setdefault(key, []).append((original, pattern))
    joined = {key: StoredWeight(key, tuple(own), by_pattern[own[0][1]]) for key, own in parts.items()}
    return joined | stored


def _joins(rule: WeightConverter) -> bool:
    operations: Iterable[Any] = rule.operations
    return len(rule.target_patterns) == 1 and all(isinstance(operation, JOINING) for operation in operations)
