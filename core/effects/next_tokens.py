"""The next-token distribution of a text, as it is and with neurons taken away."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch

from ffnscope.core.effects.hooks import replaced
from ffnscope.core.effects.replay import readout_rows, readouts
from ffnscope.core.model.layered import LayeredModel
from ffnscope.store.errors import UserError

TOP = 10
KEPT_LOGITS = 1 << 24  # 64 MiB


@dataclass(frozen=True, eq=False)
class Prediction:
    """The distributions at T positions in short: at position k, of token k + 1.

    ``top`` [T, n] int64 and ``top_probability`` [T, n] float32: the n most probable tokens, most probable first.
    ``next_probability`` [T] float32 and ``next_rank`` [T] int64: those of the token that does follow, rank 1 for the most
    probable; NaN and 0 at the last position. ``entropy`` [T] float32, nats.
    """

    top: np.ndarray
    top_probability: np.ndarray
    next_probability: np.ndarray
    next_rank: np.ndarray
    entropy: np.ndarray


@dataclass(frozen=True, eq=False)
class Change:
    """The distributions ``before`` and ``after`` something was taken away, position by position.

    ``top_after`` [T, n] float32: the probabilities afterwards of ``before.top``. ``kl`` [T] float32: KL(before || after) in nats.
    ``rose`` and ``fell`` [T, n] int64: the tokens whose probability rose and fell most, the largest change first;
    ``rose_by`` and ``fell_by`` [T, n] float32: by how much, 0 where nothing did.
    """

    taken: tuple[tuple[int, int], ...]
    before: Prediction
    after: Prediction
    top_after: np.ndarray
    kl: np.ndarray
    rose: np.ndarray
    rose_by: np.ndarray
    fell: np.ndarray
    fell_by: np.ndarray


def next_tokens(model: LayeredModel, tokens: np.ndarray, taken: Collection[tuple[int, int]] = ()) -> np.ndarray:
    """float32 [T, V]: the log-probabilities of the token that follows each position of ``tokens`` [T], with the neurons ``taken``
    (layer, neuron) set to 0 at every position. Raises UserError for neurons and token ids that the model does not have."""
    states = final_states(model, tokens, taken)
    parts = [logits.log_softmax(dim=1).cpu() for _, logits in readouts(model, states, len(tokens))]
    return torch.cat(parts).numpy()


@torch.inference_mode()
def final_states(
    model: LayeredModel,
    tokens: np.ndarray,
    taken: Collection[tuple[int, int]] = (),
    unwanted: Callable[[], bool] = lambda: False,
    entering: dict[int, torch.Tensor] | None = None,
) -> torch.Tensor:
    """[T, d]: the hidden states that leave the last layer, with the neurons ``taken`` set to 0 at every position. Once
    ``unwanted``, called between layers, says that nobody waits for them, they are those of the layer so far.

    ``entering``: layer -> the hidden states [1, T, d] that enter it, with nothing taken away: filled in by such a pass, and where
    it is filled the layers below those of ``taken`` are not run again.
    """
    by_layer: dict[int, list[int]] = {}
    for layer, neuron in taken:
        if not (0 <= layer < model.count and 0 <= neuron < model.ffns[layer].neurons):
            raise UserError(f"L{layer}N{neuron}: the model has {model.count} layers of {model.neurons} neurons")
        by_layer.setdefault(layer, []).append(neuron)
    ids = np.ascontiguousarray(tokens, np.int64)
    vocabulary = int(model.unembedding().shape[0])
    if not len(ids) or not 0 <= int(ids.min()) <= int(ids.max()) < vocabulary:
        raise UserError(f"give token ids from 0 to {vocabulary - 1}, at least one")
    zeros = {layer: (torch.tensor(numbers), torch.zeros(len(numbers))) for layer, numbers in by_layer.items()}
    with replaced(model, zeros) if zeros else ExitStack():
        hidden, calls = model.frame(torch.from_numpy(ids)[None].to(model.device), model.count - 1)
        lowest = min(by_layer, default=0)
        if entering is not None and lowest in entering and by_layer:
            hidden = entering[lowest]
        else:
            lowest = 0
        for layer in range(lowest, model.count):
            if unwanted():
                break
            if entering is not None and not by_layer:
                entering[layer] = hidden
            hidden = model.run_layer(layer, hidden, calls[layer])
    return hidden[0]


@torch.inference_mode()
def predict(
    model: LayeredModel, states: torch.Tensor, tokens: np.ndarray, logits: torch.Tensor | None = None, top: int = TOP
) -> Prediction:
    """What final states [T, d] of ``tokens`` [T] predict; ``logits`` [T, V] are theirs, where they are known."""
    return Prediction(*_joined([_predict(*part) for part in _parts(model, states, tokens, top, logits)]))


@torch.inference_mode()
def few_logits(model: LayeredModel, states: torch.Tensor) -> torch.Tensor | None:
    """[T, V]: the logits of final states [T, d]; None where these are too many to keep."""
    if len(states) * int(model.unembedding().shape[0]) > KEPT_LOGITS:
        return None
    return torch.cat([logits for _, logits in readouts(model, states, len(states))])


@torch.inference_mode()
def compare(
    model: LayeredModel,
    before: torch.Tensor,
    after: torch.Tensor,
    tokens: np.ndarray,
    taken: Collection[tuple[int, int]],
    logits: torch.Tensor | None = None,
    top: int = TOP,
) -> Change:
    """What changes from final states ``before`` to ``after`` [T, d], where ``taken`` is taken away; ``logits`` [T, V] are those
    of ``before``, where they are known."""
    firsts, seconds, rest = [], [], []
    both = _parts(model, before, tokens, top, logits), _parts(model, after, tokens, top)
    for first, second in zip(*both, strict=True):
        firsts.append(_predict(*first))
        seconds.append(_predict(*second))
        old, new = first[0], second[0]
        old_log, new_log = old.log_softmax(dim=1), new.log_softmax(dim=1)
        old_share, new_share = old_log.exp(), new_log.exp()
        kl = (old_share * (old_log - new_log)).sum(dim=1).clamp_min(0)
        moved = new_share - old_share
        count = min(top, moved.shape[1])
        rose, fell = moved.topk(count, dim=1), (-moved).topk(count, dim=1)
        kept = new_share.gather(1, old.topk(count, dim=1).indices)
        tensors = (kept, kl, rose.indices, rose.values.clamp_min(0), fell.indices, fell.values.clamp_min(0))
        rest.append(tuple(tensor.cpu().numpy() for tensor in tensors))
    return Change(tuple(sorted(taken)), Prediction(*_joined(firsts)), Prediction(*_joined(seconds)), *_joined(rest))


def _parts(
    model: LayeredModel, states: torch.Tensor, tokens: np.ndarray, top: int, known: torch.Tensor | None = None
) -> Iterator[tuple[torch.Tensor, torch.Tensor, int]]:
    following = torch.cat([torch.from_numpy(np.asarray(tokens[1:], np.int64)), torch.tensor([-1])]).to(states.device)
    size = readout_rows(model, len(tokens))
    parts = (
        readouts(model, states, len(tokens))
        if known is None
        else ((start, known[start : start + size]) for start in range(0, len(known), size))
    )
    for start, logits in parts:
        yield logits, following[start : start + len(logits)], top


def _predict(logits: torch.Tensor, following: torch.Tensor, top: int) -> tuple[np.ndarray, ...]:
    logs = logits.log_softmax(dim=1)
    best = logs.topk(min(top, logs.shape[1]), dim=1)
    own = logs.gather(1, following.clamp_min(0)[:, None])
    last = following < 0
    probability = torch.where(last, torch.nan, own[:, 0].exp())
    rank = torch.where(last, 0, (logs > own).sum(dim=1) + 1)
    entropy = -(logs.exp() * logs).sum(dim=1)
    return tuple(tensor.cpu().numpy() for tensor in (best.indices, best.values.exp(), probability, rank, entropy))


def _joined(parts: list[tuple[np.ndarray, ...]]) -> list[np.ndarray]:
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
