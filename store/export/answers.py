"""Rankings and concordances as CSV or JSON lines."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from typing import TextIO

from ffnscope.store.escaping import escape, json_text
from ffnscope.store.query import ask, contexts

FORMATS = ("csv", "jsonl")
_KEPT = "\n\t"  # quoting in CSV is enough for these


def write_answer(out: TextIO, answer: ask.Answer, format: str = "csv") -> int:
    """Write a ranking, columns ask.COLUMNS; how many neurons. Floats read back exactly, NaN is an empty cell or null."""
    columns = [[_number(value) for value in answer[name].tolist()] for name in ask.COLUMNS]
    if format == "csv":
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(ask.COLUMNS)
        writer.writerows(zip(*columns, strict=True))
    else:
        for row in zip(*columns, strict=True):
            out.write("{" + ",".join(f'"{k}":{v or "null"}' for k, v in zip(ask.COLUMNS, row, strict=True)) + "}\n")
    return len(answer)


def write_contexts(out: TextIO, occurrences: Iterable[contexts.Occurrence], format: str = "csv") -> int:
    """Write a concordance, columns contexts.COLUMNS; how many rows.

    CSV cells hold the text as it is, but for what is not printable, other than line ends and tabs: that is written as an
    escape. JSON strings are exact.
    """
    written = 0
    writer = csv.writer(out, lineterminator="\n")
    if format == "csv":
        writer.writerow(contexts.COLUMNS)
    for occurrence in occurrences:
        written += 1
        texts = occurrence.token, occurrence.left, occurrence.right
        if format == "csv":
            writer.writerow([occurrence.window, occurrence.position, *map(_cell, texts)])
        else:
            token, left, right = map(json_text, texts)
            out.write(
                f'{{"window":{occurrence.window},"position":{occurrence.position},"token":{token},"left":{left},"right":{right}}}\n'
            )
    return written


def _number(value: float | int) -> str:
    return "" if isinstance(value, float) and math.isnan(value) else repr(value)


def _cell(text: str) -> str:
    return text if text.isprintable() else "".join(char if char in _KEPT else escape(char) for char in text)
