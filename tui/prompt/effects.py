"""What the model predicts at each token of a prompt, with neurons taken away too, and what each neuron adds to a token's
logit; computed in threads, never in the interface's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from ffnscope.store.errors import UserError
from ffnscope.store.escaping import unescape
from ffnscope.tui.prompt.firing import Firing, Labels
from ffnscope.tui.state.background import start
from ffnscope.tui.state.neuron_list import Key
from ffnscope.tui.state.session import Session

if TYPE_CHECKING:
    from ffnscope.core.effects.attribution import DirectEffects
    from ffnscope.core.effects.next_tokens import Change, Prediction
    from ffnscope.core.prompt import PromptModel, PromptResult

PREDICT, DIRECT = "predict", "direct"  # what can be asked for
MINUS = " - "  # between two tokens: the difference of their logits


class Effects:
    """The predictions and direct effects of one prompt. ``changed`` is called in any thread when there is news; fields change in
    ``take_in`` alone, which the interface calls then."""

    def __init__(self, session: Session, tokens: np.ndarray, changed: Callable[[], None], left: Callable[[], bool]):
        """``tokens`` [T]; ``left`` says that nobody waits any longer."""
        self._session, self._tokens, self._changed, self._left = session, tokens, changed, left
        self.prediction: Prediction | None = None
        self.change: Change | None = None  # of ``taken``; None where nothing is taken away or it is still computed
        self.taken: frozenset[Key] = frozenset()
        self.direct: DirectEffects | None = None
        self.towards: tuple[int, ...] = ()  # a token, or two for a difference
        self.failed = ""
        self._asked = {PREDICT: 0, DIRECT: 0}  # number of what was asked for last
        self._busy = {PREDICT: False, DIRECT: False}
        self._states: Any = None  # as the model is
        self._news: list[tuple[str, int, str, Any]] = []
        self._lock = Lock()

    @property
    def busy(self) -> bool:
        """Whether predictions are being computed."""
        return self._busy[PREDICT]

    def predict(self) -> None:
        """Ask for the predictions, unless they are known."""
        if not self.busy and (self.prediction is None or (self.taken and self.change is None)):
            self._begin(PREDICT, self._predict)

    def take(self, keys: Sequence[Key]) -> None:
        """Take neurons away, or give them back where all of them are away already."""
        neurons = frozenset(keys)
        self.taken = self.taken - neurons if neurons <= self.taken else self.taken | neurons
        self.change = None
        self._begin(PREDICT, self._predict)

    def give_back(self) -> None:
        """Give every neuron back."""
        self.taken, self.change, self.failed = frozenset(), None, ""
        self._asked[PREDICT] += 1
        self._busy[PREDICT] = False
        self.predict()

    def ask_direct(self, text: str) -> None:
        """Ask for the direct effects on the token that ``text`` names, or on the difference of two."""
        self._begin(DIRECT, lambda number, model: self._direct(number, model, text))

    def forget_direct(self) -> None:
        """No direct effects any more."""
        self.direct, self.towards, self.failed = None, (), ""
        self._asked[DIRECT] += 1

    def take_in(self) -> None:
        """Take in what the threads found; what is no longer asked for is dropped."""
        with self._lock:
            news, self._news = self._news, []
        for kind, number, name, value in news:
            if name == "states":
                self._states = value
                continue
            if number != self._asked[kind]:
                continue
            self._busy[kind], self.failed = False, ""
            if name == "failed":
                self.failed = value
            elif name == "direct":
                self.direct, self.towards = value
            elif name == "change":
                self.change, self.prediction = value, value.before
            else:
                self.prediction = value

    # In threads

    def _begin(self, kind: str, work: Callable[[int, PromptModel], None]) -> None:
        self._asked[kind] += 1
        self._busy[kind], self.failed = True, ""
        number = self._asked[kind]

        def run() -> None:
            try:
                work(number, self._session.model())
            except UserError as error:
                self._tell(kind, number, "failed", str(error))
            except Exception as error:  # of torch or the model's own code: marks and notes must outlive it
                self._tell(kind, number, "failed", f"the model failed ({type(error).__name__}: {error})")

        start(run)

    def _tell(self, kind: str, number: int, name: str, value: Any) -> None:
        with self._lock:
            self._news.append((kind, number, name, value))
        self._changed()

    def _unwanted(self, number: int) -> bool:
        return number != self._asked[PREDICT] or self._left()

    def _predict(self, number: int, model: PromptModel) -> None:
        taken, before = self.taken, self._states
        if before is None:
            before = model.states(self._tokens)
            self._tell(PREDICT, number, "states", before)
        if not taken:
            self._tell(PREDICT, number, "prediction", model.predict(before, self._tokens))
            return
        after = model.states(self._tokens, taken, lambda: self._unwanted(number))
        if after is not None:
            self._tell(PREDICT, number, "change", model.compare(before, after, self._tokens, taken))

    def _direct(self, number: int, model: PromptModel, text: str) -> None:
        towards = tuple(model.token(unescape(part)) for part in _parts(text))
        effects = model.direct_effects(self._tokens, *towards)
        self._tell(DIRECT, number, "direct", (effects, towards))


def _parts(text: str) -> list[str]:
    """A token's text, or those of two with `` - `` between them; quotes keep spaces at the ends."""
    tokens = text.split(MINUS) if MINUS in text.strip() else [text]
    if len(tokens) > 2 or not all(part.strip() for part in tokens):
        raise UserError("write one token, or two with ' - ' between them")
    return [
        part.strip()[1:-1] if len(part.strip()) > 2 and part.strip()[0] == part.strip()[-1] == '"' else part
        for part in (tokens if len(tokens) == 1 else [tokens[0].strip(), tokens[1].strip()])
    ]


class EffectRows(Sequence[Firing]):
    """The neurons of some layers by their direct effect at a position, the largest either way first; rows are made when they
    are asked for: a model has tens of thousands."""

    def __init__(self, labels: Labels, result: PromptResult, direct: DirectEffects, at: int, layers: Sequence[int]):
        self._labels, self._result, self._at = labels, result, at
        values = np.concatenate([direct.neurons[layer][at] for layer in layers]) if layers else np.zeros(0, np.float32)
        sizes = [direct.neurons[layer].shape[1] for layer in layers]
        order = np.argsort(-np.abs(values), kind="stable")
        self._layers = np.repeat(np.asarray(layers, np.int64), sizes)[order]
        self._neurons = np.concatenate([np.arange(size) for size in sizes] or [np.zeros(0, np.int64)])[order]
        self.values = values[order]

    def __len__(self) -> int:
        return len(self.values)

    @overload
    def __getitem__(self, index: int) -> Firing: ...

    @overload
    def __getitem__(self, index: slice) -> list[Firing]: ...

    def __getitem__(self, index: int | slice) -> Firing | list[Firing]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        key = int(self._layers[index]), int(self._neurons[index])
        return replace(self._labels.firing(*key, self._result, self._at), effect=float(self.values[index]))

    def __iter__(self) -> Iterator[Firing]:
        return (self[i] for i in range(len(self)))
