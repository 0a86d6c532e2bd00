"""Section 4.4, causally (ours): token detectors taken away, one at a time and a layer's together, and the loss by kind."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from ffnscope.store.figures.intervals import Z95, interval
from ffnscope.store.figures.layers import LayerFigures
from ffnscope.tui.drawing.numbers import count, percent
from ffnscope.tui.reports.catalogue.detectors import SUPPRESSING
from ffnscope.tui.reports.document import Category, Column, Finding, Table, Value
from ffnscope.tui.reports.figures import (
    NEURON,
    CsvTable,
    Figure,
    Heading,
    Series,
    interval_text,
    layer_csv,
)
from ffnscope.tui.reports.findings import AGREES, DIFFERS, MIN_DETECTORS, PARTLY, TOO_LITTLE
from ffnscope.tui.reports.reading import Gathered

if TYPE_CHECKING:
    from ffnscope.core.effects.causal import Causal, DetectorEffect, LayerCausal
    from ffnscope.core.effects.summary import Effect


@dataclass(frozen=True)
class CausalLayer(LayerFigures):
    """A layer whose neurons were taken away."""

    causal: LayerCausal | None = None


def with_causal(store: Gathered, causal: Causal) -> Gathered:
    """The store with the effects of taking its neurons away."""
    effects = {layer.layer: layer for layer in causal.layers}
    layers = tuple(
        CausalLayer(
            **{field.name: getattr(x, field.name) for field in fields(LayerFigures)}, causal=effects.get(x.layer)
        )
        for x in store.figures.layers
    )
    return replace(store, causal=causal, figures=replace(store.figures, layers=layers))


def _causal(layer: LayerFigures) -> LayerCausal | None:
    return getattr(layer, "causal", None)


def _known(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def _raised(detectors: Sequence[DetectorEffect]) -> int:
    return sum(1 for detector in detectors if detector.raises)


def _shares(layer: LayerFigures) -> tuple[float | None, float | None]:
    causal = _causal(layer)
    decided = causal.decided if causal is not None else ()
    if not decided:
        return None, None
    return _raised(decided) / len(decided), sum(detector.trigger_projection < 0 for detector in decided) / len(decided)


def _layer_row(layer: LayerFigures) -> tuple[Value, ...]:
    causal = _causal(layer)
    if causal is None or not causal.detectors:
        return (0, 0, *[None] * 9)
    decided, together = causal.decided, causal.together
    raised = _raised(decided)
    ends = interval(raised, len(decided)) if decided else (None, None)
    by_weights = sum(detector.trigger_projection < 0 for detector in decided)
    return (
        len(causal.detectors),
        len(decided),
        raised / len(decided) if decided else None,
        *ends,
        by_weights / len(decided) if decided else None,
        _mean(detector.effect.delta_trigger_logit for detector in decided),
        _mean(detector.direct for detector in decided),
        causal.direct_share,
        _known(together.delta_trigger_logit) if together else None,
        together.delta_loss if together else None,
    )


_LAYER_COLUMNS = (
    Column("detectors", "token detectors of the layer"),
    Column("tested", "of them, those that fire on a detected token in the tested windows"),
    Column(
        "raise", "share of these without which the logit of the detected token is higher where they fire on it", "share"
    ),
    Column("from", "lower end of its 95% Wilson interval", "share"),
    Column("to", "upper end", "share"),
    Column(
        "projection", "share of these whose mean projection on their detected tokens is below 0 (Section 4.4)", "share"
    ),
    Column("logit", "mean change of that logit with one of them taken away", "number"),
    Column("direct", "mean direct effect of one of them on that logit", "number"),
    Column(
        "of_direct", "the changes over minus the direct effects; below 1: later layers make up for the rest", "number"
    ),
    Column("together_logit", "mean change of that logit with all of the layer's taken away at once", "number"),
    Column("together_loss", "mean change of the loss then, nats", "change"),
)


def _detector_rows(layer: LayerFigures) -> Iterable[tuple[Value, ...]]:
    causal = _causal(layer)
    for detector in causal.detectors if causal is not None else ():
        effect = detector.effect
        yield (
            effect.neuron,
            detector.trigger_projection,
            effect.trigger_positions,
            _known(effect.delta_trigger_logit),
            _known(effect.delta_trigger_logit_low),
            _known(effect.delta_trigger_logit_high),
            detector.direct,
            effect.delta_loss,
            _known(effect.delta_loss_low),
            _known(effect.delta_loss_high),
            _known(effect.delta_loss_active),
        )


_DETECTOR_COLUMNS = (
    NEURON,
    Column("trigger_projection", "its mean projection on its detected tokens", "number"),
    Column("trigger_positions", "tested positions at which it fires on a detected token"),
    Column("delta_trigger_logit", "mean change of the detected token's logit there, without it", "number"),
    Column("delta_trigger_logit_low", "lower end of its 95% interval over windows", "number"),
    Column("delta_trigger_logit_high", "upper end", "number"),
    Column("direct_effect", "its mean direct effect on that logit there", "number"),
    Column("delta_loss", "mean change of the loss without it, nats", "change"),
    Column("delta_loss_low", "lower end of its 95% interval over windows", "change"),
    Column("delta_loss_high", "upper end", "change"),
    Column("delta_loss_active", "mean change of the loss where it is activated", "change"),
)


def _kind_row(kind: str, effects: Sequence[Effect]) -> tuple[Value, ...]:
    losses = [effect.delta_loss for effect in effects]
    mean = _mean(losses)
    low = high = None
    if mean is not None and len(losses) > 1:
        variance = math.fsum((loss - mean) ** 2 for loss in losses) / (len(losses) - 1)
        margin = Z95 * math.sqrt(variance / len(losses))
        low, high = mean - margin, mean + margin
    active = _mean(_known(effect.delta_loss_active) for effect in effects)
    changing = sum(1 for effect in effects if effect.changed > 0)
    return kind, len(effects), mean, low, high, active, changing


_KIND_COLUMNS = (
    Column("kind", "kind of the neurons", "text"),
    Column("neurons", "how many were drawn and taken away, one at a time"),
    Column("delta_loss", "mean change of the loss over all tested positions, nats", "change"),
    Column("low", "lower end of its 95% interval over the neurons", "change"),
    Column("high", "upper end", "change"),
    Column("delta_loss_active", "mean change of the loss where the neuron is activated", "change"),
    Column("changing", "of them, those that change any loss by more than 1e-6"),
)


def _kind_rows(store: Gathered) -> list[tuple[Value, ...]]:
    assert store.causal is not None
    return [_kind_row(kind, effects) for kind, effects in store.causal.kinds.items() if effects]


def _note(store: Gathered) -> str:
    causal = store.causal
    assert causal is not None
    no_direct = f" No direct effects: {causal.no_direct}." if causal.no_direct else ""
    return (
        f"Each token detector set to 0 at every position, on {causal.tested}, {count(causal.positions)} positions: does the "
        "logit of the token that it detects rise where it fires on it? Beside the projection test, which reads the weights "
        f"alone. from, to: 95% Wilson interval. Ours, beyond the paper.{no_direct}"
    )


DETECTORS_AWAY = Figure(
    heading=Heading("Section 4.4, causally: token detectors taken away", _note, ""),
    name="token detectors taken away",
    title="share of token detectors that lower the logit of what they detect",
    unit="share",
    curves=Series((Category("c", "taken away", "token"), Category("p", "by projection", "dim")), _shares),
    columns=_LAYER_COLUMNS,
    cells=_layer_row,
    table="by layer",
    needs="causal",
    csv=layer_csv("causal_layers", "Token detectors taken away, by layer", _LAYER_COLUMNS, lambda x: [_layer_row(x)]),
)
EACH_DETECTOR = Figure(
    heading=DETECTORS_AWAY.heading,
    needs="causal",
    csv=layer_csv("causal_detectors", "Each token detector taken away", _DETECTOR_COLUMNS, _detector_rows),
)
KINDS_AWAY = Figure(
    heading=Heading(
        "Loss by kind: neurons taken away",
        lambda store: (
            "20 neurons of each kind, drawn from all layers by a fixed seed (all where there are fewer), each taken away alone. "
            "Dead ones are the control: in a model with ReLU they change nothing. Above 0: the model needs them. low, high: 95% "
            "interval over the neurons."
        ),
        "",
    ),
    needs="causal",
    examples=lambda store: Table("", "", _KIND_COLUMNS, _kind_rows(store)),
    csv=CsvTable("causal_kinds", "Loss by kind", _KIND_COLUMNS, _kind_rows),
)
CAUSAL: tuple[Figure, ...] = (DETECTORS_AWAY, EACH_DETECTOR, KINDS_AWAY)


def causal_finding(causal: Causal) -> Finding:
    """What the detectors taken away say of the paper's claim, by the rules of ``findings.suppressed_triggers``."""
    decided = [detector for layer in causal.layers for detector in layer.decided]
    k, n = _raised(decided), len(decided)
    low, high = interval(k, n)
    claim = "Without a token detector, the logit of the tokens that it detects rises where it fires (4.4, causally; over 80%)"
    numbers: dict[str, Value] = {"token_detectors": n, "raise": k, "low": low, "high": high}
    if n < MIN_DETECTORS:
        text = f"{count(k)} of {count(n)} do; too few detectors fire in the tested windows to say."
        return Finding("suppressed_triggers_causally", claim, TOO_LITTLE, text, numbers)
    verdict = AGREES if low > SUPPRESSING else DIFFERS if high < SUPPRESSING else PARTLY
    agree = sum(1 for detector in decided if detector.raises == (detector.trigger_projection < 0))
    text = (
        f"{count(k)} of {count(n)} do: {percent(k / n, 1)} ({interval_text(low, high)}). The projection test says the same of "
        f"{percent(agree / n, 1)} of them."
    )
    return Finding("suppressed_triggers_causally", claim, verdict, text, numbers | {"same_by_projection": agree})
