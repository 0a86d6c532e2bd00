"""Which neurons fire on a set of positions: all neurons ranked by how well they tell it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from ffnscope.store.errors import UserError
from ffnscope.store.query import columns as registry
from ffnscope.store.query.filter import Filter, parse_filter
from ffnscope.store.query.positions import parse_query
from ffnscope.store.query.select import own_marks

if TYPE_CHECKING:
    from ffnscope.store.reader import Store

COLUMNS = (
    "layer",
    "neuron",
    "hits",
    "matches",
    "activations",
    "precision",
    "recall",
    "f1",
    "phi",
    "mi",
    "lift",
    "f1_even",
    "f1_odd",
)
"""Columns of an answer, in this order (core/DEFINITIONS.md, "Sets of positions")."""
SCORES = ("f1", "phi", "mi", "precision", "recall", "lift")
"""What neurons can be ranked by."""


@dataclass(frozen=True)
class Answer:
    """The neurons of a store, best first, with how well each tells the positions of a query.

    ``columns``: an array [N] for each of COLUMNS, int64 or float64; NaN where a quotient has no value (precision of a
    neuron that is activated nowhere). ``chance``: the best f1 that any neuron of the store reaches with the set moved by
    half of the kept windows; NaN where it was not computed.
    """

    query: str
    by: str
    positions: int  # P, kept positions
    corpus_positions: int  # of all domains
    matches: int  # |S|
    matches_even: int  # of them in windows of even number
    chance: float
    columns: dict[str, np.ndarray] = field(repr=False)

    def __getitem__(self, name: str) -> np.ndarray:
        """One column by name."""
        return self.columns[name]

    def __len__(self) -> int:
        """How many neurons there are."""
        return len(self.columns["layer"])


def ask(
    store: Store,
    query: str,
    by: str = "f1",
    where: Filter | str | None = None,
    top: int | None = None,
    min_hits: int = 0,
    *,
    chance: bool = True,
    proceed: Callable[[], None] = lambda: None,
) -> Answer:
    """Rank the neurons of all layers in the store by how well they tell the positions of ``query``.

    Exact over the kept positions. Ties by layer and neuron. ``where`` keeps only the neurons that a filter holds for,
    ``top`` the first ones, ``min_hits`` those with at least that many hits. ``chance=False``
    leaves out the chance level and half of the work. ``proceed`` is called now and then; what it raises ends the work.

    Raises UserError for an unknown score, a query that can't be read or answered, and a store without bits.
    """
    check_score(by)
    kept = store.kept
    neuron_filter = parse_filter(where, registry.domain_names(store)) if isinstance(where, str) else where
    parsed = parse_query(query, [domain.name for domain in store.run.corpus.counted_domains])
    members = parsed.members(kept, proceed)
    return rank(store, members, parsed.text, by, neuron_filter, top, min_hits, chance=chance, proceed=proceed)


def check_score(by: str) -> None:
    """Raise UserError for a score that neurons can't be ranked by."""
    if by not in SCORES:
        raise UserError(f"--by {by}: known are {', '.join(SCORES)}")


def rank(
    store: Store,
    members: np.ndarray,
    query: str,
    by: str = "f1",
    where: Filter | None = None,
    top: int | None = None,
    min_hits: int = 0,
    *,
    chance: bool = True,
    proceed: Callable[[], None] = lambda: None,
) -> Answer:
    """``ask`` for a set that is known: ``members`` [P] bool, the kept positions by row."""
    kept = store.kept
    marks, notes = own_marks(store, where)
    layers = store.layers()
    sizes = np.array([np.count_nonzero(members & kept.even), np.count_nonzero(members & ~kept.even)], np.int64)
    matches, total = int(sizes.sum()), np.array([np.count_nonzero(kept.even), np.count_nonzero(~kept.even)], np.int64)
    best = float("nan")
    hits: dict[int, np.ndarray] = {}
    if matches:
        candidates = layers if chance or where is None else where.layers(layers)
        moved = kept.moved(members)
        hits = kept.hits(candidates, [members, moved] if chance else [members], proceed)
        if chance:
            size = int(np.count_nonzero(moved))
            level = [_f1(hits[layer][1].sum(axis=1), size, kept.activations(layer).sum(axis=1)) for layer in candidates]
            best = float(np.nanmax(np.concatenate(level))) if level and size else 0.0
    parts: list[dict[str, np.ndarray]] = []
    for layer in (layers if where is None else where.layers(layers)) if matches else ():
        mask = where.mask(store, layer, marks, notes) if where else np.ones(store.neurons(layer), np.bool_)
        columns = scores(hits[layer][0], sizes, kept.activations(layer), total)
        neurons = np.flatnonzero(mask & (columns["hits"] >= min_hits))
        numbers = {"layer": np.full(len(neurons), layer, np.int64), "neuron": neurons.astype(np.int64)}
        parts.append(numbers | {name: values[neurons] for name, values in columns.items()})
    joined = {name: np.concatenate([np.zeros(0), *(part[name] for part in parts)]) for name in COLUMNS}
    for name in ("layer", "neuron", "hits", "matches", "activations"):
        joined[name] = joined[name].astype(np.int64)
    # NaN comes last, and rows of the same value stay in their order: layer, then neuron.
    order = np.argsort(-joined[by], kind="stable")[:top]
    ranked = {name: values[order] for name, values in joined.items()}
    corpus = store.run.corpus.positions
    return Answer(query, by, kept.positions, corpus, matches, int(sizes[0]), best, ranked)


def scores(
    hits: np.ndarray, matches: np.ndarray, activations: np.ndarray, positions: np.ndarray
) -> dict[str, np.ndarray]:
    """Columns hits .. f1_odd of neurons, [F] each, from counts over the even and over the odd windows: ``hits`` and
    ``activations`` [F, 2], ``matches`` (|S|) and ``positions`` [2], all int64
    (core/DEFINITIONS.md, "Sets of positions")."""
    h, a = hits.sum(axis=1), activations.sum(axis=1)
    s, p = int(matches.sum()), int(positions.sum())
    with np.errstate(divide="ignore", invalid="ignore"):
        # Products of two counts are exact in float64; of four they are not.
        root = np.sqrt(float(s) * float(p - s)) * np.sqrt(a.astype(np.float64) * (p - a))
        covariance = p * h.astype(np.float64) - s * a.astype(np.float64)
        recall = h / s if s else np.full(len(h), np.nan)
        return {
            "hits": h,
            "matches": np.full(len(h), s, np.int64),
            "activations": a,
            "precision": h / a,
            "recall": recall,
            "f1": _f1(h, s, a),
            "phi": np.clip(np.divide(covariance, root, out=np.zeros(len(h)), where=root > 0), -1, 1),
            "mi": _mutual_information(h, s, a, p),
            "lift": recall / (a / p),
            "f1_even": _f1(hits[:, 0], int(matches[0]), activations[:, 0]),
            "f1_odd": _f1(hits[:, 1], int(matches[1]), activations[:, 1]),
        }


def _f1(hits: np.ndarray, matches: int, activations: np.ndarray) -> np.ndarray:
    """[F] float64; NaN where neither the set nor the neuron has a position."""
    both = matches + activations
    return np.divide(2 * hits, both, out=np.full(len(hits), np.nan), where=both > 0)


def _mutual_information(hits: np.ndarray, matches: int, activations: np.ndarray, positions: int) -> np.ndarray:
    """[F] float64, nats, of "in the set" and "activated"; never below 0."""
    p = float(positions)
    total = np.zeros(len(hits))
    for joint, one, other in (
        (hits, matches, activations),
        (matches - hits, matches, positions - activations),
        (activations - hits, positions - matches, activations),
        (positions - matches - activations + hits, positions - matches, positions - activations),
    ):
        expected = float(one) * other.astype(np.float64) / p
        ratio = np.divide(joint, expected, out=np.ones(len(hits)), where=(joint > 0) & (expected > 0))
        total += joint / p * np.log(ratio)
    return np.maximum(total, 0.0)


def coactivated(
    store: Store, layer: int, neuron: int, top: int = 20, proceed: Callable[[], None] = lambda: None
) -> Answer:
    """The neurons of any layer with the highest phi to one neuron, its own positions being the set; itself left out.

    Raises UserError where the neuron isn't there, and for a store without bits.
    """
    members = store.kept.neuron(layer, neuron)
    answer = rank(store, members, f"neuron:L{layer}N{neuron}", "phi", top=top + 1, chance=False, proceed=proceed)
    others = np.flatnonzero((answer["layer"] != layer) | (answer["neuron"] != neuron))[:top]
    columns = {name: values[others] for name, values in answer.columns.items()}
    return replace(answer, columns=columns)
