"""The position plot at full size (`z`): the value under a cursor, zoom, one domain at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from textual.binding import Binding

from ffnscope.tui.drawing.lines import BLANK, Line, Part, Writer, line
from ffnscope.tui.drawing.numbers import count, freq
from ffnscope.tui.neuron.page import scale
from ffnscope.tui.screens.pager import Pager
from ffnscope.tui.state.neuron_list import Key
from ffnscope.tui.state.session import Session

NAME = 20  # cells before a domain's number


class Position(Pager, inherit_bindings=True):
    """f(p) of one neuron over the positions first .. first + shown - 1."""

    BINDINGS = [
        Binding("h,left", "step(-1)", "Position to the left", id="left"),
        Binding("l,right", "step(1)", "Position to the right", id="right"),
        Binding("H,b", "leap(-1)", "Tenth of the plot to the left", id="leap-left", show=False),
        Binding("L,w", "leap(1)", "Tenth of the plot to the right", id="leap-right", show=False),
        Binding("plus,equals_sign,z", "zoom(-1)", "Zoom in", id="zoom-in"),
        Binding("minus", "zoom(1)", "Zoom out", id="zoom-out"),
        Binding("d", "domain", "Next domain", id="domain"),
        Binding("y", "axis", "Axis to 1 or to the highest value", id="axis"),
    ]
    HINTS = "h/l position  H/L leap  +/- zoom  d domain  y axis  q back"

    def __init__(self, session: Session, key: Key):
        super().__init__(session.glyphs, session.rule)
        self.page = session.page(key, contexts=False)
        self.windows = [domain.windows for domain in session.store.run.corpus.counted_domains]
        self.length = self.page.neuron.curve.shape[1]
        self.first, self.shown = 0, self.length
        self.at = int(self.page.frequencies.argmax())
        self.domain = -1
        self.full_axis = bool(self.page.neuron.position_type)

    @property
    def values(self) -> np.ndarray:
        """[T] f(p) of the chosen domain, or of all."""
        if self.domain < 0:
            return self.page.frequencies
        return self.page.neuron.curve[self.domain] / max(self.windows[self.domain], 1)

    def title_parts(self) -> list[Part]:
        """The neuron and its type."""
        neuron = self.page.neuron
        kind = f"{neuron.position_type} {neuron.position_strength}" if neuron.position_type else "not positional"
        return [
            (f"{self.page.name} by position ", "accent"),
            (f"MI {neuron.position_mi:.4f} bias {neuron.position_bias:.4f} ", "text"),
            (kind, "position" if neuron.position_type else "dim"),
        ]

    def content(self, width: int, height: int) -> Sequence[Line]:
        """The value under the cursor, the plot, the domains' values."""
        from ffnscope.tui.drawing.curves import curve

        values = self.values
        seen = values[self.first : self.first + self.shown]
        top = 1.0 if self.full_axis else scale(float(seen.max(initial=0.0)))
        name = "all domains" if self.domain < 0 else self.page.domains[self.domain]
        windows = sum(self.windows) if self.domain < 0 else self.windows[self.domain]
        head = (
            Writer(self.glyphs)
            .add(f" position {self.at:,}  ", "dim")
            .add(freq(float(values[self.at])).strip(), "bright")
        )
        times = round(float(values[self.at]) * windows)
        head.add(f"  activated in {count(times)} of {count(windows)} windows, ", "text").prose(name, "accent")
        if self.shown < self.length:
            head.add(f"   positions {self.first:,} to {self.first + self.shown - 1:,}", "dim")
        plot = curve(
            seen,
            width - 1,
            max(height - 4 - len(self.page.domains), 4),
            ascii=self.glyphs.ascii,
            y_max=top,
            cursor=self.at - self.first,
        )
        if self.first:
            # The plot counts from 0: what is seen of a zoomed one is said above it instead.
            plot = [*plot[:-1], self._labels(width - 1)]
        out = [head.line(), BLANK, *(line((" " + text, "position")) for text in plot), BLANK]
        for index, domain in enumerate(self.page.domains):
            value = float(self.page.neuron.curve[index][self.at]) / max(self.windows[index], 1)
            here = index == self.domain
            row = Writer(self.glyphs).add(" " + (self.glyphs.cursor if here else " ") + " ", "accent")
            row.prose(domain, "accent" if here else "dim", NAME - 1 - row.width).to(NAME)
            row.add(freq(value), "bright" if here else "text")
            out.append(row.line())
        return out

    def _labels(self, width: int) -> str:
        last = f"{self.first + self.shown - 1}"
        return "   " + f"{self.first}".ljust(max(width - 3 - len(last), 0)) + last

    def action_step(self, by: int) -> None:
        """Move the cursor, the view with it."""
        self.at = max(0, min(self.at + by, self.length - 1))
        if self.at < self.first:
            self.first = max(self.at - self.shown // 4, 0)
        elif self.at >= self.first + self.shown:
            self.first = min(self.at - self.shown * 3 // 4, self.length - self.shown)
        self.refresh_content()

    def action_leap(self, by: int) -> None:
        """Move by a tenth of what is shown."""
        self.action_step(by * max(self.shown // 10, 1))

    def action_move(self, by: int) -> None:
        """Up and down zoom out and in."""
        self.action_zoom(by)

    def action_zoom(self, by: int) -> None:
        """Show half, or twice, as many positions around the cursor."""
        wanted = self.shown * 2 if by > 0 else self.shown // 2
        self.shown = max(min(wanted, self.length), min(8, self.length))
        self.first = max(0, min(self.at - self.shown // 2, self.length - self.shown))
        self.refresh_content()

    def action_first(self) -> None:
        """Position 0."""
        self.action_step(-self.length)

    def action_last(self) -> None:
        """Position T-1."""
        self.action_step(self.length)

    def action_domain(self) -> None:
        """The next domain, then all of them again."""
        self.domain = self.domain + 1 if self.domain + 1 < len(self.page.domains) else -1
        self.refresh_content()

    def action_axis(self) -> None:
        """The axis up to 1, or up to what is reached."""
        self.full_axis = not self.full_axis
        self.refresh_content()
