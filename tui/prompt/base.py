"""The prompt screen but for its keys: a text through the store's model, and what is drawn of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from threading import Event
from typing import TYPE_CHECKING

import numpy as np
from textual import events, work
from textual.app import ComposeResult
from textual.containers import Horizontal

from ffnscope.store.errors import UserError
from ffnscope.tui.drawing.lines import BLANK, Line, Part, Writer, clip, framed, line, rule, wrapped
from ffnscope.tui.drawing.numbers import count
from ffnscope.tui.drawing.pane import Pane
from ffnscope.tui.prompt.effects import EffectRows, Effects
from ffnscope.tui.prompt.firing import Firing, Labels, PromptView
from ffnscope.tui.prompt.lists import NeuronRows
from ffnscope.tui.prompt.predictions import prediction_lines, sum_line, target, waiting, without
from ffnscope.tui.screens.pager import Pager
from ffnscope.tui.state.background import start
from ffnscope.tui.state.neuron_list import Key, name_of
from ffnscope.tui.state.session import Session

if TYPE_CHECKING:
    from ffnscope.core.prompt import PromptResult

WIDE = 110  # columns from which list and bars stand side by side
Jump = Callable[[int, int], None]


class PromptBase(Pager, inherit_bindings=True):
    """Tokens left and right, the neurons that fire at the token up and down; the first row is the browser's neuron."""

    DEFAULT_CSS = """
    PromptBase #content { height: 5; }
    PromptBase #below { height: 1fr; }
    PromptBase #along { width: 1fr; }
    """

    def __init__(self, session: Session, text: str, jump: Jump):
        """`jump(layer, neuron)` goes to a neuron in the browser."""
        super().__init__(session.glyphs, session.rule)
        self.session = session
        self.prompt = text
        self.labels = Labels(session.store)
        self.view: PromptView | None = None
        self.state = "loading the model"
        self.failed = ""
        self.at = 0
        self.cursor = 0
        self.along = False
        self.predicting = False  # the pane along the text shows the next-token distribution
        self.effects: Effects | None = None
        self.firings: Sequence[Firing] = []
        self._marked: list[bool] = []
        self._pinned: Key | None = session.neurons.key
        self._jump = jump
        self._begun = time.monotonic()
        self._first = 0
        self._beside = True
        self._left = Event()

    def compose(self) -> ComposeResult:
        """The text; below it the list and the chosen neuron along the text; the keys."""
        yield Pane(self._draw, id="content")
        with Horizontal(id="below"):
            yield Pane(self._list, id="list")
            yield Pane(self._along, id="along")
        yield Pane(self._hints, id="hints", classes="line")

    def on_resize(self, event: events.Resize) -> None:
        """Side by side, or one at a time."""
        self._arrange(event.size.width, event.size.height)

    def _arrange(self, width: int, height: int) -> None:
        self._beside = width >= WIDE
        lines = self.view.text_lines(width) if self.view else 1
        self.pane.styles.height = min(lines + 2, max(height // 3, 5))
        other = self.along or self.predicting
        for name, shown in (("list", not other), ("along", other)):
            self.query_one(f"#{name}", Pane).display = self._beside or shown

    def on_mount(self) -> None:
        """Load and run in the background; meanwhile say for how long."""
        # No worker: quitting would wait for it, and a large model takes minutes to load.
        start(self._run_prompt)
        self.set_interval(1.0, lambda: None if self.view or self.failed else self.refresh_content())

    def on_unmount(self) -> None:
        """Nobody waits for the text any longer."""
        self._left.set()

    def _run_prompt(self) -> None:
        """In a thread: load the model where it is not loaded yet, and run the text."""
        try:
            model = self.session.model()
            self._tell(self._show_running)
            result = model.run(self.prompt, self._left.is_set)
            if result is not None:
                self._tell(self._read_labels, result)
        except UserError as error:
            self._tell(self._fail, str(error))
        except Exception as error:  # of torch or the model's own code: marks and notes must outlive it
            self._tell(self._fail, f"the model failed ({type(error).__name__}: {error})")

    def _tell(self, show: Callable[..., object], *arguments: object) -> None:
        """In any thread: let the interface's show something, unless the screen has been left."""
        if not self._left.is_set():
            # The browser may end between the two lines, and its loop with it.
            with suppress(RuntimeError):
                self.call_later(show, *arguments)

    def _show_running(self) -> None:
        self.state = "running the text"
        self.refresh_content()

    def _fail(self, reason: str) -> None:
        self.failed = reason
        self.call_after_refresh(self.refresh_content)

    @work(thread=True)
    def _read_labels(self, result: PromptResult) -> None:
        # A worker: the store must not be closed under it.
        try:
            self.labels.read([layer for layer in result.layers if layer in self.session.layers])
            self._tell(self._show_result, result)
        except UserError as error:
            self._tell(self._fail, str(error))

    def _show_result(self, result: PromptResult) -> None:
        """Show the last token, where the next one would be told from."""
        self.view = PromptView(result, self.session.store.vocabulary, self.glyphs)
        active, tokens = result.active, result.tokens
        fires = [active[layer][:, self.labels.detectors(layer)].any(axis=1) for layer in self._layers]
        self._marked = np.any(fires, axis=0).tolist() if fires else [False] * len(tokens)
        self.at = len(tokens) - 1
        self.effects = Effects(self.session, tokens, partial(self._tell, self._show_computed), self._left.is_set)
        self._read()
        self._arrange(*self.size)
        self.call_after_refresh(self.refresh_content)

    def _show_computed(self) -> None:
        """Show what there is of predictions and direct effects by now."""
        if self.effects is not None:
            listed = self.effects.direct
            self.effects.take_in()
            if self.effects.direct is not listed:
                self.cursor = 0
                self._read()
            self.refresh_content()

    @property
    def _layers(self) -> tuple[int, ...]:
        assert self.view is not None
        return tuple(layer for layer in self.view.result.layers if layer in self.session.layers)

    def _read(self) -> None:
        """The list for the token; the cursor stays on its neuron where that fires here too."""
        assert self.view is not None and self.effects is not None
        result = self.view.result
        if self.effects.direct is not None:
            self.firings = EffectRows(self.labels, result, self.effects.direct, self.at, self._layers)
            self.cursor = self._first = 0
            return
        kept = self.firings[self.cursor].key if self.cursor < len(self.firings) else None
        pinned = self._pinned if self._pinned and self._pinned[0] in self.session.layers else None
        listed = [self.labels.firing(*pinned, result, self.at, True)] if pinned else []
        self.firings = listed + self.labels.firings(result, self.at, self._layers)
        keys = [firing.key for firing in self.firings]
        self.cursor = keys.index(kept) if kept in keys and self.cursor else 0

    # Drawing

    def title_parts(self) -> list[Part]:
        """How long the text is, and what of it was left out."""
        parts: list[Part] = [("prompt ", "accent")]
        if self.view is None:
            return parts
        result, run = self.view.result, self.session.store.run
        parts.append((f"{count(len(result.tokens))} tokens", "text"))
        if (dtype := run.settings.get("dtype", "float32")) != "float32":
            parts.append((f" {self.glyphs.dot} float32 here, {dtype} in the store", "dim"))
        if result.left_out:
            window = count(run.corpus.seq_len)
            message = f"the last {count(result.left_out)} of the text left out: the window has {window}"
            parts.append((f" {self.glyphs.dot} {message}", "error"))
        return parts

    def hints(self) -> str:
        """The keys."""
        shown = "p list" if self.predicting and not self._beside else "p next token"
        return f"h/l token  j/k neuron  x without it  {shown}  t effects  v along  q back"

    def content(self, width: int, height: int) -> Sequence[Line]:
        """The text above; the list, and the chosen neuron along the text, below."""
        self.top = 0
        if self.view is None:
            if self.failed:
                return [BLANK, *wrapped(self.failed, "error", width, self.glyphs)]
            seconds = time.monotonic() - self._begun
            return [BLANK, line((f"  {self.state}{self.glyphs.ellipsis} {seconds:.0f} s", "accent"))]
        text = self.view.tokens(self.at, width, max(height - 2, 1), self._marked)
        effects = self.effects
        if effects is not None and effects.failed:
            summary = Writer(self.glyphs).add(" ").prose(effects.failed, "error").line()
        elif effects is not None and effects.taken:
            summary = without(sorted(effects.taken), effects.change, self.at, effects.busy, self.glyphs)
        elif effects is not None and effects.direct is not None:
            summary = sum_line(effects.direct, self.at, width, self.glyphs)
        else:
            summary = self.view.count_line(self.at, self.firings)
        below = Line(clip(summary.parts, width, self.glyphs))
        return [*text, below]

    def _list(self, width: int, height: int) -> list[Line]:
        if self.view is None:
            return []
        assert self.effects is not None
        rows = NeuronRows(self.view, self.firings, self.cursor, self.at, self.session.neurons.marks, self.effects.taken)
        if self.effects.direct is None:
            self._first, lines = rows.by_layer(self._first, width, height, bool(self._layers))
        else:
            title = target(self.effects.towards, self.session.text, self.glyphs)
            self._first, lines = rows.by_effect(self._first, width, height, title)
        return lines

    def _along(self, width: int, height: int) -> list[Line]:
        if self.view is None:
            return []
        if self.predicting:
            return self._predictions(width, height)
        if not self.firings:
            return [rule([("along the text", "accent")], width, self.glyphs)]
        firing = self.firings[self.cursor]
        title: list[Part] = [(f"{name_of(firing.key)} ", "accent"), ("along the text", "text")]
        body = self.view.along(firing.key, self.at, width - 1, height - 1)
        return framed(title, body, width, self.glyphs, wall=self._beside)

    def _predictions(self, width: int, height: int) -> list[Line]:
        assert self.view is not None and self.effects is not None
        effects, tokens, glyphs = self.effects, self.view.result.tokens, self.glyphs
        title: list[Part] = [("next token", "accent"), *Writer(glyphs).add(" after ", "dim").parts]
        title += Writer(glyphs).token(self.session.text(int(tokens[self.at])), "bright").parts
        if effects.prediction is None:
            body = waiting((effects.failed and "not known") or f"running the model{glyphs.ellipsis}")
        else:
            following = int(tokens[self.at + 1]) if self.at + 1 < len(tokens) else None
            text = self.session.text
            body = prediction_lines(effects.prediction, effects.change, following, self.at, width - 1, text, glyphs)
        return framed(title, body, width, glyphs, wall=self._beside)
