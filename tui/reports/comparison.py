"""Several stores side by side: the same figures over relative depth, a letter a store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from ffnscope.store.figures.changes import equal_shape
from ffnscope.store.figures.layers import DETECTORS, POSITIONAL, LayerFigures
from ffnscope.tui.reports import tidy
from ffnscope.tui.reports.about import about, warnings
from ffnscope.tui.reports.changes import change_section
from ffnscope.tui.reports.document import Column, Document, DotPlot, LinePlot, Section, Table, Value
from ffnscope.tui.reports.formats.values import layers_text
from ffnscope.tui.reports.reading import Gathered
from ffnscope.tui.reports.sections import DOT_NOTE

_X = "relative depth"
Measure = Callable[[LayerFigures], float | None]


def comparison_document(stores: Sequence[Gathered]) -> Document:
    """The comparison of two or more stores, whose labels are their letters."""
    facts = [(f"{store.label}: {name}", value) for store in stores for name, value in about(store.store)]
    cautions = [
        f"{store.label}: {text}" for store in stores for text in warnings(store.store, store.figures, store.state)
    ]
    pairs = [(a, b) for a, b in pairwise(stores) if equal_shape(a.store, b.store)]
    sections = [overall(stores), sparsity(stores), detection(stores), suppression(stores), positions(stores)]
    sections += [change_section(a, b) for a, b in pairs]
    return Document(
        "ffnscope compare: " + ", ".join(f"{store.label} {store.store.run.model.name}" for store in stores),
        tuple(facts),
        (*cautions, *_differences(stores, bool(pairs))),
        (),
        tuple(sections),
    )


def _differences(stores: Sequence[Gathered], pairs: bool) -> list[str]:
    said, runs = [], [store.store.run for store in stores]
    if len({run.corpus.fingerprint for run in runs}) > 1:
        said.append(
            "The stores are of different corpora: the figures differ for that reason too, and with more positions fewer "
            "neurons are dead."
        )
    if len({run.settings.get("min_occurrences") for run in runs}) > 1:
        said.append("The stores differ in min_occurrences, which decides what a detector is.")
    if pairs:
        said.append(
            "Neurons are compared by their numbers: that means something for checkpoints of one training and for one "
            "model over several corpora, not for models trained apart."
        )
    return said


def overall(stores: Sequence[Gathered]) -> Section:
    """A row a store."""
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
    upright = [(c.name.replace("_", " "), *_texts(rows, i, c.style)) for i, c in enumerate(columns) if i]
    shown = Table(
        "",
        "",
        (
            Column("store", "what of each store", "text"),
            *(Column(store.label, store.label, "right") for store in stores),
        ),
        upright,
    )
    return Section("The stores", "A letter stands for each store.", (), (shown,), (table,))


def _texts(rows: Sequence[Sequence[Value]], at: int, style: str) -> list[str]:
    from ffnscope.tui.reports.formats.values import shown

    return [shown(row[at], style) for row in rows]


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


def _lines(stores: Sequence[Gathered], title: str, style: str, of: Measure) -> LinePlot:
    series = []
    for store in stores:
        layers = store.figures.layers
        series.append((store.store.run.model.name, [x.depth for x in layers], [of(x) for x in layers]))
    return LinePlot(title, tuple(series), _X, style, lettered=True)


def _side_by_side(stores: Sequence[Gathered], title: str, style: str, of: Measure) -> Table:
    """A row a layer, a column a store; empty where a store does not have the layer."""
    each = [{x.layer: of(x) for x in store.figures.layers} for store in stores]
    layers = sorted(set().union(*each))
    columns = (Column("layer", "layer, from 0", "layer"), *(Column(s.label, f"store {s.label}", style) for s in stores))
    return Table("", title, columns, [(layer, *(values.get(layer) for values in each)) for layer in layers])


def _pictured(stores: Sequence[Gathered], title: str, style: str, of: Measure) -> tuple[LinePlot, Table]:
    return _lines(stores, title, style, of), _side_by_side(stores, title, style, of)


def _section(
    stores: Sequence[Gathered],
    title: str,
    note: str,
    measures: Sequence[tuple[str, str, Measure]],
    tables: tuple[Table, ...],
) -> Section:
    made = [_pictured(stores, *measure) for measure in measures]
    return Section(title, note, tuple(plot for plot, _ in made), tuple(table for _, table in made), tables)


def sparsity(stores: Sequence[Gathered]) -> Section:
    """Figures 1 and 2."""
    measures: list[tuple[str, str, Measure]] = [
        ("1a: dead neurons, share of the layer", "share", lambda x: x.dead_share),
        ("1b: mean activation frequency of the alive neurons", "frequency", lambda x: x.mean_frequency_alive),
        ("2: alive neurons covered by 1 to 5 tokens", "share", lambda x: x.tokens.few / x.alive if x.alive else None),
    ]
    tables = (tidy.dead(stores), tidy.frequency(stores), tidy.covering(stores))
    return _section(
        stores, "Figures 1 and 2: sparsity", "Plots over relative depth: 0 first layer, 1 last.", measures, tables
    )


def detection(stores: Sequence[Gathered]) -> Section:
    """Figures 3 and 4."""
    measures: list[tuple[str, str, Measure]] = [
        ("3a: token detectors", "count", lambda x: x.tokens.detectors),
        ("3b: detected tokens, cumulative", "count", lambda x: x.tokens.cumulative),
        ("4: detected tokens new overall", "count", lambda x: x.tokens.new_overall),
    ]
    tables = (tidy.detectors(stores), tidy.detected(stores), tidy.new(stores))
    return _section(
        stores, "Figures 3 and 4: detectors", "Counts, not shares: of larger layers they are larger.", measures, tables
    )


def suppression(stores: Sequence[Gathered]) -> Section:
    """Section 4.4."""
    measures: list[tuple[str, str, Measure]] = [
        ("token detectors that suppress their triggers", "share", lambda x: x.tokens.suppressing_share)
    ]
    note = "Gaps where a layer has no token detectors."
    return _section(stores, "Section 4.4: suppression", note, measures, (tidy.suppression(stores),))


def positions(stores: Sequence[Gathered]) -> Section:
    """Figures 8, 10 and 11."""
    plots = tuple(
        DotPlot(
            f"8: positional neurons of {store.label}",
            tuple(str(x.layer) for x in store.figures.layers),
            [
                [(*key, number) for key, number in zip(POSITIONAL, x.positional, strict=True) if number]
                for x in store.figures.layers
            ],
            DOT_NOTE,
        )
        for store in stores
    )
    counts = _side_by_side(stores, "positional neurons", "count", lambda x: x.positional_neurons)
    return Section(
        "Figures 8, 10 and 11: positional neurons",
        "A dot a neuron, a row a layer.",
        plots,
        (counts,),
        (tidy.positional(stores), tidy.ranges(stores)),
    )
