"""Finding the detectors of a token over the whole model, as fast as one types."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from ffnscope.store.match import Pattern, matching_ngrams, unescape
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
    """What a searched text means: part of a token, case ignored; in double quotes, the whole token exactly."""
    if len(text) >= 2 and text[0] == text[-1] == '"' and re.fullmatch(r'"(?:[^"\\]|\\.)*"', text, re.DOTALL):
        return Pattern(unescape(text[1:-1]), exact=True)
    return Pattern(text)


class TokenIndex:
    """The detected n-grams of every layer of a store, in memory (about 60 bytes each)."""

    def __init__(self, store: Store):
        self._store = store
        self._read: dict[int, dict[str, np.ndarray]] = {}
        self._detector = np.zeros(0, np.int64)  # of each posting
        self._ngram = np.zeros(0, np.int64)
        self._count = np.zeros(0, np.int64)
        self._total = np.zeros(0, np.int64)
        self._ngrams = np.zeros((0, 3), np.uint32)  # every different n-gram
        self._detectors: dict[str, np.ndarray] = {}
        self.refresh()

    @property
    def detectors(self) -> int:
        """How many detectors there are."""
        return len(self._detectors["layer"]) if self._detectors else 0

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
        self._detector = np.concatenate([part["at"] + offset for part, offset in zip(parts, offsets, strict=False)])
        self._count = np.concatenate([part["count"] for part in parts]).astype(np.int64)
        self._total = np.concatenate([part["total"] for part in parts]).astype(np.int64)
        tokens = np.concatenate([part["tokens"] for part in parts])
        self._ngrams, self._ngram = _distinct(tokens)
        self._detectors = {
            "layer": np.repeat(layers, sizes),
            **{name: np.concatenate([part[name] for part in parts]) for name in ("neurons", "order", "activations")},
            "whole": np.maximum(np.concatenate([part["whole"] for part in parts]).astype(np.int64), 1),
            "first": np.searchsorted(self._detector, np.arange(offsets[-1] + 1)),
        }
        self._detectors["covered"] = (
            np.bincount(self._detector, self._count, minlength=offsets[-1]) / self._detectors["whole"]
        )

    def search(self, text: str, limit: int | None = None) -> list[Hit]:
        """The detectors of tokens that a text fits (see ``parse_search``), strongest first: by the share of their
        activations on the matching n-grams, then by activations, then by layer and neuron. At most ``limit``."""
        found, matched = self._find(text)
        return [self._hit(int(detector), found, float(matched[detector])) for detector in self._ranked(matched, limit)]

    def count(self, text: str) -> int:
        """How many detectors a search finds."""
        return int(np.count_nonzero(self._find(text)[1]))

    def _find(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Which distinct n-grams match [G] bool, and every detector's share on them."""
        pattern = parse_search(text)
        if not pattern.text or not self.detectors:
            return np.zeros(len(self._ngrams), np.bool_), np.zeros(self.detectors)
        found = matching_ngrams(self._store.vocabulary, pattern, self._ngrams)
        hit = np.flatnonzero(found[self._ngram])
        counts = np.bincount(self._detector[hit], self._count[hit], minlength=self.detectors)
        return found, counts / self._detectors["whole"]

    def _ranked(self, matched: np.ndarray, limit: int | None) -> np.ndarray:
        kept = np.flatnonzero(matched)
        activations = self._detectors["activations"][kept].astype(np.int64) if len(kept) else kept
        return kept[np.lexsort((kept, -activations, -matched[kept]))][:limit]

    def _hit(self, detector: int, found: np.ndarray, matched: float) -> Hit:
        facts, vocabulary = self._detectors, self._store.vocabulary
        order = int(facts["order"][detector])
        first, last = facts["first"][detector], facts["first"][detector + 1]
        ids = self._ngram[first:last]
        rows = self._ngrams[ids][:, :order].tolist()
        ngrams = [
            Ngram(tuple(row), int(count), int(total))
            for row, count, total in zip(rows, self._count[first:last], self._total[first:last], strict=True)
        ]
        return Hit(
            layer=int(facts["layer"][detector]),
            neuron=int(facts["neurons"][detector]),
            order=order,
            tokens=tuple(ngram for ngram, hit in zip(ngrams, found[ids], strict=True) if hit),
            detected=tuple("".join(vocabulary.texts(row)) for row in rows),
            covered=float(facts["covered"][detector]),
            matched=matched,
            activations=int(facts["activations"][detector]),
        )


def _distinct(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different rows of [M, 3], and which of them each row is."""
    wide = rows.astype(np.uint64)
    first, at_first = np.unique(wide[:, 0] << np.uint64(32) | wide[:, 1], return_inverse=True)
    keys = at_first.astype(np.uint64) << np.uint64(32) | wide[:, 2]
    keys, at = np.unique(keys, return_inverse=True)
    head = first[(keys >> np.uint64(32)).astype(np.int64)]
    mask = np.uint64(0xFFFFFFFF)
    return np.stack([head >> np.uint64(32), head & mask, keys & mask], axis=1).astype(np.uint32), at
