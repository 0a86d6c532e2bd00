"""Run a store's model on the user's own text: which neurons are activated at which token."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import torch

from ffnscope.core.corpus.text import Part
from ffnscope.core.corpus.tokens import encode_parts
from ffnscope.core.effects.attribution import DirectEffects, direct_effects
from ffnscope.core.effects.next_tokens import Change, Prediction, compare, few_logits, final_states, predict
from ffnscope.core.model.experts import Handle, RoutedRows
from ffnscope.core.model.layered import Hook, LayeredModel, PreHook
from ffnscope.core.model.load import load_model
from ffnscope.core.model.tokenizer import load_tokenizer
from ffnscope.core.run.model import open_run_model
from ffnscope.store.errors import UserError
from ffnscope.store.records import RunInfo

SMALL_WORK = 2e10  # additions and multiplications: 80 tokens of a model of 125M weights
KEPT_STATES = 1 << 25  # numbers: 128 MiB


@dataclass(frozen=True, eq=False)
class PromptResult:
    """One text through the model, T tokens of it, BOS first as in a window.

    ``active`` and ``values`` are by layer: bool [T, F], whether the neuron is activated by the store's rule, and float32
    [T, F], where it is, the activation function's output, or a where the rule is one of thresholds; else 0.
    """

    tokens: np.ndarray  # [T] int64
    left_out: int  # tokens at the end that do not fit into the window
    active: dict[int, np.ndarray]
    values: dict[int, np.ndarray]

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers, ascending."""
        return tuple(sorted(self.active))


class PromptModel:
    """The model that a store was collected from, in float32 on the CPU."""

    def __init__(
        self, run: RunInfo, model: LayeredModel, tokenizer: Any, thresholds: Callable[[int], np.ndarray] | None = None
    ):
        self.run_info = run
        self._thresholds = thresholds if run.activated.has_thresholds else None
        self._model = model
        self._tokenizer = tokenizer
        # Hooks are registered on the one model, so two texts at a time would record each other's activations.
        self._one_at_a_time = Lock()
        # Of the last text with nothing taken away: its tokens, what enters each layer, what leaves the last, its logits.
        self._text: tuple[np.ndarray, dict[int, torch.Tensor]] | None = None
        self._logits: tuple[torch.Tensor, torch.Tensor | None] | None = None
        self._values = sum(parameter.numel() for parameter in model.model.parameters())
        model.prepare(torch.zeros(1, 2, dtype=torch.int64))

    @classmethod
    def load(cls, run: RunInfo, thresholds: Callable[[int], np.ndarray] | None = None) -> PromptModel:
        """Load the model of a run from where it was collected or from the hub's cache; nothing is downloaded.
        ``thresholds`` gives a layer's, [F] float32, where neurons have them.

        Raises UserError where it is not on this machine, is another one by its fingerprint, or has no tokenizer.
        """
        source = open_run_model(run)
        tokenizer = load_tokenizer(source)
        if tokenizer is None:
            raise UserError(f"{source.name}: has no tokenizer, so a text cannot be cut into its tokens")
        return cls(run, load_model(source, torch.device("cpu"), torch.float32), tokenizer, thresholds)

    def tokens(self, text: str) -> tuple[np.ndarray, int]:
        """A text as the beginning of a window: ids int64 [T], BOS first where windows have it; and how many tokens
        do not fit into the window. Raises UserError for a text without tokens."""
        corpus = self.run_info.corpus
        ids = np.concatenate([ids for ids, _ in encode_parts([Part(text, True)], self._tokenizer, workers=1)])
        bos = np.array([] if corpus.bos_id is None else [corpus.bos_id], np.int64)
        if not len(ids):
            raise UserError("the text has no tokens; enter some text")
        if int(ids.max()) >= self.run_info.model.vocabulary:
            raise UserError(
                f"token id {int(ids.max())} is outside the model's vocabulary; its tokenizer does not fit it"
            )
        room = corpus.seq_len - len(bos)
        return np.concatenate([bos, ids[:room]]), max(len(ids) - room, 0)

    def run(self, text: str, unwanted: Callable[[], bool] = lambda: False) -> PromptResult | None:
        """Run the collected layers on a text, one text at a time. Raises UserError for a text without tokens.

        Returns None once ``unwanted``, which is called between layers, says that nobody waits for the result.
        """
        with self._one_at_a_time:
            return self._run(text, unwanted)

    @contextmanager
    def _alone(self, tokens: int) -> Iterator[None]:
        """One piece of work at a time; a small one in one thread: on a busy machine, threads wait longer for each other than
        it takes."""
        with self._one_at_a_time:
            threads = torch.get_num_threads()
            if 2 * self._values * tokens < SMALL_WORK:
                torch.set_num_threads(1)
            try:
                yield
            finally:
                torch.set_num_threads(threads)

    def states(
        self, tokens: np.ndarray, taken: Collection[tuple[int, int]] = (), unwanted: Callable[[], bool] = lambda: False
    ) -> torch.Tensor | None:
        """[T, d]: the hidden states of ``tokens`` [T] that leave the last layer, with neurons ``taken`` (layer, neuron) away;
        None once ``unwanted``."""
        with self._alone(len(tokens)):
            if not taken:
                small = len(tokens) * self._model.count * self._model.width <= KEPT_STATES
                self._text = (tokens, {}) if small else None
            entering = self._text[1] if self._text is not None and np.array_equal(self._text[0], tokens) else None
            states = final_states(self._model, tokens, taken, unwanted, entering)
        return None if unwanted() else states

    def predict(self, states: torch.Tensor, tokens: np.ndarray) -> Prediction:
        """The next-token distributions of final states [T, d]."""
        with self._alone(len(tokens)):
            return predict(self._model, states, tokens, self._known(states))

    def compare(
        self, before: torch.Tensor, after: torch.Tensor, tokens: np.ndarray, taken: Collection[tuple[int, int]]
    ) -> Change:
        """What changes in the next-token distributions from final states ``before`` to ``after`` [T, d]."""
        with self._alone(len(tokens)):
            return compare(self._model, before, after, tokens, taken, self._known(before))

    def _known(self, states: torch.Tensor) -> torch.Tensor | None:
        if self._logits is None or self._logits[0] is not states:
            self._logits = states, few_logits(self._model, states)
        return self._logits[1]

    def direct_effects(self, tokens: np.ndarray, towards: int, against: int | None = None) -> DirectEffects:
        """What every neuron adds to a token's logit, or to its difference to another's. Raises UserError for models whose
        logits are not such a sum."""
        with self._alone(len(tokens)):
            return direct_effects(self._model, tokens, towards, against)

    def token(self, text: str) -> int:
        """The token that a text is, by itself or with a space before it. Raises UserError where it is several."""
        for spelled in (text, f" {text}"):
            ids = np.concatenate([ids for ids, _ in encode_parts([Part(spelled, True)], self._tokenizer, workers=1)])
            unknown = getattr(self._tokenizer, "unk_token_id", None)
            if len(ids) == 1 and int(ids[0]) < self.run_info.model.vocabulary and int(ids[0]) != unknown:
                return int(ids[0])
        raise UserError(f"{text!r} is not a single token of this model; give one")

    @torch.inference_mode()
    def _run(self, text: str, unwanted: Callable[[], bool]) -> PromptResult | None:
        tokens, left_out = self.tokens(text)
        layers, thresholds = self.run_info.layers, self._thresholds
        hidden, calls = self._model.frame(torch.from_numpy(tokens)[None], layers[-1])
        active: dict[int, np.ndarray] = {}
        values: dict[int, np.ndarray] = {}
        for layer in range(layers[-1] + 1):
            if unwanted():
                return None
            handles: list[Handle] = []
            if layer in layers:
                shape = len(tokens), self._model.ffns[layer].neurons
                active[layer], values[layer] = np.zeros(shape, bool), np.zeros(shape, np.float32)
                limits = None if thresholds is None else torch.tensor(thresholds(layer))
                handles = self._model.listen(layer, *_keepers(active[layer], values[layer], limits))
            try:
                if layer == layers[-1]:
                    stop = self._model.run_to_activation if thresholds is None else self._model.run_to_second
                    stop(layer, hidden, calls[layer])
                else:
                    hidden = self._model.run_layer(layer, hidden, calls[layer])
            finally:
                for handle in handles:
                    handle.remove()
        return PromptResult(tokens, left_out, active, values)


def _keepers(
    active: np.ndarray, values: np.ndarray, thresholds: torch.Tensor | None
) -> tuple[Hook | None, Callable[[RoutedRows], None], PreHook | None]:
    """What fills a layer's ``active`` and ``values`` [T, F], by an input above 0 or by ``thresholds`` [F]: of the neurons that
    see every token (at their activation function, or at the second matrix), and of routed experts, whose neurons come last."""

    def fill(on: torch.Tensor, value: torch.Tensor, rows: Any, columns: Any) -> None:
        active[rows, columns] = on.numpy()
        values[rows, columns] = torch.where(on, value.float(), 0).numpy()

    def keep(module: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        before = inputs[0].reshape(len(active), -1)
        fill(before > 0, output.reshape(before.shape), slice(None), slice(before.shape[1]))

    def compare(module: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        assert thresholds is not None
        a = inputs[0].reshape(len(active), -1).float()
        fill(a.abs() >= thresholds[: a.shape[1]], a, slice(None), slice(a.shape[1]))

    def see(rows: RoutedRows) -> None:
        size = rows.values.shape[1]
        first = active.shape[1] - rows.count * size
        columns = first + rows.experts[:, None] * size + torch.arange(size)
        at = rows.tokens[:, None].numpy(), columns.numpy()
        if thresholds is None:
            fill(rows.before > 0, rows.after, *at)
        else:
            fill(rows.values.float().abs() >= thresholds[columns], rows.values, *at)

    return (keep, see, None) if thresholds is None else (None, see, compare)
