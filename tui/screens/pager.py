"""A full screen of lines with a title, scrolled by the usual keys: the base of help, overview and contexts."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.binding import Binding
from textual.screen import Screen

from ffnscope.tui.drawing.glyphs import Glyphs
from ffnscope.tui.drawing.lines import Line, Part, line, rule
from ffnscope.tui.drawing.pane import Pane


class Pager(Screen[None], inherit_bindings=False):
    """Subclasses give `title_parts` and `content`, and `hints` where the keys vary; `top` is the first line in view."""

    BINDINGS = [
        Binding("j,down", "move(1)", "Down", id="down", show=False),
        Binding("k,up", "move(-1)", "Up", id="up", show=False),
        Binding("ctrl+d,pagedown", "page(1)", "Page down", id="page-down", show=False),
        Binding("ctrl+u,pageup", "page(-1)", "Page up", id="page-up", show=False),
        Binding("g,home", "first", "First", id="first", show=False),
        Binding("G,end", "last", "Last", id="last", show=False),
        Binding("q,escape", "leave", "Back", id="leave"),
        Binding("question_mark", "app.help", "Help", id="help"),
    ]
    HINTS = "j/k scroll  q back"

    def __init__(self, glyphs: Glyphs, rule: str = ""):
        """`rule` says when a neuron counts as activated in the store that is shown, unless that is the usual rule."""
        super().__init__()
        self.glyphs = glyphs
        self._rule = [(f" {glyphs.dot} {rule}", "dim")] if rule else []
        self.top = 0
        self._length = 0

    def compose(self) -> ComposeResult:
        """Title and content in one pane, hints in another."""
        yield Pane(self._draw, id="content")
        yield Pane(self._hints, id="hints", classes="line")

    @property
    def pane(self) -> Pane:
        """The content's pane."""
        return self.query_one("#content", Pane)

    def title_parts(self) -> list[Part]:
        """The title."""
        return []

    def hints(self) -> str:
        """The keys in the last line."""
        return self.HINTS

    def content(self, width: int, height: int) -> Sequence[Line]:
        """All lines."""
        return ()

    def _draw(self, width: int, height: int) -> list[Line]:
        lines = self.content(width, height - 1)
        self._length = len(lines)
        self.top = max(0, min(self.top, len(lines) - (height - 1)))
        below = len(lines) - self.top - (height - 1)
        more = f"{below} more lines" if below > 0 else ""
        title = rule([*self.title_parts(), *self._rule], width, self.glyphs, more)
        return [title, *lines[self.top : self.top + height - 1]]

    def _hints(self, width: int, height: int) -> list[Line]:
        text = " " + self.hints()
        return [line((text + ("  ? keys" if len(text) + 8 <= width else ""), "dim"))]

    def refresh_content(self) -> None:
        """Draw again what has changed."""
        for pane in self.query(Pane):
            if pane.display:
                pane.redraw()

    def on_pane_wheeled(self, event: Pane.Wheeled) -> None:
        """The mouse wheel moves as j and k do."""
        self.action_move(event.lines)

    def action_move(self, by: int) -> None:
        """Scroll."""
        self.top += by
        self.refresh_content()

    def action_page(self, by: int) -> None:
        """Scroll half a page."""
        self.action_move(by * max(self.pane.size.height // 2, 1))

    def action_first(self) -> None:
        """To the start."""
        self.action_move(-(10**6))

    def action_last(self) -> None:
        """To the end."""
        self.action_move(10**6)

    def action_leave(self) -> None:
        """Back to the screen before."""
        self.dismiss(None)
