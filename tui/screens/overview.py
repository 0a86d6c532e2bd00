"""Overview (`o`): every layer's figures with bars; `enter` goes to a layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from textual.binding import Binding

from ffnscope.store.words import POSITION_TYPES
from ffnscope.tui.lines import Line, Part, Writer
from ffnscope.tui.screens.pager import Pager
from ffnscope.tui.session import Session
from ffnscope.tui.text import bar, count, freq, percent
from ffnscope.tui.widgets.pane import Pane


class Overview(Pager, inherit_bindings=True):
    """A row a layer. `chosen` is called with the layer that `enter` was pressed on."""

    BINDINGS = [Binding("enter", "go", "Go to the layer", id="go")]

    def __init__(self, session: Session, chosen: Callable[[int], None]):
        super().__init__()
        self.session = session
        self.glyphs = session.glyphs
        self.cursor = max(session.layers.index(session.model.layer) if session.model.layer in session.layers else 0, 0)
        self._chosen = chosen
        self._types: dict[int, tuple[int, ...]] = {}

    def title_parts(self) -> list[Part]:
        """The model."""
        model = self.session.store.run.model
        return [("overview ", "accent"), (f"{model.layers} layers of {count(model.neurons)} neurons", "text")]

    def hints(self) -> str:
        """The keys."""
        return "j/k layer  enter go there  q back"

    def content(self, width: int, height: int) -> Sequence[Line]:
        """The header and a row a layer, the cursor's in view."""
        bars = max((width - 62) // 2, 5)
        head = f"    L {'dead':<{bars + 6}}{'mean freq':<{bars + 7}}{'token':>7}{'bigram':>7}{'trigram':>8}  {'osc':>4}{'both':>5}{'one':>5}{'other':>6}"
        out = [Writer(self.glyphs).add(head, "dim").line()]
        figures = self.session.figures
        most = max((each.frequency for each in figures.values()), default=0.0) or 1.0
        for row, layer in enumerate(self.session.layers):
            ground = "cursor" if row == self.cursor else ""
            made = Writer(self.glyphs).add(self.glyphs.cursor if ground else " ", "accent")
            made.add(f" {layer:>3} ")
            each = figures.get(layer)
            if each is None:
                out.append(made.add(self.glyphs.ellipsis, "faint").line(ground))
                continue
            share = each.dead / max(each.neurons, 1)
            made.add(bar(share, bars, self.glyphs), "bar").add(f"{percent(share):>5} ")
            made.add(bar(each.frequency / most, bars, self.glyphs), "bar").add(f"{freq(each.frequency)}  ")
            token, bigram, trigram = each.detectors
            made.add(f"{count(token):>7}{count(bigram):>7}{count(trigram):>8}", "token").add("  ")
            counts = self._positional(layer)
            made.add(f"{counts[0]:>4}{counts[1]:>5}{counts[2]:>5}{counts[3]:>6}", "position")
            out.append(made.line(ground))
        self.top = max(min(self.top, self.cursor), self.cursor + 2 - height)
        return out

    def _positional(self, layer: int) -> tuple[int, ...]:
        if layer not in self._types:
            codes = self.session.store.column(layer, "position_type")
            self._types[layer] = tuple(np.bincount(codes, minlength=len(POSITION_TYPES))[1:].tolist())
        return self._types[layer]

    def on_pane_clicked(self, event: Pane.Clicked) -> None:
        """A click chooses a layer."""
        self.cursor = max(0, min(event.y - 2 + self.top, len(self.session.layers) - 1))
        self.refresh_content()

    def action_move(self, by: int) -> None:
        """Another layer."""
        self.cursor = max(0, min(self.cursor + by, len(self.session.layers) - 1))
        self.refresh_content()

    def action_go(self) -> None:
        """To the layer."""
        if self.session.layers:
            layer = self.session.layers[self.cursor]
            self.dismiss(None)
            self._chosen(layer)
