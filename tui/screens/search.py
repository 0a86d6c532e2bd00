"""Search (`/`): detectors of the tokens that fit, over the whole model, listed as one types."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual.binding import Binding
from textual.widgets import Input

from ffnscope.store.search import Hit
from ffnscope.store.words import ORDERS
from ffnscope.tui.lines import Line, Part, Writer, line, rule
from ffnscope.tui.screens.prompt import Prompt
from ffnscope.tui.table import scroll
from ffnscope.tui.text import Glyphs, percent

LIMIT = 200


def hit_line(hit: Hit, width: int, glyphs: Glyphs, chosen: bool) -> Line:
    """`L2N412 token 98.9%  ␣school ␣School`: where, what, how much of it is on the matching n-grams, the group."""
    ground = "cursor" if chosen else ""
    out = Writer(glyphs).add(glyphs.cursor if chosen else " ", "accent")
    plain = "bright" if chosen else "text"
    out.add(
        f" {f'L{hit.layer}N{hit.neuron}':<9} {ORDERS[hit.order]:<8}{percent(hit.matched, 1):>6} {hit.activations:>9,}  ",
        plain,
    )
    for text in hit.detected:
        if out.width >= width:
            break
        out.token(text, "token").add(" ")
    return out.line(ground)


class Search(Prompt, inherit_bindings=False):
    """The prompt with a list of hits; `up`/`down` choose, `enter` jumps. `chosen` and `hits` are read afterwards."""

    BINDINGS = [
        Binding("escape,ctrl+g", "leave", "Leave", show=False),
        Binding("up", "choose(-1)", "Hit above", show=False),
        Binding("down", "choose(1)", "Hit below", show=False),
        Binding("pageup", "choose(-10)", "Hits above", show=False),
        Binding("pagedown", "choose(10)", "Hits below", show=False),
    ]

    def __init__(self, search: Callable[[str], Sequence[Hit]], glyphs: Glyphs, value: str = ""):
        super().__init__("/", value, glyphs=glyphs, answer=self._find, accept=self._jump)
        self._search = search
        self.hits: list[Hit] = []
        self._found: tuple[str, list[Hit]] = ("", [])
        self.chosen = 0
        self._top = 0

    def on_mount(self) -> None:
        """Ready to type, with room for hits."""
        self.pane.add_class("tall")
        self.pane.source = self._draw

    def _draw(self, width: int, height: int) -> list[Line]:
        text = self._found[0]
        if not text:
            hint = "part of a token, or a whole one in quotes; the strongest detectors come first"
            return [rule([("search", "dim")], width, self.glyphs), line((" " + hint, "dim"))]
        if not self.hits:
            found: list[Part] = [
                ("no detector of a token with ", "dim"),
                *Writer(self.glyphs).token(text, "text").parts,
            ]
            return [rule(found, width, self.glyphs)]
        self._top = scroll(self._top, self.chosen, len(self.hits), height - 1)
        shown = self.hits[self._top : self._top + height - 1]
        more = "" if len(self.hits) < LIMIT else " or more"
        head = f"{'neuron':<9} {'kind':<8}{'on it':>6} {'acts':>9}  detects"
        rows = [hit_line(hit, width, self.glyphs, self._top + row == self.chosen) for row, hit in enumerate(shown)]
        return [rule([(head, "dim")], width, self.glyphs, f"{len(self.hits)}{more} found"), *rows]

    def _find(self, text: str) -> list[Line]:
        hits = list(self._search(text)) if text else []
        self._found = (text, hits)
        return []

    def on_prompt_answered(self, event: Prompt.Answered) -> None:
        """Show the hits of the text that stands there."""
        if event.text == self.query_one(Input).value and event.text == self._found[0]:
            self.hits, self.chosen, self._top = self._found[1], 0, 0
            self.pane.redraw()

    def show(self, lines: Sequence[Line]) -> None:
        """An error takes the place of the hits."""
        if lines:
            self.hits = []
        self.pane.redraw()

    def _jump(self, text: str) -> str | None:
        if self._found[0] != text:
            self._find(text)
            self.hits, self.chosen = self._found[1], 0
        self.pane.redraw()
        return None if self.hits or not text else "no detector found"

    def action_choose(self, by: int) -> None:
        """Another hit."""
        self.chosen = max(0, min(self.chosen + by, len(self.hits) - 1))
        self.pane.redraw()
