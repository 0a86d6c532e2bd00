"""The distribution of a column (`D`): a bar for each value or range of values, over the neurons listed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual.binding import Binding

from ffnscope.store.query import columns
from ffnscope.tui.drawing.lines import BLANK, Line, Part, Writer, line
from ffnscope.tui.drawing.numbers import count, percent
from ffnscope.tui.drawing.scroll import scroll
from ffnscope.tui.drawing.text import bar, fit, visible
from ffnscope.tui.screens.pager import Pager
from ffnscope.tui.state.distribution import Bar, distribution
from ffnscope.tui.state.neuron_list import NeuronList
from ffnscope.tui.state.session import Session

LABEL = 20  # most cells of a bar's label


class Distribution(Pager, inherit_bindings=True):
    """`choose` is called with the filter term of the bar that `enter` was pressed on."""

    BINDINGS = [
        Binding("enter", "take", "Filter to the bar", id="take"),
        Binding("h,left", "column(-1)", "Column before", id="left"),
        Binding("l,right", "column(1)", "Next column", id="right"),
    ]
    HINTS = "j/k bar  enter filter to it  h/l column  q back"

    def __init__(self, session: Session, names: Sequence[str], name: str, choose: Callable[[str], None]):
        """`names` are the columns in the order that h and l go through, `name` the one shown first."""
        super().__init__(session.glyphs, session.rule)
        self.session = session
        self.neurons: NeuronList = session.neurons
        self.names, self.column = list(names), name
        self._choose = choose
        self.cursor = self._first = 0
        self.bars: list[Bar] = []
        self._read()

    def _read(self) -> None:
        self.cursor = self._first = 0
        self.bars = []
        self.bars = distribution(self.column, self.neurons.column(self.column)[self.neurons.rows])

    def title_parts(self) -> list[Part]:
        """The column, and whose values are shown."""
        neurons, dot = self.neurons, f" {self.glyphs.dot} "
        parts: list[Part] = [("distribution of ", "dim"), *Writer(self.glyphs).prose(self.column, "accent").parts]
        parts.append((f"{dot}{count(len(neurons.rows))} neurons of layer {neurons.layer}", "text"))
        if neurons.filter_text:
            parts += [(dot, "dim"), *Writer(self.glyphs).prose(neurons.filter_text, "accent").parts]
        return parts

    def content(self, width: int, height: int) -> Sequence[Line]:
        """A line for each bar in view, under what the column means."""
        known = columns.COLUMNS.get(self.column)
        meaning = known.meaning if known else f"frequency in {self.column.removeprefix(columns.DOMAIN_PREFIX)}"
        out = [Writer(self.glyphs).add(" ").prose(meaning, "dim").line(), BLANK]
        if not self.bars:
            return [*out, line(("  no neuron is listed", "dim"))]
        labels = [visible(bar_at.label, self.glyphs, spaces=False) for bar_at in self.bars]
        cells = min(max(map(len, labels)), LABEL)
        total, most = sum(bar_at.count for bar_at in self.bars), max(bar_at.count for bar_at in self.bars)
        digits = len(count(most))
        rows = height - len(out)
        self._first = scroll(self._first, self.cursor, len(self.bars), rows)
        room = max(width - cells - digits - 12, 1)
        for index in range(self._first, min(self._first + rows, len(self.bars))):
            bar_at, here = self.bars[index], index == self.cursor
            writer = Writer(self.glyphs).add(self.glyphs.cursor if here else " ", "accent").add(" ")
            writer.add(fit(labels[index], cells, "right", self.glyphs), "bright" if here else "text").add(" ")
            writer.add(bar(bar_at.count / most, room, self.glyphs), "accent")
            writer.add(
                f" {count(bar_at.count):>{digits}} {percent(bar_at.count / total):>5}",
                "text" if bar_at.count else "faint",
            )
            out.append(writer.line("cursor" if here else ""))
        return out

    def action_move(self, by: int) -> None:
        """Another bar."""
        self.cursor = max(0, min(self.cursor + by, len(self.bars) - 1))
        self.refresh_content()

    def action_column(self, by: int) -> None:
        """Another column."""
        self.column = self.names[(self.names.index(self.column) + by) % len(self.names)]
        self._read()
        self.refresh_content()

    def action_take(self) -> None:
        """Filter the list to the bar."""
        if self.bars:
            self.dismiss(None)
            self._choose(self.bars[self.cursor].term)
