"""The line at the bottom that asks for a text: filter, goto, note, export; with an answer above it while the user types."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual import events, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.timer import Timer
from textual.widgets import Input, Static
from textual.worker import get_current_worker

from ffnscope.store.errors import UserError
from ffnscope.store.escaping import escape, escape_typed
from ffnscope.tui.drawing.glyphs import UNICODE, Glyphs
from ffnscope.tui.drawing.lines import Line, clip, line, rule, wrap
from ffnscope.tui.drawing.pane import Pane
from ffnscope.tui.drawing.text import visible

DEBOUNCE = 0.06
# A question mark is a text to search for, so lines have another key for it.
LINE_HELP = Binding("ctrl+o", "app.help", "Help", id="line-help", show=False)

Answer = Callable[[str], Sequence[Line]]


def printable(text: str) -> str:
    """A text without what is not printable."""
    return "".join(char for char in text if char.isprintable())


class EscapingInput(Input):
    """A line that keeps every line of a pasted text, as escapes."""

    def on_paste(self, event: events.Paste) -> None:
        """A line break at the end comes from copying, not from the text."""
        event.prevent_default()
        event.stop()
        text = event.text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n")  # terminals send CR
        self.replace(escape_typed(text), *self.selection)


class InputLine(ModalScreen[str | None], inherit_bindings=False):
    """Asks for one line. `answer` (run in a thread) says what the text so far means; `accept` returns what is wrong with
    it, or None; `complete` what its last word could become. `escapes`: what is not printable is kept, as an escape."""

    BINDINGS = [
        Binding("escape,ctrl+g", "leave", "Leave", id="cancel", show=False),
        Binding("tab", "complete", "Complete the word", id="complete", show=False),
        Binding("up", "recall(-1)", "Earlier text", id="recall-earlier", show=False),
        Binding("down", "recall(1)", "Later text", id="recall-later", show=False),
        LINE_HELP,
    ]

    def __init__(
        self,
        label: str,
        value: str = "",
        *,
        glyphs: Glyphs = UNICODE,
        hint: str = "",
        answer: Answer | None = None,
        accept: Callable[[str], str | None] | None = None,
        complete: Callable[[str], list[str]] | None = None,
        recall: Sequence[str] = (),
        escapes: bool = False,
    ):
        super().__init__()
        self.label, self.value, self.hint = label, value, hint
        self.glyphs = glyphs
        self._answer, self._accept, self._complete = answer, accept, complete
        self._lines: list[Line] = [line((hint, "dim"))] if hint else []
        self._timer: Timer | None = None
        self._recall, self._recalled = [*recall], len(recall)
        self._cleaned, self._input = (escape, EscapingInput) if escapes else (printable, Input)
        self._offered: str | None = None  # the text whose completions are shown

    def compose(self) -> ComposeResult:
        """The answer above, the line below."""
        with Vertical(classes="input-line"):
            yield Pane(self._draw, id="answer")
            with Horizontal(classes="entry"):
                yield Static(f" {self.label} ", classes="label", markup=False)
                field = self._input(self.value, select_on_focus=False, id="field")
                field.cursor_blink = False
                yield field

    def _draw(self, width: int, height: int) -> list[Line]:
        rows = [Line(((" ", "text"), *parts)) for answer in self._lines for parts in wrap(answer.parts, width - 2)]
        if len(rows) >= height:
            last = (*rows[height - 2].parts, (self.glyphs.ellipsis + " " * width, "dim"))
            rows[height - 2] = Line(clip(last, width - 1, self.glyphs))
        return [rule((), width, self.glyphs, "ctrl+o keys"), *rows[: height - 1]]

    def on_mount(self) -> None:
        """Ready to type."""
        self.query_one(Input).focus()

    @property
    def pane(self) -> Pane:
        """Where the answer stands."""
        return self.query_one("#answer", Pane)

    def show(self, lines: Sequence[Line]) -> None:
        """Draw an answer."""
        self._lines = list(lines)
        self.pane.redraw()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Answer a moment after the last key."""
        event.stop()
        if (clean := self._cleaned(event.value)) != event.value:
            at = len(self._cleaned(event.value[: event.input.cursor_position]))
            event.input.value, event.input.cursor_position = clean, at
            return
        if self._timer:
            self._timer.stop()
        if self._answer:
            self._timer = self.set_timer(DEBOUNCE, lambda: self._ask(event.input.value))
        elif self.hint:
            self.show([line((self.hint, "dim"))])

    @work(thread=True, exclusive=True, group="answer")
    def _ask(self, text: str) -> None:
        worker = get_current_worker()
        assert self._answer is not None
        try:
            lines = self._answer(text)
        except UserError as error:
            # A word that is still being typed is not a mistake yet.
            lines = self._offer(text) or [line((visible(str(error), self.glyphs, spaces=False), "error"))]
        if not worker.is_cancelled:
            self.call_later(self.show_answer, text, lines)

    def show_answer(self, text: str, lines: Sequence[Line]) -> None:
        """Show the answer to a text, if that is still the same."""
        if text == self.query_one(Input).value and text != self._offered:
            self.show(lines)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Leave with the text, or say what is wrong with it."""
        event.stop()
        try:
            wrong = self._accept(event.value) if self._accept else None
        except UserError as error:
            wrong = str(error)
        if wrong:
            self._offered = None
            self.show([line((visible(wrong, self.glyphs, spaces=False), "error"))])
        else:
            self.dismiss(event.value)

    def on_key(self, event: events.Key) -> None:
        """Backspace on an empty line leaves, as in vi; text typed before the line was shown goes into it."""
        field = self.query_one(Input)
        if event.key == "backspace" and not field.value and not self.value:
            event.stop()
            self.dismiss(None)
        elif event.is_printable and event.character:
            event.stop()
            field.insert_text_at_cursor(event.character)

    def action_leave(self) -> None:
        """Leave without an answer."""
        self.dismiss(None)

    def action_recall(self, by: int) -> None:
        """Earlier and later texts."""
        if self._recall:
            self._recalled = max(0, min(self._recalled + by, len(self._recall)))
            texts = [*self._recall, ""]
            self._put(texts[self._recalled])

    def action_complete(self) -> None:
        """Complete the last word as far as it is clear, and show what else it could become."""
        if not self._complete:
            return
        field = self.query_one(Input)
        words = self._complete(field.value)
        if not words:
            return
        head = field.value[: len(field.value) - len(field.value.split(" ")[-1])]
        common = words[0]
        for word in words[1:]:
            while not word.startswith(common):
                common = common[:-1]
        done = len(words) == 1 and not common.endswith((":", "<", ">", "="))
        if len(head + common) >= len(field.value):
            self._put(head + common + (" " if done and common == words[0] and ":" in common else ""))
        if len(words) > 1:
            self._offered = field.value
            self.show(self._offer(field.value))

    def _offer(self, text: str) -> list[Line]:
        """What the last word could become."""
        words = self._complete(text) if self._complete and not text.endswith(" ") else []
        return [line((visible("  ".join(words), self.glyphs, spaces=False), "text"))] if words else []

    def _put(self, text: str) -> None:
        field = self.query_one(Input)
        field.value = text
        field.cursor_position = len(text)
