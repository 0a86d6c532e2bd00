"""The sections of one store's report, in the paper's order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ffnscope.store.figures.layers import COVERING_LABELS, DETECTORS, POSITIONAL, LayerFigures
from ffnscope.tui.reports import tidy
from ffnscope.tui.reports.document import Column, DotPlot, LinePlot, Plot, RangePlot, Section, StackPlot, Table, Value
from ffnscope.tui.reports.formats.values import shown
from ffnscope.tui.reports.reading import EXAMPLES, Gathered

_LAYER = Column("layer", "layer, from 0", "layer")
FIRST_HALF = "*"
HALF_NOTE = f"{FIRST_HALF}: layers of the first half, which the paper shows."


def sections(read: Gathered) -> tuple[Section, ...]:
    """Every section of the report on one store."""
    return (sparsity(read), coverage(read), detection(read), suppression(read), examples(read), positions(read))


def _shown(title: str, columns: Sequence[Column], rows: Sequence[Sequence[Value]]) -> Table:
    return Table("", title, (_LAYER, *columns), rows)


def _lines(
    read: Gathered, title: str, style: str, series: Sequence[tuple[str, Callable[[LayerFigures], float | None]]]
) -> LinePlot:
    layers = read.figures.layers
    xs = [float(layer.layer) for layer in layers]
    return LinePlot(title, tuple((name, xs, [of(layer) for layer in layers]) for name, of in series), "layer", style)


def sparsity(read: Gathered) -> Section:
    """Figure 1: dead neurons, and how often the others are activated."""
    layers, figures = read.figures.layers, read.figures
    columns = (
        Column("neurons", "FFN neurons"),
        Column("dead", "never activated"),
        Column("share", "dead / neurons", "share"),
        Column("from", "lower end of the 95% interval of the share", "share"),
        Column("to", "upper end", "share"),
        Column("mean frequency", "of the alive neurons", "frequency"),
    )
    rows = [(x.layer, x.neurons, x.dead, x.dead_share, *x.dead_interval, x.mean_frequency_alive) for x in layers]
    note = (
        f"Dead: never activated in {shown(figures.positions, 'count')} positions. With 95% confidence such a neuron's "
        f"frequency is below {shown(figures.dead_bound, 'frequency')} (rule of three, positions taken as independent). "
        "from, to: 95% Wilson interval of the dead share, the layer's neurons taken as draws. Interval and bound are "
        "not the paper's."
    )
    return Section(
        "Figure 1: dead neurons and activation frequency",
        note,
        (
            _lines(read, "1a: dead neurons, share of the layer", "share", [("dead", lambda x: x.dead_share)]),
            _lines(
                read,
                "1b: mean activation frequency of the alive neurons",
                "frequency",
                [("alive", lambda x: x.mean_frequency_alive)],
            ),
        ),
        (_shown("", columns, rows),),
        (tidy.dead([read]), tidy.frequency([read])),
    )


def coverage(read: Gathered) -> Section:
    """Figure 2: alive neurons by covering n-grams."""
    layers = read.figures.layers
    plots, tables = [], []
    names = ("0", *COVERING_LABELS)
    for i, word in enumerate(("unigrams", "bigrams", "trigrams")):
        labels = tuple(f"{layer.layer}{FIRST_HALF if layer.first_half else ''}" for layer in layers)
        matrix = [(layer.ngrams[i].uncovered, *layer.ngrams[i].covering) for layer in layers]
        plots.append(StackPlot(f"2: alive neurons by the number of covering {word}", labels, names, matrix, HALF_NOTE))
        columns = [Column(name, f"alive neurons covered by {name} {word}") for name in names]
        rows = [(layer.layer, *row) for layer, row in zip(layers, matrix, strict=True)]
        tables.append(_shown(f"alive neurons by {word}", columns, rows))
    note = (
        "How many of its most frequent triggering n-grams cover 95% of a neuron's activations. Neurons under 0 are "
        "alive but never activated where an n-gram can stand (only at BOS, at the first positions, or in domains "
        "that only activations are counted for)."
    )
    return Section("Figure 2: neurons by covering n-grams", note, tuple(plots), tuple(tables), (tidy.covering([read]),))


def detection(read: Gathered) -> Section:
    """Figures 3 and 4: detectors and what they detect."""
    layers = read.figures.layers
    columns = (
        *(Column(name, f"{name} detectors") for name in DETECTORS),
        Column("tokens", "different detected tokens"),
        Column("so far", "the same over this layer and all before"),
        Column("new", "detected in no layer before"),
        Column("new to previous", "not detected in the layer before"),
    )
    rows = [
        (
            x.layer,
            *(each.detectors for each in x.ngrams),
            x.tokens.detected,
            x.tokens.cumulative,
            x.tokens.new_overall,
            x.tokens.new_against_previous,
        )
        for x in layers
    ]
    plots = (
        _lines(
            read,
            "3a: detectors",
            "count",
            [(name, lambda x, i=i: x.ngrams[i].detectors) for i, name in enumerate(DETECTORS)],  # type: ignore[misc]
        ),
        _lines(
            read,
            "3b: detected tokens",
            "count",
            [("this layer", lambda x: x.tokens.detected), ("cumulative", lambda x: x.tokens.cumulative)],
        ),
        _lines(
            read,
            "4: new detected tokens",
            "count",
            [
                ("new overall", lambda x: x.tokens.new_overall),
                ("new to the previous layer", lambda x: x.tokens.new_against_previous),
            ],
        ),
    )
    note = (
        "tokens, so far, new: of token detectors; bigrams and trigrams are in the CSV. Cumulative over the layers in "
        "the store."
    )
    return Section(
        "Figures 3 and 4: detectors and the tokens that they detect",
        note,
        plots,
        (_shown("", columns, rows),),
        (tidy.detectors([read]), tidy.detected([read]), tidy.new([read])),
    )


def suppression(read: Gathered) -> Section:
    """Section 4.4: detectors that suppress their triggers."""
    columns = (
        Column("detectors", "token detectors"),
        Column("suppress", "of them, those that suppress their triggers"),
        Column("share", "suppress / detectors", "share"),
        Column("from", "lower end of its 95% interval", "share"),
        Column("to", "upper end", "share"),
    )
    rows = []
    for x in read.figures.layers:
        ends = x.tokens.suppressing_interval if x.tokens.detectors else (None, None)
        rows.append((x.layer, x.tokens.detectors, x.tokens.suppressing, x.tokens.suppressing_share, *ends))
    note = (
        "A detector suppresses its triggers when its output row points away from their unembeddings (mean projection "
        "below 0). from, to: 95% Wilson interval, not the paper's. Bigram and trigram detectors are in the CSV."
    )
    return Section(
        "Section 4.4: token detectors that suppress their triggers",
        note,
        (),
        (_shown("", columns, rows),),
        (tidy.suppression([read]),),
    )


def examples(read: Gathered) -> Section:
    """Figure 5: the token detectors that are activated most."""
    columns = (
        Column("neuron", "layer and neuron", "text"),
        Column("activations", "activated positions"),
        Column("covered", "share on the detected tokens, of those with a unigram", "share"),
        Column("detects", "detected tokens", "tokens"),
        Column("projection", "mean projection of the detected tokens", "number"),
        Column("promotes", "tokens with the largest projection", "tokens"),
        Column("suppresses", "tokens with the smallest projection", "tokens"),
    )
    rows = [
        (
            f"L{x.layer}N{x.neuron}",
            x.activations,
            x.covered,
            x.tokens,
            x.trigger_projection,
            x.promoted,
            x.suppressed,
        )
        for x in read.examples
    ]
    total = read.figures.detectors()
    which = (
        f"The {EXAMPLES} of {shown(total, 'count')} that are activated most"
        if total > EXAMPLES
        else "All, by activations"
    )
    note = f"{which}, in that order. `ffnscope export STORE --where kind:token` has every detector."
    if not total:
        note = "No token detectors."
    table = Table("", "", columns, rows)
    return Section("Figure 5: token detectors", note, (), (table,) if rows else (), (tidy.examples([read]),))


def positions(read: Gathered) -> Section:
    """Figures 8 and 9: positional neurons, and the position ranges of the strong oscillatory ones."""
    layers = read.figures.layers
    dots = [[(*key, number) for key, number in zip(POSITIONAL, x.positional, strict=True) if number] for x in layers]
    plots: list[Plot] = [DotPlot("8: positional neurons", tuple(str(x.layer) for x in layers), dots, DOT_NOTE)]
    if read.drawn:
        rows = [(f"L{each.layer}N{each.neuron}", each.ranges) for each in read.drawn]
        plots.append(RangePlot("9: position ranges of strong oscillatory neurons", rows, read.store.run.corpus.seq_len))
    columns = [Column(f"{kind} {strength}", f"{strength} {kind} neurons") for kind, strength in POSITIONAL]
    rows8 = [(x.layer, *x.positional) for x in layers]
    note = "Types of the paper's Figure 7; a neuron counts here also where it is a detector."
    total = sum(read.oscillating.values())
    if len(read.drawn) < total:
        note += (
            f" Figure 9 shows {len(read.drawn)} of {shown(total, 'count')} strong oscillatory neurons, those of the layer "
            "with most; --csv and --json hold all."
        )
    elif not total:
        note += " There are no strong oscillatory neurons, so there is no Figure 9."
    return Section(
        "Figures 8 and 9: positional neurons",
        note,
        tuple(plots),
        (_shown("", columns, rows8),),
        (tidy.positional([read]), tidy.ranges([read])),
    )


DOT_NOTE = "o oscillatory, b both extremes, e one extreme, x other; capital letters: strong."
