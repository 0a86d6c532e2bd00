"""The list of neurons at a token: those that fire there, or all by their direct effect; the rows that are in view."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ffnscope.tui.drawing.lines import Line, Part, line, rule
from ffnscope.tui.drawing.numbers import count
from ffnscope.tui.drawing.scroll import scroll
from ffnscope.tui.prompt.firing import Firing, PromptView
from ffnscope.tui.state.neuron_list import Key


@dataclass
class NeuronRows:
    """What stands in the list."""

    view: PromptView
    firings: Sequence[Firing]
    cursor: int
    at: int  # the token
    marks: Collection[Key]
    taken: Collection[Key]

    def _row(self, index: int, width: int) -> Line:
        firing = self.firings[index]
        key = firing.key
        return self.view.firing(firing, width, index == self.cursor, key in self.marks, key in self.taken)

    def by_layer(self, first: int, width: int, height: int, layers: bool) -> tuple[int, list[Line]]:
        """Those that fire, under a head for each layer: (first row in view, lines). ``layers``: whether any is finished."""
        # (index of the neuron, None) or (-1, head): only the rows in view are drawn.
        rows: list[tuple[int, Line | None]] = []
        layer = -1
        for index, firing in enumerate(self.firings):
            if firing.pinned:
                rows.append((-1, line((" the browser's neuron", "dim"))))
            elif firing.layer != layer:
                layer = firing.layer
                active = int(self.view.result.active[layer][self.at].sum())
                rows.append((-1, line((f" layer {layer}", "dim"), (f"  {count(active)} activated", "faint"))))
            rows.append((index, None))
        if not self.firings or self.firings[-1].pinned:
            reason = "no neuron is activated at this token" if layers else "no layer is finished yet"
            rows.append((-1, line((f" {reason}", "dim"))))
        room = max(height - 1, 1)
        here = next((i for i, (index, _) in enumerate(rows) if index == self.cursor), 0)
        if not first + 1 <= here < first + room:
            first = here - room // 2
        first = max(0, min(first, len(rows) - room))
        shown = [head or self._row(index, width) for index, head in rows[first : first + room]]
        return first, [self._head([("fires here", "accent")], width, len(rows) - first - room), *shown]

    def by_effect(self, first: int, width: int, height: int, title: Sequence[Part]) -> tuple[int, list[Line]]:
        """All neurons in the order that they come in: (first row in view, lines)."""
        room = max(height - 1, 1)
        first = scroll(first, self.cursor, len(self.firings), room)
        last = min(first + room, len(self.firings))
        head = self._head([("direct effects on ", "accent"), *title], width, len(self.firings) - last)
        return first, [head, *(self._row(index, width) for index in range(first, last))]

    def _head(self, title: Sequence[Part], width: int, more: int) -> Line:
        return rule(title, width, self.view.glyphs, f"{count(more)} more" if more > 0 else "")
