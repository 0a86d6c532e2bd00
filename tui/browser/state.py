"""What the browser shows beside the list of neurons: the screen writes it, the panes only read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ffnscope.tui.ask.ranking import FoundNeuron
from ffnscope.tui.neuron.data import PageData
from ffnscope.tui.neuron.page import Plot
from ffnscope.tui.neuron.related import Related
from ffnscope.tui.screens.search import AnyHit
from ffnscope.tui.state.session import Session

PANES = ("layers", "neurons", "neuron")


@dataclass
class BrowserState:
    """Layer, filter, sort and cursor of the list are in the session's NeuronList."""

    pane: str = "neurons"  # the one of PANES that has the keys
    wide: bool = True  # the panes stand side by side
    page: PageData | None = None  # of the neuron under the cursor
    order: int | None = None  # of the n-grams chosen for the page, else those of the neuron
    scrolled: int = 0  # the page's first line in view
    related: tuple[str, Related] | None = None  # of the neuron named
    plot: Plot | None = None  # None while the plot library is being loaded
    message: tuple[str, str] | None = None  # (text, style) in the place of the keys
    searched: str = ""  # the text of the last search
    hits: Sequence[AnyHit | FoundNeuron] = ()
    hit: int = 0  # which of them was gone to last

    def read_page(self, session: Session, contexts: bool) -> None:
        """Read the page of the neuron under the cursor. Raises UserError for a damaged one."""
        key = session.neurons.key
        if key is None:
            self.page = None
            return
        if self.page is None or (self.page.neuron.layer, self.page.neuron.neuron) != key:
            self.scrolled = 0
            self.order = None if self.order == 1 else self.order
        self.page = session.page(key, self.order or 1, contexts)
        if self.page.neuron.order > 1 and self.order is None:
            self.page = session.page(key, self.page.neuron.order, contexts)
