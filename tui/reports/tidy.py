"""The figures as tidy tables, a row an observation: what CSV and JSON hold, of one store or of several."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ffnscope.store.escaping import json_text
from ffnscope.store.figures.layers import COVERING_BINS, COVERING_LABELS, DETECTORS, POSITIONAL, LayerFigures
from ffnscope.tui.reports.document import Column, Table, Value
from ffnscope.tui.reports.reading import Gathered

_LAYER = (
    Column("layer", "layer, from 0", "layer"),
    Column("depth", "relative depth: 0 for the model's first layer, 1 for its last", "number"),
)
_STORE = Column("store", "letter of the store", "text")
_KIND = Column("detector", "token, bigram or trigram", "text")


def _table(
    stores: Sequence[Gathered],
    key: str,
    title: str,
    columns: Sequence[Column],
    rows: Callable[[Gathered], Iterable[Sequence[Value]]],
) -> Table:
    if len(stores) == 1:
        return Table(key, title, tuple(columns), [tuple(row) for row in rows(stores[0])])
    every = [(store.label, *row) for store in stores for row in rows(store)]
    return Table(key, title, (_STORE, *columns), every)


def _by_layer(row: Callable[[LayerFigures], Sequence[Value]]) -> Callable[[Gathered], Iterable[Sequence[Value]]]:
    return lambda store: ((layer.layer, layer.depth, *row(layer)) for layer in store.figures.layers)


def dead(stores: Sequence[Gathered]) -> Table:
    """Figure 1a."""
    columns = (
        *_LAYER,
        Column("neurons", "FFN neurons"),
        Column("dead", "neurons never activated"),
        Column("dead_share", "dead / neurons", "share"),
        Column("dead_share_low", "lower end of its 95% Wilson interval, the neurons taken as draws", "share"),
        Column("dead_share_high", "upper end", "share"),
        Column("positions", "positions that were run (S*T)"),
    )
    return _table(
        stores,
        "figure_1a_dead_neurons",
        "Dead neurons",
        columns,
        _by_layer(lambda x: (x.neurons, x.dead, x.dead_share, *x.dead_interval, x.positions)),
    )


def frequency(stores: Sequence[Gathered]) -> Table:
    """Figure 1b."""
    columns = (
        *_LAYER,
        Column("alive", "neurons activated at least once"),
        Column("activations", "activated positions of all of them together"),
        Column("positions", "positions that were run (S*T)"),
        Column("mean_frequency_alive", "activations / (alive * positions)", "frequency"),
    )
    return _table(
        stores,
        "figure_1b_activation_frequency",
        "Mean activation frequency of the alive neurons",
        columns,
        _by_layer(lambda x: (x.alive, x.activations, x.positions, x.mean_frequency_alive)),
    )


def covering(stores: Sequence[Gathered]) -> Table:
    """Figure 2."""
    columns = (
        *_LAYER,
        Column("first_half", "whether the layer lies in the first half, which the paper shows"),
        Column("order", "n of the n-grams: 1, 2 or 3", "layer"),
        Column("least", "fewest n-grams of the bin; 0 for neurons never activated where an n-gram can stand", "layer"),
        Column("most", "most n-grams of the bin, itself included; empty where there is no end", "layer"),
        Column("label", "the bin as the paper writes it", "text"),
        Column("neurons", "alive neurons of which that many n-grams cover 95% of the activations"),
    )

    def rows(store: Gathered) -> Iterable[Sequence[Value]]:
        for layer in store.figures.layers:
            for each in layer.ngrams:
                head = (layer.layer, layer.depth, layer.first_half, each.order)
                yield (*head, 0, 0, "0", each.uncovered)
                for (low, high), label, number in zip(COVERING_BINS, COVERING_LABELS, each.covering, strict=True):
                    yield (*head, low, high, label, number)

    return _table(stores, "figure_2_covering_ngrams", "Alive neurons by the number of covering n-grams", columns, rows)


def _per_order(row: Callable[[LayerFigures, int], Sequence[Value]]) -> Callable[[Gathered], Iterable[Sequence[Value]]]:
    return lambda store: (
        (layer.layer, layer.depth, kind, *row(layer, i))
        for layer in store.figures.layers
        for i, kind in enumerate(DETECTORS)
    )


def detectors(stores: Sequence[Gathered]) -> Table:
    """Figure 3a."""
    columns = (*_LAYER, _KIND, Column("neurons", "detectors of that kind"))
    return _table(
        stores, "figure_3a_detectors", "Detectors", columns, _per_order(lambda x, i: (x.ngrams[i].detectors,))
    )


def detected(stores: Sequence[Gathered]) -> Table:
    """Figure 3b."""
    columns = (
        *_LAYER,
        _KIND,
        Column("detected", "different n-grams that the layer's detectors detect"),
        Column("cumulative", "the same over this layer and all before it in the store"),
    )
    return _table(
        stores,
        "figure_3b_detected_ngrams",
        "Detected tokens and n-grams",
        columns,
        _per_order(lambda x, i: (x.ngrams[i].detected, x.ngrams[i].cumulative)),
    )


def new(stores: Sequence[Gathered]) -> Table:
    """Figure 4."""
    columns = (
        *_LAYER,
        _KIND,
        Column("detected", "different n-grams that the layer's detectors detect"),
        Column("new_overall", "those that no layer before it in the store detects"),
        Column("new_against_previous", "those that the layer before does not detect; empty where it is not there"),
    )
    return _table(
        stores,
        "figure_4_new_ngrams",
        "New detected tokens and n-grams",
        columns,
        _per_order(lambda x, i: (x.ngrams[i].detected, x.ngrams[i].new_overall, x.ngrams[i].new_against_previous)),
    )


def suppression(stores: Sequence[Gathered]) -> Table:
    """Section 4.4."""
    columns = (
        *_LAYER,
        _KIND,
        Column("neurons", "detectors of that kind"),
        Column("suppressing", "those whose mean projection on their triggers is below 0"),
        Column("suppressing_share", "suppressing / neurons", "share"),
        Column("suppressing_share_low", "lower end of its 95% Wilson interval", "share"),
        Column("suppressing_share_high", "upper end", "share"),
    )

    def row(layer: LayerFigures, i: int) -> Sequence[Value]:
        each = layer.ngrams[i]
        ends = each.suppressing_interval if each.detectors else (None, None)
        return (each.detectors, each.suppressing, each.suppressing_share, *ends)

    return _table(stores, "section_4_4_suppression", "Detectors that suppress their triggers", columns, _per_order(row))


def positional(stores: Sequence[Gathered]) -> Table:
    """Figure 8."""
    columns = (
        *_LAYER,
        Column("type", "oscillatory, both, one or other", "text"),
        Column("strength", "strong or weak", "text"),
        Column("neurons", "positional neurons of that type and strength, detectors included"),
    )
    return _table(
        stores,
        "figure_8_positional_neurons",
        "Positional neurons",
        columns,
        lambda store: (
            (layer.layer, layer.depth, *key, number)
            for layer in store.figures.layers
            for key, number in zip(POSITIONAL, layer.positional, strict=True)
        ),
    )


def ranges(stores: Sequence[Gathered]) -> Table:
    """Figure 9."""
    columns = (
        Column("layer", "layer, from 0", "layer"),
        Column("neuron", "neuron in its layer, from 0", "layer"),
        Column("first", "first position of a range where it is on", "layer"),
        Column("last", "last position of the range", "layer"),
    )
    return _table(
        stores,
        "figure_9_position_ranges",
        "Position ranges of the strong oscillatory neurons",
        columns,
        lambda store: (
            (each.layer, each.neuron, first, stop - 1) for each in store.ranges for first, stop in each.ranges
        ),
    )


def examples(stores: Sequence[Gathered]) -> Table:
    """Figure 5."""
    columns = (
        Column("layer", "layer, from 0", "layer"),
        Column("neuron", "neuron in its layer, from 0", "layer"),
        Column("activations", "activated positions"),
        Column("covered", "share on the detected tokens of the activations that have a unigram", "share"),
        Column("detected", "detected tokens, a JSON array", "text"),
        Column("trigger_projection", "mean projection of the detected tokens", "number"),
        Column("promoted", "tokens with the largest projection, a JSON array", "text"),
        Column("suppressed", "tokens with the smallest projection, a JSON array", "text"),
    )
    return _table(
        stores,
        "figure_5_token_detectors",
        "Token detectors activated most",
        columns,
        lambda store: (
            (
                x.layer,
                x.neuron,
                x.activations,
                x.covered,
                json_list(x.tokens),
                x.trigger_projection,
                json_list(x.promoted),
                json_list(x.suppressed),
            )
            for x in store.examples
        ),
    )


def json_list(texts: Sequence[str]) -> str:
    """Texts as a JSON array without raw control characters."""
    return "[" + ", ".join(map(json_text, texts)) + "]"
