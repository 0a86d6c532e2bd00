"""One store's report: the figures of the catalogue, a section for each heading, and what stands before them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from ffnscope.tui.reports.about import about, model_text, warnings
from ffnscope.tui.reports.catalogue import FIGURES
from ffnscope.tui.reports.catalogue.experts import EXPERTS
from ffnscope.tui.reports.document import (
    Column,
    Document,
    DotPlot,
    LinePlot,
    Plot,
    RangePlot,
    Section,
    StackPlot,
    Table,
    Value,
)
from ffnscope.tui.reports.figures import LAYER, Figure, Heading, Layers
from ffnscope.tui.reports.findings import findings
from ffnscope.tui.reports.reading import Gathered


def report_document(store: Gathered, figures: Sequence[Figure] = FIGURES) -> Document:
    """The report on one store; on a mixture of experts with a figure of its own."""
    if store.store.run.model.experts:
        figures = (*figures, EXPERTS)
    return Document(
        f"ffnscope report: {model_text(store.store.run.model)}",
        about(store.store),
        warnings(store.store, store.figures, store.state),
        findings(store.figures),
        tuple(_section(heading, list(group), store) for heading, group in groupby(figures, lambda x: x.heading)),
    )


def _section(heading: Heading, figures: Sequence[Figure], store: Gathered) -> Section:
    layers = store.figures.layers
    reasons = {figure: reason for figure in figures if (reason := figure.absent(layers))}
    present = [figure for figure in figures if figure not in reasons]
    notes = [heading.note(store)] if present else []
    notes += [f"Left out: {reason}." for reason in dict.fromkeys(reasons.values())]
    plots = [plot for figure in present if (plot := _plot(figure, store))]
    return Section(
        heading.title,
        " ".join(notes),
        tuple(plots),
        tuple(_tables(present, store)),
        tuple(figure.csv.of([store]) for figure in present if figure.csv),
    )


def _plot(figure: Figure, store: Gathered) -> Plot | None:
    layers, title = store.figures.layers, figure.numbered(figure.title)
    if not figure.title:
        return None
    if figure.ranges:
        ranges = [(f"L{neuron.layer}N{neuron.neuron}", neuron.ranges) for neuron in store.drawn]
        return RangePlot(title, ranges, store.store.run.corpus.seq_len, figure.note) if ranges else None
    if figure.dots:
        return dot_plot(figure, store, title)
    if figure.curves:
        xs, values = [float(x.layer) for x in layers], [figure.curves.values(x) for x in layers]
        curves = enumerate(figure.curves.of(layers))
        series = tuple((category.name, xs, [row[i] for row in values]) for i, category in curves)
        return LinePlot(title, series, "layer", figure.unit, note=figure.note)
    if figure.stack:
        labels = tuple(f"{x.layer}{'*' if x.first_half else ''}" for x in layers)
        columns, rows = _columns(figure, layers)
        names = tuple(column.name for column in columns)
        matrix = [[float(cell) if isinstance(cell, (int, float)) else 0 for cell in row] for row in rows]
        return StackPlot(title, labels, names, matrix, figure.unit, figure.note)
    return None


def dot_plot(figure: Figure, store: Gathered, title: str) -> DotPlot:
    """The neurons of each layer by category, a dot each."""
    layers = store.figures.layers
    assert figure.stack is not None
    counts = [[int(n or 0) for n in figure.stack.values(x)] for x in layers]
    labels = tuple(str(x.layer) for x in layers)
    return DotPlot(title, labels, figure.stack.of(layers), counts, figure.plot_legend, figure.note)


def _columns(figure: Figure, layers: Layers) -> tuple[tuple[Column, ...], list[Sequence[Value]]]:
    """The figure's columns for reading, and a layer's cells in each row. Not given, they are those of its categories."""
    series = figure.curves or figure.stack
    if figure.columns or series is None:
        return figure.columns, [figure.cells(layer) for layer in layers]
    names = [category.name for category in series.of(layers)]
    columns = tuple(Column(name, f"{figure.title}: {name}", figure.unit) for name in names)
    return columns, [series.values(layer) for layer in layers]


def _tables(figures: Sequence[Figure], store: Gathered) -> list[Table]:
    """Tables for reading: the columns of all figures without a table of their own in one, then the others."""
    layers, tables = store.figures.layers, []
    joined = [figure for figure in figures if not figure.table]
    for title, group in [("", joined), *((figure.table, [figure]) for figure in figures if figure.table)]:
        parts = [_columns(figure, layers) for figure in group]
        columns = tuple(column for names, _ in parts for column in names)
        if columns:
            rows = [(x.layer, *(cell for _, cells in parts for cell in cells[i])) for i, x in enumerate(layers)]
            tables.append(Table("", title, (LAYER, *columns), rows))
    examples = [figure.examples(store) for figure in figures if figure.examples]
    return tables + [table for table in examples if table.rows]
