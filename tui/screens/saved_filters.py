"""The saved filters (`F`): chosen, or forgotten, by name."""

from __future__ import annotations

from pathlib import Path

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen

from ffnscope.store.errors import UserError
from ffnscope.tui.drawing.glyphs import Glyphs
from ffnscope.tui.drawing.lines import Line, Writer, line, rule
from ffnscope.tui.drawing.pane import Pane
from ffnscope.tui.drawing.scroll import scroll
from ffnscope.tui.drawing.text import visible
from ffnscope.tui.state.remembered import read_filters, save_filter

NAME = 24


class SavedFilters(ModalScreen[str | None], inherit_bindings=False):
    """Answers with the chosen filter's text."""

    BINDINGS = [
        Binding("escape,q", "leave", "Leave", id="leave", show=False),
        Binding("up,k", "choose(-1)", "Filter above", id="up", show=False),
        Binding("down,j", "choose(1)", "Filter below", id="down", show=False),
        Binding("enter", "take", "Use the filter", id="take", show=False),
        Binding("d", "forget", "Forget the filter", id="forget", show=False),
        Binding("question_mark", "app.help", "Help", id="help", show=False),
    ]

    def __init__(self, path: Path, glyphs: Glyphs):
        super().__init__()
        self.path, self.glyphs = path, glyphs
        self.filters = sorted(read_filters(path).items())
        self.chosen = self._top = 0
        self._wrong = ""

    def compose(self) -> ComposeResult:
        """A rule and the filters."""
        with Vertical(classes="input-line"):
            yield Pane(self._draw, classes="tall")

    def _draw(self, width: int, height: int) -> list[Line]:
        out = [rule([("saved filters", "dim")], width, self.glyphs, "enter use, d forget, q back, ? keys")]
        if self._wrong:
            out.append(line((visible(self._wrong, self.glyphs, spaces=False), "error")))
        elif not self.filters:
            out.append(line((" none yet: f filters, W saves the filter under a name", "dim")))
        rows = height - len(out)
        self._top = scroll(self._top, self.chosen, len(self.filters), rows)
        for index, (name, text) in list(enumerate(self.filters))[self._top : self._top + rows]:
            here = index == self.chosen
            row = Writer(self.glyphs).add(self.glyphs.cursor if here else " ", "accent").add(" ")
            row.prose(name, "bright" if here else "text", NAME).add("  ")
            row.prose(text, "text", max(width - row.width, 1))
            out.append(row.line("cursor" if here else ""))
        return out

    def action_choose(self, by: int) -> None:
        """Another filter."""
        self.chosen = max(0, min(self.chosen + by, len(self.filters) - 1))
        self.query_one(Pane).redraw()

    def action_take(self) -> None:
        """The chosen one."""
        self.dismiss(self.filters[self.chosen][1] if self.filters else None)

    def action_forget(self) -> None:
        """Take the chosen one off the list."""
        if not self.filters:
            return
        try:
            save_filter(self.path, self.filters[self.chosen][0], None)
        except UserError as error:
            self._wrong = str(error)
        self.filters = sorted(read_filters(self.path).items())
        self.action_choose(0)

    def action_leave(self) -> None:
        """None of them."""
        self.dismiss(None)
