"""The paper's figures as numbers: what each layer of a store, and all of them together, come to.

``layer_figures`` and ``model_figures`` read a few columns of a layer at a time. Figure numbers are the paper's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ffnscope.store.concepts.descriptions import leading_concepts
from ffnscope.store.definitions import KINDS, MOST_COVERING, ORDERS, POSITION_STRENGTHS, POSITION_TYPES
from ffnscope.store.figures.experts import ExpertFigures, expert_figures
from ffnscope.store.figures.intervals import interval, rule_of_three
from ffnscope.store.reader import Store

# The paper's bins of Figure 2, both ends included; None: no upper end.
COVERING_BINS: tuple[tuple[int, int | None], ...] = (
    (1, 1),
    (2, 3),
    (4, 5),
    (6, 10),
    (11, 20),
    (21, 50),
    (51, 200),
    (201, 1000),
    (1001, 2000),
    (2001, None),
)
COVERING_LABELS = ("1", "2-3", "4-5", "6-10", "11-20", "21-50", "51-200", "201-1k", "1k-2k", ">2k")
FEW = MOST_COVERING[0]  # covered by so few unigrams, a neuron may be a token detector (paper 4.2)
DETECTORS = ORDERS[1:]
EXPLAINED_BY = ("token", "bigram", "trigram", "position")
POSITIONAL = tuple((kind, strength) for kind in POSITION_TYPES[1:] for strength in ("strong", "weak"))
_FIRST_ABOVE = np.array([high for _, high in COVERING_BINS[:-1]])
_COVERED_BY = ("unigrams_95", "bigrams_95", "trigrams_95")


@dataclass(frozen=True)
class NgramFigures:
    """One layer and one n-gram order. ``detectors``, ``suppressing`` and ``detected`` are of detectors of this order."""

    order: int
    covering: tuple[int, ...]  # alive neurons by covering n-grams, one number for each of COVERING_BINS (2)
    uncovered: int  # alive neurons never activated where an n-gram can stand, which are in no bin
    detectors: int  # (3a)
    suppressing: int  # detectors whose mean projection on their triggers is below 0 (4.4)
    detected: int  # different n-grams that they detect (3b)
    cumulative: int | None = None  # the same over this layer and all before it in the store (3b)
    new_overall: int | None = None  # detected in no layer before it in the store (4)
    new_against_previous: int | None = None  # not detected in the layer before; None where that is not in the store

    @property
    def suppressing_share(self) -> float | None:
        """Share of the detectors that suppress their triggers; None where there are none."""
        return self.suppressing / self.detectors if self.detectors else None

    @property
    def suppressing_interval(self) -> tuple[float, float]:
        """Wilson's 95% interval of ``suppressing_share``."""
        return interval(self.suppressing, self.detectors)

    @property
    def few(self) -> int:
        """Alive neurons covered by 1 to 5 n-grams."""
        return sum(n for n, (_, high) in zip(self.covering, COVERING_BINS, strict=True) if high and high <= FEW)


@dataclass(frozen=True)
class LayerFigures:
    """One layer in every figure."""

    layer: int
    model_layers: int  # L of the model
    neurons: int  # F
    positions: int  # S*T over all domains
    dead: int
    activations: int  # activated positions of all neurons together
    ngrams: tuple[NgramFigures, NgramFigures, NgramFigures]  # orders 1, 2, 3
    positional: tuple[int, ...]  # neurons by POSITIONAL: each type strong, then weak (8)
    # Described neurons by the concept that their description begins with, most first; None without descriptions.
    concepts: tuple[tuple[str, int], ...] | None = None
    # By EXPLAINED_BY; None in a store without, or where no neuron has a value.
    explained: tuple[float, float, float, float] | None = None
    experts: tuple[ExpertFigures, ...] = ()  # the routed experts; none in a dense layer

    @property
    def depth(self) -> float:
        """Relative depth: 0 for the model's first layer, 1 for its last."""
        return self.layer / (self.model_layers - 1) if self.model_layers > 1 else 0.0

    @property
    def first_half(self) -> bool:
        """Whether the layer lies in the first half; the middle one of an odd number does not."""
        return self.layer < self.model_layers // 2

    @property
    def alive(self) -> int:
        """Neurons that were activated at least once."""
        return self.neurons - self.dead

    @property
    def dead_share(self) -> float:
        """Dead neurons / neurons (1a)."""
        return self.dead / self.neurons if self.neurons else 0.0

    @property
    def dead_interval(self) -> tuple[float, float]:
        """Wilson's 95% interval of ``dead_share``, the layer's neurons taken as draws."""
        return interval(self.dead, self.neurons)

    @property
    def mean_frequency_alive(self) -> float | None:
        """Mean frequency of the alive neurons (1b); None where all are dead."""
        return self.activations / (self.positions * self.alive) if self.alive and self.positions else None

    @property
    def tokens(self) -> NgramFigures:
        """Order 1: what the paper's main text shows."""
        return self.ngrams[0]

    @property
    def described(self) -> int:
        """Neurons that have a description by concepts."""
        return sum(number for _, number in self.concepts or ())

    @property
    def positional_neurons(self) -> int:
        """Positional neurons of all types, detectors included."""
        return sum(self.positional)

    @property
    def positional_by_type(self) -> dict[str, int]:
        """Positional neurons of each type, of both strengths (8)."""
        numbers = dict.fromkeys(POSITION_TYPES[1:], 0)
        for (kind, _), number in zip(POSITIONAL, self.positional, strict=True):
            numbers[kind] += number
        return numbers


@dataclass(frozen=True)
class ModelFigures:
    """All layers that a store holds, ascending."""

    model_layers: int
    positions: int
    windows: int  # S of the counted domains
    planned: tuple[int, ...]  # the layers that the run collects
    layers: tuple[LayerFigures, ...]

    @property
    def missing(self) -> tuple[int, ...]:
        """Layers of the run that are not in the store yet."""
        present = {layer.layer for layer in self.layers}
        return tuple(layer for layer in self.planned if layer not in present)

    @property
    def whole(self) -> bool:
        """Whether every layer of the model is there."""
        return len(self.layers) == self.model_layers

    @property
    def first_half(self) -> tuple[LayerFigures, ...]:
        """The layers of the first half."""
        return tuple(layer for layer in self.layers if layer.first_half)

    @property
    def second_half(self) -> tuple[LayerFigures, ...]:
        """The other layers."""
        return tuple(layer for layer in self.layers if not layer.first_half)

    @property
    def dead_bound(self) -> float:
        """A neuron never activated in all positions: its frequency is below this with 95% confidence, positions taken
        as independent draws (rule of three)."""
        return rule_of_three(self.positions)

    def detectors(self, order: int = 1) -> int:
        """Detectors of an order in all layers."""
        return sum(layer.ngrams[order - 1].detectors for layer in self.layers)

    def suppressing(self, order: int = 1) -> int:
        """Those of them that suppress their triggers."""
        return sum(layer.ngrams[order - 1].suppressing for layer in self.layers)

    def detected(self, order: int = 1) -> int:
        """Different n-grams that detectors of an order detect, in all layers."""
        return self.layers[-1].ngrams[order - 1].cumulative or 0 if self.layers else 0

    def positional(self) -> dict[tuple[str, str], int]:
        """Positional neurons by (type, strength)."""
        return {key: sum(layer.positional[i] for layer in self.layers) for i, key in enumerate(POSITIONAL)}


def layer_figures(store: Store, layer: int) -> LayerFigures:
    """The figures of one layer; what needs the layers before it (cumulative, new) is None. Raises UserError where the
    layer is not in the store."""
    return _Reading(store, layer).figures(())


def model_figures(store: Store) -> ModelFigures:
    """The figures of every layer in the store, those over several layers too. Raises UserError for a damaged store."""
    run = store.run
    seen = [_packed(np.zeros((0, order), np.uint32), run.model.vocabulary) for order in (1, 2, 3)]
    previous = (-1, list(seen))
    layers = []
    for layer in store.layers():
        reading = _Reading(store, layer)
        novelty = []
        for i, detected in enumerate(reading.detected):
            fresh = _beyond(detected, seen[i])
            seen[i] = np.union1d(seen[i], fresh) if len(fresh) else seen[i]
            follows = previous[0] == layer - 1
            novelty.append((len(seen[i]), len(fresh), len(_beyond(detected, previous[1][i])) if follows else None))
        layers.append(reading.figures(novelty))
        previous = (layer, reading.detected)
    return ModelFigures(run.model.layers, run.corpus.positions, run.corpus.counted_windows, run.layers, tuple(layers))


def bin_counts(covering: np.ndarray) -> tuple[tuple[int, ...], int]:
    """Neurons by COVERING_BINS and those covered by none (0), of [N] unigrams_95 or the like."""
    counts = np.bincount(np.searchsorted(_FIRST_ABOVE, covering[covering > 0]), minlength=len(COVERING_BINS))
    return tuple(counts.tolist()), int(np.count_nonzero(covering == 0))


class _Reading:
    """What the figures take from one layer."""

    def __init__(self, store: Store, layer: int):
        self._store, self._layer = store, layer
        self._order = store.column(layer, "order")
        owners, tokens = store.column(layer, "detected_neuron"), store.column(layer, "detected_tokens")
        of = self._order[owners]
        # [M] for each order: the different detected n-grams, sorted, each as one number or string of bytes.
        self.detected = [_packed(tokens[of == order, :order], store.run.model.vocabulary) for order in (1, 2, 3)]

    def figures(self, novelty: Sequence[tuple[int, int, int | None]]) -> LayerFigures:
        store, layer, order = self._store, self._layer, self._order
        alive = store.column(layer, "kind") != KINDS.index("dead")
        suppresses = store.column(layer, "trigger_projection") < 0
        types, strengths = store.column(layer, "position_type"), store.column(layer, "position_strength")
        codes = [(POSITION_TYPES.index(kind), POSITION_STRENGTHS.index(word)) for kind, word in POSITIONAL]
        return LayerFigures(
            layer=layer,
            model_layers=store.run.model.layers,
            neurons=len(order),
            positions=store.run.corpus.positions,
            dead=int(np.count_nonzero(~alive)),
            activations=int(store.column(layer, "activations").sum()),
            ngrams=tuple(  # type: ignore[arg-type]
                NgramFigures(
                    n,
                    *bin_counts(store.column(layer, _COVERED_BY[n - 1])[alive]),
                    int(np.count_nonzero(order == n)),
                    int(np.count_nonzero(suppresses & (order == n))),
                    len(self.detected[n - 1]),
                    *(novelty[n - 1] if novelty else ()),
                )
                for n in (1, 2, 3)
            ),
            explained=_explained(store, layer),
            positional=tuple(int(np.count_nonzero((types == t) & (strengths == s))) for t, s in codes),
            experts=expert_figures(store, layer),
            concepts=leading_concepts(store, layer) if store.has("concept_formula") else None,
        )


def _explained(store: Store, layer: int) -> tuple[float, float, float, float] | None:
    """1 - sum of D(p) / sum of D(p0) over the alive neurons, for each of EXPLAINED_BY."""
    base, *sums = store.column(layer, "explained_sums").tolist()
    if not base > 0:
        return None
    token, bigram, trigram, position = (1 - length / base for length in sums)
    return token, bigram, trigram, position


def _packed(rows: np.ndarray, vocabulary: int) -> np.ndarray:
    """Different n-grams of [M, n] token ids, sorted: as uint64, or as bytes where ids below ``vocabulary`` don't fit
    into one."""
    bits = 64 // rows.shape[1]
    if vocabulary > 1 << bits:
        return np.unique(np.ascontiguousarray(rows, ">u4").view(f"S{4 * rows.shape[1]}").ravel())
    keys = np.zeros(len(rows), np.uint64)
    for column in rows.T:
        keys = keys << np.uint64(bits) | column.astype(np.uint64) if rows.shape[1] > 1 else column.astype(np.uint64)
    return np.unique(keys)


def _beyond(tokens: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Those of ``tokens`` that are not in ``known``, both without repeats."""
    return tokens[~np.isin(tokens, known, assume_unique=True)]
