"""Several stores in one figure: each a curve over relative depth, 0 the first layer of its model and 1 the last."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ffnscope.store.figures.layers import LayerFigures
from ffnscope.tui.drawing.bar_charts import letter
from ffnscope.tui.drawing.glyphs import Glyphs
from ffnscope.tui.drawing.lines import Line, Part, Writer, line
from ffnscope.tui.overview.data import Overview
from ffnscope.tui.reports.figures import Figure

STYLES = ("token", "accent", "mark", "position", "trigger", "error")

Stores = Sequence[tuple[str, Overview]]  # (name, what was read of it)


def names(stores: Stores, glyphs: Glyphs) -> list[Part]:
    """`a demo.ffn  b other.ffn`, in the curves' styles."""
    out: list[Part] = []
    for number, (name, _) in enumerate(stores):
        out.append((f"{letter(number)} ", STYLES[number % len(STYLES)]))
        out += Writer(glyphs).prose(name, "text").add("  ").parts
    return out


def curves(figure: Figure, stores: Stores, width: int, height: int, glyphs: Glyphs) -> list[Line]:
    """The stores' curves of one figure. Slow the first time: the plot library is imported. Call it in a thread."""
    from ffnscope.tui.drawing.curves import lines_plot

    assert figure.value is not None
    series = []
    for name, overview in stores:
        layers = overview.known()
        values = [None if figure.absent(layers) else figure.value(x) for x in layers]
        series.append((name, [x.depth for x in layers], [math.nan if value is None else value for value in values]))
    drawn = lines_plot(
        series,
        width,
        height + 1,
        ascii=glyphs.ascii,
        x_label="relative depth",
        y_format=figure.value_text,
        styles=STYLES,
    )
    # The legend stands above all figures, once.
    return [line(*((text, style or "dim") for text, style in row)) for row in drawn[1:]]


def says(figure: Figure, stores: Stores, depth: float) -> Line:
    """Every store's number in the layer nearest to a relative depth."""
    out: list[Part] = [(f" at depth {depth:.2f} ", "accent")]
    for number, (_, overview) in enumerate(stores):
        layers = overview.known()
        nearest: LayerFigures | None = min(layers, key=lambda x: abs(x.depth - depth), default=None)
        value = figure.value(nearest) if nearest and figure.value and not figure.absent(layers) else None
        out.append((f" {letter(number)} ", STYLES[number % len(STYLES)]))
        out += [(figure.value_text(value), "bright"), (f" (layer {nearest.layer})" if nearest else "", "dim")]
    return line(*out)
