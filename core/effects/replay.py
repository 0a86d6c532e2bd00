"""Windows through the model once, then again and again from the layer where something is taken away.

What lies below that layer is not computed again: the hidden states that enter it are kept. Windows in which the neurons
are exactly 0 everywhere cannot change, and neither can a position before the first at which one of them is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch

from ffnscope.core.effects.hooks import Replacements, observed, replaced
from ffnscope.core.model.layered import LayeredModel
from ffnscope.store.errors import UserError

LOGITS_AT_ONCE = {"cpu": 1 << 25}  # logits held at a time
GPU_LOGITS_AT_ONCE = 1 << 28
LONGEST_READOUT = 256  # positions of one row of a readout: masks are square in them

Progress = Callable[[float], None]
"""Called with the share of the work that is done; what it raises ends the work."""


@dataclass(frozen=True, eq=False)
class Watched:
    """What some neurons of a layer do on the tested windows.

    ``first`` [n, M] int32: the first position at which a neuron's value is not 0, T where there is none. ``active``
    [n, M, ceil(T / 8)] uint8: where it is activated, position p in bit 7 - p % 8 of byte p // 8.
    """

    neurons: np.ndarray  # [n] int64, ascending
    first: np.ndarray
    active: np.ndarray

    def row(self, neuron: int) -> int:
        """The row of a neuron."""
        return int(np.searchsorted(self.neurons, neuron))


class Replay:
    """M windows of T tokens through a model, and what changes with neurons taken away.

    ``loss`` [M, T - 1] float64: nats of predicting token k + 1 at k. ``own_logit`` [M, T - 1] float64: at position k, the
    logit of token k itself.
    """

    def __init__(self, model: LayeredModel, tokens: np.ndarray, batch_size: int):
        self.model = model
        self.tokens = torch.from_numpy(np.ascontiguousarray(tokens, np.int64))
        self.batch_size = batch_size
        windows, length = tokens.shape
        self.loss = np.zeros((windows, length - 1))
        self.own_logit = np.zeros((windows, length - 1))
        self.watched: dict[int, Watched] = {}
        self._layer = 0  # the layer that ``_hidden`` enters
        self._hidden = torch.empty(windows, length, model.width, dtype=model.hidden_dtype)

    @property
    def seq_len(self) -> int:
        """T."""
        return self.tokens.shape[1]

    # The model as it is

    @torch.inference_mode()
    def run(
        self,
        neurons: Mapping[int, np.ndarray],
        thresholds: Mapping[int, np.ndarray],
        lowest: int,
        progress: Progress = lambda share: None,
    ) -> None:
        """Run the model as it is, once: losses, what the ``neurons`` [n] of each layer do, and the hidden states that
        enter layer ``lowest``. ``thresholds``: of the layer's neurons [F], where that is what activation means.

        Raises UserError where the model computes what is not finite.
        """
        watches = {layer: _Watch(self, numbers, thresholds.get(layer)) for layer, numbers in neurons.items()}
        self._layer = lowest
        for done, (batch, tokens) in enumerate(self._batches(range(len(self.tokens)))):
            progress(done * self.batch_size / len(self.tokens))
            hidden, calls = self.model.frame(tokens, self.model.count - 1)
            for layer in range(self.model.count):
                if layer == lowest:
                    self._hidden[batch] = hidden.to("cpu")
                with watches[layer].observing(layer, batch) if layer in watches else nullcontext():
                    hidden = self.model.run_layer(layer, hidden, calls[layer])
            loss, logit = self._read(hidden, batch, [(row, 0, self.seq_len - 1) for row in range(len(batch))])
            self.loss[batch] = loss.reshape(len(batch), -1)
            self.own_logit[batch] = logit.reshape(len(batch), -1)
        if not np.isfinite(self.loss).all():
            raise UserError(f"{self.model.name}: its predictions are not finite on these windows")
        self.watched = {layer: watch.result() for layer, watch in watches.items()}

    @torch.inference_mode()
    def advance(self, layer: int) -> None:
        """Keep the hidden states that enter ``layer``, which is not below the one kept so far."""
        if layer < self._layer:
            raise ValueError(f"the hidden states kept enter layer {self._layer}, above {layer}")
        if layer == self._layer:
            return
        for batch, tokens in self._batches(range(len(self.tokens))):
            _, calls = self.model.frame(tokens, layer - 1)
            hidden = self._hidden[batch].to(self.model.device)
            for index in range(self._layer, layer):
                hidden = self.model.run_layer(index, hidden, calls[index])
            self._hidden[batch] = hidden.to("cpu")
        self._layer = layer

    # With neurons taken away

    @torch.inference_mode()
    def changes(
        self, replacements: Replacements, first: np.ndarray, progress: Progress = lambda share: None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Changes of ``loss`` and ``own_logit``, float64 [M, T - 1] each, with the replacements in place.

        ``first`` [M]: the first position of each window that can change; those before it, and windows where it is T - 1
        or more, are not computed and change by exactly 0.
        """
        delta_loss, delta_logit = np.zeros_like(self.loss), np.zeros_like(self.own_logit)
        lowest, last = min(replacements), self.seq_len - 1
        self.advance(lowest)
        windows = np.flatnonzero(first < last).tolist()
        with replaced(self.model, replacements):
            for done, (batch, tokens) in enumerate(self._changed_batches(windows)):
                progress(min(done * self.batch_size / len(windows), 1.0))
                _, calls = self.model.frame(tokens, self.model.count - 1)
                hidden = self._hidden[batch].to(self.model.device)
                for layer in range(lowest, self.model.count):
                    hidden = self.model.run_layer(layer, hidden, calls[layer])
                spans = [(row, int(first[window]), last) for row, window in enumerate(batch) if first[window] < last]
                loss, logit = self._read(hidden, batch, spans)
                start = 0
                for row, low, high in spans:
                    window, end = batch[row], start + high - low
                    delta_loss[window, low:high] = loss[start:end] - self.loss[window, low:high]
                    delta_logit[window, low:high] = logit[start:end] - self.own_logit[window, low:high]
                    start = end
        return delta_loss, delta_logit

    def first_change(self, neurons: Iterable[tuple[int, int]]) -> np.ndarray:
        """[M] int32: the first position at which one of the neurons, set to 0, changes anything; T for none."""
        first = np.full(len(self.tokens), self.seq_len, np.int32)
        for layer, neuron in neurons:
            watched = self.watched[layer]
            np.minimum(first, watched.first[watched.row(neuron)], out=first)
        return first

    def active(self, neurons: Iterable[tuple[int, int]]) -> np.ndarray:
        """bool [M, T - 1]: where one of the neurons is activated, the model as it is."""
        active = np.zeros((len(self.tokens), self.seq_len - 1), np.bool_)
        for layer, neuron in neurons:
            watched = self.watched[layer]
            active |= np.unpackbits(watched.active[watched.row(neuron)], axis=1)[:, : self.seq_len - 1].view(np.bool_)
        return active

    def _batches(self, windows: Iterable[int]) -> Iterator[tuple[list[int], torch.Tensor]]:
        listed = list(windows)
        for start in range(0, len(listed), self.batch_size):
            batch = listed[start : start + self.batch_size]
            yield batch, self.tokens[batch].to(self.model.device)

    def _changed_batches(self, windows: list[int]) -> Iterator[tuple[list[int], torch.Tensor]]:
        """Batches of ``windows``; in a mixture of experts the first run's own that have one of them, because how many rows an
        expert multiplies, and so the rounding, depends on all of a batch's tokens."""
        if not self.model.experts:
            yield from self._batches(windows)
            return
        changed = set(windows)
        for batch, tokens in self._batches(range(len(self.tokens))):
            if changed.intersection(batch):
                yield batch, tokens

    def _read(
        self, hidden: torch.Tensor, batch: list[int], spans: list[tuple[int, int, int]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Loss and own token's logit, float64 [N] each, at the positions low .. high - 1 of rows of a batch's hidden states
        [B, T, d], span behind span."""
        states = torch.cat([hidden[row, low:high] for row, low, high in spans])
        tokens = self.tokens[batch]
        own = torch.cat([tokens[row, low:high] for row, low, high in spans]).to(hidden.device)
        following = torch.cat([tokens[row, low + 1 : high + 1] for row, low, high in spans]).to(hidden.device)
        loss = torch.empty(len(states), dtype=torch.float64)
        logit = torch.empty(len(states), dtype=torch.float64)
        for at, logits in readouts(self.model, states, self.seq_len):
            part = slice(at, at + len(logits))
            # Sums in float32 lose 1e-7 of the loss; the logarithm of one rounded to float32 would lose 1e-6.
            highest = logits.amax(dim=1, keepdim=True)
            total = (logits - highest).exp().sum(dim=1).cpu().double().log() + highest[:, 0].cpu().double()
            loss[part] = total - logits.gather(1, following[part, None])[:, 0].cpu().double()
            logit[part] = logits.gather(1, own[part, None])[:, 0].cpu().double()
        return loss.numpy(), logit.numpy()


def readouts(model: LayeredModel, states: torch.Tensor, seq_len: int) -> Iterator[tuple[int, torch.Tensor]]:
    """(number of the first row, logits [n, V] float32) for hidden states [N, d] that leave the last layer, part by part.

    At most ``seq_len`` positions stand in a row, which is what the model has embeddings for.
    """
    length, size = _readout_shape(model, seq_len)
    for start in range(0, len(states), size):
        part = states[start : start + size]
        missing = -len(part) % length
        padded = torch.cat([part, part[:1].expand(missing, -1)]) if missing else part
        logits = model.logits(padded.reshape(-1, length, padded.shape[1]))
        yield start, logits.reshape(len(padded), -1)[: len(part)]


def readout_rows(model: LayeredModel, seq_len: int) -> int:
    """How many rows each part of ``readouts`` has, but for the last."""
    return _readout_shape(model, seq_len)[1]


def _readout_shape(model: LayeredModel, seq_len: int) -> tuple[int, int]:
    """Positions of a row that the model is given, and of all rows at a time."""
    vocabulary = int(model.unembedding().shape[0])
    most = max(LOGITS_AT_ONCE.get(model.device.type, GPU_LOGITS_AT_ONCE) // vocabulary, 1)
    length = min(seq_len, LONGEST_READOUT, most)
    return length, most // length * length


def zero_when_off(model: LayeredModel) -> bool:
    """Whether a neuron that is not activated is exactly 0, so that windows in which it never fires can be skipped."""
    if model.experts:
        return False  # their gates are SiLU's kind
    inputs = -torch.logspace(-6, 3, 64, device=model.device).to(model.hidden_dtype)
    with torch.inference_mode():
        return not bool(model.activation(0)(inputs).any())


class _Watch:
    """Fills one layer's ``Watched``, batch by batch."""

    def __init__(self, replay: Replay, neurons: np.ndarray, thresholds: np.ndarray | None):
        self._model, self._length = replay.model, replay.seq_len
        self._neurons = np.unique(neurons)
        self._columns = torch.from_numpy(self._neurons).to(self._model.device)
        chosen = None if thresholds is None else torch.from_numpy(thresholds[self._neurons]).to(self._model.device)
        self._thresholds = chosen
        size, windows = len(self._neurons), len(replay.tokens)
        self._first = np.full((size, windows), self._length, np.int32)
        self._active = np.zeros((size, windows, -(-self._length // 8)), np.uint8)

    @contextmanager
    def observing(self, layer: int, batch: list[int]) -> Iterator[None]:
        """While it lasts, the layer runs once on the windows of a batch, and what it does there is noted."""
        with observed(self._model, layer, self._columns, len(batch) * self._length) as seen:
            yield
        active = seen.inputs > 0 if self._thresholds is None else (seen.values.abs() >= self._thresholds) & seen.routed
        some, active = (
            each.T.reshape(-1, len(batch), self._length) for each in (seen.values != 0, active)
        )  # [n, B, T]
        first = torch.where(some.any(dim=2), some.to(torch.uint8).argmax(dim=2), self._length)
        self._first[:, batch] = first.cpu().numpy()
        self._active[:, batch] = np.packbits(active.cpu().numpy(), axis=2)

    def result(self) -> Watched:
        return Watched(self._neurons, self._first, self._active)
