"""Neurons ranked by how well they tell a set of positions (`A`), or by how much they fire with one neuron (`w`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from textual.binding import Binding

from ffnscope.store.query.ask import SCORES, Answer
from ffnscope.tui.drawing.lines import BLANK, Line, Part, Writer, line, wrapped
from ffnscope.tui.drawing.numbers import count, freq, signed
from ffnscope.tui.drawing.scroll import scroll
from ffnscope.tui.drawing.text import visible
from ffnscope.tui.screens.pager import Pager
from ffnscope.tui.state.session import Session
from ffnscope.tui.state.task import Proceed, Task

WIDE = 110  # columns from which every score is shown
MOST = 1000  # neurons listed
_SHARES = ("precision", "recall", "f1", "f1_even", "f1_odd")
_MORE = ("phi", "mi", "lift")  # where there is room
_TITLES = {"f1_even": "even", "f1_odd": "odd", "precision": "prec", "recall": "rec"}


@dataclass(frozen=True)
class FoundNeuron:
    """A neuron of a ranking: what `n` and `N` walk through."""

    layer: int
    neuron: int


class Ranking(Pager, inherit_bindings=True):
    """The list of an ``Answer``, which is made in a thread; `go(neurons, chosen)` is called with `enter`."""

    BINDINGS = [
        Binding("enter", "take", "Go to the neuron", id="take"),
        Binding("s", "score", "Rank by the next score: f1, phi, mi ...", id="next-score"),
    ]

    def __init__(
        self,
        session: Session,
        question: str,
        ask: Callable[[Proceed], Answer],
        go: Callable[[list[FoundNeuron], int], None],
    ):
        super().__init__(session.glyphs, session.rule)
        self.session, self.question = session, question
        self._ask, self._go = ask, go
        self._pending: Task[Answer] | None = None
        self.answer: Answer | None = None
        self.error = ""
        self.by = "f1"
        self.rows: np.ndarray = np.zeros(0, np.int64)  # of the answer, in the order shown
        self.cursor = self._first = 0
        self._facts: dict[tuple[int, int], tuple[str, list[str]]] = {}  # kind and tokens by neuron

    def on_mount(self) -> None:
        """Start the search."""
        self._pending = self.session.begin(self._ask, partial(self.call_later, self.show_answer))

    def on_unmount(self) -> None:
        """Nobody waits for the answer any longer."""
        if self._pending:
            self._pending.give_up()

    def show_answer(self, answer: Answer | None, error: str) -> None:
        """Show the answer, or what was wrong."""
        self.answer, self.error = answer, error
        if self.answer is not None:
            self.by = self.answer.by
            self._sort()
        self.refresh_content()

    def _sort(self) -> None:
        assert self.answer is not None
        by_place = np.lexsort((self.answer["neuron"], self.answer["layer"]))
        values = self.answer[self.by][by_place]
        # NaN comes last, and neurons of the same value stay in their order.
        self.rows = by_place[np.argsort(-values, kind="stable")][:MOST]
        self.cursor = self._first = 0

    def title_parts(self) -> list[Part]:
        """The question."""
        return [("neurons that ", "dim"), *Writer(self.glyphs).prose(self.question, "accent").parts]

    def hints(self) -> str:
        """The keys."""
        if self.answer is None:
            return "q or esc gives it up" if not self.error else "q back"
        return f"j/k neuron  enter go to it  s by {SCORES[(SCORES.index(self.by) + 1) % len(SCORES)]}  q back"

    def content(self, width: int, height: int) -> Sequence[Line]:
        """How large the set is, a header, and the neurons in view."""
        if self.error:
            return [BLANK, *wrapped(self.error, "error", width, self.glyphs)]
        answer = self.answer
        if answer is None:
            return [BLANK, line(("  searching the kept positions ...", "dim"))]
        out = [self._about(answer, width), BLANK]
        if not answer.matches:
            return [*out, line(("  no kept position fits", "dim"))]
        wide = width >= WIDE
        columns = [*_SHARES, *(_MORE if wide else (self.by,) if self.by in _MORE else ())]
        header = Writer(self.glyphs).add(f"  {'neuron':<11} {'hits':>9} ", "dim")
        header.add(f"{'active':>9} " if wide else "", "dim")
        for name in columns:
            header.add(f"{_TITLES.get(name, name):>5} ", "accent" if name == self.by else "dim")
        out.append(header.add(" detects (or mostly at)", "faint").line())
        rows = height - len(out)
        self._first = scroll(self._first, self.cursor, len(self.rows), rows)
        for index in range(self._first, min(self._first + rows, len(self.rows))):
            out.append(self._row(answer, index, columns, width))
        return out

    def _about(self, answer: Answer, width: int) -> Line:
        writer = Writer(self.glyphs).add(" ")
        writer.add(f"{count(answer.matches)} of {count(answer.positions)} kept positions", "text")
        writer.add(f" (the corpus has {count(answer.corpus_positions)})", "dim")
        if not math.isnan(answer.chance):
            writer.add(f" {self.glyphs.dot} chance reaches f1 {freq(answer.chance).strip()}", "text")
        return writer.line()

    def _row(self, answer: Answer, index: int, columns: Sequence[str], width: int) -> Line:
        row, here = int(self.rows[index]), index == self.cursor
        layer, neuron = int(answer["layer"][row]), int(answer["neuron"][row])
        plain = "bright" if here else "text"
        writer = Writer(self.glyphs).add(self.glyphs.cursor if here else " ", "accent")
        marked = (layer, neuron) in self.session.neurons.marks
        writer.add(self.glyphs.mark if marked else " ", "mark")
        writer.add(f"{f'L{layer}N{neuron}':<11} ", plain)
        writer.add(f"{count(answer['hits'][row]):>9} ", plain)
        if width >= WIDE:
            writer.add(f"{count(answer['activations'][row]):>9} ", plain)
        for name in columns:
            value = float(answer[name][row])
            text = signed(value) if name == "phi" else f"{value:.3g}" if name == "lift" else freq(value)
            writer.add(f"{'-' if math.isnan(value) else text:>5} ", plain)
        kind, tokens = self._neuron_facts(layer, neuron)
        writer.add(f" {kind} ", "dim")
        for text in tokens:
            if writer.width >= width:
                break
            writer.add(visible(text, self.glyphs), "token" if kind in ("token", "bigram", "trigram") else "faint").add(
                " "
            )
        return writer.line("cursor" if here else "")

    def _neuron_facts(self, layer: int, neuron: int) -> tuple[str, list[str]]:
        """The neuron's kind, and the n-grams it detects or the tokens it is mostly at."""
        if (layer, neuron) not in self._facts:
            record, text = self.session.store.neuron(layer, neuron), self.session.text
            ngrams = [ngram.tokens for ngram in (record.detected or record.top_ngrams[0])[:8]]
            self._facts[layer, neuron] = record.kind, ["".join(map(text, tokens)) for tokens in ngrams]
        return self._facts[layer, neuron]

    def action_move(self, by: int) -> None:
        """Another neuron."""
        self.cursor = max(0, min(self.cursor + by, len(self.rows) - 1))
        self.refresh_content()

    def action_score(self) -> None:
        """Rank by the next score."""
        if self.answer is not None:
            self.by = SCORES[(SCORES.index(self.by) + 1) % len(SCORES)]
            self._sort()
            self.refresh_content()

    def action_take(self) -> None:
        """Go to the neuron; `n` and `N` walk on from it."""
        if self.answer is None or not len(self.rows):
            return
        layers, neurons = self.answer["layer"][self.rows].tolist(), self.answer["neuron"][self.rows].tolist()
        hits = [FoundNeuron(layer, neuron) for layer, neuron in zip(layers, neurons, strict=True)]
        self.dismiss(None)
        self._go(hits, self.cursor)
