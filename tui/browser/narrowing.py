"""The browser's keys that sort the list and narrow it by what it shows: by a value, a bar of a distribution, an earlier
filter; undo, and the command line that gives the same rows."""

from __future__ import annotations

import shlex

from ffnscope.store.errors import UserError
from ffnscope.store.query.filter import split
from ffnscope.tui.browser.neuron_table import sort_choices
from ffnscope.tui.browser.tasks import Tasks
from ffnscope.tui.drawing.text import visible
from ffnscope.tui.screens.filter_history import FilterHistory
from ffnscope.tui.screens.input_line import InputLine
from ffnscope.tui.screens.sort_picker import SortPicker
from ffnscope.tui.state.distribution import value_term
from ffnscope.tui.state.neuron_list import NeuronList
from ffnscope.tui.state.remembered import read_places, state_path


def export_command(store: str, neurons: NeuronList) -> str:
    """The command line that writes the listed neurons: the same ones, in the same order (but `--sort kind` has the dead
    first)."""
    where = f"layer:{neurons.layer} {neurons.filter_text}".strip()
    sort = f"--sort={'-' if neurons.descending else ''}{neurons.sort}"
    return f"ffnscope export {shlex.quote(store)} --where {shlex.quote(where)} {shlex.quote(sort)}"


class Narrowing(Tasks):
    """One method for each binding."""

    def action_undo(self) -> None:
        """Undo the last filter, sort or mark."""
        neurons = self.session.neurons
        what = neurons.undo()
        if what is None:
            self.say("nothing to undo", "dim")
            return
        self.refresh_list()
        self.say(f"undone: {what}")

    def action_sort(self) -> None:
        """Choose the sort column."""
        self.settle_layer()
        neurons = self.session.neurons

        def sort(name: str | None) -> None:
            if not name:
                return
            if picker.distribution:
                self.action_distribution(name)
                return
            try:
                if name == neurons.sort:
                    neurons.reverse()
                else:
                    neurons.set_sort(name)
            except UserError as error:
                self.say(str(error), "error")
            else:
                self._show_sorted()

        picker = SortPicker(sort_choices(neurons.domains), neurons.sort, self.session.glyphs)
        self.app.push_screen(picker, sort)

    def action_reverse(self) -> None:
        """The other direction."""
        self.settle_layer()
        if self.session.neurons.layer >= 0:
            self.session.neurons.reverse()
            self._show_sorted()

    def _show_sorted(self) -> None:
        self.session.neurons.move_to(0)
        self.show_from_top()

    def action_distribution(self, name: str = "") -> None:
        """The distribution of the column sorted by, or of another."""
        from ffnscope.tui.screens.distribution import Distribution

        if not self.settle_layer() or self.session.neurons.layer < 0:
            return
        neurons = self.session.neurons
        names = [column for _, column, _ in sort_choices(neurons.domains) if column != "neuron"]
        first = name or neurons.sort
        screen = Distribution(self.session, names, first if first in names else names[0], self.narrow)
        self.app.push_screen(screen)

    def action_experts(self) -> None:
        """The routed experts of the layer, the cursor on that of the neuron."""
        from ffnscope.tui.screens.experts import ExpertsScreen

        if not self.settle_layer() or self.session.neurons.layer < 0:
            return
        neurons, store = self.session.neurons, self.session.store
        if not store.has("expert") or not len(store.column(neurons.layer, "expert_positions")):
            self.say("no routed experts in this layer")
            return
        expert = None if neurons.neuron is None else store.neuron(neurons.layer, neurons.neuron).expert
        self.app.push_screen(ExpertsScreen(self.session, neurons.layer, expert, self._list_expert))

    def _list_expert(self, term: str) -> None:
        """Filter to an expert, in place of another."""
        others = [word.text for word in split(self.session.neurons.filter_text) if not word.text.startswith("expert:")]
        self.apply_filter(" ".join([*others, term]))

    def narrow(self, term: str) -> None:
        """Add a term to the filter. Raises UserError for one that the store cannot answer."""
        text = self.session.neurons.filter_text
        self.apply_filter(text if term in [word.text for word in split(text)] else f"{text} {term}".strip())

    def action_value(self, away: bool = False) -> None:
        """Filter to the cursor's value in the column sorted by, or away from it."""
        neurons = self.session.neurons
        if not self.settle_layer() or neurons.neuron is None:
            return
        self.narrow(value_term(neurons.sort, neurons.column(neurons.sort)[neurons.neuron], away))
        self.say(f"filter: {neurons.filter_text}   (u undoes)")

    def action_history(self) -> None:
        """Choose one of the filters used before, in this store or another."""
        own = [*reversed(self.session.filters)]
        others = [text for place in read_places(state_path()).values() for text in reversed(place.filters)]
        self.settle_layer()
        filters = list(dict.fromkeys([*own, *others]))
        self.app.push_screen(FilterHistory(filters, self.session.glyphs, self.apply_filter))

    def action_command(self) -> None:
        """Show and copy the command line that gives the rows shown."""
        neurons = self.session.neurons
        if not self.settle_layer() or neurons.layer < 0:
            return
        command = export_command(str(self.session.store.path), neurons)
        self.app.copy_to_clipboard(command)
        glyphs = self.session.glyphs
        self.app.push_screen(
            InputLine(
                "sent to the terminal's clipboard; esc leaves",
                glyphs=glyphs,
                hint=visible(command, glyphs, spaces=False),
            )
        )
