"""Every kept activation of a neuron (`c`), aligned on the token: sorted, asked, counted, and what a detector misses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from textual.binding import Binding

from ffnscope.store.query import contexts as kept_contexts
from ffnscope.tui.ask.query_line import query_input
from ffnscope.tui.drawing.lines import BLANK, Line, Part, Writer, line, wrapped
from ffnscope.tui.drawing.numbers import count, percent
from ffnscope.tui.neuron.data import ContextText
from ffnscope.tui.screens.contexts import Contexts
from ffnscope.tui.state.neuron_list import Key
from ffnscope.tui.state.session import Session, remember
from ffnscope.tui.state.task import Proceed, Task

ORDERS = {"place": "text", "strength": "strength", "left": "left neighbour", "right": "right neighbour"}


@dataclass(frozen=True)
class Found:
    """Kept positions in the order shown, by row, and how strong the strongest are."""

    rows: np.ndarray
    neighbours: tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]  # (ids, counts) before, after


class Concordance(Contexts, inherit_bindings=True):
    """Lists kept positions in place of the few contexts that every store has; those are one key away."""

    BINDINGS = [
        Binding("s", "order", "Sort by text, strength or a neighbour", id="next-order"),
        Binding("f", "query", "Only where a query holds", id="filter"),
        Binding("b", "show('neighbours')", "What stands before and after, counted", id="neighbours"),
        Binding("m", "show('misses')", "Where a detector was not activated", id="misses"),
        Binding("v", "show('strongest')", "The strongest of the whole corpus", id="strongest"),
    ]

    def __init__(self, session: Session, key: Key):
        super().__init__(session, key)
        self.key = key
        self.order, self.where, self.view = "place", "", "activations"
        self.found: Found | None = None
        self.error = ""
        self._pending: Task[Found] | None = None
        self._texts: dict[int, ContextText] = {}
        self.strengths = kept_contexts.known_strengths(session.store, *key)

    def on_mount(self) -> None:
        """Start the search."""
        self._search()

    def on_unmount(self) -> None:
        """Nobody waits for the answer any longer."""
        if self._pending:
            self._pending.give_up()

    # Searching

    def _search(self) -> None:
        if self._pending:
            self._pending.give_up()
        self.found, self.error, self._texts = None, "", {}
        self.cursor = self.scrolled = 0
        self.reading = False
        store, key, where, order, strengths = self.session.store, self.key, self.where, self.order, self.strengths
        look = kept_contexts.missed if self.view == "misses" else kept_contexts.activated

        def work(proceed: Proceed) -> Found:
            kept = store.kept
            rows = look(store, *key, where, proceed)
            _ = kept.texts
            proceed()
            rows = kept_contexts.sort_rows(kept, rows, order, strengths)
            return Found(rows, (kept_contexts.neighbours(kept, rows, -1), kept_contexts.neighbours(kept, rows, 1)))

        self._pending = self.session.begin(work, partial(self.call_later, self.show_found))
        if self.is_mounted:
            self.refresh_content()

    def show_found(self, found: Found | None, error: str) -> None:
        """Show what was looked for, or what was wrong."""
        self.found, self.error = found, error
        self.refresh_content()

    # Drawing

    @property
    def total(self) -> int:
        """How many contexts, or kept positions, are listed."""
        if self.view == "strongest":
            return super().total
        return 0 if self.found is None else len(self.found.rows)

    def title_parts(self) -> list[Part]:
        """The neuron, and what is listed of it."""
        what = {"misses": "misses of", "neighbours": "neighbours of"}.get(self.view, "contexts of")
        parts: list[Part] = [(f"{what} {self.page.name} ", "accent")]
        if self.view == "strongest":
            return [*parts, ("the strongest and some drawn at random, of the whole corpus", "dim")]
        if self.found is not None:
            what = "misses" if self.view == "misses" else "activations"
            parts.append((f"{count(len(self.found.rows))} {what}", "text"))
        # The query stands before what a narrow screen may cut off.
        if self.where:
            parts += [(f" {self.glyphs.dot} ", "dim"), *Writer(self.glyphs).prose(self.where, "accent").parts]
        if self.found is not None:
            kept = count(self.session.store.kept.positions)
            parts.append(
                (f" {self.glyphs.dot} by {ORDERS[self.order]} {self.glyphs.dot} of {kept} kept positions", "dim")
            )
        return parts

    def hints(self) -> str:
        """The keys."""
        if self.reading:
            return "j/k scroll the text  q back to the list"
        return "j/k context  enter read  s sort  f query  b neighbours  m misses  v strongest  q back"

    def content(self, width: int, height: int) -> Sequence[Line]:
        """The list above, the chosen context's window below; or the counts of neighbours."""
        if self.view == "strongest":
            return super().content(width, height)
        if self.error:
            return [BLANK, *wrapped(self.error, "error", width, self.glyphs)]
        if self.found is None:
            return [BLANK, line(("  searching the kept positions ...", "dim"))]
        if self.view == "neighbours":
            return self._neighbours(self.found, width)
        if not len(self.found.rows):
            return [BLANK, line(("  none among the kept positions", "dim"))]
        return self._list_and_reader(width, height)

    def contexts_at(self, rows: Sequence[int]) -> list[ContextText]:
        """The contexts in rows of the list, read now or before."""
        if self.view == "strongest" or self.found is None:
            return super().contexts_at(rows)
        if len(self._texts) > 4096:
            self._texts = {}
        missing = [row for row in dict.fromkeys(rows) if row not in self._texts]
        occurrences = kept_contexts.concordance(self.session.store.kept, self.found.rows[missing], width=160)
        for row, occurrence in zip(missing, occurrences, strict=True):
            strength = self.strengths.get((occurrence.window, occurrence.position), math.nan)
            self._texts[row] = ContextText(
                (occurrence.left,),
                occurrence.token,
                (occurrence.right,),
                strength,
                occurrence.window,
                occurrence.position,
                self.session.domain_of(occurrence.window),
                False,
            )
        return [self._texts[row] for row in rows]

    def positions_in(self, window: int) -> set[int]:
        """All positions of a window that are listed."""
        if self.found is None or self.view == "strongest":
            return super().positions_in(window)
        kept = self.session.store.kept
        here = self.found.rows[kept.windows[kept.window_of[self.found.rows]] == window]
        return set(kept.position_of[here].tolist())

    def _neighbours(self, found: Found, width: int) -> list[Line]:
        total = max(len(found.rows), 1)
        half = width // 2
        out = [Writer(self.glyphs).add(f"  {'before':<{half - 2}}", "dim").add("after", "dim").line()]
        (before, before_counts), (after, after_counts) = found.neighbours
        for row in range(max(len(before), len(after))):
            writer = Writer(self.glyphs)
            for start, tokens, counts in ((0, before, before_counts), (half, after, after_counts)):
                if row < len(tokens):
                    writer.to(start + 2).add(f"{count(counts[row]):>9} {percent(counts[row] / total):>4}  ", "text")
                    writer.token(self.session.text(int(tokens[row])), "token", min(30, half - 20))
            out.append(writer.line())
        return out

    # Keys

    def action_move(self, by: int) -> None:
        """Another context, or scroll."""
        if self.view == "neighbours":
            self.top += by
            self.refresh_content()
        else:
            super().action_move(by)

    def action_read(self) -> None:
        """The chosen context's window on the whole screen."""
        if self.view != "neighbours" and self.total:
            super().action_read()

    def action_order(self) -> None:
        """The next order."""
        if self.view != "strongest":
            self.order = [*ORDERS][([*ORDERS].index(self.order) + 1) % len(ORDERS)]
            self._search()

    def action_show(self, view: str) -> None:
        """Another list, or back to the activations."""
        searched = self.view == "misses"
        self.view = "activations" if self.view == view else view
        self.cursor = self.scrolled = self.top = 0
        self.reading = False
        if searched or self.view == "misses":
            self._search()
        else:
            self.refresh_content()

    def action_query(self) -> None:
        """Ask for a query; an empty one lists all again."""

        def apply(text: str | None) -> None:
            if text is not None:
                self.where = text.strip()
                if self.where:
                    remember(self.session.queries, self.where)
                self._search()

        self.app.push_screen(query_input(self.session, "where", self.where, empty=True), apply)
