"""A model larger than the device: a layer's weights are read when its group starts and freed when it has run."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property, partial
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import nn
from transformers import PreTrainedModel

from ffnscope.core.model.checkpoint import Checkpoint
from ffnscope.core.model.experts import Mixture
from ffnscope.core.model.files.stored_weights import StoredWeight, refuse_missing, stored_weights
from ffnscope.core.model.host_experts import MATRICES, HostExperts
from ffnscope.core.model.layered import LayeredModel
from ffnscope.core.model.source import ModelSource, weights_folder
from ffnscope.core.model.variants.expert_kernels import GROUPED
from ffnscope.core.model.variants.text_part import auto_class
from ffnscope.store.errors import UserError

SHARE_OF_GPU = 0.5  # of its free memory that a group's weights take; the rest is for activations


def load_offloaded(source: ModelSource, device: torch.device, dtype: torch.dtype) -> OffloadedModel:
    """Load all of the model but its decoder layers and its own unembedding, which are read when they are needed.

    On ``device`` are then the embeddings and whatever else surrounds the layers, and one group of layers at a time.
    Raises UserError for checkpoints that lack weights, cannot be read in part or are broken.
    """
    check_in_parts(source)
    return OffloadedModel(*_parts(source, device, dtype))


def load_text_part(source: ModelSource, device: torch.device, dtype: torch.dtype) -> LayeredModel:
    """Load the language model of a vision-language wrapper whole, and nothing else of the wrapper.

    Raises UserError as ``load_offloaded``.
    """
    return _TextPart(*_parts(source, device, dtype))


def _parts(
    source: ModelSource, device: torch.device, dtype: torch.dtype
) -> tuple[Any, str, torch.device, Checkpoint, torch.dtype]:
    """The model without its weights, its name, and where its weights are."""
    checkpoint = Checkpoint.open(weights_folder(source))
    return empty_model(source, dtype), source.name, device, checkpoint, dtype


def empty_model(source: ModelSource, dtype: torch.dtype) -> Any:
    """The model with no weights: they are on the meta device. Its buffers are real, and computed as Hugging Face does when
    it loads a whole model: in float32. (``from_config`` computes GPT-J's sines in the dtype of the weights.)"""
    with init_empty_weights(include_buffers=False):
        model = auto_class(source.config).from_config(
            copy.deepcopy(source.config), dtype=dtype, trust_remote_code=source.trust_remote_code
        )
    _compute_buffers(model, model)
    return model


def _compute_buffers(module: nn.Module, owner: Any) -> None:
    """Compute the buffers of a module and those inside it as the model that they belong to does, which in a wrapper is
    another than the wrapper: the innermost ``owner``."""
    owner = module if isinstance(module, PreTrainedModel) else owner
    if next(module.buffers(recurse=False), None) is not None:
        owner._init_weights(module)  # on the meta device this does nothing
    for child in module.children():
        _compute_buffers(child, owner)


def check_in_parts(source: ModelSource) -> None:
    """Raise UserError where a model's configuration or file shows that its weights cannot be read layer by layer."""
    if source.gguf_file is not None:
        raise UserError(f"{source.name}: a .gguf file cannot be read layer by layer; run without --offload")
    if source.adapter is not None:
        raise UserError(f"{source.adapter.name}: an adapter is merged with the whole model; run without --offload, or save "
                        "what peft's merge_and_unload gives and run that")  # fmt: skip
    if getattr(source.config, "quantization_config", None) is not None:
        raise UserError(f"{source.name}: its weights are quantised, so they cannot be read layer by layer; "
                        "run without --offload")  # fmt: skip


def group_fits(layer_bytes: int, device: torch.device, around_bytes: int = 0) -> int:
    """The most layers per group: one on a CPU, on a GPU as many as fit in half of the memory that is free once
    ``around_bytes`` of weights, which are to come yet, have their place."""
    if device.type != "cuda":
        return 1
    return max(1, _room(device, around_bytes) // layer_bytes)


def layer_fits(layer_bytes: int, device: torch.device, around_bytes: int = 0) -> bool:
    """Whether a layer's weights fit in half of a GPU's free memory, as ``group_fits`` has it; on other devices they have
    to."""
    return device.type != "cuda" or layer_bytes <= _room(device, around_bytes)


def _room(device: torch.device, around_bytes: int) -> int:
    free, _ = torch.cuda.mem_get_info(device)
    return int((free - around_bytes) * SHARE_OF_GPU)


class OffloadedModel(LayeredModel):
    """A LayeredModel whose layers have weights only between ``load_layers`` and ``release_layers``.

    The unembedding, unless it is the embedding, is read when first asked for and stays on the device:
    V * d values. ``output_rows`` reads a layer's second FFN matrix from the checkpoint again: d * F values.
    """

    def __init__(self, model: Any, name: str, device: torch.device, checkpoint: Checkpoint, dtype: torch.dtype):
        super().__init__(model, name, device)
        self.checkpoint = checkpoint
        self._state: dict[str, torch.Tensor] = {
            key: tensor if tensor.is_meta else tensor.to("meta") for key, tensor in model.state_dict().items()
        }
        self._dtypes = _dtypes(model, self._state, dtype)
        self._ties: dict[str, str] = dict(getattr(model, "all_tied_weights_keys", None) or {})
        self._stored = stored_weights(model, name, checkpoint, self._state)
        self._unembedding: torch.Tensor | None = None
        self._ahead = _Ahead()
        self._host_experts: dict[int, HostExperts] = {}
        base = _name_of(model, self.base)
        self._layers_prefix = f"{base}{self.layers_path}."
        head = model.get_output_embeddings()
        self._head = None if head is None else f"{_name_of(model, head)}weight"
        needed = [key for key in self._state if key.startswith(base)]
        if self._head is not None:
            needed.append(self._head)
        self._places = self._find_places(needed)
        for module in model.modules():
            for buffer, value in module.named_buffers(recurse=False):
                setattr(module, buffer, value.to(device))
        around = [key for key in needed if not key.startswith(self._layers_prefix) and key != self._head]
        self._assign(self.base, base, {key: self._read(key) for key in around})

    def load_layers(self, first: int, last: int) -> None:
        """Read the weights of layers first .. last - 1 from the checkpoint to the device."""
        for index in range(first, last):
            prefix = f"{self._layers_prefix}{index}."
            ahead, on_host = self._ahead.take(index), self._on_host(index)
            # A tensor at a time: of the layer there is never more than what is already in place.
            for key in self._keys(index):
                if key in on_host:
                    weight = self._read_to_host(key) if ahead is None else ahead.pop(key)
                else:
                    weight = self._read(key) if ahead is None else ahead.pop(key).to(self.device, non_blocking=True)
                self._assign(self.layer(index), prefix, {key: weight})
            ffn = self.ffns[index]
            if on_host and isinstance(ffn, Mixture):
                module = self.layer(index).get_submodule(ffn.experts.module)
                self._host_experts[index] = HostExperts(module, self.device)

    def read_ahead(self, first: int, last: int) -> None:
        """Begin to read the weights of layers first .. last - 1 from the checkpoint into the host's memory, for a GPU that is
        busy with the group before; a CPU would only be disturbed."""
        if self.device.type == "cuda":
            for index in range(first, last):
                self._ahead.begin(index, partial(self._read_pinned, index))

    def _read_pinned(self, index: int) -> dict[str, torch.Tensor]:
        return {key: self._read_to_host(key) for key in self._keys(index)}

    def _read_to_host(self, key: str) -> torch.Tensor:
        """A weight in the host's memory, from where the device copies it."""
        return self._read(key, torch.device("cpu"), pinned=self.device.type == "cuda")

    def release_layers(self, first: int, last: int) -> None:
        """Free the weights of layers first .. last - 1."""
        for index in range(first, last):
            if index in self._host_experts:
                self._host_experts.pop(index).remove()
            prefix = f"{self._layers_prefix}{index}."
            self._assign(self.layer(index), prefix, {key: self._state[key] for key in self._keys(index)})

    def most_layers(self) -> int | None:
        """Layers per group: one on a CPU, on a GPU as many as fit in half of its free memory."""
        return 1 if self.experts_on_host else group_fits(self._largest_layer(), self.device)

    @cached_property
    def experts_on_host(self) -> bool:
        """Whether a layer of a mixture does not fit in half of the GPU's free memory, so that the experts' matrices stay in
        the host's memory and are moved as they are needed."""
        return self.experts_implementation == GROUPED and not layer_fits(self._largest_layer(), self.device)

    @property
    def host_bytes(self) -> int:
        """Bytes of weights that a GPU's run holds in the host's memory with one layer per group: the next layer's, which are
        read meanwhile, and what stays of the one that runs."""
        if self.device.type != "cuda":
            return 0
        return self._largest_layer() + max(self._bytes(self._on_host(index)) for index in range(self.count))

    def _largest_layer(self) -> int:
        """Bytes of the weights of the largest layer."""
        return max(self._bytes(self._keys(index)) for index in range(self.count))

    def _bytes(self, keys: Iterable[str]) -> int:
        return sum(self._state[key].numel() * self._dtypes[key].itemsize for key in keys)

    def _on_host(self, index: int) -> set[str]:
        """The weights of a layer that stay in the host's memory."""
        ffn = self.ffns[index]
        if not self.experts_on_host or not isinstance(ffn, Mixture):
            return set()
        prefix = f"{self._layers_prefix}{index}.{ffn.experts.module}."
        return {key for key in self._keys(index) if key.removeprefix(prefix) in MATRICES}

    def layer_weight(self, index: int, name: str) -> torch.Tensor:
        """A weight of a layer as its module has it, read from the checkpoint again."""
        key = f"{self._layers_prefix}{index}.{name}"
        return self._read(key, torch.device("cpu") if key in self._on_host(index) else self.device)

    def unembedding(self) -> torch.Tensor:
        """[V, e]: the unembedding matrix, on the device."""
        if self._unembedding is None:
            self._unembedding = self._read_unembedding()
        return self._unembedding

    def _read_unembedding(self) -> torch.Tensor:
        if self._head is None:
            raise UserError(f"{self.name}: has no unembedding matrix; give a causal LM")
        embedding = self.model.get_input_embeddings().weight.detach()
        tied = self._head in self._ties
        if tied and self._head not in self._stored:
            return embedding
        own = self._read(self._head)
        # `.bin` files hold a tied matrix under both names. Where they differ, it is not tied, whatever the
        # configuration says: Hugging Face's loading decides the same.
        return embedding if tied and torch.equal(own, embedding) else own

    def _keys(self, index: int) -> list[str]:
        prefix = f"{self._layers_prefix}{index}."
        return [key for key in self._state if key.startswith(prefix)]

    def _where(self, key: str) -> StoredWeight | None:
        """Where a weight lies in the checkpoint, by any of the names it is tied to; None where it does not."""
        source = self._ties.get(key, key)
        partners = [key, source, *(partner for partner, of in self._ties.items() if of == source)]
        return next((self._stored[partner] for partner in partners if partner in self._stored), None)

    def _find_places(self, needed: list[str]) -> dict[str, StoredWeight]:
        """Where the weights ``needed`` lie in the checkpoint. Raises UserError for those that are missing or of another
        shape."""
        places = {key: stored for key in needed if (stored := self._where(key)) is not None}
        refuse_missing(self.name, [key for key in needed if key not in places], self.checkpoint.names())
        for key, stored in places.items():
            stored.check(self.name, self.checkpoint, tuple(self._state[key].shape))
        return places

    def _read(self, key: str, device: torch.device | None = None, pinned: bool = False) -> torch.Tensor:
        shape, dtype = tuple(self._state[key].shape), self._dtypes[key]
        return self._places[key].read(self.model, self.checkpoint, shape, dtype, device or self.device, pinned)

    @staticmethod
    def _assign(module: nn.Module, prefix: str, values: Mapping[str, torch.Tensor]) -> None:
        """Put weights, named as in the whole model, into the module that is called ``prefix`` there."""
        own = {key.removeprefix(prefix): value for key, value in values.items()}
        module.load_state_dict(own, strict=False, assign=True)


class _TextPart(OffloadedModel):
    """The language model of a wrapper with all of its weights on the device."""

    def __init__(self, model: Any, name: str, device: torch.device, checkpoint: Checkpoint, dtype: torch.dtype):
        super().__init__(model, name, device, checkpoint, dtype)
        super().load_layers(0, self.count)
        if self._head is not None:
            prefix = self._head.removesuffix("weight")
            others = [key for key in self._state if key.startswith(prefix) and key != self._head]
            self._places |= self._find_places(others)
            weights = {self._head: self.unembedding(), **{key: self._read(key) for key in others}}
            self._assign(model.get_output_embeddings(), prefix, weights)

    @cached_property
    def experts_on_host(self) -> bool:
        """Never."""
        return False

    @property
    def host_bytes(self) -> int:
        """None."""
        return 0

    def load_layers(self, first: int, last: int) -> None:
        """Nothing: they are loaded."""

    def read_ahead(self, first: int, last: int) -> None:
        """Nothing: they are loaded."""

    def release_layers(self, first: int, last: int) -> None:
        """Nothing: they stay."""

    def most_layers(self) -> int | None:
        """No limit."""
        return None

    def layer_weight(self, index: int, name: str) -> torch.Tensor:
        """A weight of a layer as its module has it."""
        return LayeredModel.layer_weight(self, index, name)


class _Ahead:
    """Weights of layers that are read by a thread before they are asked for."""

    def __init__(self) -> None:
        self._reading: dict[int, Future[dict[str, torch.Tensor]]] = {}

    def begin(self, layer: int, read: Callable[[], dict[str, torch.Tensor]]) -> None:
        """Read a layer's weights in a thread, after those that were begun before; nothing is done twice."""
        if layer not in self._reading:
            if not self._reading:
                self._pool = ThreadPoolExecutor(1)
            self._reading[layer] = self._pool.submit(read)

    def take(self, layer: int) -> dict[str, torch.Tensor] | None:
        """A layer's weights, which the caller may empty; None where they were not begun. What was read for layers before it
        is given up."""
        for passed in [other for other in self._reading if other < layer]:
            self._reading.pop(passed).cancel()
        reading = self._reading.pop(layer, None)
        if not self._reading and reading is not None:
            self._pool.shutdown(wait=False)
        return None if reading is None else reading.result()


def _dtypes(model: Any, state: Mapping[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.dtype]:
    """The dtype of each weight: its own, but float32 where the model keeps some so in half precision."""
    plan: dict[str, torch.dtype] = model._get_dtype_plan(dtype) if hasattr(model, "_get_dtype_plan") else {}
    return {
        key: next((kept for part, kept in plan.items() if part in key), tensor.dtype) for key, tensor in state.items()
    }


def _name_of(model: nn.Module, wanted: nn.Module) -> str:
    """The module's name in the model with a dot behind it, nothing for the model itself."""
    name = next(name for name, module in model.named_modules() if module is wanted)
    return f"{name}." if name else ""
