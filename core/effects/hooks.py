"""What a neuron is at a position, read and replaced: hooks on the second FFN matrix, whose input is what w_i is multiplied
with, and on the rows that routed experts multiply."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from ffnscope.core.model.experts import Handle, Mixture, RoutedRows
from ffnscope.core.model.layered import LayeredModel

Replacements = Mapping[int, tuple[torch.Tensor, torch.Tensor]]
"""Layer -> neurons [n] int64, and the values [n] that they are set to at every position; those of a routed expert at the
positions that are routed to it."""


@contextmanager
def replaced(model: LayeredModel, replacements: Replacements) -> Iterator[None]:
    """While it lasts, the neurons of ``replacements`` have these values in every pass through the model."""
    handles: list[Handle] = []
    try:
        for layer, (neurons, values) in replacements.items():
            own = Neurons.of(model, layer, neurons)
            handles += model.listen(layer, None, *_replacers(own, values.to(model.device)))
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True, eq=False)
class Observation:
    """What n neurons of a layer do at the P positions of one pass: ``values`` [P, n] float32, what is multiplied with w_i, and
    ``inputs`` [P, n] float32 of the activation function; 0 and -inf where a position is not routed to a neuron's expert."""

    values: torch.Tensor
    inputs: torch.Tensor

    @property
    def routed(self) -> torch.Tensor:
        """bool [P, n]: whether anything is multiplied with w_i."""
        return ~self.inputs.isneginf()


@contextmanager
def observed(model: LayeredModel, layer: int, neurons: torch.Tensor, positions: int) -> Iterator[Observation]:
    """While it lasts, note what ``neurons`` [n] int64 of a layer do in a pass of so many ``positions``."""
    own = Neurons.of(model, layer, neurons)
    shape = positions, len(neurons)
    seen = Observation(torch.zeros(shape, device=model.device), torch.full(shape, -torch.inf, device=model.device))

    def inputs(module: Any, given: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        seen.inputs[:, own.dense] = given[0].reshape(positions, -1)[:, own.columns].float()

    def values(module: Any, given: tuple[torch.Tensor, ...]) -> None:
        seen.values[:, own.dense] = given[0].reshape(positions, -1)[:, own.columns].float()

    def routed(rows: RoutedRows) -> None:
        for _, places, at, columns in own.in_rows(rows):
            seen.inputs[rows.tokens[at], places] = rows.before[at, columns].float()
            seen.values[rows.tokens[at], places] = rows.values[at, columns].float()

    handles = model.listen(layer, inputs, routed, values)
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True, eq=False)
class Neurons:
    """n neurons of a layer: those that every token passes through, ``dense`` their places among the n and ``columns`` in the
    FFN, and those of routed experts: expert -> (places, numbers within it)."""

    dense: torch.Tensor
    columns: torch.Tensor
    routed: Mapping[int, tuple[torch.Tensor, torch.Tensor]]

    @classmethod
    def of(cls, model: LayeredModel, layer: int, neurons: torch.Tensor) -> Neurons:
        ffn, numbers = model.ffns[layer], neurons.to(model.device)
        if not isinstance(ffn, Mixture):
            return cls(torch.arange(len(numbers), device=model.device), numbers, {})
        behind = numbers - ffn.first
        expert, within = behind // ffn.experts.neurons, behind % ffn.experts.neurons
        routed = {}
        for number in sorted(set(expert[behind >= 0].tolist())):
            places = (expert == number).nonzero()[:, 0]
            routed[number] = (places, within[places])
        dense = (behind < 0).nonzero()[:, 0]
        return cls(dense, numbers[dense], routed)

    def in_rows(self, rows: RoutedRows) -> Iterator[tuple[int, torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Each expert, places [m] of its neurons among the n, the rows [r, 1] that it multiplies, its columns [m]."""
        for expert, (places, columns) in self.routed.items():
            yield expert, places, (rows.experts == expert).nonzero(), columns


def _replacers(own: Neurons, new: torch.Tensor) -> tuple[Any, Any]:
    """What ``listen`` takes to put ``new`` [n] in the neurons' place: for routed experts, and for the second matrix."""

    def values(module: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        changed = inputs[0].clone()
        changed[..., own.columns] = new[own.dense].to(changed.dtype)
        return (changed, *inputs[1:])

    def routed(rows: RoutedRows) -> None:
        # The rows are what the experts' second matrices are given next.
        for _, places, at, columns in own.in_rows(rows):
            rows.values[at, columns] = new[places].to(rows.values.dtype)

    return routed, values if len(own.dense) else None
