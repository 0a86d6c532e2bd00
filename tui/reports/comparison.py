"""Several stores side by side: the same figures over relative depth, a letter for each store."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise

from ffnscope.store.figures.changes import equal_shape
from ffnscope.store.figures.layers import DETECTORS, POSITIONAL, LayerFigures
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


def overall(stores: Sequence[Gathered]) -> Section:
    """A row per store."""
    columns = (
        Column("store", "letter of the store", "text"),
        Column("folder", "folder of the store", "text"),
        Column("model", "name of the model", "text"),
        Column("layers", "layers of the model", "layer"),
        Column("read", "layers in the store", "text"),
        Column("neurons", "neurons in the layers read"),
        Column("positions", "positions that were run"),
        Column("windows", "windows that n-grams and position curves are counted over"),
        Column("dead_share", "dead neurons / neurons", "share"),
        Column("first_half", "dead share of the first half of the layers", "share"),
        Column("second_half", "dead share of the second half", "share"),
        *(Column(f"{name}_detectors", f"{name} detectors") for name in DETECTORS),
        Column("detected_tokens", "different detected tokens"),
        Column("suppressing_share", "share of the token detectors that suppress their triggers", "share"),
        *(Column(kind, f"{kind} positional neurons") for kind in dict.fromkeys(kind for kind, _ in POSITIONAL)),
    )
    rows = [_overall(store) for store in stores]
    table = Table("stores", "The stores", columns, rows)
    # For reading, a column per store.
    turned = [
        (column.name.replace("_", " "), *(shown(row[i], column.style) for row in rows))
        for i, column in enumerate(columns)
        if i
    ]
    letters = (Column(store.label, f"store {store.label}", "right") for store in stores)
    reading = Table("", "", (Column("store", "what of each store", "text"), *letters), turned)
    return Section("The stores", "A letter stands for each store.", (), (reading,), (table,))


def _overall(store: Gathered) -> tuple[Value, ...]:
    figures, run = store.figures, store.store.run
    detectors = figures.detectors()

    def share(layers: Sequence[LayerFigures]) -> float | None:
        neurons = sum(x.neurons for x in layers)
        return sum(x.dead for x in layers) / neurons if neurons else None

    by_type: dict[str, int] = {}
    for (kind, _), number in figures.positional().items():
        by_type[kind] = by_type.get(kind, 0) + number
    return (
        store.label,
        store.store.path.resolve().name,
        run.model.name,
        run.model.layers,
        layers_text(tuple(x.layer for x in figures.layers)) or "none",
        sum(x.neurons for x in figures.layers),
        figures.positions,
        figures.windows,
        share(figures.layers),
        share(figures.first_half),
        share(figures.second_half),
        *(figures.detectors(n) for n in (1, 2, 3)),
        figures.detected(),
        figures.suppressing() / detectors if detectors else None,
        *by_type.values(),
    )


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
