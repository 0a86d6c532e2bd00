"""Direct effects of the neurons of routed experts: what each adds where tokens are routed to its expert, times the router's
weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ffnscope.core.effects.hooks import Neurons
from ffnscope.core.model.experts import RoutedRows, is_transposed, second_rows
from ffnscope.store.errors import UserError


@dataclass(frozen=True, eq=False)
class Routed:
    """What the experts ``module`` of a layer multiplied in one pass of P positions: ``rows``, and for each of them the
    router's weight, ``weights`` [R] float32, which multiplies the expert's output: 1 where it multiplies the input."""

    module: nn.Module
    rows: RoutedRows
    weights: torch.Tensor

    @classmethod
    def of(cls, module: nn.Module, rows: RoutedRows, index: torch.Tensor, weights: torch.Tensor) -> Routed:
        """From what the router chose: ``index`` and ``weights`` [P, k] (or more dimensions). Raises UserError for weights of
        another shape."""
        if weights.shape != index.shape:
            raise UserError(
                f"{type(module).__name__}: its router gives weights {tuple(weights.shape)} for {tuple(index.shape)} choices, so "
                "its neurons' direct effects are not known"
            )
        flat = index.reshape(-1, index.shape[-1])
        by_expert = torch.zeros(len(flat), rows.count, device=flat.device)
        by_expert.scatter_(1, flat, weights.reshape(flat.shape).float())
        return cls(module, rows, by_expert[rows.tokens, rows.experts])

    def fill(self, gradient: torch.Tensor, neurons: Neurons, effects: torch.Tensor) -> None:
        """Put the direct effects of the routed ones of n ``neurons`` in their places of ``effects`` [P, n], where tokens are
        routed to their expert; ``gradient`` [P, d] is met by the experts' output."""
        for expert, places, at, columns in neurons.in_rows(self.rows):
            tokens = self.rows.tokens[at]
            met = gradient[tokens[:, 0]] @ self._second(expert)[columns].T.to(gradient.dtype)
            effects[tokens, places] = self.rows.values[at, columns] * met * self.weights[at]

    def sums(self, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """[P] each: what all neurons add, the sum of the sizes of what they add, and what the second matrices' biases add."""
        total, size, biases = torch.zeros(3, len(gradient), device=gradient.device, dtype=gradient.dtype)
        module: Any = self.module
        for expert in self.rows.experts.unique().tolist():
            at = (self.rows.experts == expert).nonzero()[:, 0]
            tokens, weights = self.rows.tokens[at], self.weights[at]
            added = self.rows.values[at] * (gradient[tokens] @ self._second(expert).T.to(gradient.dtype))
            total.index_add_(0, tokens, added.sum(1) * weights)
            size.index_add_(0, tokens, added.abs().sum(1) * weights.abs())
            if getattr(module, "has_bias", False):
                biases.index_add_(0, tokens, gradient[tokens] @ module.down_proj_bias[expert].detach() * weights)
        return total, size, biases

    def _second(self, expert: int) -> torch.Tensor:
        """[I, d]: the rows of an expert's second matrix."""
        module: Any = self.module
        return second_rows(module.down_proj[expert].detach(), is_transposed(module))
