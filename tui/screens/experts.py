"""The routed experts of a layer (`X`): how often each is chosen, in which domains, and what its neurons are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual.binding import Binding

from ffnscope.store.figures.experts import ExpertFigures, expert_figures
from ffnscope.tui.drawing.lines import BLANK, Line, Part, Writer, line
from ffnscope.tui.drawing.numbers import count, percent
from ffnscope.tui.drawing.scroll import scroll
from ffnscope.tui.drawing.text import bar, fit, visible
from ffnscope.tui.screens.pager import Pager
from ffnscope.tui.state.session import Session

BAR = 16  # most cells of the bar of an expert's share
DOMAIN = 8  # cells of a domain's name


class ExpertsScreen(Pager, inherit_bindings=True):
    """`choose` is called with the filter term of the expert that `enter` was pressed on."""

    BINDINGS = [
        Binding("enter", "take", "The neurons of the expert", id="take"),
        Binding("S", "order", "By share, or by number", id="reverse"),
    ]
    HINTS = "j/k expert  enter its neurons  S by share or number  q back"

    def __init__(self, session: Session, layer: int, expert: int | None, choose: Callable[[str], None]):
        """The cursor is on `expert`, if given."""
        super().__init__(session.glyphs, session.rule)
        self._layer_number = layer
        self._domains = [domain.name for domain in session.store.run.corpus.domains]
        self._per_token = session.store.run.model.experts_per_token
        self.experts = list(expert_figures(session.store, layer))
        self._choose = choose
        self._by_share = False
        self._first = 0
        self.cursor = max(0, min(expert or 0, len(self.experts) - 1))

    @property
    def expert(self) -> ExpertFigures:
        """The one under the cursor."""
        return self.experts[self.cursor]

    def title_parts(self) -> list[Part]:
        """The layer and its experts."""
        dot = f" {self.glyphs.dot} "
        parts: list[Part] = [("experts of ", "dim"), (f"layer {self._layer_number}", "accent")]
        return [*parts, (f"{dot}{count(len(self.experts))}, {self._per_token} chosen per token", "text")]

    def content(self, width: int, height: int) -> Sequence[Line]:
        """A page for the expert under the cursor, then a line for each expert."""
        out = [*self._page(width), BLANK]
        most = max((expert.share for expert in self.experts), default=0) or 1
        rows = max(height - len(out) - 1, 1)
        self._first = scroll(self._first, self.cursor, len(self.experts), rows)
        shown = self._domains[: max((width - 46) // (DOMAIN + 1), 0)]
        heads = "".join(
            f" {fit(visible(name, self.glyphs, spaces=False), DOMAIN, 'right', self.glyphs)}" for name in shown
        )
        out.append(line((f"  expert  share {'':{BAR}}    dead detect{heads}", "dim")))
        for index in range(self._first, min(self._first + rows, len(self.experts))):
            expert, here = self.experts[index], index == self.cursor
            writer = Writer(self.glyphs).add(self.glyphs.cursor if here else " ", "accent")
            writer.add(f" {expert.expert:>6} {percent(expert.share, 1):>6} ", "bright" if here else "text")
            writer.add(bar(expert.share / most, BAR, self.glyphs), "accent")
            writer.add(f" {count(expert.dead):>7} {count(expert.detectors):>6}", "text")
            for share in expert.domain_shares[: len(shown)]:
                writer.add(f" {percent(share, 1):>{DOMAIN}}", "text" if share >= expert.share else "dim")
            out.append(writer.line("cursor" if here else ""))
        return out

    def _page(self, width: int) -> list[Line]:
        expert, last = self.expert, self.expert.first + self.expert.neurons - 1
        routed = f"chosen at {count(expert.positions)} positions ({percent(expert.share, 2)})"
        even = self._per_token / len(self.experts)
        lines = [
            line((f" expert {expert.expert}", "bright"), (f": neurons {expert.first} to {last}, {routed}; an even share is "
                 f"{percent(even, 2)}", "text")),
        ]  # fmt: skip
        pairs = sorted(zip(expert.domain_shares, self._domains, strict=True), reverse=True)
        writer = Writer(self.glyphs).add(" ")
        for share, name in pairs:
            writer.prose(name, "text").add(f" {percent(share, 2)}  ", "bright" if share > expert.share else "dim")
        lines.append(writer.line())
        frequency = "never chosen" if expert.frequency is None else (
            f"an average neuron is activated at {percent(expert.frequency, 1)} of the positions routed to it"
        )  # fmt: skip
        dead = f"{count(expert.dead)} of {count(expert.neurons)} neurons dead, {count(expert.detectors)} detectors"
        return [*lines, line((f" {frequency}; {dead}", "text"))]

    def action_move(self, by: int) -> None:
        """Another expert."""
        self.cursor = max(0, min(self.cursor + by, len(self.experts) - 1))
        self.refresh_content()

    def action_order(self) -> None:
        """Order by share, most chosen first, or by number."""
        here = self.expert.expert
        self._by_share = not self._by_share
        self.experts.sort(key=lambda expert: (-expert.share if self._by_share else 0, expert.expert))
        self.cursor = next(index for index, expert in enumerate(self.experts) if expert.expert == here)
        self.refresh_content()

    def action_take(self) -> None:
        """Filter the list to the expert's neurons."""
        self.dismiss(None)
        self._choose(f"expert:{self.expert.expert}")
