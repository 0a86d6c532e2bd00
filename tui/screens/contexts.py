"""Contexts (`c`): where a neuron is active, the text of one of them in full below, its token bright."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress

from textual import work
from textual.binding import Binding

from ffnscope.store.errors import UserError
from ffnscope.tui.drawing.lines import BLANK, Line, Part, Writer, clip, filled, line, rule, wrap
from ffnscope.tui.drawing.numbers import count
from ffnscope.tui.drawing.pane import Pane
from ffnscope.tui.neuron.data import ContextText, PageData
from ffnscope.tui.neuron.related import detectors_of
from ffnscope.tui.neuron.sections import context_line
from ffnscope.tui.neuron.sentences import headline
from ffnscope.tui.screens.pager import Pager
from ffnscope.tui.state.neuron_list import Key
from ffnscope.tui.state.session import Session

OTHERS = 6  # detectors of a context's token that are named


class Contexts(Pager, inherit_bindings=True):
    """The strongest and the drawn contexts as a list; `enter` reads the chosen one's window, j/k scroll it then."""

    BINDINGS = [
        Binding("enter,l,right", "read", "Read the window", id="read"),
        Binding("h,left", "leave", "Back", id="left", show=False),
    ]

    def __init__(self, session: Session, key: Key):
        super().__init__(session.glyphs, session.rule)
        self.session = session
        self.page: PageData = session.page(key)
        self.cursor = 0
        self.reading = False
        self.scrolled = 0
        self._others: dict[str, tuple[str, ...]] = {}
        self._windows: dict[int, list[int]] = {}
        self._seen = range(0)  # the contexts in view

    def title_parts(self) -> list[Part]:
        """The neuron, and what it is."""
        return [
            (f"contexts of {self.page.name} ", "accent"),
            *clip(headline(self.page), 80, self.glyphs)[: -1 if self.page.neuron.order else None],
        ]

    def hints(self) -> str:
        """The keys."""
        return (
            "j/k scroll the text  q back to the list" if self.reading else "j/k context  enter read its window  q back"
        )

    def content(self, width: int, height: int) -> Sequence[Line]:
        """The list above, the chosen context's window below."""
        if not self.total:
            reason = "This neuron is dead: it was never activated."
            if self.page.neuron.activations:
                reason = "Activated in count-only domains only, of which no contexts are kept."
            return [BLANK, line((f"  {reason}", "dim"))]
        return self._list_and_reader(width, height)

    @property
    def total(self) -> int:
        """How many contexts are listed."""
        return len(self.page.contexts)

    def contexts_at(self, rows: Sequence[int]) -> list[ContextText]:
        """The contexts in rows of the list."""
        return [self.page.contexts[row] for row in rows]

    def _list_and_reader(self, width: int, height: int) -> list[Line]:
        self.top = 0
        listed = min(self.total + 1, max(height // 2, 4)) if not self.reading else 0
        first = max(0, min(self.cursor - listed // 2, self.total + 1 - listed))
        self._seen = range(first, min(first + listed, self.total))
        *contexts, chosen = self.contexts_at([*self._seen, self.cursor])
        out: list[Line] = []
        for row, context in zip(self._seen, contexts, strict=True):
            ground = "cursor" if row == self.cursor else ""
            text_line = context_line(context, width - 2, self.glyphs, ground)
            out.append(Line((((self.glyphs.cursor if ground else " ") + " ", "accent"), *text_line.parts), ground))
        return filled(out, listed) + self._reader(chosen, width, height - listed)

    def _reader(self, context: ContextText, width: int, height: int) -> list[Line]:
        where = (
            f"window {count(context.window)}, position {count(context.position)} of {self.page.neuron.curve.shape[1]:,}"
        )
        has_activation = not math.isnan(context.activation)
        sign = "" if self.page.neuron.threshold is None else "below 0 " if context.activation < 0 else "above 0 "
        kind = "drawn at random " if context.drawn else f"strongest {sign}" if has_activation else ""
        parts: list[Part] = [(kind, "dim")]
        parts += Writer(self.glyphs).token(context.domain, "text").parts
        if has_activation and not context.drawn:
            parts.append((f"  activation {context.activation:.4g}", "text"))
        body, at = self._text(context, width - 4)
        rows = max(height - 1, 1)
        start = max(0, min(at - rows // 2 + self.scrolled, len(body) - rows))
        self.scrolled = max(-(at - rows // 2) if at > rows // 2 else 0, min(self.scrolled, len(body)))
        shown = body[start : start + rows]
        others = self._others.get(context.token)
        if others is None:
            self._others[context.token] = ()
            self.read_others(context.token)
        elif others:
            parts += [("  other detectors of it ", "dim"), (" ".join(others), "text")]
        return [rule(parts, width, self.glyphs, where), *shown]

    @work(thread=True, group="others")
    def read_others(self, token: str) -> None:
        """Find the detectors of a context's token."""
        with suppress(UserError):
            hits = detectors_of(self.session.read_index(), token, OTHERS + 1)
            names = [name for hit in hits if (name := f"L{hit.layer}N{hit.neuron}") != self.page.name]
            self.call_later(self._show_others, token, tuple(names[:OTHERS]))

    def _show_others(self, token: str, names: tuple[str, ...]) -> None:
        """Name the other detectors of a token."""
        self._others[token] = names
        self.refresh_content()

    def positions_in(self, window: int) -> set[int]:
        """The positions of a window that are marked in its text."""
        return {context.position for context in self.page.contexts if context.window == window}

    def _text(self, context: ContextText, width: int) -> tuple[list[Line], int]:
        """The window wrapped, with the neuron's other contexts in it marked too; and the line of the token."""
        if context.window not in self._windows:
            self._windows[context.window] = self.session.store.window(context.window).tolist()
        texts = self.session.store.vocabulary.running(self._windows[context.window], context.position)
        others = self.positions_in(context.window)
        paragraphs: list[list[Part]] = [[]]
        for index, text in enumerate(texts):
            here = index == context.position
            if not text:  # the beginning of a character: what is marked of it is marked where it is whole
                others |= {index + 1} if index in others else set()
            for piece in text.splitlines(keepends=True) if not here else [text]:
                out = Writer(self.glyphs)
                if here:
                    paragraphs[-1] += [(part, "here") for part, _ in out.token(text).parts]
                else:
                    paragraphs[-1] += out.prose(piece, "trigger" if index in others else "text").parts
                if piece.endswith("\n"):
                    paragraphs.append([])
        rows = [row for parts in paragraphs for row in wrap(parts, width)]
        lines = [Line((("  ", "text"), *row)) for row in rows]
        at = next((i for i, other in enumerate(lines) if any(style == "here" for _, style in other.parts)), 0)
        return lines, at

    def on_pane_clicked(self, event: Pane.Clicked) -> None:
        """A click chooses a context."""
        if not self.reading and 1 <= event.y <= len(self._seen):
            self.cursor, self.scrolled = self._seen[event.y - 1], 0
            self.refresh_content()

    def action_move(self, by: int) -> None:
        """Another context, or scroll its text."""
        if self.reading:
            self.scrolled += by
        else:
            self.cursor = max(0, min(self.cursor + by, self.total - 1))
            self.scrolled = 0
        self.refresh_content()

    def action_read(self) -> None:
        """The chosen context's window on the whole screen."""
        self.reading, self.scrolled = bool(self.page.contexts), 0
        self.refresh_content()

    def action_leave(self) -> None:
        """Back to the list, or to the screen before."""
        if not self.reading:
            self.dismiss(None)
            return
        self.reading, self.scrolled = False, 0
        self.refresh_content()
