"""Figures 1 and 2: how sparse the layers are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ffnscope.store.figures.layers import COVERING_BINS, COVERING_LABELS, LayerFigures, NgramFigures
from ffnscope.tui.drawing.numbers import count, freq, percent
from ffnscope.tui.reports.document import Category, Column, Value
from ffnscope.tui.reports.figures import CsvTable, Figure, Heading, Layers, Series, bars, interval_text, layer_csv
from ffnscope.tui.reports.formats.values import shown
from ffnscope.tui.reports.reading import Gathered

# What is covered by few n-grams is what one looks for: warm and bright.
_BIN_STYLES = ("token", "token", "token", "trigger", "trigger", "trigger", "position", "position", "dim", "dim")
BINS = (
    *map(Category, "abcdefghij", COVERING_LABELS, _BIN_STYLES),
    Category("0", "no n-gram", "dim"),
)


def _dead_note(store: Gathered) -> str:
    figures = store.figures
    return (
        f"Dead: never activated in {shown(figures.positions, 'count')} positions. With 95% confidence such a neuron's "
        f"frequency is below {shown(figures.dead_bound, 'frequency')} (rule of three, positions taken as independent). "
        "from, to: 95% Wilson interval of the dead share, the layer's neurons taken as draws. Interval and bound are "
        "not the paper's."
    )


def _frequency_sentence(layer: LayerFigures, layers: Layers) -> str:
    mean = layer.mean_frequency_alive
    if mean is None:
        return "all neurons are dead"
    return f"{count(layer.alive)} alive neurons, activated at {freq(mean).strip()} of the positions on average"


SPARSITY = Heading(
    "Figure 1: dead neurons and activation frequency", _dead_note, "Plots over relative depth: 0 first layer, 1 last."
)
DEAD = Figure(
    heading=SPARSITY,
    number="1a",
    name="dead neurons",
    title="dead neurons, share of the layer",
    unit="share",
    curves=bars("dead", "bar", lambda x: x.dead_share),
    value=lambda x: x.dead_share,
    sentence=lambda x, layers: (
        f"{count(x.dead)} of {count(x.neurons)} neurons dead "
        f"({percent(x.dead_share, 1)}, {interval_text(*x.dead_interval)})"
    ),
    counted=(lambda x: x.dead, "dead neurons"),
    columns=(
        Column("neurons", "FFN neurons"),
        Column("dead", "never activated"),
        Column("share", "dead / neurons", "share"),
        Column("from", "lower end of the 95% interval of the share", "share"),
        Column("to", "upper end", "share"),
    ),
    cells=lambda x: (x.neurons, x.dead, x.dead_share, *x.dead_interval),
    csv=layer_csv(
        "figure_1a_dead_neurons",
        "Dead neurons",
        (
            Column("neurons", "FFN neurons"),
            Column("dead", "neurons never activated"),
            Column("dead_share", "dead / neurons", "share"),
            Column("dead_share_low", "lower end of its 95% Wilson interval, the neurons taken as draws", "share"),
            Column("dead_share_high", "upper end", "share"),
            Column("positions", "positions that were run (S*T)"),
        ),
        lambda x: [(x.neurons, x.dead, x.dead_share, *x.dead_interval, x.positions)],
    ),
)
FREQUENCY = Figure(
    heading=SPARSITY,
    number="1b",
    name="mean frequency, alive",
    title="mean activation frequency of the alive neurons",
    unit="frequency",
    curves=bars("alive", "bar", lambda x: x.mean_frequency_alive),
    value=lambda x: x.mean_frequency_alive,
    brief=lambda x: freq(x.mean_frequency_alive or 0.0).strip(),
    sentence=_frequency_sentence,
    counted=(lambda x: x.alive, "alive neurons"),
    columns=(Column("mean frequency", "of the alive neurons", "frequency"),),
    cells=lambda x: (x.mean_frequency_alive,),
    csv=layer_csv(
        "figure_1b_activation_frequency",
        "Mean activation frequency of the alive neurons",
        (
            Column("alive", "neurons activated at least once"),
            Column("activations", "activated positions of all of them together"),
            Column("positions", "positions that were run (S*T)"),
            Column("mean_frequency_alive", "activations / (alive * positions)", "frequency"),
        ),
        lambda x: [(x.alive, x.activations, x.positions, x.mean_frequency_alive)],
    ),
)


# Figure 2

COVERAGE = Heading(
    "Figure 2: neurons by covering n-grams",
    lambda store: (
        "How many of its most frequent triggering n-grams cover 95% of a neuron's activations. Neurons under 0 are "
        "alive but never activated where an n-gram can stand (only at BOS, at the first positions, or in domains "
        "that only activations are counted for)."
    ),
    "Shares of the alive neurons of a layer.",
)


def _covering_rows(layer: LayerFigures) -> Iterable[Sequence[Value]]:
    for ngrams in layer.ngrams:
        yield (layer.first_half, ngrams.order, 0, 0, "0", ngrams.uncovered)
        for (low, high), label, number in zip(COVERING_BINS, COVERING_LABELS, ngrams.covering, strict=True):
            yield (layer.first_half, ngrams.order, low, high, label, number)


def _covering(order: int, word: str, csv: CsvTable | None = None) -> Figure:
    def ngrams(layer: LayerFigures) -> NgramFigures:
        return layer.ngrams[order - 1]

    def bins(layer: LayerFigures) -> tuple[int, ...]:
        return (*ngrams(layer).covering, ngrams(layer).uncovered)

    def sentence(layer: LayerFigures, layers: Layers) -> str:
        pairs = zip(BINS, bins(layer), strict=True)
        return f"{count(layer.alive)} alive: " + " ".join(f"{bin.letter}:{count(n)}" for bin, n in pairs if n)

    return Figure(
        heading=COVERAGE,
        number="2",
        name=f"alive by {word}",
        title=f"alive neurons by the number of covering {word}",
        note="*: layers of the first half, which the paper shows.",
        stack=Series(BINS, bins),
        of_neurons=True,
        value=lambda x: ngrams(x).few / x.alive if x.alive else None,
        value_unit="share",
        value_name=f"alive by 1-5 {word}",
        value_title=f"alive neurons covered by 1 to 5 {word}",
        brief=lambda x: f"{count(ngrams(x).few)} by 1-5",
        sentence=sentence,
        counted=(lambda x: x.alive, "alive neurons"),
        table=f"alive neurons by {word}",
        columns=tuple(Column(name, f"alive neurons covered by {name} {word}") for name in ("0", *COVERING_LABELS)),
        cells=lambda x: (ngrams(x).uncovered, *ngrams(x).covering),
        csv=csv,
    )


COVERING_CSV = layer_csv(
    "figure_2_covering_ngrams",
    "Alive neurons by the number of covering n-grams",
    (
        Column("first_half", "whether the layer lies in the first half, which the paper shows"),
        Column("order", "n of the n-grams: 1, 2 or 3", "layer"),
        Column("least", "fewest n-grams of the bin; 0 for neurons never activated where an n-gram can stand", "layer"),
        Column("most", "most n-grams of the bin, itself included; empty where there is no end", "layer"),
        Column("label", "the bin as the paper writes it", "text"),
        Column("neurons", "alive neurons of which that many n-grams cover 95% of the activations"),
    ),
    _covering_rows,
)
COVERING = (_covering(1, "unigrams", COVERING_CSV), _covering(2, "bigrams"), _covering(3, "trigrams"))
