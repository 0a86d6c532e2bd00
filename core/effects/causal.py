"""The paper's Section 4.4, causally: does taking a token detector away raise the logit of what it detects? And what the loss
says of the kinds of neurons."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch

from ffnscope.core.effects.ablation import Experiment, Key, Progress
from ffnscope.core.effects.attribution import linearise
from ffnscope.core.effects.summary import Effect
from ffnscope.core.effects.windows import TestedWindows
from ffnscope.core.model.layered import LayeredModel
from ffnscope.store.definitions import KINDS
from ffnscope.store.errors import UserError
from ffnscope.store.reader import Store

PER_KIND = 20  # neurons of each kind whose loss is compared, fewer where there are fewer
SEED = 0


@dataclass(frozen=True)
class DetectorEffect:
    """One token detector taken away. ``direct`` is the mean of its direct effect on the logit of what it detects, where it
    fires on it; None where there is no such position, or the model's logits are not a sum of direct effects."""

    effect: Effect
    trigger_projection: float
    direct: float | None

    @property
    def raises(self) -> bool | None:
        """Whether the detected token's logit rises without it; None where it never fires on one in the tested windows."""
        return self.effect.delta_trigger_logit > 0 if self.effect.trigger_positions else None


@dataclass(frozen=True)
class LayerCausal:
    """A layer's token detectors, one at a time and together (None without any)."""

    layer: int
    detectors: tuple[DetectorEffect, ...]
    together: Effect | None

    @property
    def decided(self) -> tuple[DetectorEffect, ...]:
        """Those that fire on a detected token in the tested windows."""
        return tuple(detector for detector in self.detectors if detector.effect.trigger_positions)

    @property
    def direct_share(self) -> float | None:
        """By how much of the direct effect the logits rise: sum of the rises over minus the sum of the direct effects, each
        detector counting once. 1: by all of it; below 1: later layers make up for the rest."""
        known = [detector for detector in self.decided if detector.direct is not None]
        direct = -sum(detector.direct or 0.0 for detector in known)
        return sum(detector.effect.delta_trigger_logit for detector in known) / direct if direct else None


@dataclass(frozen=True)
class Causal:
    """Everything that `report --causal` shows. ``kinds``: kind -> the effects of neurons drawn from it."""

    layers: tuple[LayerCausal, ...]
    kinds: Mapping[str, tuple[Effect, ...]]
    tested: str  # which windows, in words
    positions: int
    no_direct: str  # why there are no direct effects, or nothing


def causal_effects(
    store: Store,
    model: LayeredModel,
    windows: TestedWindows,
    batch_size: int | None = None,
    progress: Progress = lambda what, share: None,
    known: Mapping[Key, Effect] = MappingProxyType({}),
    keep: Callable[[Effect], None] = lambda effect: None,
) -> Causal:
    """Take every token detector of a store away, each layer's together, and PER_KIND neurons of each kind drawn by a fixed seed
    from all layers. The ``known`` effects of single neurons are not computed again; ``keep`` is called with each that is.
    Raises UserError as ``ablate``."""
    detectors = token_detectors(store)
    drawn = draw_kinds(store)
    singles = sorted({key for keys in (*detectors.values(), *drawn.values()) for key in keys})
    if not singles:
        raise UserError(f"{store.path}: no layer is finished yet, so there is no neuron to take away")
    sets: list[tuple[Key, ...]] = [(key,) for key in singles]
    sets += [tuple(keys) for keys in detectors.values() if keys]
    # The model runs on from a layer: a layer's own neurons first, then all of its detectors.
    sets.sort(key=lambda keys: (keys[0][0], len(keys) > 1))
    experiment = Experiment(store, model, windows, singles, "zero", batch_size, progress)
    direct, no_direct = _direct(experiment, detectors)
    effects: dict[tuple[Key, ...], Effect] = {}
    together: dict[int, Effect] = {}
    for done, members in enumerate(sets):
        if len(members) > 1:
            together[members[0][0]] = experiment.effect(members, True, done, len(sets))
        elif members[0] in known:
            effects[members] = known[members[0]]
        else:
            effects[members] = experiment.effect(members, False, done, len(sets))
            keep(effects[members])
    layers = []
    for layer, keys in detectors.items():
        projections = store.column(layer, "trigger_projection")
        own = [DetectorEffect(effects[key,], float(projections[key[1]]), direct.get(key)) for key in keys]
        alone = own[0].effect if len(own) == 1 else None
        layers.append(LayerCausal(layer, tuple(own), together.get(layer, alone)))
    kinds = {kind: tuple(effects[key,] for key in keys) for kind, keys in drawn.items()}
    return Causal(tuple(layers), kinds, windows.source, windows.positions, no_direct)


def token_detectors(store: Store) -> dict[int, list[Key]]:
    """Layer -> its token detectors, over all finished layers."""
    return {
        layer: [(layer, int(neuron)) for neuron in np.flatnonzero(store.column(layer, "order") == 1)]
        for layer in store.layers()
    }


def draw_kinds(store: Store, count: int = PER_KIND, seed: int = SEED) -> dict[str, list[Key]]:
    """Kind -> ``count`` of its neurons drawn from all finished layers, all of them where there are fewer; always the same."""
    kinds = {layer: store.column(layer, "kind") for layer in store.layers()}
    drawn = {}
    for code, kind in enumerate(KINDS):
        keys = [(layer, int(neuron)) for layer in kinds for neuron in np.flatnonzero(kinds[layer] == code)]
        chosen = np.random.default_rng((seed, code)).permutation(len(keys))[:count]
        drawn[kind] = sorted(keys[i] for i in chosen)
    return drawn


def _direct(experiment: Experiment, detectors: Mapping[int, Sequence[Key]]) -> tuple[dict[Key, float], str]:
    """The mean direct effect of each detector on the logit of the token at k, where it fires there on one that it detects;
    and why there are none."""
    replay, tokens = experiment.replay, experiment.windows.tokens
    masks = {key: mask for keys in detectors.values() for key in keys if (mask := experiment.triggered(key)).any()}
    sums = dict.fromkeys(masks, 0.0)
    for start in range(0, len(tokens), replay.batch_size) if masks else ():
        batch = slice(start, start + replay.batch_size)
        if not any(mask[batch].any() for mask in masks.values()):
            continue
        try:
            line = linearise(replay.model, tokens[batch], tokens[batch])
        except UserError as error:
            return {}, str(error)
        for layer, keys in detectors.items():
            known = [key for key in keys if key in masks]
            if not known:
                continue
            columns = torch.tensor([neuron for _, neuron in known], device=replay.model.device)
            added = line.neurons(layer, columns)[:, :-1].cpu().numpy().astype(np.float64)
            for place, key in enumerate(known):
                sums[key] += float(added[..., place][masks[key][batch]].sum())
    return {key: total / int(masks[key].sum()) for key, total in sums.items()}, ""
