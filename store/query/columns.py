"""The columns that neurons can be filtered, sorted and listed by: their names, short names and values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ffnscope.store.concepts import descriptions
from ffnscope.store.definitions import KINDS, POSITION_STRENGTHS, POSITION_TYPES
from ffnscope.store.errors import UserError
from ffnscope.store.format.schema import ABSENT, LAYER_ARRAYS
from ffnscope.store.reader import Store

DOMAIN_PREFIX = "frequency:"
DESCRIBED = ("concept", "concept_precision", "concept_recall", "concept_f1")


@dataclass(frozen=True)
class Column:
    """One column. ``words`` are the values of a column of codes, empty for numbers."""

    name: str
    aliases: tuple[str, ...]
    meaning: str
    words: tuple[str, ...] = ()
    whole: bool = True  # whole numbers; False for real ones


_COLUMNS = (
    Column("layer", ("l",), "layer, from 0"),
    Column("neuron", ("n",), "neuron in its layer, from 0"),
    Column("kind", (), "dead, token, bigram, trigram, positional or other", KINDS),
    Column("positions", (), "positions that were run"),
    Column("activations", ("acts",), "activated positions"),
    Column("frequency", ("freq",), "activations / positions", whole=False),
    Column("bos_activations", ("bos",), "activations at BOS"),
    Column("max_activation", ("max",), "largest activation", whole=False),
    Column("mean_activation", ("mean",), "mean activation", whole=False),
    Column("unigrams_95", ("uni",), "unigrams that cover 95% of the activations"),
    Column("bigrams_95", ("bi",), "bigrams that cover 95%"),
    Column("trigrams_95", ("tri",), "trigrams that cover 95%"),
    Column("order", (), "order of the detector, 0 for none"),
    Column("detected", ("det",), "detected n-grams"),
    Column("covered", ("cov",), "share on detected n-grams of activations that have one", whole=False),
    Column("trigger_projection", ("proj",), "mean projection of a detector's triggers", whole=False),
    Column("suppresses_triggers", ("sup",), "whether a detector's projection is below 0", ("", "false", "true")),
    Column("position_mi", ("mi",), "mutual information with position, nats", whole=False),
    Column("position_bias", ("bias",), "bias of position_mi, nats", whole=False),
    Column("position_type", ("type",), "type of a positional neuron", POSITION_TYPES),
    Column("position_strength", ("strength",), "strength of a positional neuron", POSITION_STRENGTHS),
    Column("token_explained", ("explained",), "share of the neuron that the token explains", whole=False),
    Column("bigram_explained", (), "the same with the token before", whole=False),
    Column("trigram_explained", (), "the same with two tokens before", whole=False),
    Column("position_explained", (), "share that the position explains", whole=False),
    Column("token_f1", (), "f1 of the token set, on windows that did not choose it", whole=False),
    Column("token_set_size", ("token_set",), "tokens of the token set"),
    Column("concept", (), "description by concepts", whole=False),
    Column("concept_precision", (), "share of its activations where its description holds", whole=False),
    Column("concept_recall", (), "share of the positions of its description where it is activated", whole=False),
    Column("concept_f1", (), "f1 of its description, on windows that did not choose it", whole=False),
    Column("threshold", (), "what |a| must reach, with `--activated share:`", whole=False),
    Column("positive_share", (), "share of activated positions where a > 0", whole=False),
    Column("expert", (), "routed expert that the neuron belongs to, in a mixture of experts"),
)
COLUMNS: dict[str, Column] = {column.name: column for column in _COLUMNS}
ALIASES: dict[str, str] = {alias: column.name for column in _COLUMNS for alias in column.aliases}


def names(domains: Sequence[str] = ()) -> list[str]:
    """Every column's name, the domains' frequencies last."""
    return [*COLUMNS, *(DOMAIN_PREFIX + domain for domain in domains)]


def known(domains: Sequence[str] = ()) -> str:
    """All names and short names in one line, for an error message."""
    names = [f"{column.name} ({', '.join(column.aliases)})" if column.aliases else column.name for column in _COLUMNS]
    return ", ".join([*names, *(DOMAIN_PREFIX + domain for domain in domains)])


def find(name: str, domains: Sequence[str] = ()) -> str | None:
    """The column's own name for a name or short name, case ignored; None where there is no such column."""
    lower = name.lower()
    head, colon, domain = name.partition(":")
    if colon and ALIASES.get(head.lower(), head.lower()) == "frequency":
        if domain in domains:
            return DOMAIN_PREFIX + domain
        matches = [known for known in domains if known.lower() == domain.lower()]
        return DOMAIN_PREFIX + matches[0] if len(matches) == 1 else None
    lower = ALIASES.get(lower, lower)
    return lower if lower in COLUMNS else None


def resolve(name: str, domains: Sequence[str] = ()) -> str:
    """``find``, but raises UserError naming what is known."""
    column = find(name, domains)
    if column is None:
        raise UserError(f"no column {name!r}; known are {known(domains)}")
    return column


def is_whole(name: str) -> bool:
    """Whether a column (by its own name) holds whole numbers or words."""
    return not name.startswith(DOMAIN_PREFIX) and COLUMNS[name].whole


def words(name: str) -> tuple[str, ...]:
    """The words that a column's codes stand for; empty for a column of numbers."""
    return () if name.startswith(DOMAIN_PREFIX) else COLUMNS[name].words


def domain_names(store: Store) -> tuple[str, ...]:
    """The names of a store's domains, in order."""
    return tuple(domain.name for domain in store.run.corpus.domains)


def values(store: Store, layer: int, name: str) -> np.ndarray:
    """[F] values of a column of one layer, by name or short name; codes for a column of words.

    NaN where a neuron has no value (activation of a dead neuron, projection of no detector). Raises UserError
    for an unknown column and a layer that is not there.
    """
    domains = domain_names(store)
    column = resolve(name, domains)
    if column.startswith(DOMAIN_PREFIX):
        index = domains.index(column.removeprefix(DOMAIN_PREFIX))
        return np.ascontiguousarray(store.column(layer, "domain_frequencies")[:, index])
    if column == "layer":
        return np.full(store.neurons(layer), layer, np.int64)
    if column == "neuron":
        return np.arange(store.neurons(layer), dtype=np.int64)
    if column == "positions":
        return np.full(store.neurons(layer), store.run.corpus.positions, np.int64)
    if column == "detected":
        return np.bincount(store.column(layer, "detected_neuron"), minlength=store.neurons(layer))
    if column == "covered":
        return covered(store, layer)
    if is_absent(store, column):
        return np.full(store.neurons(layer), np.nan, np.float32)
    if column == "expert":
        expert = store.column(layer, "expert")
        return np.where(expert == ABSENT, np.nan, expert)
    if column == "suppresses_triggers":
        projection = store.column(layer, "trigger_projection")
        return np.where(np.isnan(projection), 0, 1 + (projection < 0)).astype(np.uint8)
    if column == "concept":
        return descriptions.order_key(store, layer)
    if column in DESCRIBED:
        return np.ascontiguousarray(store.column(layer, "concept_figures")[:, 0, DESCRIBED.index(column) - 1])
    return store.column(layer, column)


def is_absent(store: Store, name: str) -> bool:
    """Whether a store was collected without a column (by its own name), so that no neuron has a value."""
    array = "concept_figures" if name in DESCRIBED else name
    return array in LAYER_ARRAYS and not store.has(array)


def require(store: Store, name: str) -> None:
    """Raise UserError where a store was collected without a column (by its own name)."""
    if is_absent(store, name):
        if name in ("threshold", "positive_share"):
            raise UserError(
                f"{store.path}: has no {name}, which neurons have that `collect --activated share:Q` counts"
            )
        if name == "expert":
            raise UserError(f"{store.path}: has no experts, its model is dense; leave {name} out")
        raise UserError(
            f"{store.path}: has no {name}, it was collected before that was counted; collect it again to filter by it"
        )


def covered(store: Store, layer: int) -> np.ndarray:
    """[F] float64: share of a detector's activations (that have an n-gram) on its detected n-grams; NaN for none."""
    order = store.column(layer, "order").astype(np.int64)
    totals = store.column(layer, "ngram_activations")[np.arange(len(order)), np.clip(order - 1, 0, 2)]
    part = np.bincount(
        store.column(layer, "detected_neuron"), store.column(layer, "detected_count"), minlength=len(order)
    )
    return np.where(order > 0, part / np.maximum(totals, 1), np.nan)
