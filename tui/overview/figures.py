"""The paper's figures as the overview shows them, each with its title and what it says of one layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ffnscope.store.figures.layers import LayerFigures
from ffnscope.tui.drawing.numbers import count, freq, percent
from ffnscope.tui.overview.bodies import (
    BINS,
    NEW,
    ORDER_CATEGORIES,
    SUPPRESSING,
    TYPE_LEGEND,
    Body,
    bars_body,
    detected_body,
    positional_body,
    ranges_body,
    stacks_body,
)
from ffnscope.tui.overview.data import Overview
from ffnscope.tui.overview.layer_axis import Category
from ffnscope.tui.overview.sentences import (
    covering_parts,
    new_parts,
    say_covering,
    say_dead,
    say_detected,
    say_detectors,
    say_frequency,
    say_new,
    say_positional,
    say_ranges,
    say_suppressing,
)


@dataclass(frozen=True)
class Figure:
    """One figure. ``short`` and ``says`` tell of a layer; ``empty`` says why there is nothing to draw, or nothing.

    ``value`` is what is compared between stores, None where the figure is no single curve.
    """

    paper: str  # its number there
    title: str
    short: Callable[[Overview, LayerFigures], str]
    says: Callable[[Overview, LayerFigures], str]
    body: Body
    empty: Callable[[Overview], str] = lambda overview: ""
    legend: tuple[Category, ...] = ()
    value: Callable[[LayerFigures], float | None] | None = None
    compared: str = ""  # the title where stores are compared; the same where empty
    unit: Callable[[float], str] = lambda value: count(round(value), compact=True)


def _covering(order: int, word: str) -> Figure:
    return Figure(
        "2",
        f"alive by {word}",
        lambda overview, each: f"{count(each.ngrams[order - 1].few)} by 1-5",
        say_covering(order),
        stacks_body(covering_parts(order), BINS, lambda overview: overview.neurons),
        lambda overview: "" if any(each.alive for each in overview.known()) else "every neuron in this store is dead",
        BINS,
        lambda each: each.ngrams[order - 1].few / each.alive if each.alive else None,
        f"alive by 1-5 {word}",
        percent,
    )


def _nothing(of: Callable[[LayerFigures], int], what: str) -> Callable[[Overview], str]:
    return lambda overview: "" if any(of(each) for each in overview.known()) else f"no {what} in this store"


_detectors = _nothing(lambda each: each.tokens.detectors, "token detectors")

FIGURES: tuple[Figure, ...] = (
    Figure(
        "1a",
        "dead neurons",
        lambda overview, each: percent(each.dead_share),
        say_dead,
        bars_body(lambda each: each.dead_share, "bar", percent, share=True),
        _nothing(lambda each: each.dead, "dead neurons"),
        value=lambda each: each.dead_share,
        unit=percent,
    ),
    Figure(
        "1b",
        "mean frequency, alive",
        lambda overview, each: freq(each.mean_frequency_alive or 0.0).strip(),
        say_frequency,
        bars_body(lambda each: each.mean_frequency_alive, "bar", freq),
        _nothing(lambda each: each.alive, "alive neurons"),
        value=lambda each: each.mean_frequency_alive,
        unit=freq,
    ),
    Figure(
        "3a",
        "detectors",
        lambda overview, each: count(each.tokens.detectors) + " token",
        say_detectors,
        stacks_body(lambda each: [n.detectors for n in each.ngrams], ORDER_CATEGORIES),
        _nothing(lambda each: sum(n.detectors for n in each.ngrams), "detectors"),
        ORDER_CATEGORIES,
        lambda each: float(each.tokens.detectors),
        "token detectors",
    ),
    Figure(
        "3b",
        "detected tokens",
        lambda overview, each: f"{count(each.tokens.detected)}, total {count(each.tokens.cumulative or 0)}",
        say_detected,
        detected_body,
        _detectors,
        (Category("█", "this layer", "token"), Category("━", "cumulative", "accent")),
        lambda each: float(each.tokens.cumulative or 0),
        "detected, cumulative",
    ),
    Figure(
        "4",
        "new tokens",
        lambda overview, each: f"{count(each.tokens.new_overall or 0)} new",
        say_new,
        stacks_body(new_parts, NEW),
        _detectors,
        NEW,
        lambda each: (each.tokens.new_overall or 0) / each.tokens.detected if each.tokens.detected else None,
        "new of the detected",
        percent,
    ),
    Figure(
        "4.4",
        "suppress triggers",
        lambda overview, each: percent(s) if (s := each.tokens.suppressing_share) is not None else "-",
        say_suppressing,
        bars_body(lambda each: each.tokens.suppressing_share, "trigger", percent, share=True, rule=SUPPRESSING),
        _detectors,
        value=lambda each: each.tokens.suppressing_share,
        unit=percent,
    ),
    Figure(
        "8",
        "positional neurons",
        lambda overview, each: count(each.positional_neurons),
        say_positional,
        positional_body,
        _nothing(lambda each: each.positional_neurons, "positional neurons"),
        TYPE_LEGEND,
        lambda each: float(each.positional_neurons),
    ),
    Figure(
        "9",
        "position ranges",
        lambda overview, each: f"layer {each.layer}: {count(each.positional[0])}",
        say_ranges,
        ranges_body,
        _nothing(lambda each: each.positional[0], "strong oscillatory neurons"),
    ),
    _covering(1, "unigrams"),
    _covering(2, "bigrams"),
    _covering(3, "trigrams"),
)
RANGES = next(number for number, each in enumerate(FIGURES) if each.body is ranges_body)
COVERING = tuple(number for number, each in enumerate(FIGURES) if each.paper == "2")
