"""Finding the detectors of a token over the whole model, as fast as one types."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ffnscope.store.escaping import quoted
from ffnscope.store.query.pattern import Pattern, matching_ngrams, parse_regex
from ffnscope.store.reader import Store
from ffnscope.store.records import Ngram

_COLUMNS = ("neuron", "tokens", "count", "total")


@dataclass(frozen=True)
class Hit:
    """A detector that a search found. Shares are of its activations that have an n-gram of its order."""

    layer: int
    neuron: int
    order: int
    tokens: tuple[Ngram, ...]  # the detected n-grams that match, most counted first
    detected: tuple[str, ...]  # the texts of all its detected n-grams
    covered: float  # share on all detected n-grams
    matched: float  # share on those that match
    activations: int


def parse_search(text: str) -> Pattern:
    """What a searched text means: part of a token, case ignored; in double quotes, the whole token exactly; between
    slashes a regular expression (``/re/``, ``/re/i``). Raises UserError for one that is not valid."""
    if (pattern := parse_regex(text)) is not None:
        return pattern
    exact = quoted(text)
    return Pattern(text) if exact is None else Pattern(exact, exact=True)


@dataclass(frozen=True)
class _Arrays:
    """What is searched: D detectors with M postings on G different n-grams."""

    layer: np.ndarray  # [D]
    neuron: np.ndarray  # [D]
    order: np.ndarray  # [D]
    activations: np.ndarray  # [D] int64
    whole: np.ndarray  # [D] int64, at least 1: activations that have an n-gram of its order
    covered: np.ndarray  # [D] share of them on all its n-grams
    first: np.ndarray  # [D + 1] its postings are first[d] .. first[d + 1]
    detector: np.ndarray  # [M]
    ngram: np.ndarray  # [M]
    count: np.ndarray  # [M] int64
    total: np.ndarray  # [M] int64
    ngrams: np.ndarray  # [G, 3]


class TokenIndex:
    """The detected n-grams of every layer of a store, in memory (about 60 bytes each).

    One thread may search while another refreshes: a search takes the arrays once, and they are replaced together.
    """

    def __init__(self, store: Store):
        self._store = store
        self._read: dict[int, dict[str, np.ndarray]] = {}
        self._arrays: _Arrays | None = None  # None without a layer
        self.refresh()

    @property
    def detectors(self) -> int:
        """How many detectors there are."""
        return len(self._arrays.layer) if self._arrays else 0

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that have been read."""
        return tuple(sorted(self._read))

    def refresh(self) -> bool:
        """Read the layers that have landed since; whether there were any."""
        landed = [layer for layer in self._store.layers() if layer not in self._read]
        for layer in landed:
            self._read[layer] = self._read_layer(layer)
        if landed:
            self._build()
        return bool(landed)

    def _read_layer(self, layer: int) -> dict[str, np.ndarray]:
        store = self._store
        part = {name: store.column(layer, f"detected_{name}") for name in _COLUMNS}
        neurons, at = np.unique(part["neuron"], return_inverse=True)
        order = store.column(layer, "order")[neurons].astype(np.int64)
        part |= {
            "at": at,
            "neurons": neurons,
            "order": order,
            "whole": store.column(layer, "ngram_activations")[neurons, np.clip(order - 1, 0, 2)],
            "activations": store.column(layer, "activations")[neurons],
        }
        return part

    def _build(self) -> None:
        layers = sorted(self._read)
        parts = [self._read[layer] for layer in layers]
        sizes = [len(part["neurons"]) for part in parts]
        offsets = np.cumsum([0, *sizes])

        def joined(name: str, dtype: type = np.int64) -> np.ndarray:
            return np.concatenate([part[name] for part in parts]).astype(dtype)

        detector = np.concatenate([part["at"] + offset for part, offset in zip(parts, offsets, strict=False)])
        count, whole = joined("count"), np.maximum(joined("whole"), 1)
        ngrams, ngram = _distinct(joined("tokens", np.uint32))
        self._arrays = _Arrays(
            layer=np.repeat(layers, sizes),
            neuron=joined("neurons"),
            order=joined("order"),
            activations=joined("activations"),
            whole=whole,
            covered=np.bincount(detector, count, minlength=offsets[-1]) / whole,
            first=np.searchsorted(detector, np.arange(offsets[-1] + 1)),
            detector=detector,
            ngram=ngram,
            count=count,
            total=joined("total"),
            ngrams=ngrams,
        )

    def search(self, text: str, limit: int | None = None, order: int | None = None) -> list[Hit]:
        """The detectors of tokens that a text fits (see ``parse_search``), strongest first: by the share of their
        activations on the matching n-grams, then by activations, then by layer and neuron. At most ``limit``, with
        ``order`` of those of that order only."""
        arrays = self._arrays
        if arrays is None:
            return []
        mask, matched = self._find(arrays, text)
        if order is not None:
            matched = np.where(arrays.order == order, matched, 0.0)
        ranked = _ranked(arrays, matched)[:limit].tolist()
        return [self._hit(arrays, detector, mask, float(matched[detector])) for detector in ranked]

    def count(self, text: str) -> int:
        """How many detectors a search finds."""
        arrays = self._arrays
        return int(np.count_nonzero(self._find(arrays, text)[1])) if arrays else 0

    def _find(self, arrays: _Arrays, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Which distinct n-grams match [G] bool, and every detector's share on them."""
        pattern = parse_search(text)
        detectors = len(arrays.layer)
        if not pattern.text or not detectors:
            return np.zeros(len(arrays.ngrams), np.bool_), np.zeros(detectors)
        mask = matching_ngrams(self._store.vocabulary, pattern, arrays.ngrams)
        hit = np.flatnonzero(mask[arrays.ngram])
        counts = np.bincount(arrays.detector[hit], arrays.count[hit], minlength=detectors)
        return mask, counts / arrays.whole

    def _hit(self, arrays: _Arrays, detector: int, mask: np.ndarray, matched: float) -> Hit:
        vocabulary = self._store.vocabulary
        order = int(arrays.order[detector])
        first, last = arrays.first[detector], arrays.first[detector + 1]
        ids = arrays.ngram[first:last]
        rows = arrays.ngrams[ids][:, :order].tolist()
        ngrams = [
            Ngram(tuple(row), int(count), int(total))
            for row, count, total in zip(rows, arrays.count[first:last], arrays.total[first:last], strict=True)
        ]
        return Hit(
            layer=int(arrays.layer[detector]),
            neuron=int(arrays.neuron[detector]),
            order=order,
            tokens=tuple(ngram for ngram, hit in zip(ngrams, mask[ids], strict=True) if hit),
            detected=tuple("".join(vocabulary.texts(row)) for row in rows),
            covered=float(arrays.covered[detector]),
            matched=matched,
            activations=int(arrays.activations[detector]),
        )


def _ranked(arrays: _Arrays, matched: np.ndarray) -> np.ndarray:
    rows = np.flatnonzero(matched)
    return rows[np.lexsort((rows, -arrays.activations[rows], -matched[rows]))]


def _distinct(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different rows of [M, 3], and which of them each row is."""
    wide = rows.astype(np.uint64)
    first, at_first = np.unique(wide[:, 0] << np.uint64(32) | wide[:, 1], return_inverse=True)
    keys = at_first.astype(np.uint64) << np.uint64(32) | wide[:, 2]
    keys, at = np.unique(keys, return_inverse=True)
    head = first[(keys >> np.uint64(32)).astype(np.int64)]
    mask = np.uint64(0xFFFFFFFF)
    return np.stack([head >> np.uint64(32), head & mask, keys & mask], axis=1).astype(np.uint32), at
