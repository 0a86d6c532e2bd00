"""What the browser's keys ask for and change: search, filter, go to, marks, notes, export."""

from __future__ import annotations

import numpy as np
from textual import work

from ffnscope.store.errors import UserError
from ffnscope.tui.browser import questions
from ffnscope.tui.browser.base import BrowserBase
from ffnscope.tui.screens.saved_filters import SavedFilters
from ffnscope.tui.screens.search import Search
from ffnscope.tui.state.neuron_list import Key, name_of
from ffnscope.tui.state.remembered import filters_path, read_filters, save_filter
from ffnscope.tui.state.session import remember


class Tasks(BrowserBase):
    """One method for each binding of screen.py that asks for something or changes it."""

    def action_search(self, way: str = "detects") -> None:
        """Search while the text is being typed."""
        screen = Search(self.session.search, self.session.glyphs, projections=self.session.projections, way=way)

        def go(text: str | None) -> None:
            if text and screen.hits:
                state = self.state
                state.searched, state.hits, state.hit = text, screen.hits, screen.chosen
                self._show_hit()

        self.app.push_screen(screen, go)

    def action_match(self, by: int) -> None:
        """The next or previous match."""
        if not self.state.hits:
            self.say("nothing searched yet; / searches", "dim")
            return
        self.state.hit = (self.state.hit + by) % len(self.state.hits)
        self._show_hit()

    def _show_hit(self) -> None:
        state = self.state
        hit = state.hits[state.hit]
        try:
            self.jump(hit.layer, hit.neuron)
        except UserError as error:
            self.say(str(error), "error")
            return
        self.say(f"{state.searched}: match {state.hit + 1} of {len(state.hits)} (n next, N previous)")

    def action_filter(self) -> None:
        """Ask for a filter; it is applied on enter."""
        self.settle_layer()
        self.app.push_screen(questions.filter_input(self.session), self.apply_filter)

    def apply_filter(self, text: str | None) -> None:
        """Show what a filter keeps, all for an empty one; None changes nothing. Raises UserError for a bad one."""
        if text is None:
            return
        self.session.neurons.set_filter(text)
        if text:
            remember(self.session.filters, text)
        if self.state.pane == "layers":
            self.go_to_pane("neurons")
        self.show_from_top()

    def action_saved(self) -> None:
        """Choose a saved filter."""

        def apply(text: str | None) -> None:
            try:
                self.apply_filter(text)
            except UserError as error:
                # It may name a domain that this store does not have.
                self.say(str(error), "error")

        self.settle_layer()
        self.app.push_screen(SavedFilters(filters_path(), self.session.glyphs), apply)

    def action_save(self) -> None:
        """Ask for a name for the filter."""
        text = self.session.neurons.filter_text
        if not text:
            self.say("no filter to save; f filters", "dim")
            return

        def save(name: str | None) -> None:
            if name is None or not name.strip():
                return
            try:
                save_filter(filters_path(), name.strip(), text)
            except UserError as error:
                self.say(str(error), "error")
            else:
                self.say(f"filter saved as {name.strip()}; F lists them")

        self.app.push_screen(questions.filter_name_input(self.session, read_filters(filters_path())), save)

    def action_columns(self, by: int) -> None:
        """Scroll the columns."""
        if self.panes.table.shift(by):
            self.draw("table")

    def action_goto(self) -> None:
        """Ask for a neuron."""
        self.settle_layer()  # `N5` is one of that layer
        self.app.push_screen(questions.goto_input(self.session, self.jump))

    # Marks, notes, export

    def action_mark(self) -> None:
        """Mark the neuron, and go down one in the list."""
        if not self._chosen_neuron():
            return
        self.session.neurons.toggle_mark()
        self.panes.table.forget()
        self.show_page()
        if self.state.pane == "neurons" and self.session.neurons.move(1):
            self.moved()
        self.draw("head", "table")

    def action_mark_all(self) -> None:
        """Mark every neuron listed."""
        if self._chosen_neuron():
            number, marked = self.session.neurons.mark_all()
            self.refresh_list()
            self.say(f"{number:,} neurons {'marked' if marked else 'not marked any more'}")

    def action_note(self) -> None:
        """Ask for a note."""
        if (key := self._chosen_neuron()) is None:
            return

        def write(text: str | None) -> None:
            if text is not None:
                self.session.neurons.set_note(key, text)
                self.show_page()
                self.say(f"note on {name_of(key)} {'kept' if text.strip() else 'deleted'}")

        self.app.push_screen(questions.note_input(self.session, key), write)

    def action_export(self) -> None:
        """Ask for a file name."""
        if not self.session.neurons.marks and not self.settle_layer():
            return
        selection, what = self.session.neurons.selection()
        if not len(selection):
            reason = "is marked or listed" if what == "listed" else "that is marked is in this store"
            self.say(f"nothing to export: no neuron {reason}", "dim")
            return

        def export(name: str | None) -> None:
            if name:
                self._export(name, selection)

        self.app.push_screen(questions.export_input(self.session, len(selection), what), export)

    @work(thread=True, group="export")
    def _export(self, name: str, selection: np.ndarray) -> None:
        try:
            path = questions.export_path(name)
            number = self.session.export(path, selection, overwrite=path.is_file())
        except UserError as error:
            self.call_later(self.say, str(error), "error")
        else:
            self.call_later(self.say, f"{number:,} neurons written to {path}")

    def action_copy(self) -> None:
        """The neuron's name to the terminal's clipboard."""
        if key := self._chosen_neuron():
            self.app.copy_to_clipboard(name_of(key))
            self.say(f"{name_of(key)} sent to the terminal's clipboard")

    def action_copy_row(self) -> None:
        """The neuron's CSV row to the terminal's clipboard."""
        if key := self._chosen_neuron():
            self.app.copy_to_clipboard(self.session.csv_row(key))
            self.say(f"{name_of(key)} as a CSV row sent to the terminal's clipboard")

    def _chosen_neuron(self) -> Key | None:
        """The neuron under the cursor, of the layer under the cursor where the layers have the keys."""
        return self.session.neurons.key if self.settle_layer() else None
