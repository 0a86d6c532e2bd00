"""Experts whose matrices stay in the host's memory, for layers that are larger than a GPU: each product moves those of the
experts that tokens are routed to, some at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from transformers.integrations import moe

MATRICES = ("gate_up_proj", "up_proj", "down_proj")  # of stacked experts, [E, ...] each
MOVED_BYTES = 1 << 29  # of matrices that are moved together


def moved_bytes(module: nn.Module) -> int:
    """The most bytes of matrices that are on the device at a time: those that are multiplied, and those before them."""
    matrices: list[nn.Parameter] = [getattr(module, name) for name in MATRICES if hasattr(module, name)]
    return max(min(matrix.nbytes, 2 * max(MOVED_BYTES, matrix[0].nbytes)) for matrix in matrices)


def stacked_bytes(module: nn.Module) -> int:
    """Bytes of the stacked matrices of an experts module, which can stay in the host's memory."""
    return sum(getattr(module, name).nbytes for name in MATRICES if hasattr(module, name))


class HostExperts:
    """Runs an experts module, whose stacked matrices lie in the host's memory, on ``device`` until it is removed.

    The module computes as before: rows are multiplied expert by expert, whether all matrices are at hand or some.
    """

    def __init__(self, module: nn.Module, device: torch.device):
        self._products = _ProductsFromHost(module, device)
        self._hooks = (
            module.register_forward_pre_hook(lambda *_: self._enter()),
            module.register_forward_hook(lambda *_: self._exit(), always_call=True),
        )

    def _enter(self) -> None:
        self._products.__enter__()

    def _exit(self) -> None:
        self._products.__exit__(None, None, None)

    def remove(self) -> None:
        """Give the module back as it was."""
        for hook in self._hooks:
            hook.remove()


class _ProductsFromHost(TorchFunctionMode):
    """Makes the grouped products with the matrices of one module; all other functions run as they are."""

    def __init__(self, module: nn.Module, device: torch.device):
        super().__init__()
        self._device = device
        matrices = [getattr(module, name) for name in MATRICES if hasattr(module, name)]
        self._places = {matrix.untyped_storage().data_ptr() for matrix in matrices}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        if "offs" in named and len(args) == 2 and args[1].untyped_storage().data_ptr() in self._places:
            return self._product(args[0], args[1], named["offs"])
        return func(*args, **named)

    def _product(self, rows: torch.Tensor, matrices: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
        """[R, n]: ``rows`` [R, m], sorted by expert, times ``matrices`` [E, m, n]; expert e's rows end at ``ends[e]``."""
        edges = [0, *ends.cpu().tolist()]
        parts = []
        for first, last in _slices(edges, max(1, MOVED_BYTES // (matrices[0].numel() * matrices.element_size()))):
            moved = matrices[first:last].to(self._device, non_blocking=True)
            own = rows[edges[first] : edges[last]]
            parts.append(moe._grouped_mm(own, moved, ends[first:last] - edges[first]))
        return torch.cat(parts)


def _slices(edges: list[int], most: int) -> Iterator[tuple[int, int]]:
    """(first, last + 1) of consecutive experts that have rows, at most ``most`` of them; ``edges`` [E + 1] of their rows."""
    first = 0
    while first < len(edges) - 1:
        last = first
        while last < len(edges) - 1 and last - first < most and edges[last + 1] > edges[last]:
            last += 1
        if last > first:
            yield first, last
        first = max(last, first + 1)
