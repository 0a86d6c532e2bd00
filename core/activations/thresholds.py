"""The threshold of each neuron (``--activated share:Q``): the value that the share Q of positions reach in the first windows.

The windows are run through a group of layers before the group's own pass, and only the largest values of each neuron are
kept, so that memory does not grow with the number of positions: about 5 bytes for each of the share's positions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ffnscope.core.activations.threshold_recorder import neuron_values
from ffnscope.core.jit import compiled
from ffnscope.core.model.experts import Handle, Mixture, RoutedRows
from ffnscope.core.model.ffn import Ffn
from ffnscope.core.model.layered import LayeredModel
from ffnscope.store.activation_rule import THRESHOLD_WINDOWS, ActivationRule
from ffnscope.store.errors import UserError
from ffnscope.store.format.kept_bits import kept_windows

GROUP_BYTES = 1 << 30  # of memory for finding the thresholds of a group, if one layer does not need more
LEAST_ROOM = 256  # values that a neuron's list can take beside those that are kept
CHUNKS = 8  # a chunk of rows fills this part of that room at most
COLUMNS = 64  # threads' shares of the neurons are multiples of this


@dataclass(frozen=True, eq=False)
class ThresholdWindows:
    """What thresholds are fixed on: ``windows`` [M] int64, ascending; ``counts`` [M, T] bool: the positions whose token is
    not BOS; ``rank``: the threshold is the value of this rank, 1 being the largest."""

    windows: np.ndarray
    counts: np.ndarray
    rank: int

    @classmethod
    def choose(
        cls, rule: ActivationRule, tokens: np.ndarray, sizes: Sequence[int], bos_id: int | None
    ) -> ThresholdWindows | None:
        """The first windows of the counted domains, which have ``sizes`` windows; ``tokens`` [S, T] are the corpus's. None for
        a rule without thresholds. Raises UserError where they have no position but BOS's."""
        if not rule.has_thresholds:
            return None
        windows = kept_windows(sizes, THRESHOLD_WINDOWS)
        chosen = tokens[windows]
        counts = np.ones(chosen.shape, np.bool_) if bos_id is None else chosen != bos_id
        positions = int(counts.sum())
        if not positions:
            raise UserError(
                f"--activated {rule}: thresholds need a position whose token is not BOS; add text with --data"
            )
        return cls(windows, counts, rule.rank(positions))

    @property
    def positions(self) -> int:
        """n: how many values each threshold is chosen from."""
        return int(self.counts.sum())

    def bytes_needed(self, neurons: int) -> int:
        """Memory that finding the thresholds of one layer takes."""
        return 4 * neurons * _room(self.rank)

    def most_layers(self, neurons: int, most: int | None) -> int | None:
        """The most layers per group, where ``most`` (None: any number) is what the device holds."""
        fitting = max(1, GROUP_BYTES // self.bytes_needed(neurons))
        return fitting if most is None else min(most, fitting)

    def batches(self, windows: int, batch_size: int, whole: bool = False) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The windows that run together, and which positions [B, T] bool of them count.

        As many together as when all ``windows`` run, some of them twice: kernels differ in the last bit from one batch
        size to another, and a threshold is the value of a position. With ``whole``, the batches of the run itself that have
        one of the windows: how many rows an expert multiplies depends on all of a batch's tokens.
        """
        if whole:
            counts = np.zeros((windows, self.counts.shape[1]), np.bool_)
            counts[self.windows] = self.counts
            for first in np.unique(self.windows // batch_size * batch_size).tolist():
                together = np.arange(first, min(first + batch_size, windows))
                yield together, counts[together]
            return
        last = windows - windows % batch_size  # where the run's last batch begins, if that is a smaller one
        full = int(np.searchsorted(self.windows, last))
        for first in range(0, full, batch_size):
            part = slice(first, min(first + batch_size, full))
            missing = batch_size - (part.stop - part.start)
            yield (
                np.pad(self.windows[part], (0, missing), mode="edge"),
                np.pad(self.counts[part], ((0, missing), (0, 0))),
            )
        if full < len(self.windows):
            counts = np.zeros((windows - last, self.counts.shape[1]), np.bool_)
            counts[self.windows[full:] - last] = self.counts[full:]
            yield np.arange(last, windows), counts

    def __str__(self) -> str:
        return f"{len(self.windows):,} windows, {self.positions:,} positions, of which {self.rank:,} reach a threshold"


class LargestValues:
    """The largest ``rank`` values of each neuron, taken as they come.

    The first ``routed`` neurons have a value at every position; those of routed experts, from there on, ``size`` to an
    expert, are 0 at the positions that are not routed to theirs.
    """

    def __init__(self, ffn: Ffn | Mixture, rank: int):
        neurons = ffn.neurons
        self._experts = ffn.experts if isinstance(ffn, Mixture) else None
        self._first = ffn.first if isinstance(ffn, Mixture) else neurons
        self._rank = rank
        self._lists = np.empty((neurons, _room(rank)), np.float32)
        self._filled = np.zeros(neurons, np.int64)
        self._least = np.full(neurons, -1, np.float32)  # what a value must exceed to matter

    def add(self, values: np.ndarray, hands: Executor, threads: int) -> None:
        """Take the values [P, F] float32 (of the first neurons, in a mixture), at least 0; those that are not a number are left
        out."""
        share = -(-values.shape[1] // (threads * COLUMNS)) * COLUMNS

        def part(first: int) -> None:
            neurons = slice(first, min(first + share, values.shape[1]))
            self._take(neurons, values[:, neurons])

        deque(hands.map(part, range(0, values.shape[1], share)), 0)

    def add_routed(self, values: np.ndarray, experts: np.ndarray, hands: Executor) -> None:
        """Take rows ``values`` [R, I] float32, at least 0, each of an expert's neurons; ``experts`` [R]: of which."""
        assert self._experts is not None
        size, order = self._experts.neurons, np.argsort(experts, kind="stable")
        edges = np.searchsorted(experts[order], np.arange(self._experts.count + 1))

        def part(expert: int) -> None:
            first = self._first + expert * size
            self._take(slice(first, first + size), values[order[edges[expert] : edges[expert + 1]]])

        deque(hands.map(part, range(self._experts.count)), 0)

    def _take(self, neurons: slice, values: np.ndarray) -> None:
        """Append the values [P, F] of some neurons to their lists; a list that may not hold those of the next rows keeps its
        largest."""
        lists, filled, least = self._lists[neurons], self._filled[neurons], self._least[neurons]
        capacity = lists.shape[1]
        rows = (capacity - self._rank) // CHUNKS
        for first in range(0, len(values), rows):
            _append(values[first : first + rows], lists, filled, least)
            for neuron in np.flatnonzero(filled > capacity - rows).tolist():
                # By numpy: a partition compiled by numba would take seconds to compile.
                taken = lists[neuron, : filled[neuron]]
                place = len(taken) - self._rank
                taken.partition(place)
                least[neuron] = taken[place]
                lists[neuron, : self._rank] = taken[place:].copy()
                filled[neuron] = self._rank

    def thresholds(self) -> np.ndarray:
        """[F] float32: the value of rank ``rank``; where there are fewer, 0 in routed experts, else infinity."""
        thresholds = np.full(len(self._lists), np.inf, np.float32)
        thresholds[self._first :] = 0
        for neuron in np.flatnonzero(self._filled >= self._rank).tolist():
            values = self._lists[neuron, : self._filled[neuron]]
            place = len(values) - self._rank
            thresholds[neuron] = np.partition(values, place)[place]
        return thresholds


def _room(rank: int) -> int:
    return rank + max(rank // 4, LEAST_ROOM)


@compiled
def _append(values: np.ndarray, lists: np.ndarray, filled: np.ndarray, least: np.ndarray) -> None:
    """Append the values [P, F] that exceed ``least`` to the neurons' lists, which have room for P."""
    for row in range(values.shape[0]):
        for column in range(values.shape[1]):
            value = values[row, column]
            if value > least[column]:
                lists[column, filled[column]] = value
                filled[column] += 1


def _listen(
    model: LayeredModel, layer: int, mask: torch.Tensor, largest: LargestValues, hands: Executor
) -> list[Handle]:
    """Give ``largest`` the values of a layer's neurons at the positions of ``mask`` [B, T] bool, until the handles are
    removed."""

    def take(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        dense = model.ffns[layer].dense
        assert dense is not None
        values = neuron_values(layer, inputs[0], (mask.shape[0], mask.shape[1]), dense.neurons)
        largest.add(values[mask].abs().cpu().numpy(), hands, torch.get_num_threads())

    def take_routed(rows: RoutedRows) -> None:
        chosen = mask.reshape(-1)[rows.tokens]
        values = rows.values[chosen].float().abs().cpu().numpy()
        largest.add_routed(values, rows.experts[chosen].cpu().numpy(), hands)

    return model.listen(layer, None, take_routed, take)


@torch.inference_mode()
def find_thresholds(
    model: LayeredModel,
    layers: range,
    recorded: Sequence[int],
    chosen: ThresholdWindows,
    *,
    tokens: np.ndarray,
    batch_size: int,
    entering: Callable[[int], torch.Tensor] | None,
    advance: Callable[[int], None],
) -> dict[int, np.ndarray]:
    """[F] float32 for each of the ``recorded`` layers: run the ``chosen`` windows through the consecutive ``layers``.

    ``entering(window)`` gives the hidden states [1, T, d] that enter the first layer, unless these are the embeddings.
    ``advance`` is called with positions times layers done after every batch.
    """
    largest = {layer: LargestValues(model.ffns[layer], chosen.rank) for layer in recorded}
    device, length = model.device, tokens.shape[1]
    whole = any(isinstance(model.ffns[layer], Mixture) for layer in layers)
    model.load_layers(layers.start, layers.stop)
    try:
        with ThreadPoolExecutor(torch.get_num_threads()) as hands:
            for windows, counts in chosen.batches(len(tokens), batch_size, whole):
                mask = torch.from_numpy(counts).to(device)
                hooks = [hook for layer in recorded for hook in _listen(model, layer, mask, largest[layer], hands)]
                try:
                    ids = torch.from_numpy(tokens[windows].astype(np.int64)).to(device)
                    hidden, calls = model.frame(ids, layers.stop - 1)
                    if entering is not None:
                        hidden = torch.cat([entering(int(window)) for window in windows]).to(device)
                    for layer in layers:
                        if layer == layers[-1]:
                            model.run_to_second(layer, hidden, calls[layer])
                        else:
                            hidden = model.run_layer(layer, hidden, calls[layer])
                finally:
                    for hook in hooks:
                        hook.remove()
                advance(int(counts.any(axis=1).sum()) * length * len(layers))
    finally:
        model.release_layers(layers.start, layers.stop)
    return {layer: values.thresholds() for layer, values in largest.items()}
