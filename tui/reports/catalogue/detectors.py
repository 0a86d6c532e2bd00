"""Figures 3, 4 and 5 and Section 4.4: detectors, what they detect and whether they suppress it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ffnscope.store.figures.layers import DETECTORS, LayerFigures, NgramFigures
from ffnscope.tui.drawing.numbers import count, percent
from ffnscope.tui.reports.document import Category, Column, Table, Value
from ffnscope.tui.reports.figures import (
    BAR,
    LAYER,
    NEURON,
    CsvTable,
    Figure,
    Heading,
    Layers,
    Series,
    bars,
    interval_text,
    json_list,
    layer_csv,
)
from ffnscope.tui.reports.formats.values import shown
from ffnscope.tui.reports.reading import EXAMPLES, Gathered

SUPPRESSING = 0.8  # the paper: over 80% of the token detectors suppress their triggers
ORDERS = tuple(map(Category, "123", DETECTORS, ("token", "trigger", "mark")))

DETECTION = Heading(
    "Figures 3 and 4: detectors and the tokens that they detect",
    lambda store: (
        "tokens, so far, new: of token detectors; bigrams and trigrams are in the CSV. Cumulative over the layers in "
        "the store."
    ),
    "3a and 3b are counts, not shares: larger layers have larger ones.",
)
SUPPRESSION = Heading(
    "Section 4.4: token detectors that suppress their triggers",
    lambda store: (
        "A detector suppresses its triggers when its output row points away from their unembeddings (mean projection "
        "below 0). from, to: 95% Wilson interval, not the paper's. Bigram and trigram detectors are in the CSV."
    ),
    "Gaps where a layer has no token detectors.",
)


def _detector_csv(
    key: str, title: str, columns: Sequence[Column], row: Callable[[NgramFigures], Sequence[Value]]
) -> CsvTable:
    """One row per layer and order."""
    return layer_csv(
        key,
        title,
        (Column("detector", "token, bigram or trigram", "text"), *columns),
        lambda x: [(kind, *row(ngrams)) for kind, ngrams in zip(DETECTORS, x.ngrams, strict=True)],
    )


def _new_tokens(layer: LayerFigures) -> tuple[int, int, int]:
    """Detected tokens that are new, that only an earlier layer detects, and that the layer before does."""
    new, against, detected = layer.tokens.new_overall or 0, layer.tokens.new_against_previous, layer.tokens.detected
    return (new, detected - new, 0) if against is None else (new, against - new, detected - against)


def _new_sentence(layer: LayerFigures, layers: Layers) -> str:
    tokens = layer.tokens
    text = f"{count(tokens.detected)} detected tokens: {count(tokens.new_overall or 0)} new overall"
    against = tokens.new_against_previous
    return text if against is None else f"{text}, {count(against)} new against the layer before"


def _detectors_sentence(layer: LayerFigures, layers: Layers) -> str:
    counts = ", ".join(f"{count(n.detectors)} {word}" for n, word in zip(layer.ngrams, DETECTORS, strict=True))
    return f"{counts} detectors; {count(sum(x.tokens.detectors for x in layers))} token in all layers"


def _suppressing_sentence(layer: LayerFigures, layers: Layers) -> str:
    tokens = layer.tokens
    if not tokens.detectors:
        return "no token detectors"
    share = f"{percent(tokens.suppressing_share or 0.0, 1)}, {interval_text(*tokens.suppressing_interval)}"
    return f"{count(tokens.suppressing)} of {count(tokens.detectors)} token detectors suppress ({share})"


def _suppressing(ngrams: NgramFigures) -> tuple[Value, ...]:
    ends = ngrams.suppressing_interval if ngrams.detectors else (None, None)
    return (ngrams.detectors, ngrams.suppressing, ngrams.suppressing_share, *ends)


_ORDERS = Series(ORDERS, lambda x: [ngrams.detectors for ngrams in x.ngrams])
_TOKEN_DETECTORS: tuple[Callable[[LayerFigures], float], str] = (lambda x: x.tokens.detectors, "token detectors")
_DETECTED = Column("detected", "different n-grams that the layer's detectors detect")
DETECTOR_COUNTS = Figure(
    heading=DETECTION,
    number="3a",
    name="detectors",
    title="detectors",
    curves=_ORDERS,
    stack=_ORDERS,
    value=lambda x: x.tokens.detectors,
    value_name="token detectors",
    value_title="token detectors",
    brief=lambda x: f"{count(x.tokens.detectors)} token",
    sentence=_detectors_sentence,
    counted=(lambda x: sum(ngrams.detectors for ngrams in x.ngrams), "detectors"),
    columns=tuple(Column(name, f"{name} detectors") for name in DETECTORS),
    cells=lambda x: [ngrams.detectors for ngrams in x.ngrams],
    csv=_detector_csv(
        "figure_3a_detectors", "Detectors", [Column("neurons", "detectors of that kind")], lambda n: (n.detectors,)
    ),
)
DETECTED = Figure(
    heading=DETECTION,
    number="3b",
    name="detected tokens",
    title="detected tokens",
    curves=Series(
        (Category(BAR, "this layer", "token"), Category("━", "cumulative", "accent")),
        lambda x: (x.tokens.detected, x.tokens.cumulative),
    ),
    value=lambda x: x.tokens.cumulative,
    value_name="detected, cumulative",
    value_title="detected tokens, cumulative",
    brief=lambda x: f"{count(x.tokens.detected)}, total {count(x.tokens.cumulative or 0)}",
    sentence=lambda x, layers: (
        f"{count(x.tokens.detected)} different tokens detected; {count(x.tokens.cumulative or 0)} up to this layer"
    ),
    counted=_TOKEN_DETECTORS,
    columns=(
        Column("tokens", "different detected tokens"),
        Column("so far", "the same over this layer and all before"),
    ),
    cells=lambda x: (x.tokens.detected, x.tokens.cumulative),
    csv=_detector_csv(
        "figure_3b_detected_ngrams",
        "Detected tokens and n-grams",
        (_DETECTED, Column("cumulative", "the same over this layer and all before it in the store")),
        lambda n: (n.detected, n.cumulative),
    ),
)
NEW_TOKENS = Figure(
    heading=DETECTION,
    number="4",
    name="new tokens",
    title="new detected tokens",
    curves=Series(
        (Category("n", "new overall", "token"), Category("p", "new to the previous layer", "trigger")),
        lambda x: (x.tokens.new_overall, x.tokens.new_against_previous),
    ),
    stack=Series(
        (
            Category("n", "new", "token"),
            Category("e", "in an earlier layer", "trigger"),
            Category("p", "in the layer before", "position"),
        ),
        _new_tokens,
    ),
    value=lambda x: (x.tokens.new_overall or 0) / x.tokens.detected if x.tokens.detected else None,
    value_unit="share",
    value_name="new of the detected",
    value_title="detected tokens that are new overall, share",
    brief=lambda x: f"{count(x.tokens.new_overall or 0)} new",
    sentence=_new_sentence,
    counted=_TOKEN_DETECTORS,
    columns=(
        Column("new", "detected in no layer before"),
        Column("new to previous", "not detected in the layer before"),
    ),
    cells=lambda x: (x.tokens.new_overall, x.tokens.new_against_previous),
    csv=_detector_csv(
        "figure_4_new_ngrams",
        "New detected tokens and n-grams",
        (
            _DETECTED,
            Column("new_overall", "those that no layer before it in the store detects"),
            Column("new_against_previous", "those that the layer before does not detect; empty where it is not there"),
        ),
        lambda n: (n.detected, n.new_overall, n.new_against_previous),
    ),
)
SUPPRESSED = Figure(
    heading=SUPPRESSION,
    number="4.4",
    name="suppress triggers",
    unit="share",
    curves=bars("suppress", "trigger", lambda x: x.tokens.suppressing_share),
    threshold=SUPPRESSING,
    value=lambda x: x.tokens.suppressing_share,
    value_title="token detectors that suppress their triggers",
    sentence=_suppressing_sentence,
    counted=_TOKEN_DETECTORS,
    columns=(
        Column("detectors", "token detectors"),
        Column("suppress", "of them, those that suppress their triggers"),
        Column("share", "suppress / detectors", "share"),
        Column("from", "lower end of its 95% interval", "share"),
        Column("to", "upper end", "share"),
    ),
    cells=lambda x: _suppressing(x.tokens),
    csv=_detector_csv(
        "section_4_4_suppression",
        "Detectors that suppress their triggers",
        (
            Column("neurons", "detectors of that kind"),
            Column("suppressing", "those whose mean projection on their triggers is below 0"),
            Column("suppressing_share", "suppressing / neurons", "share"),
            Column("suppressing_share_low", "lower end of its 95% Wilson interval", "share"),
            Column("suppressing_share_high", "upper end", "share"),
        ),
        _suppressing,
    ),
)


def _examples_note(store: Gathered) -> str:
    total = store.figures.detectors()
    if not total:
        return "No token detectors."
    most = f"The {EXAMPLES} of {shown(total, 'count')} that are activated most"
    which = most if total > EXAMPLES else "All, by activations"
    return f"{which}, in that order. `ffnscope export STORE --where kind:token` has every detector."


def _examples(store: Gathered) -> Table:
    columns = (
        Column("neuron", "layer and neuron", "text"),
        Column("activations", "activated positions"),
        Column("covered", "share on the detected tokens, of those with a unigram", "share"),
        Column("detects", "detected tokens", "tokens"),
        Column("projection", "mean projection of the detected tokens", "number"),
        Column("promotes", "tokens with the largest projection", "tokens"),
        Column("suppresses", "tokens with the smallest projection", "tokens"),
    )
    rows: list[Sequence[Value]] = [
        (f"L{x.layer}N{x.neuron}", x.activations, x.covered, x.tokens, x.trigger_projection, x.promoted, x.suppressed)
        for x in store.examples
    ]
    return Table("", "", columns, rows)


EXAMPLE_DETECTORS = Figure(
    heading=Heading("Figure 5: token detectors", _examples_note, ""),
    number="5",
    examples=_examples,
    csv=CsvTable(
        "figure_5_token_detectors",
        "Token detectors activated most",
        (
            LAYER,
            NEURON,
            Column("activations", "activated positions"),
            Column("covered", "share on the detected tokens of the activations that have a unigram", "share"),
            Column("detected", "detected tokens, a JSON array", "text"),
            Column("trigger_projection", "mean projection of the detected tokens", "number"),
            Column("promoted", "tokens with the largest projection, a JSON array", "text"),
            Column("suppressed", "tokens with the smallest projection, a JSON array", "text"),
        ),
        lambda store: (
            (
                *(x.layer, x.neuron, x.activations, x.covered, json_list(x.tokens)),
                *(x.trigger_projection, json_list(x.promoted), json_list(x.suppressed)),
            )
            for x in store.examples
        ),
    ),
)
