"""What changed, neuron by neuron, between two stores of equal shape (paper Figures 10 and 11)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from ffnscope.store.definitions import KINDS, POSITION_TYPES
from ffnscope.store.figures.changes import Changes, DetectorChange, PositionChange, changes
from ffnscope.store.figures.intervals import interval
from ffnscope.store.figures.recheck import Recheck, recheck
from ffnscope.tui.drawing.numbers import count, percent
from ffnscope.tui.reports.document import Column, Section, Table, Value
from ffnscope.tui.reports.figures import LAYER, NEURON, json_list
from ffnscope.tui.reports.findings import MIN_DETECTORS
from ffnscope.tui.reports.formats.values import layers_text
from ffnscope.tui.reports.reading import Gathered

MOST_SHOWN = 100  # changed detectors listed for reading
NOT_POSITIONAL = "not positional"
TYPE_MEANING = "positional type in the {} store, empty for none"


def change_section(before: Gathered, after: Gathered) -> Section:
    """Token detectors, kinds and positional types of ``before`` in ``after``. Of equal shape, else UserError."""
    layers = tuple(sorted(set(before.layers) & set(after.layers)))
    changed, checks = changes(before.store, after.store, layers), recheck(before.store, after.store, layers)
    a, b = before.label, after.label
    tables = [_detectors_shown(changed, a, b)] if changed.detectors else []
    shown = (
        _per_layer(changed),
        _matrix(a, f"kinds: rows in {a}, columns in {b}", KINDS, changed.kinds),
        _matrix(
            a,
            f"positional types: rows in {a}, columns in {b}",
            (NOT_POSITIONAL, *POSITION_TYPES[1:]),
            changed.types,
        ),
        *tables,
    )
    pair = f"{a}_{b}"
    return Section(
        f"From {a} to {b}: neuron by neuron",
        f"{_summary(changed, a, b)} {_rechecked(checks, a, b)}".rstrip(),
        (),
        shown,
        (
            _detectors(changed, pair),
            _rechecks(checks, pair),
            _transitions(f"changes_{pair}_kinds", "Kinds", "kind", "kind in the {} store", KINDS, changed.kinds),
            _transitions(
                f"changes_{pair}_types", "Positional types", "type", TYPE_MEANING, POSITION_TYPES, changed.types
            ),
            _positions(changed, pair),
        ),
    )


def _summary(changed: Changes, a: str, b: str) -> str:
    stayed, appeared, vanished = (changed.count(change) for change in ("stayed", "appeared", "vanished"))
    common = sum(detector.common > 0 for detector in changed.detectors)
    text = f"{count(changed.neurons)} neurons in layers {layers_text(changed.layers) or 'none'}. "
    if stayed + vanished:
        share = percent(stayed / (stayed + vanished), 1)
        text += f"Of {count(stayed + vanished)} token detectors of {a}, {count(stayed)} are token detectors in {b} too "
        text += f"({share}); {count(common)} of these share a detected token. "
    else:
        text += f"{a} has no token detectors. "
    text += f"{count(vanished)} vanished, {count(appeared)} appeared. "
    gained, lost = int(changed.types[0, 1:].sum()), int(changed.types[1:, 0].sum())
    kept = int(changed.types[1:, 1:].sum())
    same = int(np.trace(changed.types[1:, 1:]))
    return text + (
        f"Positional neurons: {count(kept)} in both ({count(same)} of the same type), {count(lost)} only in {a}, "
        f"{count(gained)} only in {b}."
    )


def _rechecked(checks: Sequence[Recheck], a: str, b: str) -> str:
    decided = [check for check in checks if check.holds is not None]
    if not decided:
        return ""
    holding = sum(bool(check.holds) for check in decided)
    low, high = interval(holding, len(decided))
    few = f"; too few detectors ({len(decided)}) to say more" if len(decided) < MIN_DETECTORS else ""
    return (
        f"Re-checked on the data of {b} (ours): of the {count(len(decided))} token detectors of {a} of which enough "
        f"is known there, {count(holding)} hold ({percent(holding / len(decided), 1)}; 95% interval {percent(low, 1)} to "
        f"{percent(high, 1)}{few})."
    )


def _rechecks(checks: Sequence[Recheck], pair: str) -> Table:
    columns = (
        LAYER,
        NEURON,
        Column("tokens", "tokens that it detects in the first store"),
        Column(
            "checked", "of them, those that occur min_occurrences times in the second, which keeps their activations"
        ),
        Column("occurrences", "occurrences of these in the second"),
        Column("on_them", "activations on these in the second"),
        Column("probability", "on_them / occurrences", "share"),
        Column("activations", "activations that have a unigram in the second"),
        Column("covered", "of them, those known to be on the detected tokens", "count"),
        Column(
            "holds",
            "whether every token that occurs often enough has 95% and all tokens cover 95%; empty where too little is known",
        ),
    )
    rows = [tuple(getattr(check, column.name) for column in columns) for check in checks]
    return Table(
        f"changes_{pair}_recheck", "Token detectors of the first store on the data of the second", columns, rows
    )


def _per_layer(changed: Changes) -> Table:
    columns = (
        LAYER,
        Column("stayed", "token detectors in both"),
        Column("vanished", "only in the first"),
        Column("appeared", "only in the second"),
        Column("positional gained", "positional only in the second"),
        Column("positional lost", "positional only in the first"),
        Column("type changed", "positional in both, of another type"),
    )
    counts = Counter((x.layer, x.change) for x in changed.detectors)
    counts.update((x.layer, _position_change(x)) for x in changed.positions)
    kinds = ("stayed", "vanished", "appeared", "gained", "lost", "changed")
    rows = [(layer, *(counts[layer, kind] for kind in kinds)) for layer in changed.layers]
    return Table("", "token detectors and positional neurons", columns, rows)


def _position_change(neuron: PositionChange) -> str:
    if not neuron.before[0]:
        return "gained"
    return "lost" if not neuron.after[0] else "changed" if neuron.before[0] != neuron.after[0] else "strength"


def _matrix(label: str, title: str, words: Sequence[str], counts: np.ndarray) -> Table:
    columns = (
        Column(f"in {label}", "in the first", "text"),
        *(Column(word, f"{word} in the second") for word in words),
    )
    return Table("", title, columns, [(word, *row) for word, row in zip(words, counts.tolist(), strict=True)])


def _detectors_shown(changed: Changes, a: str, b: str) -> Table:
    order = ("vanished", "appeared", "stayed")
    columns = (
        Column("neuron", "layer and neuron", "text"),
        Column("change", "stayed, appeared or vanished", "text"),
        Column(f"kind in {a}", "kind in the first", "text"),
        Column(f"kind in {b}", "kind in the second", "text"),
        Column(f"detects in {a}", "detected tokens in the first", "tokens"),
        Column(f"detects in {b}", "detected tokens in the second", "tokens"),
    )
    ranked = sorted(changed.detectors, key=lambda x: (order.index(x.change), x.layer, x.neuron))
    rows: list[tuple[Value, ...]] = [
        (f"L{x.layer}N{x.neuron}", x.change, x.kind_before, x.kind_after, x.tokens_before, x.tokens_after)
        for x in ranked[:MOST_SHOWN]
    ]
    more = f" ({MOST_SHOWN} of {count(len(ranked))})" if len(ranked) > MOST_SHOWN else ""
    return Table("", f"token detectors: vanished, appeared, stayed{more}", columns, rows)


def _detectors(changed: Changes, pair: str) -> Table:
    columns = (
        LAYER,
        NEURON,
        Column("change", "stayed, appeared or vanished", "text"),
        Column("kind_before", "kind in the first store", "text"),
        Column("kind_after", "kind in the second store", "text"),
        Column("common", "detected tokens of both, by text"),
        Column("tokens_before", "detected tokens in the first store, a JSON array", "text"),
        Column("tokens_after", "detected tokens in the second store, a JSON array", "text"),
    )

    def row(x: DetectorChange) -> tuple[Value, ...]:
        texts = (json_list(x.tokens_before), json_list(x.tokens_after))
        return (x.layer, x.neuron, x.change, x.kind_before, x.kind_after, x.common, *texts)

    return Table(f"changes_{pair}_detectors", "Token detectors", columns, [row(x) for x in changed.detectors])


def _transitions(key: str, title: str, name: str, meaning: str, words: Sequence[str], counts: np.ndarray) -> Table:
    """How many neurons are one thing in the first store and another in the second; ``counts`` [before, after]."""
    columns = (
        Column(f"{name}_before", meaning.format("first"), "text"),
        Column(f"{name}_after", meaning.format("second"), "text"),
        Column("neurons", "neurons of both"),
    )
    rows = [(x, y, int(counts[i, j])) for i, x in enumerate(words) for j, y in enumerate(words)]
    return Table(key, title, columns, rows)


def _positions(changed: Changes, pair: str) -> Table:
    columns = (
        LAYER,
        NEURON,
        Column("type_before", TYPE_MEANING.format("first"), "text"),
        Column("strength_before", "its strength", "text"),
        Column("type_after", TYPE_MEANING.format("second"), "text"),
        Column("strength_after", "its strength", "text"),
    )
    rows = [(x.layer, x.neuron, *x.before, *x.after) for x in changed.positions]
    return Table(f"changes_{pair}_positions", "Neurons whose positional type or strength differs", columns, rows)
