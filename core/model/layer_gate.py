"""Stands in for a decoder layer while everything of a model but its layers runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Call:
    """What the model passes to one of its decoder layers beside the hidden states: masks, rotary arguments."""

    arguments: tuple[Any, ...]
    named: Mapping[str, Any]


class LayerGate(nn.Module):
    """Replaces a decoder layer: keeps its arguments and returns the hidden states, or ``leaving`` instead of them."""

    def __init__(
        self,
        layer: nn.Module,
        keep: Callable[[torch.Tensor, Call], None],
        returned: int,
        leaving: torch.Tensor | None = None,
    ):
        super().__init__()
        object.__setattr__(self, "original", layer)  # not a submodule: its weights stay where they are
        self._keep = keep
        self._returned = returned
        self._leaving = leaving

    def __getattr__(self, name: str) -> Any:
        # Models ask their layers for attributes such as `attention_type`.
        return getattr(self.__dict__["original"], name)

    def forward(self, hidden_states: torch.Tensor, *arguments: Any, **named: Any) -> Any:
        self._keep(hidden_states, Call(arguments, named))
        if self._leaving is not None:
            hidden_states = self._leaving
        return (hidden_states, *[None] * (self._returned - 1)) if self._returned else hidden_states
