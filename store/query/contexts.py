"""The kept positions of a neuron in their context: where it is activated, where it should be, what stands beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ffnscope.store.bits.kept import KeptBits
from ffnscope.store.errors import UserError
from ffnscope.store.query.positions import parse_query

if TYPE_CHECKING:
    from ffnscope.store.reader import Store

COLUMNS = ("window", "position", "token", "left", "right")
"""Columns of a concordance, in this order."""
WIDTH = 40  # characters on either side
ORDERS = ("place", "strength", "left", "right")
"""What a concordance can be sorted by: the corpus's order, the activation where the store knows it, the text before, read
backwards, and the text after."""


@dataclass(frozen=True)
class Occurrence:
    """A kept position in its context; a half character of the token belongs to neither side."""

    window: int  # its number in the corpus
    position: int
    token: str  # as it is written everywhere
    left: str  # of the window's text, at most `width` characters
    right: str


def activated(
    store: Store, layer: int, neuron: int, where: str = "", proceed: Callable[[], None] = lambda: None
) -> np.ndarray:
    """[N] int64, ascending: rows of the kept positions at which a neuron is activated and a query holds.

    Raises UserError where the neuron isn't there, for a query that can't be answered, and for a store without bits.
    """
    return np.flatnonzero(_where(store, where, proceed) & store.kept.neuron(layer, neuron))


def missed(
    store: Store, layer: int, neuron: int, where: str = "", proceed: Callable[[], None] = lambda: None
) -> np.ndarray:
    """[N] int64, ascending: rows of the kept positions at which one of a detector's n-grams ends, a query holds, and the
    neuron is not activated: where it fails.

    Raises UserError as ``activated`` does, and for a neuron that is not a detector.
    """
    kept = store.kept
    active = kept.neuron(layer, neuron)
    record = store.neuron(layer, neuron)
    if not record.detected:
        raise UserError(
            f"L{layer}N{neuron}: is not a detector, so there is nothing that it misses; give one (kind:detector)"
        )
    places = ngram_ends(kept.tokens, np.array([ngram.tokens for ngram in record.detected], np.int64))
    return np.flatnonzero(_where(store, where, proceed) & kept.of_windows(places) & ~active)


def ngram_ends(tokens: np.ndarray, ngrams: np.ndarray) -> np.ndarray:
    """bool [K, T]: where one of ``ngrams`` [m, n] ends in windows ``tokens`` [K, T], all of it inside its window."""
    size = ngrams.shape[1]
    places = np.zeros(tokens.shape, np.bool_)
    width = tokens.shape[1] - size + 1
    for ngram in ngrams.tolist() if width > 0 else ():
        ends = np.ones((len(tokens), width), np.bool_)
        for place, token in enumerate(ngram):
            ends &= tokens[:, place : place + width] == token
        places[:, size - 1 :] |= ends
    return places


def _where(store: Store, where: str, proceed: Callable[[], None]) -> np.ndarray:
    domains = [domain.name for domain in store.run.corpus.counted_domains]
    return parse_query(where, domains).members(store.kept, proceed)


def concordance(kept: KeptBits, rows: np.ndarray, width: int = WIDTH) -> Iterator[Occurrence]:
    """The kept positions ``rows`` [N] int64 in their context, at most ``width`` characters on either side, in the order
    given. Raises UserError where the vocabulary is damaged."""
    texts, vocabulary = kept.texts, kept.store.vocabulary
    window, position = kept.window_of[rows], kept.position_of[rows]
    places = window, position
    first, end, tokens = texts.first[places], texts.end[places], kept.tokens[places]
    for index, at, token, start, stop in zip(*(array.tolist() for array in (*places, tokens, first, end)), strict=True):
        text = texts.texts[index]
        left, right = text[max(start - width, 0) : start], text[stop : stop + width]
        yield Occurrence(int(kept.windows[index]), at, vocabulary.text(token), left, right)


def known_strengths(store: Store, layer: int, neuron: int) -> dict[tuple[int, int], float]:
    """(window, position) -> activation of a neuron's strongest contexts, the only values that a store has."""
    record = store.neuron(layer, neuron)
    strongest = (*record.strongest, *record.negative)
    return {(context.window, context.position): context.activation for context in strongest}


def sort_rows(
    kept: KeptBits, rows: np.ndarray, by: str = "place", strengths: Mapping[tuple[int, int], float] | None = None
) -> np.ndarray:
    """``rows`` [N] int64 in one of ORDERS; ties in the corpus's order. By strength, those in ``strengths``
    (``known_strengths``) come first, those below 0 (of runs with thresholds) after those above; the others follow as in the
    corpus. Raises UserError for another order."""
    if by not in ORDERS:
        raise UserError(f"--sort {by}: known are {', '.join(ORDERS)}")
    rows = np.sort(rows)
    if by == "place":
        return rows
    if by == "strength":
        places = zip(kept.windows[kept.window_of[rows]].tolist(), kept.position_of[rows].tolist(), strict=True)
        values = np.array([(strengths or {}).get(place, 0.0) for place in places], np.float64)
        return rows[np.lexsort((-np.abs(values), np.where(values > 0, 0, np.where(values < 0, 1, 2))))]
    sides = [occurrence.left[::-1] if by == "left" else occurrence.right for occurrence in concordance(kept, rows)]
    # A concordance reads words: the space before or after the token and its case say nothing.
    keys = [side.strip().casefold() for side in sides]
    return rows[np.array(sorted(range(len(rows)), key=keys.__getitem__), np.int64)]


def neighbours(kept: KeptBits, rows: np.ndarray, offset: int) -> tuple[np.ndarray, np.ndarray]:
    """Which tokens stand ``offset`` positions after the ``rows`` [N] (-1: before): (token ids [n], counts [n]), int64, most
    frequent first, ties by lower id. Positions outside the window are not counted; BOS is."""
    window, position = kept.window_of[rows], kept.position_of[rows].astype(np.int64) + offset
    inside = (position >= 0) & (position < kept.tokens.shape[1])
    tokens, counts = np.unique(kept.tokens[window[inside], position[inside]], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return tokens[order].astype(np.int64), counts[order].astype(np.int64)
