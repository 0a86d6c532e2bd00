"""The one widget everything is drawn with: lines of fixed size that repaints only the lines that changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from ffnscope.store.errors import UserError
from ffnscope.tui.drawing.glyphs import UNICODE
from ffnscope.tui.drawing.lines import Line, filled, wrapped
from ffnscope.tui.drawing.palette import styles

Source = Callable[[int, int], Sequence[Line]]


class Pane(Widget):
    """Draws what its `source` gives for (width, height); `redraw` asks it again and repaints the lines that differ."""

    ALLOW_SELECT = False
    can_focus = False

    @dataclass
    class Clicked(Message):
        """A click on cell `x` of line `y` of the pane."""

        pane: Pane
        x: int
        y: int

    @dataclass
    class Wheeled(Message):
        """The mouse wheel over the pane: `lines` down (negative: up)."""

        pane: Pane
        lines: int

    def __init__(self, source: Source, *, id: str | None = None, classes: str | None = None):
        super().__init__(id=id, classes=classes)
        self.source = source
        self._lines: list[Line] = []
        self._strips: list[Strip] = []

    @property
    def shown(self) -> list[str]:
        """The text on it, line by line."""
        return [strip.text for strip in self._strips]

    def redraw(self) -> None:
        """Ask the source again and repaint the lines that differ."""
        width, height = self.size
        if not (width and height):
            return
        try:
            lines = self.source(width, height)
        except UserError as error:  # what it draws is damaged in the store
            lines = wrapped(str(error), "error", width, getattr(self.app, "glyphs", UNICODE))
        lines = filled(lines, height)
        table = styles(self.app.current_theme)
        regions = []
        whole = len(self._strips) != height or self._strips[0].cell_length != width
        strips = []
        for y, new in enumerate(lines):
            if not whole and new == self._lines[y]:
                strips.append(self._strips[y])
                continue
            strip = _strip(new, width, table)
            regions.append(Region(0, y, width, 1))
            strips.append(strip)
        self._lines, self._strips = lines, strips
        if whole:
            self.refresh()
        elif regions:
            self.refresh(*regions)

    def restyle(self) -> None:
        """Forget what is drawn: the theme has changed."""
        self._strips, self._lines = [], []
        self.redraw()

    def render_line(self, y: int) -> Strip:
        """The strip of one line."""
        if y < len(self._strips) and self._strips[y].cell_length == self.size.width:
            return self._strips[y]
        return Strip.blank(self.size.width, styles(self.app.current_theme)["text", ""])

    def on_mount(self) -> None:
        """Follow the theme."""
        self.watch(self.app, "theme", self.restyle, init=False)

    def on_resize(self) -> None:
        """Draw for the new size."""
        self.redraw()

    def on_show(self) -> None:
        """Draw what was left out while hidden."""
        self.redraw()

    def on_click(self, event: events.Click) -> None:
        """Tell the screen."""
        self.post_message(self.Clicked(self, event.x, event.y))

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Tell the screen."""
        event.stop()
        self.post_message(self.Wheeled(self, 3))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Tell the screen."""
        event.stop()
        self.post_message(self.Wheeled(self, -3))


def _strip(line: Line, width: int, table: dict[tuple[str, str], Style]) -> Strip:
    fallback = table["text", line.ground]
    segments: list[Segment] = []
    run, run_style, used = "", fallback, 0
    for text, name in line.parts:
        cells = cell_len(text)
        if used + cells > width:
            text = _cut(text, width - used)
            cells = cell_len(text)
        if not text:
            continue
        style = table.get((name, line.ground), fallback)
        if style is not run_style and run:
            # A space looks the same in every colour on one ground, so it joins the run before it.
            if not text.strip(" ") and style.bgcolor == run_style.bgcolor and not _marked(style, run_style):
                style = run_style
            else:
                segments.append(Segment(run, run_style))
                run = ""
        run, run_style = run + text, style
        used += cells
    if used < width:
        pad = " " * (width - used)
        if run and run_style is not fallback and _marked(run_style, fallback):
            segments.append(Segment(run, run_style))
            run, run_style = "", fallback
        run += pad
    if run:
        segments.append(Segment(run, run_style))
    return Strip(segments, width)


def _marked(style: Style, other: Style) -> bool:
    return bool(style.reverse) != bool(other.reverse) or bool(style.underline) != bool(other.underline)


def _cut(text: str, width: int) -> str:
    end, cells = 0, 0
    for end, char in enumerate(text):
        cells += cell_len(char)
        if cells > width:
            return text[:end]
    return text
