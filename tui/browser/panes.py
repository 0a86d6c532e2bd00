"""What the browser's panes show of a session: head line, layers, neurons, the neuron, the line of keys."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ffnscope.store.bits.kept import kept_number
from ffnscope.store.records import Progress
from ffnscope.tui.browser.layer_list import LayerList
from ffnscope.tui.browser.neuron_table import NeuronTable
from ffnscope.tui.browser.state import BrowserState
from ffnscope.tui.drawing.glyphs import Glyphs
from ffnscope.tui.drawing.lines import BLANK, Line, Part, Writer, clip, framed
from ffnscope.tui.drawing.numbers import count, duration, percent
from ffnscope.tui.neuron.data import PageData
from ffnscope.tui.neuron.page import page_lines, peek_lines, title
from ffnscope.tui.neuron.related import related_lines
from ffnscope.tui.state.session import Session

STALE = 60.0  # seconds without a word from the collector after which the head line says so


def progress_text(progress: Progress, glyphs: Glyphs, now: float | None = None) -> str:
    """`complete`, or `collecting 43% · 1,234 tok/s · 5 min left`, or that the collector has gone quiet."""
    if progress.state != "collecting":
        return progress.state
    dot = f" {glyphs.dot} "
    text = f"collecting {percent(progress.fraction)}"
    quiet = (time.time() if now is None else now) - progress.updated
    if progress.updated and quiet > STALE:
        return f"{text}{dot}no word from the collector for {duration(quiet)}"
    if progress.tokens_per_second:
        text += f"{dot}{count(round(progress.tokens_per_second))} tok/s"
    if progress.seconds_left is not None:
        text += f"{dot}{duration(progress.seconds_left)} left"
    return text


class Panes:
    """Draws a session in a state of the browser."""

    def __init__(self, session: Session, state: BrowserState, sessions: Sequence[Session]):
        """`session` is one of the opened `sessions`."""
        self.session, self.state, self.sessions = session, state, sessions
        self.glyphs = session.glyphs
        self.table = NeuronTable(session.neurons, session.text, session.glyphs, self.empty)
        self.layer_list = LayerList(session.glyphs)
        self.page_height = 1
        self._page_length = 0
        self._drawn_from: tuple[object, ...] = (None, None, None)  # page, plot and related neurons of the lines kept
        self._drawn_size = (0, 0)
        self._drawn: list[Line] = []

    @property
    def most_scrolled(self) -> int:
        """The first line in view of a page that is scrolled to its end."""
        return max(self._page_length - self.page_height, 0)

    def sync_layers(self, follow: bool = False) -> None:
        """Show the run's layers, also those not collected yet; the cursor stays on its layer, or goes to the open one."""
        rows, current = self.layer_list, None if follow else self.layer_list.layer
        rows.layers = tuple(sorted({*self.session.store.run.layers, *self.session.layers}))
        rows.figures, rows.collected = self.session.figures, frozenset(self.session.layers)
        layer = current if current in rows.layers else self.session.neurons.layer
        rows.cursor = rows.layers.index(layer) if layer in rows.layers else 0

    def head(self, width: int, height: int) -> list[Line]:
        """Store, model, corpus, progress, marks."""
        run, dot = self.session.store.run, f" {self.glyphs.dot} "
        model, corpus = run.model, run.corpus
        marks = len(self.session.neurons.marks)
        right = (f"{count(marks)} marked   " if marks else "") + "? help "
        failed = bool(self.session.failure) and self.session.progress.state != "complete"
        progress = "the run failed" if failed else progress_text(self.session.progress, self.glyphs)
        out = Writer(self.glyphs).add(" ffnscope  ", "dim").prose(self.session.title, "bright")
        if self.session.rule:
            out.add(f" {self.session.rule}", "accent")
        if len(self.sessions) > 1:
            out.add(f" ({self.sessions.index(self.session) + 1} of {len(self.sessions)}, b next)", "dim")
        room = width - out.width - len(right) - 2
        facts = [
            f"{model.architecture} {model.layers} {self.glyphs.times} {model.neurons:,}",
            f"{count(corpus.positions)} positions",
        ]
        facts.append(" ".join(domain.name for domain in corpus.domains))
        # What gives way in a narrow terminal: the domains, then the positions.
        while facts and len("  " + dot.join([*facts, progress])) > room:
            facts.pop()
        out.add("  ").prose(dot.join(facts) + dot if facts else "", "text")
        out.prose(progress, "error" if failed else "text" if self.session.progress.state == "complete" else "accent")
        used = Line(clip(out.parts, width - len(right) - 1, self.glyphs))
        return [Line((*used.parts, (" " * (width - used.width - len(right)), "text"), (right, "dim")), "head")]

    def _title(self, pane: str, parts: list[Part]) -> list[Part]:
        """The title of a pane; only where the pane has the keys, in the accent's colour."""
        if self.state.pane == pane:
            return parts
        return [(text, "dim" if style == "accent" else style) for text, style in parts]

    def layers(self, width: int, height: int) -> list[Line]:
        """The layers' pane."""
        self.layer_list.focused = self.state.pane == "layers"
        body = self.layer_list.lines(width, height - 1)
        return framed(self._title("layers", [("layers", "accent")]), body, width, self.glyphs)

    def neurons(self, width: int, height: int) -> list[Line]:
        """The neurons' pane."""
        neurons = self.session.neurons
        self.table.focused = self.state.pane == "neurons"
        self.table.step = 0 if self.state.wide else 1
        parts: list[Part] = [(f"L{neurons.layer} ", "accent")] if neurons.layer >= 0 else [("neurons ", "accent")]
        total = f"{neurons.total:,}"
        parts.append((f"{len(neurons.rows):,} of {total}" if neurons.filter else f"{total} neurons", "text"))
        if neurons.filter_text:
            parts.append((f" {self.glyphs.dot} ", "dim"))
            parts += Writer(self.glyphs).prose(neurons.filter_text, "accent").parts
        tail = f"{neurons.cursor + 1:,}/{len(neurons.rows):,}" if len(neurons.rows) else ""
        body = self.table.lines(width - self.state.wide, height - 1)
        return framed(self._title("neurons", parts), body, width, self.glyphs, wall=self.state.wide, tail=tail)

    def neuron(self, width: int, height: int) -> list[Line]:
        """The neuron's pane."""
        state, wide = self.state, self.state.wide
        if state.page is None:
            title_parts = self._title("neuron", [("neuron", "accent")])
            return framed(title_parts, [BLANK] * (height - 1), width, self.glyphs, wall=wide)
        lines = self._page_lines(state.page, width - wide, height - 1)
        self.page_height, self._page_length = height - 1, len(lines)
        first = min(state.scrolled, self.most_scrolled)
        below = len(lines) - first - (height - 1)
        tail = f"{below} more lines" if below > 0 and state.pane == "neuron" else ""
        body = lines[first : first + height - 1]
        return framed(self._title("neuron", title(state.page)), body, width, self.glyphs, wall=wide, tail=tail)

    def _page_lines(self, page: PageData, width: int, height: int) -> list[Line]:
        """The page with what follows it, kept until one of them changes: lists in full take a while to write."""
        related = self.state.related
        drawn_from = (page, self.state.plot, related)
        same = all(kept is new for kept, new in zip(self._drawn_from, drawn_from, strict=True))
        if not same or self._drawn_size != (width, height):
            lines = page_lines(page, width, height, self.state.plot)
            if related and related[0] == page.name:
                lines += related_lines(related[1], page, width - 1)
            self._drawn_from, self._drawn_size, self._drawn = drawn_from, (width, height), lines
        return self._drawn

    def peek(self, width: int, height: int) -> list[Line]:
        """The neuron in a few lines, below the list."""
        if self.state.page is None:
            return [BLANK] * height
        return peek_lines(self.state.page, width, height, self.state.plot)

    def hints(self, width: int, height: int) -> list[Line]:
        """The keys that matter here, or what has just happened."""
        if self.state.message:
            text, style = self.state.message
            return [Line(clip(Writer(self.glyphs).add(" ").prose(text, style).parts, width, self.glyphs))]
        back = "q quit" if self.state.wide or self.state.pane == "layers" else "q back"
        here = {
            "layers": "j/k layer  enter open",
            "neurons": "j/k move  enter open",
            "neuron": "j/k scroll  h/l n-grams  [ ] next",
        }[self.state.pane]
        rest = {
            "layers": "/ search  f filter  o overview  : go to",
            "neurons": "/ search  f filter  s sort  space mark  c contexts  o overview  e export"
            + self._asking("  A ask")
            + "  D distribution  u undo",
            "neuron": "c contexts  z plot  space mark  a note" + self._asking("  w fires with  A ask"),
        }[self.state.pane]
        parts = Writer(self.glyphs).add(" ")
        for hint in f"{here}  {rest}  {back}".split("  "):
            key, _, what = hint.rpartition(" ") if not hint.startswith("[") else ("[ ]", "", "next")
            if hint.startswith(": "):
                key, what = ":", "go to"
            if parts.width + len(hint) + 2 > width - (len(back) + 2 if hint != back else 0):
                continue
            parts.add(key, "text").add(f" {what}  ", "faint")
        return [parts.line()]

    def _asking(self, hints: str) -> str:
        """Hints of keys that need kept bits."""
        return hints if kept_number(self.session.store) else ""

    def empty(self) -> str:
        """Why the list is empty, and the way on."""
        neurons = self.session.neurons
        if neurons.layer < 0:
            if self.session.progress.state == "collecting":
                return "No layer is finished yet; this screen fills by itself."
            return "This store holds no finished layer; `ffnscope collect ... --resume` continues it."
        text = neurons.filter_text
        names = {
            "kind:token": "token detectors",
            "kind:bigram": "bigram detectors",
            "kind:trigram": "trigram detectors",
        }
        names |= {"kind:detector": "detectors", "kind:positional": "positional neurons", "kind:dead": "dead neurons"}
        names |= {"marked": "marked neurons", "noted": "noted neurons"}
        if text in names:
            return f"No {names[text]} in layer {neurons.layer}. `o` shows where they are; `f` changes the filter."
        return f"No neuron of layer {neurons.layer} fits the filter. `f` changes it; an empty one shows all."
