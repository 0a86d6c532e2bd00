"""Help (`?`), made from the bindings that are live on the screen it was asked from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from textual.dom import DOMNode
from textual.screen import Screen

from ffnscope.tui.drawing.glyphs import UNICODE
from ffnscope.tui.drawing.lines import BLANK, Line, Part, Writer, clip, line, rule, wrap
from ffnscope.tui.screens import bindings
from ffnscope.tui.screens.pager import Pager
from ffnscope.tui.terminal.textual_private import user_keymap

IDS = 19  # cells of the ids
_FILTERS = (
    ("kind:token|bigram", "detectors of these orders; also trigram, positional, other, dead, detector, alive"),
    ("layer:0-5,8", "these layers"),
    ("freq<0.01  mi>=0.05  uni<=5", "a column compared with a number; every column of the sort picker can be used"),
    ("freq:code>1%", "the frequency in one domain"),
    ("pos:oscillatory", "a type (oscillatory, both, one, other) or strength (strong, weak) of positional neurons"),
    ("detects:school", 'a detected token contains it; detects:=" school" is the whole token'),
    ("promotes: suppresses:", "the same for the promoted and suppressed tokens"),
    ("marked  noted", "your own"),
    ("-term", "not"),
)
_QUERIES = (
    ("text:/REGEX/  ends:/REGEX/", "the token holds any, or the last, character of a match (/i: case ignored)"),
    ("token:school  prev:the", 'the token, or the one before, contains it; also token:=" school" and token:/REGEX/'),
    ("domain:wiki  position:0-15", "windows of a domain; positions of the window"),
    ("label:NAME  concept:digit", "labelled spans of the corpus; a concept"),
    ("neuron:L2N10", "where that neuron is activated"),
    ("-term  a|b", "not; or"),
)


class Help(Pager, inherit_bindings=True):
    """Keys in two columns where there is room, the filter language, the keys of the other screens."""

    def __init__(self, screen: Screen[Any], screens: dict[str, type[DOMNode]]):
        """`screen` is where help was asked for; `screens` are all that have keys, by what the help calls them."""
        super().__init__(getattr(screen, "glyphs", UNICODE))
        self._screens = screens
        acting = bindings.live(screen)
        here = bindings.listed(binding for node, binding in acting if node is screen or node is screen.app)
        self._keymap = user_keymap(screen.app)
        shared = bindings.listed(bindings.bindings_of(Pager, self._keymap)) if isinstance(screen, Pager) else []
        self._here = sorted(here, key=shared.__contains__)  # what only this screen has comes first
        line_of_text = [binding for node, binding in acting if node is not screen and node is not screen.app]
        self._typing = bindings.listed(line_of_text)
        self._asked_from = type(screen)

    def title_parts(self) -> list[Part]:
        """What this is."""
        return [("help ", "accent"), ("keys here; in grey the ids that [keys] in config.toml takes", "dim")]

    def action_help(self) -> None:
        """The key that opened it closes it."""
        self.action_leave()

    def content(self, width: int, height: int) -> Sequence[Line]:
        """Keys of the screen it was asked from, filters, signs, keys of all other screens."""
        glyphs = self.glyphs
        signs = {
            glyphs.space: "a space of a token (a token often begins with one)",
            glyphs.newline: "a newline of a token",
            glyphs.trigger: "a promoted or suppressed token that is among the neuron's own triggers",
            glyphs.mark: "a marked neuron",
        }
        sections = [
            ("filters: terms that must all hold", self._terms(_FILTERS, width)),
            ("queries (A, and f in kept contexts): terms that must all hold", self._terms(_QUERIES, width)),
            ("signs", [line((f"  {sign:<4} ", "accent"), meaning) for sign, meaning in signs.items()]),
        ]
        if self._typing:
            sections.insert(0, ("editing the line", self._table(self._typing, width)))
        shared = bindings.listed(bindings.bindings_of(Pager, self._keymap))
        for name, screen in self._screens.items():
            if screen not in (self._asked_from, Help):
                rows = bindings.listed(bindings.bindings_of(screen, self._keymap))
                own = [row for row in rows if row not in shared] if issubclass(screen, Pager) else rows
                sections.append((f"keys: {name}", self._table(own, width)))
        if not issubclass(self._asked_from, Pager):
            sections.append(("keys: every screen that is opened from the browser", self._table(shared, width)))
        out = self._table(self._here, width)
        for title, lines in sections:
            out += [BLANK, rule([(title, "dim")], width, glyphs), *lines]
        return out

    def _terms(self, terms: Sequence[tuple[str, str]], width: int) -> list[Line]:
        return [
            Line(((f"  {'' if row else term:<28} ", "accent"), *parts))
            for term, meaning in terms
            for row, parts in enumerate(wrap([(meaning, "text")], width - 32))
        ]

    def _table(self, rows: Sequence[bindings.Row], width: int) -> list[Line]:
        longest = max((len(row.description) for row in rows), default=0)
        across = 2 if width >= 2 * (longest + 18 + IDS) else 1
        cells = width // across
        down = -(-len(rows) // across)
        out = []
        for first in range(down):
            writer = Writer(self.glyphs)
            for column, row in enumerate(rows[first::down]):
                writer.to(column * cells).add(f"  {' '.join(row.keys):>12}  ", "accent").add(row.description)
                if writer.width < (ids := (column + 1) * cells - IDS):  # no room for them on very narrow screens
                    writer.to(ids).add(row.id, "dim")
            out.append(Line(clip(writer.parts, width, self.glyphs)))
        return out
