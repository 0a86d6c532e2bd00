"""The paper's figures as the overview draws them: each with its title, its body, and what it says of one layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ffnscope.store.figures import COVERING_LABELS, DETECTORS, POSITIONAL, LayerFigures
from ffnscope.tui.blocks import ranges as range_lines
from ffnscope.tui.lines import BLANK, Line, Part, line, wrap
from ffnscope.tui.overview_columns import (
    Axis,
    Category,
    Cells,
    bar_cells,
    columns,
    letter_cells,
    neurons_a_letter,
    stack_cells,
)
from ffnscope.tui.overview_data import Overview
from ffnscope.tui.text import count, freq, percent

Body = Callable[[Overview, Axis, int, int], list[Line]]  # (overview, axis, number of the cursor's layer, height)

SUPPRESSING = 0.8  # the paper: over 80% of the token detectors suppress their triggers
ORDER_STYLES = ("token", "trigger", "mark")
# What is covered by few n-grams is what one looks for: warm and bright.
_BIN_STYLES = ("token", "token", "token", "trigger", "trigger", "trigger", "bar", "bar", "faint", "faint")
BINS = tuple(
    Category(letter, label, style)
    for letter, label, style in zip("abcdefghij", COVERING_LABELS, _BIN_STYLES, strict=True)
) + (Category("0", "0 (BOS only)", "faint"),)
ORDER_CATEGORIES = tuple(
    Category(str(number), word, style)
    for number, (word, style) in enumerate(zip(DETECTORS, ORDER_STYLES, strict=True), 1)
)
NEW = (
    Category("n", "new", "token"),
    Category("e", "in an earlier layer", "trigger"),
    Category("p", "in the layer before", "bar"),
)
TYPE_LETTERS = {"oscillatory": "o", "both": "b", "one": "e", "other": "x"}
TYPE_STYLES = {"oscillatory": "mark", "both": "error", "one": "position", "other": "token"}
TYPES = tuple(
    Category(
        TYPE_LETTERS[kind].upper() if strength == "strong" else TYPE_LETTERS[kind],
        f"{kind} {strength}",
        TYPE_STYLES[kind] + ("" if strength == "strong" else "-weak"),
    )
    for kind, strength in POSITIONAL
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
    legend: tuple[Part, ...] = ()
    value: Callable[[LayerFigures], float | None] | None = None
    unit: Callable[[float], str] = lambda value: count(round(value), compact=True)


def legend_parts(categories: Sequence[Category]) -> tuple[Part, ...]:
    """`a 1  b 2-3 ...`, the letters in their styles."""
    out: list[Part] = []
    for each in categories:
        out += [(each.letter, each.style), (f" {each.name.replace(' ', chr(160))}  ", "dim")]
    return tuple(out)


def legend_lines(parts: Sequence[Part], width: int) -> list[Line]:
    """A legend in as many lines as it takes."""
    return [
        Line(tuple((text.replace(chr(160), " "), style) for text, style in row)) for row in wrap(parts, max(width, 1))
    ]


def _labels(rows: int, top: str) -> dict[int, str]:
    return {0: "0", rows - 1: top} if rows > 1 else {}


def _bars(
    value: Callable[[LayerFigures], float | None],
    style: str,
    unit: Callable[[float], str],
    *,
    share: bool = False,
    rule: float | None = None,
) -> Body:
    def body(overview: Overview, axis: Axis, cursor: int, height: int) -> list[Line]:
        highest = max((v for each in overview.known() if (v := value(each)) is not None), default=0.0)
        top = 1.0 if rule else max(math.ceil(highest * 10 - 1e-9) / 10, 0.1) if share else highest
        cells: list[Cells | None] = []
        for layer in axis.layers:
            each = overview.figures.get(layer)
            found = value(each) if each else None
            drawn = bar_cells(found or 0.0, top, height, axis.bar, style, overview.glyphs)
            cells.append(drawn if each else None)
        dotted = min(int(rule * height), height - 1) if rule else None
        return columns(cells, axis, height, _labels(height, unit(top).strip()), overview.glyphs, rule=dotted)

    return body


def _stacks(
    parts: Callable[[LayerFigures], Sequence[int]],
    categories: Sequence[Category],
    total: Callable[[Overview], int] | None = None,
) -> Body:
    def body(overview: Overview, axis: Axis, cursor: int, height: int) -> list[Line]:
        top = total(overview) if total else max((sum(parts(each)) for each in overview.known()), default=0)
        cells: list[Cells | None] = []
        for layer in axis.layers:
            each = overview.figures.get(layer)
            made = stack_cells(parts(each), top, height, axis.bar, categories, overview.glyphs) if each else None
            cells.append(made)
        return columns(cells, axis, height, _labels(height, count(top, compact=True)), overview.glyphs)

    return body


def _detected(overview: Overview, axis: Axis, cursor: int, height: int) -> list[Line]:
    glyphs = overview.glyphs
    top = max((each.tokens.cumulative or 0 for each in overview.known()), default=0)
    cells: list[Cells | None] = []
    marks: list[int | None] = []
    for layer in axis.layers:
        each = overview.figures.get(layer)
        cells.append(bar_cells(each.tokens.detected, top, height, axis.bar, "token", glyphs) if each else None)
        so_far = each.tokens.cumulative if each else None
        marks.append(min(math.ceil(so_far / top * height) - 1, height - 1) if so_far and top else None)
    mark = ("=" if glyphs.ascii else "━", "accent")
    return columns(cells, axis, height, _labels(height, count(top, compact=True)), glyphs, marks=marks, mark=mark)


def new_parts(each: LayerFigures) -> tuple[int, int, int]:
    """Detected tokens that are new, that an earlier layer detects, and that the layer before does (paper Figure 4)."""
    tokens = each.tokens
    fresh = tokens.new_overall or 0
    since = tokens.new_against_previous
    return (fresh, tokens.detected - fresh, 0) if since is None else (fresh, since - fresh, tokens.detected - since)


def _positional(overview: Overview, axis: Axis, cursor: int, height: int) -> list[Line]:
    each = letter_size(overview, axis, height)
    cells: list[Cells | None] = []
    for layer in axis.layers:
        figures = overview.figures.get(layer)
        made = letter_cells(figures.positional, each, axis.bar, TYPES) if figures else None
        cells.append(made[:height] if made is not None else None)
    label = f"1:{count(each, compact=True)}" if each > 1 else ""
    return columns(cells, axis, height, {height - 1: label} if label else {}, overview.glyphs)


def letter_size(overview: Overview, axis: Axis, height: int) -> int:
    """How many neurons a letter of Figure 8 stands for: one wherever they fit."""
    return neurons_a_letter([each.positional for each in overview.known()], height * axis.bar)


def _ranges(overview: Overview, axis: Axis, cursor: int, height: int) -> list[Line]:
    layer = axis.layers[cursor]
    figures, found = overview.figures.get(layer), overview.ranges.get(layer)
    ellipsis = overview.glyphs.ellipsis
    if figures is None:
        return [BLANK, line((f"  layer {layer} is not collected yet", "dim"))]
    if not figures.positional[0]:
        most = sorted(overview.known(), key=lambda each: (-each.positional[0], each.layer))[:5]
        there = ", ".join(str(each.layer) for each in sorted(most, key=lambda e: e.layer) if each.positional[0])
        return [
            BLANK,
            line((f"  no strong oscillatory neurons in layer {layer}", "dim")),
            line((f"  most are in: {there}", "faint")),
        ]
    if found is None:
        return [BLANK, line((f"  reading the curves of layer {layer}{ellipsis}", "dim"))]
    rows = found[: height - 1] if len(found) <= height - 1 else found[: height - 2]
    drawn = range_lines(
        [(str(each.neuron), each.ranges) for each in rows],
        overview.seq_len,
        axis.width,
        ascii=overview.glyphs.ascii,
        x_label="position",
    )
    out = [line((text, "mark")) for text in drawn[:-1]]
    if len(rows) < figures.positional[0]:
        out.append(line((f" and {figures.positional[0] - len(rows)} more", "faint")))
    return [*out, line((drawn[-1], "dim"))]


# What is said of a layer


def _interval(low: float, high: float) -> str:
    return f"95% interval {percent(low, 1)} to {percent(high, 1)}"


def _say_dead(overview: Overview, each: LayerFigures) -> str:
    share = f"{percent(each.dead_share, 1)}, {_interval(*each.dead_interval)}"
    return f"{count(each.dead)} of {count(each.neurons)} neurons dead ({share})"


def _say_frequency(overview: Overview, each: LayerFigures) -> str:
    mean = each.mean_frequency_alive
    if mean is None:
        return "all neurons are dead"
    return f"its {count(each.alive)} alive neurons are activated at {freq(mean).strip()} of the positions on average"


def _say_detectors(overview: Overview, each: LayerFigures) -> str:
    words = ", ".join(f"{count(n.detectors)} {word}" for n, word in zip(each.ngrams, DETECTORS, strict=True))
    whole = sum(x.tokens.detectors for x in overview.known())
    return f"{words} detectors; {count(whole)} token detectors in all layers"


def _say_detected(overview: Overview, each: LayerFigures) -> str:
    tokens = each.tokens
    return f"{count(tokens.detected)} different tokens detected; {count(tokens.cumulative or 0)} up to this layer"


def _say_new(overview: Overview, each: LayerFigures) -> str:
    fresh, earlier, before = new_parts(each)
    against = each.tokens.new_against_previous
    said = f"of {count(each.tokens.detected)} detected tokens {count(fresh)} new overall"
    return said + (f", {count(against)} new against the layer before" if against is not None else "")


def _say_suppressing(overview: Overview, each: LayerFigures) -> str:
    tokens = each.tokens
    if not tokens.detectors:
        return "no token detectors"
    share = f"{percent(tokens.suppressing_share or 0.0, 1)}, {_interval(*tokens.suppressing_interval)}"
    return f"{count(tokens.suppressing)} of {count(tokens.detectors)} token detectors suppress their triggers ({share})"


def _say_positional(overview: Overview, each: LayerFigures) -> str:
    there = [f"{count(n)} {kind} {strength}" for (kind, strength), n in zip(POSITIONAL, each.positional, strict=True) if n]
    return ", ".join(there) or "no positional neurons"


def _say_ranges(overview: Overview, each: LayerFigures) -> str:
    return f"{count(each.positional[0])} strong oscillatory neurons"


def covering_parts(order: int) -> Callable[[LayerFigures], tuple[int, ...]]:
    """Counts of BINS for an n-gram order."""
    return lambda each: (*each.ngrams[order - 1].covering, each.ngrams[order - 1].uncovered)


def _say_covering(order: int) -> Callable[[Overview, LayerFigures], str]:
    def says(overview: Overview, each: LayerFigures) -> str:
        parts = zip(BINS, covering_parts(order)(each), strict=True)
        return f"{count(each.alive)} alive: " + " ".join(f"{bin_.letter}:{count(n)}" for bin_, n in parts if n)

    return says


def _covering(order: int, word: str) -> Figure:
    return Figure(
        "2",
        f"alive by {word}",
        lambda overview, each: f"{count(each.ngrams[order - 1].few)} by 1-5",
        _say_covering(order),
        _stacks(covering_parts(order), BINS, lambda overview: overview.neurons),
        lambda overview: "" if any(each.alive for each in overview.known()) else "every neuron in this store is dead",
        legend_parts(BINS),
        lambda each: each.ngrams[order - 1].few / each.alive if each.alive else None,
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
        _say_dead,
        _bars(lambda each: each.dead_share, "bar", percent, share=True),
        _nothing(lambda each: each.dead, "dead neurons"),
        value=lambda each: each.dead_share,
        unit=percent,
    ),
    Figure(
        "1b",
        "mean frequency, alive",
        lambda overview, each: freq(each.mean_frequency_alive or 0.0).strip(),
        _say_frequency,
        _bars(lambda each: each.mean_frequency_alive, "bar", freq),
        _nothing(lambda each: each.alive, "alive neurons"),
        value=lambda each: each.mean_frequency_alive,
        unit=freq,
    ),
    Figure(
        "3a",
        "detectors",
        lambda overview, each: count(each.tokens.detectors) + " token",
        _say_detectors,
        _stacks(lambda each: [n.detectors for n in each.ngrams], ORDER_CATEGORIES),
        _nothing(lambda each: sum(n.detectors for n in each.ngrams), "detectors"),
        legend_parts(ORDER_CATEGORIES),
        lambda each: float(each.tokens.detectors),
    ),
    Figure(
        "3b",
        "detected tokens",
        lambda overview, each: f"{count(each.tokens.detected)}, {count(each.tokens.cumulative or 0)} so far",
        _say_detected,
        _detected,
        _detectors,
        (("bar", "token"), (" this layer  ", "dim"), ("line", "accent"), (" cumulative", "dim")),
        lambda each: float(each.tokens.cumulative or 0),
    ),
    Figure(
        "4",
        "new tokens",
        lambda overview, each: f"{count(each.tokens.new_overall or 0)} new",
        _say_new,
        _stacks(new_parts, NEW),
        _detectors,
        legend_parts(NEW),
        lambda each: (each.tokens.new_overall or 0) / each.tokens.detected if each.tokens.detected else None,
        percent,
    ),
    Figure(
        "4.4",
        "suppress triggers",
        lambda overview, each: percent(s) if (s := each.tokens.suppressing_share) is not None else "-",
        _say_suppressing,
        _bars(lambda each: each.tokens.suppressing_share, "trigger", percent, share=True, rule=SUPPRESSING),
        _detectors,
        value=lambda each: each.tokens.suppressing_share,
        unit=percent,
    ),
    Figure(
        "8",
        "positional neurons",
        lambda overview, each: count(each.positional_neurons),
        _say_positional,
        _positional,
        _nothing(lambda each: each.positional_neurons, "positional neurons"),
        legend_parts(TYPES),
        lambda each: float(each.positional_neurons),
    ),
    Figure(
        "9",
        "position ranges",
        lambda overview, each: f"layer {each.layer}: {count(each.positional[0])}",
        _say_ranges,
        _ranges,
        _nothing(lambda each: each.positional[0], "strong oscillatory neurons"),
    ),
    _covering(1, "unigrams"),
    _covering(2, "bigrams"),
    _covering(3, "trigrams"),
)
RANGES = next(number for number, each in enumerate(FIGURES) if each.body is _ranges)
COVERING = tuple(number for number, each in enumerate(FIGURES) if each.paper == "2")


def layer_panel(overview: Overview, layer: int, width: int) -> list[Line]:
    """The exact numbers of Figure 2 for one layer, which are its legend too."""
    each = overview.figures.get(layer)
    if each is None:
        return [BLANK, line((f"  layer {layer} is not collected yet", "dim"))]
    room = max((width - 16) // 3, 6)
    head = "".join(word.rjust(room) for word in ("unigrams", "bigrams", "trigrams"))
    out = [line((" " * 16 + head, "dim"))]
    parts = [covering_parts(order)(each) for order in (1, 2, 3)]
    for number, category in enumerate(BINS):
        numbers = "".join(count(part[number]).rjust(room) for part in parts)
        out.append(line((f" {category.letter}", category.style), (f" {category.name:<13}", "dim"), (numbers, "text")))
    whole = f"{count(each.neurons)} neurons, {count(each.dead)} dead"
    return [*out, line((f"   {whole}", "dim"))]
