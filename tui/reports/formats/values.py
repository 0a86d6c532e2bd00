"""Values of report tables as text: for reading, and exactly for files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ffnscope.store.escaping import spreadsheet_text
from ffnscope.tui.drawing.glyphs import UNICODE, Glyphs
from ffnscope.tui.drawing.numbers import count, freq, percent
from ffnscope.tui.drawing.text import visible
from ffnscope.tui.reports.document import Value


def shown(value: Value, style: str, glyphs: Glyphs = UNICODE) -> str:
    """A value as a reader sees it, printable in ``glyphs``; - for none. A share between 0 and 1 never reads 0% or 100%."""
    if isinstance(value, tuple):
        return " ".join(visible(token, glyphs) for token in value)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return visible(value, glyphs, spaces=False)
    if style == "share":
        return percent(float(value), 1)
    if style == "frequency":
        return freq(float(value)).strip()
    if style == "number":
        return f"{value:.3f}"
    if style == "change":
        return f"{value:+.2e}" if value else "0"
    if style == "layer":
        return str(value)
    return count(int(value))


def axis_text(value: float | None, unit: str) -> str:
    """A value as axes and titles have it, short; - for none. ``unit`` is share, frequency, number or count."""
    if value is None or not math.isfinite(value):
        return "-"
    if unit == "share":
        return percent(value)
    if unit == "frequency":
        return freq(value).strip()
    if unit == "number" or value != int(value):
        return f"{value:.{2 if unit == 'number' else 1}f}"
    return count(int(value), compact=True)


def exact(value: Value) -> str:
    """A value as a file holds it: floats so that they read back the same, nothing for none; a text so that neither
    terminals nor spreadsheets act on it."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return spreadsheet_text(value)
    return repr(value) if isinstance(value, float) else str(value)


def layers_text(layers: tuple[int, ...]) -> str:
    """Layer numbers as ranges: ``0-5,8``."""
    parts: list[str] = []
    start = previous = None
    for layer in [*layers, None]:
        if previous is not None and layer == previous + 1:
            previous = layer
            continue
        if previous is not None:
            parts.append(str(start) if start == previous else f"{start}-{previous}")
        start = previous = layer
    return ",".join(parts)


def settings_text(settings: Mapping[str, Any]) -> str:
    """The settings of a run by name; layers as ranges."""

    def text(value: Any) -> str:
        layers = isinstance(value, list) and value and all(isinstance(layer, int) for layer in value)
        return layers_text(tuple(value)) if layers else str(value)

    return ", ".join(f"{name} {text(value)}" for name, value in sorted(settings.items()))
