"""Taking neurons away: how the loss over many windows changes without them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from ffnscope.core.effects.means import mean_values
from ffnscope.core.effects.replay import Replay
from ffnscope.core.effects.summary import Effect, summarise
from ffnscope.core.effects.triggers import Triggers
from ffnscope.core.effects.windows import TestedWindows, kept_windows
from ffnscope.core.model.layered import LayeredModel
from ffnscope.core.run.model import load_run_model
from ffnscope.core.run.request import choose_batch_size
from ffnscope.store.definitions import ABLATION_MODES, TESTED_TOKENS
from ffnscope.store.errors import UserError
from ffnscope.store.reader import Store

Key = tuple[int, int]
Progress = Callable[[str, float], None]
"""Called with what is being done and the share of all the work that is done."""
FIRST_RUN = 0.05  # of that, for running the model as it is, and for means


def ablate(
    store: Store,
    neurons: Sequence[Key] | np.ndarray,
    model: LayeredModel | str | Path | None = None,
    *,
    together: bool = False,
    mode: str = "zero",
    tokens: int = TESTED_TOKENS,
    windows: TestedWindows | None = None,
    batch_size: int | None = None,
    progress: Progress = lambda what, share: None,
) -> Iterator[Effect]:
    """Take neurons (layer, neuron) away, one at a time or all ``together``, and say what that does: an Effect each, by layer
    and neuron, as soon as it is known (core/DEFINITIONS.md, "Effects"; the claim of the paper's Section 4.4, causally).

    ``neurons``: pairs, or an array [N, 2] as ``store.select`` gives. ``model``: a loaded one, or where it is; None: where the
    store was collected from. ``mode``: "zero" sets what is multiplied with w_i to 0 at every position, "mean" to its mean over
    the kept positions. ``tokens``: test about so many tokens of the store's kept windows, or else ``windows``. Results depend
    on ``batch_size`` (windows) by rounding only.

    Raises UserError for neurons that the model does not have, a store without kept windows, or another model.
    """
    keys = check_neurons(store, neurons)
    if mode not in ABLATION_MODES:
        raise UserError(f"no mode {mode!r}; known are {', '.join(ABLATION_MODES)}")
    tested = kept_windows(store, tokens) if windows is None else windows
    if not isinstance(model, LayeredModel):
        model = load_run_model(store.run, None if model is None else str(model))
    sets = [tuple(keys)] if together else [(key,) for key in keys]
    experiment = Experiment(store, model, tested, keys, mode, batch_size, progress)
    for done, members in enumerate(sets):
        yield experiment.effect(members, together, done, len(sets))


def check_neurons(store: Store, neurons: Sequence[Key] | np.ndarray) -> list[Key]:
    """The neurons by layer and number, each once. Raises UserError for those that the model does not have."""
    info = store.run.model
    for layer, neuron in neurons:
        if not 0 <= layer < info.layers:
            raise UserError(f"L{layer}N{neuron}: no layer {layer}; the model has layers 0 to {info.layers - 1}")
        last = info.neurons_of(layer) - 1
        if not 0 <= neuron <= last:
            raise UserError(f"L{layer}N{neuron}: no neuron {neuron}; the layer has neurons 0 to {last}")
    if not len(neurons):
        raise UserError("no neurons given; name some, as in L2N10")
    return sorted({(int(layer), int(neuron)) for layer, neuron in neurons})


class Experiment:
    """The model run once over the tested windows, and any of some neurons taken away."""

    def __init__(
        self,
        store: Store,
        model: LayeredModel,
        windows: TestedWindows,
        neurons: Sequence[Key],
        mode: str = "zero",
        batch_size: int | None = None,
        progress: Progress = lambda what, share: None,
    ):
        for layer, neuron in neurons:
            if neuron >= model.ffns[layer].neurons:
                raise UserError(f"L{layer}N{neuron}: layer {layer} has neurons 0 to {model.ffns[layer].neurons - 1}")
        self.windows, self.mode = windows, mode
        self._progress = progress
        length = windows.tokens.shape[1]
        size = choose_batch_size(batch_size, length, model.device)
        by_layer = {
            layer: np.array(sorted(neuron for at, neuron in neurons if at == layer), np.int64)
            for layer in sorted({layer for layer, _ in neurons})
        }
        self.replay = Replay(model, windows.tokens, size)
        self.replay.run(
            by_layer,
            _thresholds(store, by_layer),
            min(by_layer),
            lambda share: progress("running the model as it is", share * self._before(mode)),
        )
        self._values = dict.fromkeys(neurons, 0.0)
        if mode == "mean":
            means = mean_values(
                model,
                windows.mean_over,
                windows.bos_id,
                by_layer,
                size,
                lambda share: progress("means of the neurons", (1 + share) * self._before(mode)),
            )
            self._values = {
                (layer, neuron): float(mean)
                for layer, numbers in by_layer.items()
                for neuron, mean in zip(numbers.tolist(), means[layer], strict=True)
            }
        places = Triggers(store).places(neurons, windows.tokens)
        self._triggers = {key: ends[:, :-1] for key, ends in places.items()}

    @staticmethod
    def _before(mode: str) -> float:
        """The share of the work that each pass takes before the first neuron is taken away."""
        return FIRST_RUN if mode == "zero" else FIRST_RUN / 2

    def effect(self, neurons: Sequence[Key], together: bool = False, done: int = 0, total: int = 1) -> Effect:
        """Take ``neurons`` away at once; lower layers than before have to come first. It is number ``done`` of ``total``."""
        name = f"{len(neurons):,} neurons together" if together else "L{}N{}".format(*neurons[0])
        phase = f"without {name}" if together else f"without {name}, {done + 1:,} of {total:,}"

        def progress(share: float) -> None:
            self._progress(phase, FIRST_RUN + (1 - FIRST_RUN) * (done + share) / total)

        progress(0.0)
        delta_loss, delta_logit = self.replay.changes(self._replacements(neurons), self._first(neurons), progress)
        triggered = np.zeros(delta_loss.shape, np.bool_)
        for key in neurons:
            triggered |= self.triggered(key)
        active = self.replay.active(neurons)
        return summarise(tuple(neurons), together, self.mode, delta_loss, delta_logit, active, triggered)

    def triggered(self, key: Key) -> np.ndarray:
        """bool [M, T - 1]: where a detector is activated on one of its detected n-grams; nowhere for other neurons."""
        active = self.replay.active([key])
        return active & self._triggers[key] if key in self._triggers else np.zeros_like(active)

    def _replacements(self, neurons: Sequence[Key]) -> dict[int, tuple[torch.Tensor, torch.Tensor]]:
        replacements = {}
        for layer in sorted({layer for layer, _ in neurons}):
            own = [neuron for at, neuron in neurons if at == layer]
            values = [self._values[layer, neuron] for neuron in own]
            replacements[layer] = (torch.tensor(own), torch.tensor(values, dtype=torch.float32))
        return replacements

    def _first(self, neurons: Sequence[Key]) -> np.ndarray:
        """[M]: where each window first can change."""
        if all(self._values[key] == 0.0 for key in neurons):
            return self.replay.first_change(neurons)
        return np.zeros(len(self.replay.tokens), np.int32)  # a mean replaces zeros too


def _thresholds(store: Store, layers: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
    """Layer -> float32 [F]: the activation thresholds of a store collected with ``--activated share:Q``; empty for others."""
    if not store.has("threshold"):
        return {}
    finished = set(store.layers())
    return {layer: store.column(layer, "threshold") for layer in layers if layer in finished}
