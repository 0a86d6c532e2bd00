"""The terms of a filter, each a mask over the neurons of one layer."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from ffnscope.store.concepts.descriptions import naming
from ffnscope.store.definitions import POSITION_STRENGTHS, POSITION_TYPES
from ffnscope.store.query import columns
from ffnscope.store.query.pattern import Pattern, matching_ngrams, matching_tokens
from ffnscope.store.reader import Store

COMPARE: dict[str, Callable[[np.ndarray, float | int], np.ndarray]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}


@dataclass(frozen=True)
class Scope:
    """What a filter looks at: one layer of a store and its reader's own marks and notes."""

    store: Store
    layer: int
    marks: Collection[tuple[int, int]]
    notes: Collection[tuple[int, int]]


class Term:
    """One term of a filter."""

    def mask(self, scope: Scope) -> np.ndarray:
        """[F] bool: the neurons of the layer that the term holds for. Raises UserError where a column is damaged."""
        raise NotImplementedError

    def layers(self, layers: np.ndarray) -> np.ndarray | None:
        """[L] bool: which of ``layers`` [L] can hold such neurons; None where the term says nothing about layers."""
        return None


@dataclass(frozen=True)
class Not(Term):
    """Another term, negated."""

    term: Term

    def mask(self, scope: Scope) -> np.ndarray:
        return ~self.term.mask(scope)

    def layers(self, layers: np.ndarray) -> np.ndarray | None:
        mask = self.term.layers(layers)
        return None if mask is None else ~mask


def _is_float32(number: float) -> bool:
    """Whether a number lies in float32's range, to which numpy casts what an array of it is compared with."""
    limits = np.finfo(np.float32)
    return not number or float(limits.smallest_subnormal) <= abs(number) <= float(limits.max)


@dataclass(frozen=True)
class Numeric(Term):
    """A column of numbers of which some hold."""

    column: str

    def holds(self, values: np.ndarray) -> np.ndarray:
        """[N] bool over any values."""
        raise NotImplementedError

    def mask(self, scope: Scope) -> np.ndarray:
        columns.require(scope.store, self.column)
        return self.holds(columns.values(scope.store, scope.layer, self.column))

    def layers(self, layers: np.ndarray) -> np.ndarray | None:
        return self.holds(layers) if self.column == "layer" else None


@dataclass(frozen=True)
class Compare(Numeric):
    """A column compared with numbers: one of them must hold (with ``!=`` all). What has no value never holds."""

    sign: str
    numbers: tuple[float | int, ...]

    def holds(self, values: np.ndarray) -> np.ndarray:
        """[N] bool over any values."""
        if values.dtype == np.float32 and not all(map(_is_float32, self.numbers)):
            values = values.astype(np.float64)
        masks = [COMPARE[self.sign](values, number) for number in self.numbers]
        mask = np.logical_and.reduce(masks) if self.sign == "!=" else np.logical_or.reduce(masks)
        return mask & ~np.isnan(values) if values.dtype.kind == "f" else mask


@dataclass(frozen=True)
class Between(Numeric):
    """A column of whole numbers within one of several ranges, both ends included."""

    ranges: tuple[tuple[int, int], ...]

    def holds(self, values: np.ndarray) -> np.ndarray:
        """[N] bool over any values."""
        return np.logical_or.reduce([(values >= low) & (values <= high) for low, high in self.ranges])


@dataclass(frozen=True)
class OneOf(Term):
    """A column of words that is one of several codes."""

    column: str
    codes: tuple[int, ...]

    def mask(self, scope: Scope) -> np.ndarray:
        return np.isin(columns.values(scope.store, scope.layer, self.column), self.codes)


@dataclass(frozen=True)
class Position(Term):
    """A positional neuron of one of several types or strengths; ``any`` and ``none`` too."""

    names: tuple[str, ...]

    def mask(self, scope: Scope) -> np.ndarray:
        types = columns.values(scope.store, scope.layer, "position_type")
        strengths = columns.values(scope.store, scope.layer, "position_strength")
        mask = np.zeros(len(types), np.bool_)
        for name in self.names:
            if name in ("any", "none"):
                mask |= (types > 0) == (name == "any")
            elif name in POSITION_TYPES:
                mask |= types == POSITION_TYPES.index(name)
            else:
                mask |= strengths == POSITION_STRENGTHS.index(name)
        return mask


@dataclass(frozen=True)
class Detects(Term):
    """A detector of an n-gram that one of the patterns fits."""

    patterns: tuple[Pattern, ...]

    def mask(self, scope: Scope) -> np.ndarray:
        ngrams = scope.store.column(scope.layer, "detected_tokens")
        matches = np.zeros(len(ngrams), np.bool_)
        for pattern in self.patterns:
            matches |= matching_ngrams(scope.store.vocabulary, pattern, ngrams)
        mask = np.zeros(scope.store.neurons(scope.layer), np.bool_)
        mask[scope.store.column(scope.layer, "detected_neuron")[matches]] = True
        return mask


@dataclass(frozen=True)
class Lists(Term):
    """A token that one of the patterns fits in a list: ``promoted``, ``suppressed`` or ``token_set``."""

    column: str
    patterns: tuple[Pattern, ...]

    def mask(self, scope: Scope) -> np.ndarray:
        columns.require(scope.store, self.column)
        tokens = np.zeros(scope.store.vocabulary.size + 1, np.bool_)
        for pattern in self.patterns:
            tokens |= matching_tokens(scope.store.vocabulary, pattern)
        listed = scope.store.column(scope.layer, self.column)
        return tokens[np.minimum(listed, len(tokens) - 1)].any(axis=1)


@dataclass(frozen=True)
class Described(Term):
    """A description that names a concept which one of the patterns fits."""

    patterns: tuple[Pattern, ...]

    def mask(self, scope: Scope) -> np.ndarray:
        columns.require(scope.store, "concept")
        return naming(scope.store, scope.layer, lambda name: any(pattern.matches(name) for pattern in self.patterns))


@dataclass(frozen=True)
class Own(Term):
    """What the reader marked, or wrote a note on."""

    noted: bool

    def mask(self, scope: Scope) -> np.ndarray:
        mask = np.zeros(scope.store.neurons(scope.layer), np.bool_)
        for layer, neuron in scope.notes if self.noted else scope.marks:
            if layer == scope.layer and 0 <= neuron < len(mask):
                mask[neuron] = True
        return mask
