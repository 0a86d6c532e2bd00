"""The browser's keys that ask the kept bits: which neurons fire on a set of positions, or together with one neuron."""

from __future__ import annotations

from functools import partial

from ffnscope.store.bits.kept import kept_number
from ffnscope.tui.ask.ranking import FoundNeuron, Ranking
from ffnscope.tui.browser.narrowing import Narrowing
from ffnscope.tui.state.neuron_list import name_of
from ffnscope.tui.state.session import remember
from ffnscope.tui.state.task import Proceed

NO_BITS = "this store keeps no activation bits, so it cannot be asked; collect it again with --keep"
COACTIVE = 200  # neurons listed that fire with one


class Asking(Narrowing):
    """One method for each binding."""

    def action_ask(self) -> None:
        """Ask for a set of positions, then rank the neurons."""
        from ffnscope.store.query.ask import Answer, ask
        from ffnscope.tui.ask.query_line import query_input

        session = self.session

        def search(text: str | None) -> None:
            if not text or not text.strip():
                return
            query = text.strip()
            remember(session.queries, query)

            def rank(proceed: Proceed) -> Answer:
                return ask(session.store, query, proceed=proceed)

            self.app.push_screen(Ranking(session, f"fire on {query}", rank, partial(self._walk, query)))

        if self._keeps_bits():
            self.app.push_screen(query_input(session, "ask", session.queries[-1] if session.queries else ""), search)

    def action_coactive(self) -> None:
        """The neurons with the highest phi to the one under the cursor."""
        from ffnscope.store.query.ask import Answer, coactivated

        if not self.settle_layer() or (key := self.session.neurons.key) is None or not self._keeps_bits():
            return
        store, (layer, neuron) = self.session.store, key

        def rank(proceed: Proceed) -> Answer:
            return coactivated(store, layer, neuron, COACTIVE, proceed)

        name = name_of(key)
        self.app.push_screen(Ranking(self.session, f"fire with {name}", rank, partial(self._walk, f"with {name}")))

    def _keeps_bits(self) -> bool:
        if kept_number(self.session.store):
            return True
        self.say(NO_BITS, "dim")
        return False

    def _walk(self, question: str, neurons: list[FoundNeuron], chosen: int) -> None:
        """Go to a neuron of a ranking; `n` and `N` walk on."""
        self.state.searched, self.state.hits, self.state.hit = question, neurons, chosen
        self._show_hit()
