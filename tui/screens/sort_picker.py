"""The sort picker (`s`): one key per column."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen

from ffnscope.tui.drawing.glyphs import Glyphs
from ffnscope.tui.drawing.lines import Line, Writer, clip, rule
from ffnscope.tui.drawing.pane import Pane

ROWS = 10
CELLS = 26  # the least that a column takes: key, name and a space


class SortPicker(ModalScreen[str | None], inherit_bindings=False):
    """Columns with a key each; the key, or `enter` on the chosen one, answers with the column's name."""

    BINDINGS = [
        Binding("escape", "leave", "Leave", id="cancel", show=False),
        Binding("D", "show_distribution", "Distribution of the column", id="distribution", show=False),
        Binding("up", "choose(-1)", "Column above", id="choice-up", show=False),
        Binding("down", "choose(1)", "Column below", id="choice-down", show=False),
        Binding("left", "choose(-10)", "Column to the left", id="choice-left", show=False),
        Binding("right", "choose(10)", "Column to the right", id="choice-right", show=False),
        Binding("enter", "take", "Sort by it", id="take", show=False),
        Binding("question_mark", "app.help", "Help", id="help", show=False),
    ]

    def __init__(self, choices: list[tuple[str, str, str]], current: str, glyphs: Glyphs):
        super().__init__()
        self.choices = choices
        self.glyphs = glyphs
        self.distribution = False  # the answer is the column whose distribution is asked for
        self.chosen = next((i for i, (_, name, _) in enumerate(choices) if name == current), 0)

    def compose(self) -> ComposeResult:
        """A rule and the columns in as many columns as fit."""
        with Vertical(classes="input-line"):
            yield Pane(self._draw, classes="tall")

    def _draw(self, width: int, height: int) -> list[Line]:
        needed = -(-len(self.choices) // ROWS)
        across = min(needed, max(1, width // CELLS))
        cells = width // across
        # Scrolled only as far as the chosen one needs.
        first = max(0, self.chosen // ROWS - across + 1)
        more = "" if across == needed else f"{first + 1}-{first + across} of {needed} columns, left and right; "
        head = "sort by: press a key, s the next one; in the list S reverses it"
        out = [rule([(head if not more else "sort by: press a key", "dim")], width, self.glyphs, f"{more}? keys")]
        for row in range(min(ROWS, len(self.choices))):
            line = Writer(self.glyphs)
            for column in range(across):
                index = (first + column) * ROWS + row
                if index < len(self.choices):
                    self._choice(line, index, cells)
            out.append(Line(clip(line.parts, width, self.glyphs)))
        # Where two columns stand side by side in 80 cells, there is room for one meaning only.
        return [*out, Writer(self.glyphs).prose(f" {self.choices[self.chosen][2]}", "dim").line()]

    def _choice(self, out: Writer, index: int, cells: int) -> None:
        key, name, meaning = self.choices[index]
        chosen = index == self.chosen
        end = out.width + cells
        out.add(self.glyphs.cursor if chosen else " ", "accent").add(f" {key:1} ", "accent")
        out.prose(name, "bright" if chosen else "text", min(20, cells - 4)).add(" ")
        if cells >= 60:
            out.prose(meaning, "dim", end - out.width - 1)
        out.to(end)

    def on_key(self, event: events.Key) -> None:
        """A column's key."""
        if event.character == "s":
            event.stop()
            self.dismiss(self.choices[(self.chosen + 1) % len(self.choices)][1])
        elif event.character == "q":
            event.stop()
            self.dismiss(None)
        for key, name, _ in self.choices:
            if key and event.character == key:
                event.stop()
                self.dismiss(name)
                return

    def action_choose(self, by: int) -> None:
        """Another column."""
        self.chosen = max(0, min(self.chosen + by, len(self.choices) - 1))
        self.query_one(Pane).redraw()

    def action_show_distribution(self) -> None:
        """The chosen one, not to sort by it but to see its distribution."""
        self.distribution = True
        self.action_take()

    def action_take(self) -> None:
        """The chosen one."""
        self.dismiss(self.choices[self.chosen][1])

    def action_leave(self) -> None:
        """None of them."""
        self.dismiss(None)
