"""What the overview says of one layer: a line of exact numbers for each figure."""

from __future__ import annotations

from collections.abc import Callable

from ffnscope.store.figures.layers import DETECTORS, POSITIONAL, LayerFigures
from ffnscope.tui.drawing.numbers import count, freq, percent
from ffnscope.tui.overview.data import Overview

TYPE_LETTERS = {"oscillatory": "o", "both": "b", "one": "e", "other": "x"}
POSITIONAL_LETTERS = tuple(
    TYPE_LETTERS[kind].upper() if strength == "strong" else TYPE_LETTERS[kind] for kind, strength in POSITIONAL
)
BIN_LETTERS = "abcdefghij0"  # of the bins of Figure 2, then those that no n-gram covers


def new_parts(each: LayerFigures) -> tuple[int, int, int]:
    """Detected tokens that are new, that an earlier layer detects, and that the layer before does (paper Figure 4)."""
    tokens = each.tokens
    fresh = tokens.new_overall or 0
    since = tokens.new_against_previous
    return (fresh, tokens.detected - fresh, 0) if since is None else (fresh, since - fresh, tokens.detected - since)


def _interval(low: float, high: float) -> str:
    return f"95% interval {percent(low, 1)} to {percent(high, 1)}"


def say_dead(overview: Overview, each: LayerFigures) -> str:
    """Figure 1a."""
    share = f"{percent(each.dead_share, 1)}, {_interval(*each.dead_interval)}"
    return f"{count(each.dead)} of {count(each.neurons)} neurons dead ({share})"


def say_frequency(overview: Overview, each: LayerFigures) -> str:
    """Figure 1b."""
    mean = each.mean_frequency_alive
    if mean is None:
        return "all neurons are dead"
    return f"{count(each.alive)} alive neurons, activated at {freq(mean).strip()} of the positions on average"


def say_detectors(overview: Overview, each: LayerFigures) -> str:
    """Figure 3a."""
    words = ", ".join(f"{count(n.detectors)} {word}" for n, word in zip(each.ngrams, DETECTORS, strict=True))
    whole = sum(x.tokens.detectors for x in overview.known())
    return f"{words} detectors; {count(whole)} token in all layers"


def say_detected(overview: Overview, each: LayerFigures) -> str:
    """Figure 3b."""
    tokens = each.tokens
    return f"{count(tokens.detected)} different tokens detected; {count(tokens.cumulative or 0)} up to this layer"


def say_new(overview: Overview, each: LayerFigures) -> str:
    """Figure 4."""
    fresh = each.tokens.new_overall or 0
    against = each.tokens.new_against_previous
    said = f"{count(each.tokens.detected)} detected tokens: {count(fresh)} new overall"
    return said + (f", {count(against)} new against the layer before" if against is not None else "")


def say_suppressing(overview: Overview, each: LayerFigures) -> str:
    """Section 4.4."""
    tokens = each.tokens
    if not tokens.detectors:
        return "no token detectors"
    share = f"{percent(tokens.suppressing_share or 0.0, 1)}, {_interval(*tokens.suppressing_interval)}"
    return f"{count(tokens.suppressing)} of {count(tokens.detectors)} token detectors suppress ({share})"


def say_positional(overview: Overview, each: LayerFigures) -> str:
    """Figure 8."""
    there = [f"{letter}:{count(n)}" for letter, n in zip(POSITIONAL_LETTERS, each.positional, strict=True) if n]
    return f"{count(each.positional_neurons)} positional neurons" + (": " if there else "") + " ".join(there)


def say_ranges(overview: Overview, each: LayerFigures) -> str:
    """Figure 9."""
    return f"{count(each.positional[0])} strong oscillatory neurons"


def covering_parts(order: int) -> Callable[[LayerFigures], tuple[int, ...]]:
    """Counts of BINS for an n-gram order."""
    return lambda each: (*each.ngrams[order - 1].covering, each.ngrams[order - 1].uncovered)


def say_covering(order: int) -> Callable[[Overview, LayerFigures], str]:
    """Figure 2."""

    def says(overview: Overview, each: LayerFigures) -> str:
        parts = zip(BIN_LETTERS, covering_parts(order)(each), strict=True)
        return f"{count(each.alive)} alive: " + " ".join(f"{letter}:{count(n)}" for letter, n in parts if n)

    return says
