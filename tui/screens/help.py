"""Help (`?`), made from the bindings that are live on the screen it was asked from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from textual.binding import ActiveBinding

from ffnscope.tui.lines import BLANK, Line, Part, Writer, line, rule
from ffnscope.tui.screens.pager import Pager
from ffnscope.tui.text import Glyphs

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
_KEYS = {
    "question_mark": "?", "slash": "/", "colon": ":", "space": "space", "left_square_bracket": "[",
    "right_square_bracket": "]", "less_than_sign": "<", "greater_than_sign": ">", "escape": "esc", "pagedown": "pgdn",
    "pageup": "pgup", "asterisk": "*", "full_stop": ".", "comma": ",", "plus": "+", "minus": "-",
    "equals_sign": "=", "question": "?", "backslash": "\\", "tilde": "~",
}  # fmt: skip


def key_name(key: str) -> str:
    """A key as printed on it."""
    return _KEYS.get(key, key)


def listed(bindings: Iterable[ActiveBinding]) -> list[tuple[str, str]]:
    """(keys, what they do) of the enabled bindings, those of one action together, in the order they were made."""
    keys: dict[tuple[str, str], list[str]] = {}
    for active in bindings:
        binding = active.binding
        if binding.description and active.enabled:
            name = key_name(binding.key)
            group = keys.setdefault((binding.action, binding.description), [])
            if name not in group:
                group.append(name)
    return [(" ".join(names), description) for (_, description), names in keys.items()]


class Help(Pager, inherit_bindings=True):
    """Keys in two columns where there is room, then the filter language."""

    def __init__(self, bindings: Iterable[ActiveBinding], glyphs: Glyphs):
        super().__init__()
        self._keys = listed(bindings)
        self.glyphs = glyphs

    def title_parts(self) -> list[Part]:
        """What this is."""
        return [("help", "accent")]

    def content(self, width: int, height: int) -> Sequence[Line]:
        """Keys, filters, signs."""
        longest = max((len(description) for _, description in self._keys), default=0)
        across = 2 if width >= 2 * (longest + 18) else 1
        down = -(-len(self._keys) // across)
        cells = width // across
        out = []
        for row in range(down):
            made = Writer(self.glyphs)
            for column in range(across):
                if row + column * down < len(self._keys):
                    keys, description = self._keys[row + column * down]
                    made.to(column * cells).add(f"  {keys:>12}  ", "accent").add(description)
            out.append(made.line())
        out += [BLANK, rule([("filters: terms that must all hold", "dim")], width, self.glyphs)]
        for term, meaning in _FILTERS:
            out.append(Writer(self.glyphs).add(f"  {term:<28} ", "accent").add(meaning).line())
        out += [BLANK, rule([("signs", "dim")], width, self.glyphs)]
        out.append(self._sign(self.glyphs.space, "a space of a token (a token often begins with one)"))
        out.append(self._sign(self.glyphs.newline, "a newline of a token"))
        out.append(
            self._sign(self.glyphs.trigger, "a promoted or suppressed token that is among the neuron's own triggers")
        )
        out.append(self._sign(self.glyphs.mark, "a marked neuron"))
        out += [BLANK, line(("  ctrl+p lists every action by name.", "dim"))]
        return out

    def _sign(self, sign: str, meaning: str) -> Line:
        return Writer(self.glyphs).add(f"  {sign:<4} ", "accent").add(meaning).line()
