"""What the browser's panes show of a session: head line, layers, neurons, the neuron, the line of keys."""

from __future__ import annotations

import time

from ffnscope.store.records import Progress
from ffnscope.tui.browser.layer_list import LayerList
from ffnscope.tui.browser.neuron_table import NeuronTable
from ffnscope.tui.drawing.glyphs import Glyphs
from ffnscope.tui.drawing.lines import BLANK, Line, Part, Writer, clip, framed
from ffnscope.tui.drawing.numbers import count, duration, percent
from ffnscope.tui.neuron.data import PageData
from ffnscope.tui.neuron.page import Plot, page_lines, peek_lines, title
from ffnscope.tui.neuron.related import Related, related_lines
from ffnscope.tui.state.session import Session

STALE = 60.0  # seconds without a word from the collector before we say so
PANES = ("layers", "neurons", "neuron")


def progress_words(progress: Progress, glyphs: Glyphs, now: float | None = None) -> str:
    """`complete`, or `collecting 43% · 1,234 tok/s · 5 min left`, or that the collector has gone quiet."""
    if progress.state != "collecting":
        return progress.state
    dot = f" {glyphs.dot} "
    words = f"collecting {percent(progress.fraction)}"
    quiet = (time.time() if now is None else now) - progress.updated
    if progress.updated and quiet > STALE:
        return f"{words}{dot}no word from the collector for {duration(quiet)}"
    if progress.tokens_per_second:
        words += f"{dot}{count(round(progress.tokens_per_second))} tok/s"
    if progress.seconds_left is not None:
        words += f"{dot}{duration(progress.seconds_left)} left"
    return words


class Frame:
    """Draws a session for the browser; which pane has the keys, and how far its page is scrolled, is kept here."""

    def __init__(self, session: Session):
        self.session = session
        self.glyphs = session.glyphs
        self.table = NeuronTable(session.model, session.text, session.glyphs)
        self.layer_list = LayerList(session.glyphs)
        self.table.empty = self.empty
        self.at = "neurons"
        self.wide = True
        self.page: PageData | None = None
        self.scrolled = 0
        self.page_length = 0
        self.page_height = 1
        self.plot: Plot | None = None
        self.message: tuple[str, str] | None = None  # (text, style)
        self.order: int | None = None  # the n-grams chosen for the page, else those of the neuron
        self.related: tuple[str, Related] | None = None  # of the neuron named
        self._kept: tuple[tuple[object, ...], tuple[int, int], list[Line]] = ((None, None, None), (0, 0), [])
        self.number, self.stores = 1, 1  # which of the opened stores this is

    def sync_layers(self, follow: bool = False) -> None:
        """Show the run's layers, also those not collected yet; the cursor stays on its layer, or goes to the open one."""
        kept = None if follow else self.layer_list.layer
        collected = self.session.layers
        every = tuple(sorted({*self.session.store.run.layers, *collected}))
        self.layer_list.layers = every
        self.layer_list.figures, self.layer_list.collected = self.session.figures, frozenset(collected)
        wanted = kept if kept is not None and kept in every else self.session.model.layer
        self.layer_list.cursor = every.index(wanted) if wanted in every else 0

    # Panes

    def head(self, width: int, height: int) -> list[Line]:
        """Where one is: store, model, corpus, progress, marks."""
        run, dot = self.session.store.run, f" {self.glyphs.dot} "
        model, corpus = run.model, run.corpus
        marks = len(self.session.model.marks)
        right = (f"{count(marks)} marked   " if marks else "") + "? help "
        state = progress_words(self.session.progress, self.glyphs)
        out = Writer(self.glyphs).add(" ffnscope  ", "dim").prose(self.session.title, "bright")
        if self.stores > 1:
            out.add(f" ({self.number} of {self.stores}, b next)", "dim")
        room = width - out.width - len(right) - 2
        facts = [
            f"{model.architecture} {model.layers} {self.glyphs.times} {model.neurons:,}",
            f"{count(corpus.positions)} positions",
        ]
        facts.append(" ".join(domain.name for domain in corpus.domains))
        # What gives way in a narrow terminal: the domains, then the positions.
        while facts and len("  " + dot.join([*facts, state])) > room:
            facts.pop()
        out.add("  ").prose(dot.join(facts) + dot if facts else "", "text")
        out.prose(state, "text" if self.session.progress.state == "complete" else "accent")
        used = Line(clip(out.parts, width - len(right) - 1, self.glyphs))
        return [Line((*used.parts, (" " * (width - used.width - len(right)), "text"), (right, "dim")), "head")]

    def _title(self, pane: str, parts: list[Part]) -> list[Part]:
        active = self.at == pane
        if not active:
            return [(text, "dim" if style == "accent" else style) for text, style in parts]
        return parts

    def layers(self, width: int, height: int) -> list[Line]:
        """The layers' pane."""
        self.layer_list.focused = self.at == "layers"
        body = self.layer_list.lines(width, height - 1)
        return framed(self._title("layers", [("layers", "accent")]), body, width, self.glyphs)

    def neurons(self, width: int, height: int) -> list[Line]:
        """The neurons' pane."""
        model = self.session.model
        self.table.focused = self.at == "neurons"
        self.table.step = 0 if self.wide else 1
        parts: list[Part] = [(f"L{model.layer} ", "accent")] if model.layer >= 0 else [("neurons ", "accent")]
        shown = f"{len(model.rows):,} of {model.total:,}" if model.filter else f"{model.total:,} neurons"
        parts.append((shown, "text"))
        if model.filter_text:
            parts.append((f" {self.glyphs.dot} ", "dim"))
            parts += Writer(self.glyphs).prose(model.filter_text, "accent").parts
        tail = f"{model.cursor + 1:,}/{len(model.rows):,}" if len(model.rows) else ""
        body = self.table.lines(width - self.wide, height - 1)
        return framed(self._title("neurons", parts), body, width, self.glyphs, wall=self.wide, tail=tail)

    def neuron(self, width: int, height: int) -> list[Line]:
        """The neuron's pane."""
        if self.page is None:
            return framed(
                self._title("neuron", [("neuron", "accent")]),
                [BLANK] * (height - 1),
                width,
                self.glyphs,
                wall=self.wide,
            )
        lines = self._page_lines(self.page, width - self.wide, height - 1)
        self.page_height, self.page_length = height - 1, len(lines)
        self.scrolled = max(0, min(self.scrolled, len(lines) - (height - 1)))
        body = lines[self.scrolled : self.scrolled + height - 1]
        below = len(lines) - self.scrolled - (height - 1)
        tail = f"{below} more lines" if below > 0 and self.at == "neuron" else ""
        return framed(self._title("neuron", title(self.page)), body, width, self.glyphs, wall=self.wide, tail=tail)

    def _page_lines(self, page: PageData, width: int, height: int) -> list[Line]:
        """The page with what follows it, kept until one of them changes: lists in full take a while to write."""
        of = (page, self.plot, self.related)
        kept, size, lines = self._kept
        if size != (width, height) or any(one is not other for one, other in zip(kept, of, strict=True)):
            lines = page_lines(page, width, height, self.plot)
            if self.related and self.related[0] == page.name:
                lines += related_lines(self.related[1], page, width - 1)
            self._kept = of, (width, height), lines
        return lines

    def peek(self, width: int, height: int) -> list[Line]:
        """The neuron in a few lines, below the list."""
        if self.page is None:
            return [BLANK] * height
        return peek_lines(self.page, width, height, self.plot)

    def hints(self, width: int, height: int) -> list[Line]:
        """The keys that matter here, or what has just happened."""
        if self.message:
            text, style = self.message
            return [Line(clip(Writer(self.glyphs).add(" ").prose(text, style).parts, width, self.glyphs))]
        back = "q quit" if self.wide or self.at == "layers" else "q back"
        here = {
            "layers": "j/k layer  enter open",
            "neurons": "j/k move  enter open",
            "neuron": "j/k scroll  h/l n-grams  [ ] next",
        }[self.at]
        rest = {
            "layers": "/ search  f filter  o overview  : go to",
            "neurons": "/ search  f filter  s sort  space mark  c contexts  o overview  e export",
            "neuron": "c contexts  z plot  space mark  a note",
        }[self.at]
        parts = Writer(self.glyphs).add(" ")
        for hint in f"{here}  {rest}  {back}".split("  "):
            key, _, what = hint.rpartition(" ") if not hint.startswith("[") else ("[ ]", "", "next")
            if hint.startswith(": "):
                key, what = ":", "go to"
            if parts.width + len(hint) + 2 > width - (len(back) + 2 if hint != back else 0):
                continue
            parts.add(key, "text").add(f" {what}  ", "faint")
        return [parts.line()]

    def empty(self) -> str:
        """Why the list is empty, and the way on."""
        model = self.session.model
        if model.layer < 0:
            if self.session.progress.state == "collecting":
                return "No layer is finished yet; this screen fills by itself."
            return "This store holds no finished layer; `ffnscope collect ... --resume` goes on."
        text = model.filter_text
        names = {
            "kind:token": "token detectors",
            "kind:bigram": "bigram detectors",
            "kind:trigram": "trigram detectors",
        }
        names |= {"kind:detector": "detectors", "kind:positional": "positional neurons", "kind:dead": "dead neurons"}
        names |= {"marked": "marked neurons", "noted": "noted neurons"}
        if text in names:
            return f"No {names[text]} in layer {model.layer}. `o` shows where they are; `f` changes the filter."
        return f"No neuron of layer {model.layer} fits the filter. `f` changes it; an empty one shows all."

    def say(self, text: str, style: str = "accent") -> None:
        """What has just happened, for the last line."""
        self.message = (text, style)

    def quiet(self) -> None:
        """Back to the keys."""
        self.message = None

    def follow(self, contexts: bool) -> None:
        """Read the page of the neuron under the cursor."""
        key = self.session.model.key
        if key is None:
            self.page = None
            return
        if self.page is None or (self.page.neuron.layer, self.page.neuron.neuron) != key:
            self.scrolled = 0
            self.order = None if self.order == 1 else self.order
        self.page = self.session.page(key, self.order or 1, contexts)
        if self.page.neuron.order > 1 and self.order is None:
            self.page = self.session.page(key, self.page.neuron.order, contexts)
