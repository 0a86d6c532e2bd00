"""How the values of a column are distributed, and the filter terms that keep one value or one range of them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ffnscope.store.errors import UserError
from ffnscope.store.query import columns
from ffnscope.store.query.filter import parse_filter
from ffnscope.store.query.filter_terms import Numeric
from ffnscope.tui.drawing.bar_charts import round_between

SEPARATE = 20  # up to this many different whole numbers have a bar each
STEPS = 16  # about how many bars a range without a heavy tail has
HEAVY = 20.0  # largest value over the median from which bars grow by 1, 2, 5, 10 ...
_BELOW_ALL = "-1e30"


@dataclass(frozen=True)
class Bar:
    """How many neurons have these values; `term` is the filter that keeps them."""

    label: str
    count: int
    term: str


def column_text(name: str) -> str:
    """A column's name as the filter language takes it: a domain's in quotes where it needs them."""
    head, colon, domain = name.partition(":")
    if not colon or re.fullmatch(r"[\w.-]+", domain):
        return name
    quoted = domain.replace("\\", "\\\\").replace('"', '\\"')
    return f'{head}:"{quoted}"'


def value_term(name: str, value: float | np.generic, away: bool = False) -> str:
    """The filter term that keeps a column's value, or with `away` all others: of real numbers the values from this one
    on, or those below it. Raises UserError for the descriptions, which no term of this kind finds."""
    _check(name)
    words, column = columns.words(name), column_text(name)
    if words:
        term = _word_term(column, words, int(value))
    elif math.isnan(value):
        term = _missing_term(column)
    elif columns.is_whole(name):
        term = f"{column}:{int(value)}"
    else:
        # The shortest text that reads back as the same number of the column's own type.
        return f"{column}{'<' if away else '>='}{value!s}"
    return _negated(term) if away else term


def _check(name: str) -> None:
    if name == "concept":
        raise UserError("concept: its values are formulas; filter by a concept's name, as in concept:digit")


def _negated(term: str) -> str:
    return term[1:] if term.startswith("-") else f"-{term}"


def _word_term(column: str, words: Sequence[str], code: int) -> str:
    if words[code]:
        return f"{column}:{words[code]}"
    return f"-{column}:{'|'.join(word for word in words if word)}"


def _missing_term(column: str) -> str:
    return f"-{column}>{_BELOW_ALL}"


def distribution(name: str, values: np.ndarray) -> list[Bar]:
    """The bars of a column's values [N] (codes of a column of words), in the values' order; empty ranges between others
    are kept, those at the ends are not. A heavy tail has bars of growing width."""
    _check(name)
    words, column = columns.words(name), column_text(name)
    if words:
        counts = np.bincount(values.astype(np.int64), minlength=len(words)).tolist()
        return [
            Bar(word or "(none)", number, _word_term(column, words, code))
            for code, (word, number) in enumerate(zip(words, counts, strict=True))
            if number
        ]
    missing = np.isnan(values.astype(np.float64))
    present = values[~missing]
    bars = _whole_bars(column, present) if columns.is_whole(name) else _real_bars(column, present)
    if missing.any():
        bars.append(Bar("(no value)", int(missing.sum()), _missing_term(column)))
    return bars


def _whole_bars(column: str, values: np.ndarray) -> list[Bar]:
    distinct, counts = np.unique(values.astype(np.int64), return_counts=True)
    if len(distinct) <= SEPARATE:
        return [
            Bar(f"{value:,}", number, f"{column}:{value}")
            for value, number in zip(distinct.tolist(), counts.tolist(), strict=True)
        ]
    edges = sorted({math.ceil(edge) for edge in _edges(values.astype(np.float64))})
    bars = []
    for low, high in pairwise(edges):
        number = int(np.count_nonzero((values >= low) & (values < high)))
        one = high == low + 1
        bars.append(
            Bar(
                f"{low:,}" if one else f"{low:,} - {high - 1:,}",
                number,
                f"{column}:{low}" if one else f"{column}:{low}-{high - 1}",
            )
        )
    return _trimmed(bars)


def _real_bars(column: str, values: np.ndarray) -> list[Bar]:
    if not len(values):
        return []
    texts = [f"{edge:.10g}" for edge in _edges(values[np.isfinite(values)].astype(np.float64))]
    terms = [(f"< {texts[0]}", f"{column}<{texts[0]}")] if texts else []
    terms += [(f"{low} - {high}", f"{column}>={low} {column}<{high}") for low, high in pairwise(texts)]
    terms += [(f">= {texts[-1]}", f"{column}>={texts[-1]}")] if texts else []
    zeros = values == 0
    bars = []
    if texts and float(texts[0]) > 0 and zeros.any():
        bars.append(Bar("0", int(zeros.sum()), f"{column}=0"))
        terms[0] = (terms[0][0], f"{column}!=0 {terms[0][1]}")
    ranges = [Bar(label, _number_kept(term, column, values), term) for label, term in terms]
    return bars + _trimmed(ranges)


def _number_kept(term: str, column: str, values: np.ndarray) -> int:
    """How many values a filter keeps: by the filter's own comparisons, so that the bar and the filter agree."""
    # Of a domain's column any name will do: only the comparisons are used.
    known = column if ":" not in column else "frequency"
    mask = np.ones(len(values), np.bool_)
    for typed in parse_filter(term.replace(column, known)).terms:
        assert isinstance(typed, Numeric)
        mask &= typed.holds(values)
    return int(np.count_nonzero(mask))


def _edges(values: np.ndarray) -> list[float]:
    """Round edges below, between and above finite values."""
    if not len(values):
        return []
    low, high = float(values.min()), float(values.max())
    positive = values[values > 0]
    if low >= 0 and len(positive) and high > HEAVY * float(np.median(positive)):
        first = math.floor(math.log10(max(float(positive.min()), high * 1e-12)))
        edges = [step * 10.0**power for power in range(first, math.ceil(math.log10(high)) + 1) for step in (1, 2, 5)]
        edges = [float(f"{edge:.6g}") for edge in edges]
        below = max([edge for edge in edges if edge <= float(positive.min())], default=edges[0])
        above = min([edge for edge in edges if edge > high], default=edges[-1])
        return [
            *([0.0] if low == 0 and np.all(values == np.round(values)) else []),
            *(e for e in edges if below <= e <= above),
        ]
    if low == high:
        return [low, low + (abs(low) or 1.0)]
    inner = round_between(low, high, STEPS)
    if len(inner) < 2:
        return [low, high, high + (high - low)]
    step = inner[1] - inner[0]
    return [inner[0] - step, *inner, inner[-1] + step, inner[-1] + 2 * step]


def _trimmed(bars: list[Bar]) -> list[Bar]:
    """Without the empty bars at both ends."""
    used = [index for index, bar in enumerate(bars) if bar.count]
    return bars[used[0] : used[-1] + 1] if used else []
