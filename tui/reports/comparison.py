"""Several stores side by side: the same figures over relative depth, a letter for each store."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise

from ffnscope.store.definitions import POSITION_TYPES
from ffnscope.store.figures.changes import equal_shape
from ffnscope.store.figures.layers import DETECTORS, LayerFigures
from ffnscope.tui.reports.about import about, model_text, warnings
from ffnscope.tui.reports.catalogue import FIGURES
from ffnscope.tui.reports.changes import change_section
from ffnscope.tui.reports.document import Column, Document, LinePlot, Plot, Section, Table, Value
from ffnscope.tui.reports.figures import LAYER, Figure, Heading
from ffnscope.tui.reports.formats.values import layers_text, shown
from ffnscope.tui.reports.reading import Gathered
from ffnscope.tui.reports.sections import dot_plot


def comparison_document(stores: Sequence[Gathered], figures: Sequence[Figure] = FIGURES) -> Document:
    """The comparison of two or more stores, whose labels are their letters."""
    facts = [(f"{store.label}: {name}", value) for store in stores for name, value in about(store.store)]
    cautions = [
        f"{store.label}: {text}" for store in stores for text in warnings(store.store, store.figures, store.state)
    ]
    pairs = [(a, b) for a, b in pairwise(stores) if equal_shape(a.store, b.store)]
    compared = [figure for figure in figures if not figure.examples]
    sections = [overall(stores)]
    sections += [_section(heading, list(group), stores) for heading, group in groupby(compared, lambda x: x.heading)]
    sections += [change_section(a, b) for a, b in pairs]
    return Document(
        "ffnscope compare: " + ", ".join(f"{store.label} {model_text(store.store.run.model)}" for store in stores),
        tuple(facts),
        (*cautions, *_differences(stores, bool(pairs))),
        (),
        tuple(sections),
    )


def _differences(stores: Sequence[Gathered], pairs: bool) -> list[str]:
    texts, runs = [], [store.store.run for store in stores]
    if len({run.corpus.fingerprint for run in runs}) > 1:
        texts.append(
            "The stores are of different corpora: the figures differ for that reason too, and with more positions fewer "
            "neurons are dead."
        )
    if len({run.settings.get("min_occurrences") for run in runs}) > 1:
        texts.append("The stores differ in min_occurrences, which decides what a detector is.")
    if pairs:
        texts.append(
            "Neurons are compared by their numbers: that means something for checkpoints of one training and for one "
            "model over several corpora, not for models trained apart."
        )
    return texts


def _dead_share(layers: Sequence[LayerFigures]) -> float | None:
    neurons = sum(x.neurons for x in layers)
    return sum(x.dead for x in layers) / neurons if neurons else None


def _facts(store: Gathered) -> list[tuple[Column, Value]]:
    """What stores are told apart by, each with its column."""
    figures, run = store.figures, store.store.run
    suppressing = figures.suppressing() / figures.detectors() if figures.detectors() else None
    layers = layers_text(tuple(x.layer for x in figures.layers)) or "none"
    types = figures.positional()
    return [
        (Column("store", "letter of the store", "text"), store.label),
        (Column("folder", "folder of the store", "text"), store.store.path.resolve().name),
        (Column("model", "name of the model", "text"), run.model.name),
        (Column("layers", "layers of the model", "layer"), run.model.layers),
        (Column("read", "layers in the store", "text"), layers),
        (Column("neurons", "neurons in the layers read"), sum(x.neurons for x in figures.layers)),
        (Column("positions", "positions that were run"), figures.positions),
        (Column("windows", "windows that n-grams and position curves are counted over"), figures.windows),
        (Column("dead_share", "dead neurons / neurons", "share"), _dead_share(figures.layers)),
        (Column("first_half", "dead share of the first half of the layers", "share"), _dead_share(figures.first_half)),
        (Column("second_half", "dead share of the second half", "share"), _dead_share(figures.second_half)),
        *((Column(f"{x}_detectors", f"{x} detectors"), figures.detectors(n)) for n, x in enumerate(DETECTORS, 1)),
        (Column("detected_tokens", "different detected tokens"), figures.detected()),
        (
            Column("suppressing_share", "share of the token detectors that suppress their triggers", "share"),
            suppressing,
        ),
        *(
            (Column(kind, f"{kind} positional neurons"), types[kind, "strong"] + types[kind, "weak"])
            for kind in POSITION_TYPES[1:]
        ),
    ]


def overall(stores: Sequence[Gathered]) -> Section:
    """A row per store in the CSV, a column per store for reading."""
    facts = [_facts(store) for store in stores]
    columns = tuple(column for column, _ in facts[0])
    rows = [tuple(value for _, value in row) for row in facts]
    table = Table("stores", "The stores", columns, rows)
    turned = [
        (column.name.replace("_", " "), *(shown(row[i], column.style) for row in rows))
        for i, column in enumerate(columns)
        if i
    ]
    letters = (Column(store.label, f"store {store.label}", "right") for store in stores)
    reading = Table("", "", (Column("store", "what of each store", "text"), *letters), turned)
    return Section("The stores", "A letter stands for each store.", (), (reading,), (table,))


def _side_by_side(stores: Sequence[Gathered], figure: Figure, title: str) -> Table:
    """A row per layer, a column per store; empty where a store does not have the layer."""
    assert figure.value is not None
    numbers = [{x.layer: figure.value(x) for x in store.figures.layers} for store in stores]
    unit = figure.value_unit or figure.unit
    columns = (LAYER, *(Column(store.label, f"store {store.label}", unit) for store in stores))
    layers = sorted(set().union(*numbers))
    return Table("", title, columns, [(layer, *(values.get(layer) for values in numbers)) for layer in layers])


def _lines(stores: Sequence[Gathered], figure: Figure, title: str) -> LinePlot:
    assert figure.value is not None
    series = []
    for store in stores:
        layers = store.figures.layers
        series.append((store.store.run.model.name, [x.depth for x in layers], [*map(figure.value, layers)]))
    return LinePlot(title, tuple(series), "relative depth", figure.value_unit or figure.unit, lettered=True)


def _section(heading: Heading, figures: Sequence[Figure], stores: Sequence[Gathered]) -> Section:
    """The figures of one heading, over the layers of every store that has their numbers."""
    plots: list[Plot] = []
    shown: list[Table] = []
    tidy: list[Table] = []
    notes = [heading.compared]
    for figure in figures:
        reasons = {store.label: figure.absent(store.figures.layers) for store in stores}
        having = [store for store in stores if not reasons[store.label]]
        notes += [f"{label}: {reason}." for label, reason in reasons.items() if reason]
        title = figure.numbered(figure.value_title or figure.title)
        if not having:
            continue
        if figure.dots:
            plots += [dot_plot(figure, store, f"{title} of {store.label}") for store in having]
        elif figure.value:
            plots.append(_lines(having, figure, title))
        if figure.value:
            shown.append(_side_by_side(having, figure, title))
        if figure.csv:
            tidy.append(figure.csv.of(having, several=True))
    return Section(heading.title, " ".join(dict.fromkeys(notes)), tuple(plots), tuple(shown), tuple(tidy))
