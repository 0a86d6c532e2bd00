"""Search (`/`): neurons that detect, promote or suppress the tokens that fit, over the whole model, while the user types."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from threading import Lock

from textual import work
from textual.binding import Binding
from textual.widgets import Input

from ffnscope.store.definitions import ORDERS
from ffnscope.store.errors import UserError
from ffnscope.store.query.detector_index import Hit
from ffnscope.store.query.projection_index import TOP, ProjectionHit, ProjectionIndex
from ffnscope.store.query.trigger_index import TriggerHit
from ffnscope.tui.drawing.glyphs import Glyphs
from ffnscope.tui.drawing.lines import Line, Part, Writer, line, rule
from ffnscope.tui.drawing.numbers import freq, percent, signed
from ffnscope.tui.drawing.scroll import scroll
from ffnscope.tui.drawing.text import visible
from ffnscope.tui.neuron.sentences import ordinal
from ffnscope.tui.screens.input_line import LINE_HELP, InputLine
from ffnscope.tui.state.gc_pause import keeping

LIMIT = 200
EVERY = 0.25  # seconds between two looks at what has been read
BLANK_PART: Part = (" ", "text")
WAYS = ("detects", "promotes", "suppresses")
AnyHit = Hit | ProjectionHit | TriggerHit


def hit_line(hit: Hit, width: int, glyphs: Glyphs, chosen: bool) -> Line:
    """`L2N412 token 98.9%  ␣school ␣School`: where, what, how much of it is on the matching n-grams, the group."""
    ground = "cursor" if chosen else ""
    out = Writer(glyphs).add(glyphs.cursor if chosen else " ", "accent")
    plain = "bright" if chosen else "text"
    out.add(
        f" {f'L{hit.layer}N{hit.neuron}':<9} {ORDERS[hit.order]:<8}{percent(hit.matched, 1):>6} {hit.activations:>9,}  ",
        plain,
    )
    return out.tokens(hit.detected, "token", width).line(ground)


def trigger_line(hit: TriggerHit, width: int, glyphs: Glyphs, chosen: bool) -> Line:
    """`L2N412 other 30.2% 12,345  mostly at ␣school .45`: as a detector's, then P(active | token) and other triggers."""
    ground = "cursor" if chosen else ""
    out = Writer(glyphs).add(glyphs.cursor if chosen else " ", "accent")
    plain = "bright" if chosen else "text"
    share = "-" if hit.share is None else percent(hit.share, 1)
    out.add(f" {f'L{hit.layer}N{hit.neuron}':<9} {hit.kind[:7]:<8}{share:>6} {hit.activations:>9,}  ", plain)
    out.add("mostly at ", "dim").token(hit.text, "token")
    out.add(f" {freq(hit.probability)}" if hit.probability is not None else " in its set", plain).add("  ", plain)
    return out.tokens((text for text in hit.texts if text != hit.text), "dim", width).line(ground)


def projection_line(hit: ProjectionHit, width: int, glyphs: Glyphs, chosen: bool) -> Line:
    """`L2N412 other  3rd  +0.412  ␣school ␣School`: where, the token's rank and projection, all TOP tokens."""
    ground = "cursor" if chosen else ""
    out = Writer(glyphs).add(glyphs.cursor if chosen else " ", "accent")
    name = f"L{hit.layer}N{hit.neuron}"
    plain = "bright" if chosen else "text"
    out.add(f" {name:<9} {hit.kind:<11}{signed(hit.projection):>8} {ordinal(hit.rank + 1):>6}  ", plain)
    for rank, text in enumerate(hit.texts):
        if out.width >= width:
            break
        out.token(text, "token" if rank == hit.rank else plain, dim=False).add(" ")
    return out.line(ground)


class Search(InputLine, inherit_bindings=False):
    """The prompt with a list of hits; `up`/`down` choose, `enter` jumps. `chosen` and `hits` are read afterwards.

    ``projections``: the indexes of promoted and suppressed tokens, by name, which are read when they are first searched.
    """

    BINDINGS = [
        Binding("escape,ctrl+g", "leave", "Leave", id="cancel", show=False),
        Binding("tab", "turn", "Detects, promotes, suppresses", id="search-way", show=False),
        Binding("up", "choose(-1)", "Hit above", id="choice-up", show=False),
        Binding("down", "choose(1)", "Hit below", id="choice-down", show=False),
        Binding("pageup", "choose(-10)", "Ten hits up", id="choice-page-up", show=False),
        Binding("pagedown", "choose(10)", "Ten hits down", id="choice-page-down", show=False),
        LINE_HELP,
    ]

    def __init__(
        self,
        search: Callable[[str], Sequence[Hit | TriggerHit]],
        glyphs: Glyphs,
        value: str = "",
        *,
        projections: Mapping[str, ProjectionIndex] | None = None,
        way: str = "detects",
    ):
        super().__init__("/", value, glyphs=glyphs, answer=self._find, accept=self._jump)
        self._search = search
        indexes = projections or {}
        self._projections = {"promotes": indexes.get("promoted"), "suppresses": indexes.get("suppressed")}
        self.way = way
        self.hits: list[AnyHit] = []
        self._found: tuple[str, str, list[AnyHit]] = ("", way, [])
        self._asked, self._newest, self._finding = itertools.count(), -1, Lock()
        self._listed = ("", way)  # what the hits on the screen are of
        self.chosen = 0
        self._top = 0
        self._reading = ""

    def on_mount(self) -> None:
        """Ready to type, with room for hits."""
        self.pane.add_class("tall")
        self.pane.source = self._draw
        self._begin()

    def _begin(self) -> None:
        index = self._projections.get(self.way)
        if index is not None:
            self._read(index)

    @work(thread=True, exclusive=True, group="projections")
    def _read(self, index: ProjectionIndex) -> None:
        reported = time.monotonic()
        try:
            with keeping():
                for done, total in index.refresh():
                    if done == total or time.monotonic() - reported > EVERY:
                        reported = time.monotonic()
                        self.call_later(self.show_read, done, total)
        except UserError as error:
            self.call_later(self.show, [line((visible(str(error), self.glyphs, spaces=False), "error"))])

    def show_read(self, done: int, total: int) -> None:
        """Search again, in the layers of an index that are read by now."""
        self._reading = f"{done} of {total} layers read, " if done < total else ""
        if text := self.query_one(Input).value:
            self._ask(text)

    def action_turn(self) -> None:
        """Search what is detected, promoted or suppressed."""
        self.way = WAYS[(WAYS.index(self.way) + 1) % len(WAYS)]
        self.hits, self.chosen, self._top, self._reading = [], 0, 0, ""
        self._found = ("", self.way, [])
        self._listed = ("", self.way)
        self._lines = []
        self._begin()
        self.pane.redraw()
        if text := self.query_one(Input).value:
            self._ask(text)

    def _head(self) -> list[Part]:
        parts: list[Part] = []
        for way in WAYS:
            parts += [(way, "accent" if way == self.way else "dim"), (" ", "dim")]
        return [*parts, ("(tab)", "dim")]

    def _draw(self, width: int, height: int) -> list[Line]:
        text, way, _ = self._found
        if self._lines:
            answer = super()._draw(width, height)
            return [rule(self._head(), width, self.glyphs, "ctrl+o keys"), *answer[1:]]
        if not text or way != self.way:
            hint = "part of a token, a whole one in quotes, or /re/; the strongest come first"
            return [rule(self._head(), width, self.glyphs, "ctrl+o keys"), line((" " + hint, "dim"))]
        if not self.hits:
            parts = (BLANK_PART, (f"{self._nothing()} ", "dim"), *Writer(self.glyphs).token(text, "text").parts)
            return [rule(self._head(), width, self.glyphs, self._reading.rstrip(", ")), Line(parts)]
        self._top = scroll(self._top, self.chosen, len(self.hits), height - 2)
        shown = self.hits[self._top : self._top + height - 2]
        more = "" if len(self.hits) < LIMIT else " or more"
        head = f"  {'neuron':<9} {'kind':<8}{'on it':>6} {'acts':>9}  detects"
        if way != "detects":
            head = f"  {'neuron':<9} {'kind':<11}{'proj':>8} {'rank':>6}  the {TOP} that it {way} most"
        rows = [self._row(hit, width, self._top + row == self.chosen) for row, hit in enumerate(shown)]
        near = sum(isinstance(hit, TriggerHit) for hit in self.hits)
        tail = f"{self._reading}{len(self.hits)}{more} found"
        if near:
            detecting = len(self.hits) - near
            tail = f"{detecting or 'none'} detect{'' if detecting > 1 else 's'} it, {near}{more} mostly at it"
        return [rule(self._head(), width, self.glyphs, tail), line((head, "dim")), *rows]

    def _nothing(self) -> str:
        return f"no {'detector of' if self.way == 'detects' else f'neuron that {self.way}'} a token with"

    def _row(self, hit: AnyHit, width: int, chosen: bool) -> Line:
        if isinstance(hit, TriggerHit):
            return trigger_line(hit, width, self.glyphs, chosen)
        if isinstance(hit, ProjectionHit):
            return projection_line(hit, width, self.glyphs, chosen)
        return hit_line(hit, width, self.glyphs, chosen)

    def _find(self, text: str) -> list[Line]:
        way, number = self.way, next(self._asked)
        index = self._projections.get(way)
        hits: list[AnyHit] = []
        if text:
            hits = [*(index.search(text, LIMIT) if index is not None else self._search(text))]
        with self._finding:
            # An earlier search may end later: its hits are of fewer layers, or of another text.
            if number > self._newest:
                self._newest, self._found = number, (text, way, hits)
        return []

    def show_answer(self, text: str, lines: Sequence[Line]) -> None:
        """Show the hits of the text that stands there."""
        if (text, self.way) == (self.query_one(Input).value, self._found[1]) and text == self._found[0]:
            # A text may be answered twice: what was chosen in between stays chosen.
            if self._listed != self._found[:2]:
                self.chosen = self._top = 0
            self._listed = self._found[:2]
            self.hits = self._found[2]
            self.chosen = min(self.chosen, max(len(self.hits) - 1, 0))
            super().show(())
        elif lines and text == self.query_one(Input).value:
            self.show(lines)

    def show(self, lines: Sequence[Line]) -> None:
        """An error takes the place of the hits."""
        if lines:
            self.hits = []
        super().show(lines)

    def _jump(self, text: str) -> str | None:
        if self._found[:2] != (text, self.way):
            self._find(text)
            self.hits, self.chosen = self._found[2], 0
        self.pane.redraw()
        return None if self.hits or not text else f"{self._nothing()} {text}"

    def action_choose(self, by: int) -> None:
        """Another hit."""
        self.chosen = max(0, min(self.chosen + by, len(self.hits) - 1))
        self.pane.redraw()
