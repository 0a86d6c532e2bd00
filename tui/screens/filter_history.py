"""The filters used before (`H`): those that contain the text typed, newest first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual.binding import Binding
from textual.widgets import Input

from ffnscope.tui.drawing.glyphs import Glyphs
from ffnscope.tui.drawing.lines import Line, Writer, line, rule, wrap
from ffnscope.tui.drawing.scroll import scroll
from ffnscope.tui.screens.input_line import LINE_HELP, InputLine


class FilterHistory(InputLine, inherit_bindings=False):
    """A line to type a part of a filter, the filters that contain it above; `choose` gets the one taken."""

    BINDINGS = [
        Binding("escape,ctrl+g", "leave", "Leave", id="cancel", show=False),
        Binding("up", "choose(-1)", "Filter above", id="choice-up", show=False),
        Binding("down", "choose(1)", "Filter below", id="choice-down", show=False),
        Binding("pageup", "choose(-10)", "Ten filters up", id="choice-page-up", show=False),
        Binding("pagedown", "choose(10)", "Ten filters down", id="choice-page-down", show=False),
        LINE_HELP,
    ]

    def __init__(self, filters: Sequence[str], glyphs: Glyphs, choose: Callable[[str], None]):
        """`filters`: newest first."""
        super().__init__("filters with", glyphs=glyphs, accept=self._take)
        self.filters, self._choose = list(filters), choose
        self.chosen = self._first = 0

    @property
    def found(self) -> list[str]:
        """The filters that contain every word typed, case ignored."""
        words = self.query_one(Input).value.casefold().split()
        return [text for text in self.filters if all(word in text.casefold() for word in words)]

    def on_mount(self) -> None:
        """Ready to type, with room for filters."""
        self.pane.add_class("tall")

    def on_input_changed(self, event: Input.Changed) -> None:
        """List what contains the text now."""
        event.stop()
        self.chosen = self._first = 0
        self.show([])

    def _draw(self, width: int, height: int) -> list[Line]:
        filters = self.found
        out = [rule([("filters used before", "dim")], width, self.glyphs, "enter filters, ctrl+o keys")]
        if self._lines:
            return out + [Line(((" ", "text"), *row)) for text in self._lines for row in wrap(text.parts, width - 2)]
        if not filters:
            none = "no filter was used yet; f filters" if not self.filters else "none of them contains that"
            return [*out, line((f" {none}", "dim"))]
        self._first = scroll(self._first, self.chosen, len(filters), height - 1)
        for index in range(self._first, min(self._first + height - 1, len(filters))):
            here = index == self.chosen
            writer = Writer(self.glyphs).add(self.glyphs.cursor if here else " ", "accent").add(" ")
            out.append(writer.prose(filters[index], "bright" if here else "text").line("cursor" if here else ""))
        return out

    def action_choose(self, by: int) -> None:
        """Another filter."""
        self.chosen = max(0, min(self.chosen + by, len(self.found) - 1))
        self.show([])

    def _take(self, text: str) -> str | None:
        """Use the chosen filter; what is wrong with it."""
        filters = self.found
        if not filters:
            return "no such filter"
        self._choose(filters[self.chosen])
        return None
