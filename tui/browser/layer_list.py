"""The list of layers."""

from __future__ import annotations

from ffnscope.store.figures.layers import LayerFigures
from ffnscope.tui.drawing.glyphs import Glyphs
from ffnscope.tui.drawing.lines import Line, Writer, line
from ffnscope.tui.drawing.numbers import count, freq, percent
from ffnscope.tui.drawing.scroll import scroll
from ffnscope.tui.drawing.text import bar, fit


class LayerList:
    """Draws the layers: a bar for the dead, mean frequency of the alive, detectors, positional neurons."""

    def __init__(self, glyphs: Glyphs):
        self.glyphs = glyphs
        self.layers: tuple[int, ...] = ()
        self.collected: frozenset[int] = frozenset()
        self.figures: dict[int, LayerFigures] = {}
        self.cursor = 0
        self.top = 0
        self.height = 1
        self.focused = False

    @property
    def layer(self) -> int | None:
        """The layer under the cursor."""
        return self.layers[self.cursor] if self.layers else None

    def move_to(self, row: int) -> bool:
        """Put the cursor on a row, the nearest there is; whether it moved."""
        row = max(0, min(row, len(self.layers) - 1))
        moved, self.cursor = row != self.cursor, row
        return moved

    def lines(self, width: int, height: int) -> list[Line]:
        """The header and the layers in view; where there is room, detectors of each order."""
        wide = width >= 56
        digits = max(len(str(max(self.layers, default=0))), 2)
        orders = "  token bigram trigram" if wide else "   det"
        bars = max(width - digits - 2 - (5 + 6 + len(orders) + 5) - 1, 2)
        title = " " + "L".rjust(digits) + " " + fit("dead", bars + 5) + "  freq" + orders + "  pos"
        out = [line((fit(title, width, glyphs=self.glyphs), "dim"))]
        self.height = max(height - 1, 1)
        self.top = scroll(self.top, self.cursor, len(self.layers), self.height)
        for row in range(self.top, min(self.top + self.height, len(self.layers))):
            out.append(self._row(row, bars, digits, wide))
        return out

    def _row(self, row: int, bars: int, digits: int, wide: bool) -> Line:
        layer = self.layers[row]
        figures = self.figures.get(layer)
        ground = "" if row != self.cursor else "cursor" if self.focused else "cursor-off"
        out = Writer(self.glyphs).add(self.glyphs.cursor if ground else " ", "accent")
        plain = "bright" if ground else "text"
        out.add(f"{layer:>{digits}} ", plain)
        if figures is None:
            waiting = self.glyphs.ellipsis if layer in self.collected else "not collected yet"
            return out.add(waiting, "faint").line(ground)
        out.add(bar(figures.dead_share, bars, self.glyphs), "bar")
        out.add(f"{percent(figures.dead_share):>5} {freq(figures.mean_frequency_alive or 0.0)}", plain)
        detectors = [ngrams.detectors for ngrams in figures.ngrams]
        if wide:
            token, bigram, trigram = (count(number) for number in detectors)
            out.add(f"{token:>7}{bigram:>7}{trigram:>8}", plain)
        else:
            out.add(f"{count(sum(detectors)):>6}", plain)
        return out.add(f"{count(figures.positional_neurons):>5}", plain).line(ground)
