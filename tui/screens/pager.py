"""A full screen of lines with a title, scrolled by the usual keys: the base of help, overview and contexts."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.binding import Binding
from textual.screen import Screen

from ffnscope.tui.drawing.glyphs import UNICODE, Glyphs
from ffnscope.tui.drawing.lines import Line, Part, line, rule
from ffnscope.tui.drawing.pane import Pane


class Pager(Screen[None], inherit_bindings=False):
    """Subclasses give `title_parts`, `hints` and `content`; `top` is the first line in view."""

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
    glyphs: Glyphs = UNICODE

    def __init__(self) -> None:
        super().__init__()
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

    def rule_parts(self) -> list[Part]:
        """When a neuron counts as activated in the store that is shown, unless that is the usual rule."""
        activated = getattr(getattr(self, "session", None), "rule", "")
        return [(f" {self.glyphs.dot} {activated}", "dim")] if activated else []

    def hints(self) -> str:
        """The last line."""
        return "j/k scroll  q back"

    def content(self, width: int, height: int) -> Sequence[Line]:
        """All lines."""
        return ()

    def _draw(self, width: int, height: int) -> list[Line]:
        lines = self.content(width, height - 1)
        self._length = len(lines)
        self.top = max(0, min(self.top, len(lines) - (height - 1)))
        below = len(lines) - self.top - (height - 1)
        return [
            rule(
                [*self.title_parts(), *self.rule_parts()],
                width,
                self.glyphs,
                f"{below} more lines" if below > 0 else "",
            ),
            *lines[self.top : self.top + height - 1],
        ]

    def _hints(self, width: int, height: int) -> list[Line]:
        text = " " + self.hints()
        return [line((text + ("  ? keys" if len(text) + 8 <= width else ""), "dim"))]

    def refresh_content(self) -> None:
        """Draw again."""
        self.pane.redraw()

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
