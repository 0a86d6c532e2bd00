"""The section of `report --split`: detectors found on half of the windows and re-checked on the other half."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ffnscope.store.definitions import SPLIT_FAILS, SPLIT_HOLDS, SPLIT_TOO_RARE
from ffnscope.store.errors import UserError
from ffnscope.store.figures.intervals import interval
from ffnscope.store.figures.layers import DETECTORS
from ffnscope.store.reader import Store
from ffnscope.tui.reports.document import Column, Section, Table, Value

COLUMNS = (
    Column("layer", "layer, from 0", "layer"),
    Column("detector", "token, bigram or trigram", "text"),
    Column("found", "detectors by the even windows alone"),
    Column("held", "of them, those that the odd windows confirm"),
    Column("failed", "those that they do not"),
    Column("too_rare", "those whose n-grams occur too rarely there to say"),
    Column("share", "held / (held + failed)", "share"),
    Column("from", "lower end of its 95% Wilson interval", "share"),
    Column("to", "upper end", "share"),
)
NOTE = (
    "Not the paper's. Detectors are found on the even windows by the same rules, and hold where, in the odd windows, each "
    "of their n-grams that occurs often enough activates them at least 95% of the time and all account for at least 95% "
    "of their activations."
)


def split_section(store: Store, layers: Sequence[int]) -> Section:
    """Detectors found on one half of the windows, confirmed on the other; a row per layer and order that has any."""
    rows: list[tuple[Value, ...]] = []
    whole = np.zeros((len(DETECTORS), 3), np.int64)
    for layer in layers:
        order, outcome = store.column(layer, "split_order"), store.column(layer, "split_held")
        for index, kind in enumerate(DETECTORS):
            numbers = np.bincount(outcome[order == index + 1], minlength=3)[:3]
            whole[index] += numbers
            if numbers.any():
                rows.append((layer, kind, *_row(numbers)))
    total = [("all", kind, *_row(numbers)) for kind, numbers in zip(DETECTORS, whole, strict=True) if numbers.any()]
    if not rows:
        raise UserError(f"{store.path}: no detectors on half of its windows, so there is nothing to re-check")
    tidy = Table("split_detectors", "Detectors re-checked on held-out windows", COLUMNS, rows)
    return Section("Detectors on held-out windows", NOTE, (), (Table("", "", COLUMNS, rows + total),), (tidy,))


def _row(numbers: np.ndarray) -> tuple[Value, ...]:
    confirmed, failed = int(numbers[SPLIT_HOLDS]), int(numbers[SPLIT_FAILS])
    decided = confirmed + failed
    ends = interval(confirmed, decided) if decided else (None, None)
    return (
        confirmed + failed + int(numbers[SPLIT_TOO_RARE]),
        confirmed,
        failed,
        int(numbers[SPLIT_TOO_RARE]),
        confirmed / decided if decided else None,
        *ends,
    )
