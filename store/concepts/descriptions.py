"""The descriptions of neurons as text: formulas of concepts, as the store's arrays hold them.

A formula is four int16: its shape (0: every literal holds, 1: any, 2: any of the first two, and the third), and up to
three literals: c + 1 for the store's concept c, -(c + 1) for its negation, 0 for none (core/CONCEPTS.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ffnscope.store.escaping import escape_typed
from ffnscope.store.reader import Store

ALL, ANY, ANY_AND = 0, 1, 2
DOMAIN = "domain:"


def formula_text(formula: Sequence[int], names: Sequence[str]) -> str:
    """A formula as it is shown, ``digit -in_number`` or ``comma|full_stop domain:code``; "" for none."""
    return _text(formula, [_shown(name) for name in names])


def formula_query(formula: Sequence[int], names: Sequence[str]) -> str:
    """A formula as a query for ``ask``, ``concept:digit -concept:in_number``; "" for none."""
    return _text(formula, [f"concept:{_quoted(name)}" for name in names], True)


def formula_texts(store: Store, layer: int) -> list[str]:
    """[F] the description of every neuron of a layer as text, "" where it has none."""
    if not store.has("concept_formula"):
        return [""] * store.neurons(layer)
    formulas = store.column(layer, "concept_formula")[:, 0]
    distinct, index = np.unique(formulas, axis=0, return_inverse=True)
    texts = [formula_text(row, store.concepts) for row in distinct.tolist()]
    return [texts[place] for place in index.reshape(-1).tolist()]


def naming(store: Store, layer: int, fits: Callable[[str], bool]) -> np.ndarray:
    """[F] bool: whether a neuron's description names, without negating it, a concept that ``fits`` accepts by its name."""
    formulas = store.column(layer, "concept_formula")[:, 0, 1:].astype(np.int64)
    accepted = np.array([False, *(fits(name) for name in store.concepts)])
    named: np.ndarray = accepted[np.clip(formulas, 0, len(accepted) - 1)]
    return np.asarray(named.any(axis=1))


def leading_concepts(store: Store, layer: int) -> tuple[tuple[str, int], ...]:
    """How many descriptions of a layer's neurons begin with each concept, most first; the first that is not negated
    counts, where all are the first with a ``-`` before it."""
    formulas = store.column(layer, "concept_formula")[:, 0].astype(np.int64)
    literals = formulas[formulas[:, 1] != 0, 1:]
    positive = literals > 0
    first = np.where(positive.any(axis=1), positive.argmax(axis=1), 0)
    distinct, counts = np.unique(literals[np.arange(len(literals)), first], return_counts=True)
    names = [formula_text((ALL, literal), store.concepts) for literal in distinct.tolist()]
    pairs = list(zip(names, counts.tolist(), strict=True))
    return tuple(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))


def order_key(store: Store, layer: int) -> np.ndarray:
    """[F] float64: numbers that sort neurons by their description, those of one formula together; NaN for none."""
    formulas = store.column(layer, "concept_formula")[:, 0].astype(np.int64)
    base = 2 * len(store.concepts) + 2
    literals = np.where(formulas[:, 1:] < 0, -2 * formulas[:, 1:] + 1, 2 * formulas[:, 1:])
    key = ((literals[:, 0] * base + literals[:, 1]) * base + literals[:, 2]) * 4 + formulas[:, 0]
    return np.where(formulas[:, 1] == 0, np.nan, key.astype(np.float64))


def _shown(name: str) -> str:
    """A concept's name as it is shown: a domain's may be any text."""
    domain = name.removeprefix(DOMAIN)
    return name if domain == name else DOMAIN + (domain if _is_plain(domain) else _quoted(domain))


def _quoted(text: str) -> str:
    if _is_plain(text.removeprefix(DOMAIN)):
        return text
    escaped = escape_typed(text).replace('"', '\\"')
    return f'"{escaped}"'


def _is_plain(text: str) -> bool:
    return text.isascii() and text.replace("_", "").replace(".", "").isalnum()


def _text(formula: Sequence[int], names: Sequence[str], query: bool = False) -> str:
    shape, *literals = formula
    signed = [
        ("-" if literal < 0 else "") + (names[abs(literal) - 1] if abs(literal) <= len(names) else f"<{abs(literal)}>")
        for literal in literals
        if literal
    ]
    if shape == ALL:
        return " ".join(signed)
    first = 2 if shape == ANY_AND else len(signed)
    # Within one term of a query the key stands once: concept:comma|full_stop.
    some = [text.removeprefix("concept:") if query and place else text for place, text in enumerate(signed[:first])]
    return " ".join(["|".join(some), *signed[first:]])
