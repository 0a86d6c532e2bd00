"""The small frozen records that leave the store: what was collected, how far it is, one neuron."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np

from ffnscope.store.activation_rule import ActivationRule

_MOST = 1 << 62


class _Json:
    """To and from the JSON values of the store."""

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)  # type: ignore[call-overload]

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """The record; unknown fields are left out. Raises TypeError where one is missing or no value of its type."""
        values = {field.name: value[field.name] for field in fields(cls) if field.name in value}  # type: ignore[arg-type]
        for field in fields(cls):  # type: ignore[arg-type]
            if field.name in values and not _is(values[field.name], str(field.type)):
                raise TypeError(f"{field.name} is no {field.type}")
        return cls(**{name: tuple(each) if isinstance(each, list) else each for name, each in values.items()})


def _is(value: Any, type_: str) -> bool:
    """Whether a JSON value is of a field's type. Numbers are finite and not negative."""
    if value is None:
        return type_.endswith("| None")
    name = type_.removesuffix(" | None")
    if name == "tuple[int, ...]":
        return isinstance(value, list | tuple) and all(_is(each, "int") for each in value)
    if name == "float" and type(value) in (int, float):
        return 0 <= value < _MOST and math.isfinite(value)
    return type(value).__name__ == name and (name != "int" or 0 <= value < _MOST)


def _check(value: dict[str, Any], types: tuple[tuple[str, str], ...]) -> None:
    for name, type_ in types:
        if not _is(value[name], type_):
            raise TypeError(f"{name} is no {type_}")


@dataclass(frozen=True)
class ModelInfo(_Json):
    """The model that was run."""

    name: str
    architecture: str
    layers: int
    neurons: int  # F, FFN neurons per layer; of the widest where layers differ
    width: int  # d, of the residual stream
    vocabulary: int  # V
    positions: int | None  # the model's own limit; None where it has none
    activation: str  # the activation function's name
    gated: bool
    fingerprint: str
    layer_neurons: tuple[int, ...] = ()  # F of each layer; empty where all have `neurons`
    experts: int = 0  # routed experts per layer, 0 in a dense model
    experts_per_token: int = 0
    experts_implementation: str = ""  # how transformers computed the experts; empty where the store does not say

    def neurons_of(self, layer: int) -> int:
        """F of a layer."""
        return self.layer_neurons[layer] if self.layer_neurons else self.neurons

    def has_neuron(self, layer: int, neuron: int) -> bool:
        """Whether the model has such a neuron."""
        return 0 <= layer < self.layers and 0 <= neuron < self.neurons_of(layer)


@dataclass(frozen=True)
class DomainInfo(_Json):
    """One domain of the corpus: windows first_window .. first_window + windows - 1."""

    name: str
    first_window: int
    windows: int
    documents: int
    dropped_tokens: int
    count_only: bool
    fingerprint: str


@dataclass(frozen=True)
class CorpusInfo(_Json):
    """What the model was run over."""

    seq_len: int  # T
    bos_id: int | None
    domains: tuple[DomainInfo, ...]
    fingerprint: str

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> CorpusInfo:
        """The record, its domains as records too."""
        domains = tuple(DomainInfo.from_json(domain) for domain in value["domains"])
        plain = ("seq_len", "int"), ("bos_id", "int | None"), ("fingerprint", "str")
        _check(value, plain)
        return cls(value["seq_len"], value["bos_id"], domains, value["fingerprint"])

    @property
    def windows(self) -> int:
        """S, windows of all domains."""
        return sum(domain.windows for domain in self.domains)

    @property
    def positions(self) -> int:
        """S*T over all domains."""
        return self.windows * self.seq_len

    @property
    def counted_domains(self) -> tuple[DomainInfo, ...]:
        """The domains that count towards every statistic; they come first."""
        return tuple(domain for domain in self.domains if not domain.count_only)

    @property
    def counted_windows(self) -> int:
        """S of n-grams and position curves: windows of the counted domains."""
        return sum(domain.windows for domain in self.counted_domains)


@dataclass(frozen=True)
class RunInfo(_Json):
    """A store's run: model, corpus and every setting that the numbers depend on."""

    model: ModelInfo
    corpus: CorpusInfo
    settings: dict[str, Any]  # min_occurrences, top_k, layers, dtype, batch_size, ...
    created: str  # UTC, ISO 8601
    version: str  # of ffnscope
    run_id: str

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> RunInfo:
        """The record with its parts as records."""
        _check(value, (("created", "str"), ("version", "str"), ("run_id", "str")))
        return cls(
            ModelInfo.from_json(value["model"]),
            CorpusInfo.from_json(value["corpus"]),
            dict(value["settings"]),
            value["created"],
            value["version"],
            value["run_id"],
        )

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that a complete store of this run holds."""
        return tuple(self.settings["layers"])

    @property
    def activated(self) -> ActivationRule:
        """When a neuron counts as activated; runs without the setting have the rule ``positive``."""
        return ActivationRule.parse(str(self.settings.get("activated", "positive")))


@dataclass(frozen=True)
class Progress(_Json):
    """How far a run is. ``state`` is collecting, interrupted or complete."""

    state: str
    phase: str = ""
    layers_done: int = 0
    layers_total: int = 0
    fraction: float = 0.0  # of the whole run's work
    tokens_per_second: float = 0.0  # positions through the whole model per second
    seconds_left: float | None = None
    updated: float = 0.0  # Unix time
    process: int = 0
    host: str = ""


@dataclass(frozen=True)
class Ngram:
    """A triggering n-gram of a neuron."""

    tokens: tuple[int, ...]
    count: int  # activations on it
    total: int  # occurrences in the data

    @property
    def probability(self) -> float:
        """P(active | n-gram)."""
        return self.count / self.total if self.total else 0.0


@dataclass(frozen=True)
class Description:
    """A formula of concepts that says where a neuron is activated, with its figures on the odd windows."""

    formula: tuple[int, ...]  # shape and three literals, as concepts.descriptions reads them
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class DetectedNgram(Ngram):
    """An n-gram that a detector detects."""

    projection: float  # of its last token
    rank: int  # tokens that the neuron suppresses more than the last token

    @property
    def suppressed(self) -> bool:
        """Whether the neuron's output points away from it."""
        return self.projection < 0


@dataclass(frozen=True)
class Context:
    """One activated position; ``activation`` is NaN where it was not kept."""

    window: int
    position: int
    activation: float


@dataclass(frozen=True)
class Neuron:
    """All that the store knows of one neuron. Names as in the CSV; arrays are read-only numpy arrays."""

    layer: int
    neuron: int
    kind: str
    positions: int
    activations: int
    frequency: float
    bos_activations: int
    max_activation: float | None
    mean_activation: float | None
    unigrams_95: int
    bigrams_95: int
    trigrams_95: int
    ngram_activations: tuple[int, int, int]
    ngrams_distinct: tuple[int, int, int]
    order: int  # of the detector, 0 for none
    detected: tuple[DetectedNgram, ...]
    trigger_projection: float | None
    position_mi: float
    position_bias: float
    position_type: str
    position_strength: str
    top_ngrams: tuple[tuple[Ngram, ...], tuple[Ngram, ...], tuple[Ngram, ...]]
    promoted: tuple[tuple[int, float], ...]  # (token, projection), largest first
    suppressed: tuple[tuple[int, float], ...]  # smallest first
    similar: tuple[tuple[int, float], ...]  # (neuron of the layer, cosine of the output rows), largest first
    opposed: tuple[tuple[int, float], ...]  # smallest first
    domain_frequencies: tuple[tuple[str, float], ...]
    strongest: tuple[Context, ...]
    drawn: tuple[Context, ...]
    curve: np.ndarray  # [D, T] int64: activated windows at each position, a row for each counted domain
    # None where the neuron has no such value, and all of them in a store that was collected without.
    token_explained: float | None = None
    bigram_explained: float | None = None
    trigram_explained: float | None = None
    position_explained: float | None = None
    token_f1: float | None = None  # of the token set on the odd windows
    token_set_size: int | None = None
    token_set: tuple[int, ...] = ()  # most activations first, at most TOP_NGRAMS
    descriptions: tuple[Description, ...] = ()  # the best formula of concepts, then the runner-up; () for none
    threshold: float | None = None  # that |a| must reach; None where the rule of activation is an input above 0
    positive_share: float | None = None  # of the activated positions, where a > 0
    negative: tuple[Context, ...] = ()  # with thresholds: the most negative a; ``strongest`` are then the largest
    expert: int | None = None  # in a mixture of experts: the routed expert; None where the neuron sees every token

    @property
    def suppresses_triggers(self) -> bool | None:
        """Whether a detector's output points away from its triggers; None for no detector."""
        return None if self.trigger_projection is None else self.trigger_projection < 0

    @property
    def covered(self) -> float:
        """Share of the activations (that have an n-gram) on the detected n-grams."""
        whole = self.ngram_activations[self.order - 1] if self.order else 0
        return sum(ngram.count for ngram in self.detected) / whole if whole else 0.0
