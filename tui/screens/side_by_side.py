"""One neuron in two stores of the same shape, side by side (`B`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rich.cells import cell_len
from textual.binding import Binding

from ffnscope.store.errors import UserError
from ffnscope.store.figures.changes import equal_shape
from ffnscope.tui.drawing.lines import BLANK, Line, Part, Writer, clip, line
from ffnscope.tui.drawing.text import visible
from ffnscope.tui.neuron.data import PageData
from ffnscope.tui.neuron.page import page_lines
from ffnscope.tui.screens.pager import Pager
from ffnscope.tui.state.neuron_list import Key
from ffnscope.tui.state.session import Session


def obstacle(one: Session, other: Session) -> str:
    """Why the neurons of two stores cannot be set side by side; empty where they can."""
    if equal_shape(one.store, other.store):
        return ""
    models = one.store.run.model, other.store.run.model
    shapes = [f"{model.layers} x {model.neurons:,}" for model in models]
    return f"side by side needs stores of the same shape: {shapes[0]} and {shapes[1]}"


class SideBySide(Pager, inherit_bindings=True):
    """The page of a neuron in each store; ``key`` is where it stands now."""

    BINDINGS = [
        Binding("left_square_bracket", "neighbour(-1)", "Previous neuron", id="previous-neuron"),
        Binding("right_square_bracket", "neighbour(1)", "Next neuron", id="next-neuron"),
        Binding("h,left", "order(-1)", "Shorter n-grams", id="left"),
        Binding("l,right", "order(1)", "Longer n-grams", id="right"),
    ]
    HINTS = "j/k scroll  h/l n-grams  [ ] neuron  q back"

    def __init__(self, one: Session, other: Session, key: Key):
        super().__init__(one.glyphs)
        self.sessions = (one, other)
        self.key = key
        self.order = 1
        self.pages: list[PageData | str] = []
        self._read()

    def _read(self) -> None:
        self.pages = []
        for session in self.sessions:
            try:
                self.pages.append(session.page(self.key, self.order))
            except UserError as error:
                # A store that is being written may not have the layer yet.
                self.pages.append(str(error))

    def title_parts(self) -> list[Part]:
        """The neuron."""
        return [(f"L{self.key[0]}N{self.key[1]} ", "accent"), ("in two stores", "dim")]

    def content(self, width: int, height: int) -> Sequence[Line]:
        """The two pages, a thin line between them."""
        half = (width - 1) // 2
        left, right = (self._side(index, half, height) for index in (0, 1))
        bar = self.glyphs.box[1]
        rows = max(len(left), len(right))
        out = []
        for one, other in zip([*left, *[BLANK] * rows], [*right, *[BLANK] * rows], strict=False):
            parts = clip(one.parts, half, self.glyphs)
            gap = " " * (half - sum(cell_len(text) for text, _ in parts))
            out.append(Line((*parts, (gap + bar, "rule"), *clip(other.parts, width - half - 1, self.glyphs))))
        return out[:rows]

    def _side(self, index: int, width: int, height: int) -> list[Line]:
        from ffnscope.tui.drawing.curves import curve

        session, page = self.sessions[index], self.pages[index]
        name = Writer(self.glyphs).add(" ").prose(f"{session.title}  ", "bright")
        name.prose(session.store.run.model.name, "dim")
        if session.rule:
            name.add(f" {session.rule}", "accent")
        if isinstance(page, str):
            return [name.line(), line((" " + visible(page, self.glyphs, spaces=False), "error"))]
        return [name.line(), *page_lines(page, width, height - 1, curve)]

    def action_neighbour(self, by: int) -> None:
        """The neuron beside it in the layer."""
        last = self.sessions[0].store.run.model.neurons_of(self.key[0]) - 1
        self.key = (self.key[0], max(0, min(self.key[1] + by, last)))
        self.top = 0
        self._read()
        self.refresh_content()

    def action_order(self, by: int) -> None:
        """Unigrams, bigrams or trigrams."""
        self.order = max(1, min(self.order + by, 3))
        self.pages = [page if isinstance(page, str) else replace(page, order=self.order) for page in self.pages]
        self.refresh_content()
