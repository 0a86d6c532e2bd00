"""What the browser's keys ask for and change: search, filter, sort, goto, marks, notes, export."""

from __future__ import annotations

from typing import Any

from textual import work

from ffnscope.store.errors import UserError
from ffnscope.tui.browser import questions
from ffnscope.tui.browser.neuron_table import sort_choices
from ffnscope.tui.screens.saved_filters import SavedFilters
from ffnscope.tui.screens.search import AnyHit, Search
from ffnscope.tui.screens.sort_picker import SortPicker
from ffnscope.tui.state.settings import filters_path, read_filters, save_filter


class TaskActions:
    """Mixed into the browser: one method a binding."""

    searched: str = ""
    hits: list[AnyHit] = []
    hit: int = 0

    def action_search(self: Any, way: str = "detects") -> None:
        """Search as one types."""
        screen = Search(self.session.search, self.session.glyphs, pushed=self.session.pushed, way=way)

        def found(text: str | None) -> None:
            if not text or not screen.hits:
                return
            self.searched, self.hits, self.hit = text, screen.hits, screen.chosen
            self._show_hit()

        self.app.push_screen(screen, found)

    def action_match(self: Any, by: int) -> None:
        """The next or previous match."""
        if not self.hits:
            self.say("nothing searched yet; / searches", "dim")
            return
        self.hit = (self.hit + by) % len(self.hits)
        self._show_hit()

    def _show_hit(self: Any) -> None:
        hit = self.hits[self.hit]
        try:
            self.jump(hit.layer, hit.neuron)
        except UserError as error:
            self.say(str(error), "error")
            return
        self.say(f"{self.searched}: match {self.hit + 1} of {len(self.hits)} (n next, N previous)")

    def action_filter(self: Any) -> None:
        """Ask for a filter; it is applied on enter."""
        self.chosen()
        self.app.push_screen(questions.filter_prompt(self.session), self._filtered)

    def _filtered(self: Any, text: str | None) -> None:
        if text is None:
            return
        self.session.model.set_filter(text)
        if text and text not in self.session.filters:
            self.session.filters.append(text)
        self.frame.table.top = 0
        if self.frame.at == "layers":
            self.go_to_pane("neurons")
        self.refresh_list()

    def action_saved(self: Any) -> None:
        """Choose a saved filter."""
        self.chosen()
        self.app.push_screen(SavedFilters(filters_path(), self.session.glyphs), self._recalled)

    def _recalled(self: Any, text: str | None) -> None:
        try:
            self._filtered(text)
        except UserError as error:
            # It may name a domain that this store does not have.
            self.say(str(error), "error")

    def action_save(self: Any) -> None:
        """Ask for a name for the filter."""
        text = self.session.model.filter_text
        if not text:
            self.say("no filter to save; f filters", "dim")
            return

        def named(name: str | None) -> None:
            if name is None or not name.strip():
                return
            try:
                save_filter(filters_path(), name.strip(), text)
            except UserError as error:
                self.say(str(error), "error")
            else:
                self.say(f"filter saved as {name.strip()}; F lists them")

        self.app.push_screen(questions.filter_name_prompt(self.session, read_filters(filters_path())), named)

    def action_sort(self: Any) -> None:
        """Choose the sort column."""
        self.chosen()
        model = self.session.model

        def chosen(name: str | None) -> None:
            if not name:
                return
            try:
                if name == model.sort:
                    model.reverse()
                else:
                    model.set_sort(name)
            except UserError as error:
                self.say(str(error), "error")
            else:
                self._sorted()

        self.app.push_screen(SortPicker(sort_choices(model.domains), model.sort, self.session.glyphs), chosen)

    def action_reverse(self: Any) -> None:
        """The other direction."""
        self.chosen()
        if self.session.model.layer >= 0:
            self.session.model.reverse()
            self._sorted()

    def _sorted(self: Any) -> None:
        self.session.model.move_to(0)
        self.frame.table.top = 0
        self.refresh_list()

    def action_columns(self: Any, by: int) -> None:
        """Scroll the columns."""
        if self.frame.table.shift(by):
            self.draw("table")

    def action_goto(self: Any) -> None:
        """Ask for a neuron."""
        self.chosen()  # `N5` is one of that layer
        self.app.push_screen(questions.goto_prompt(self.session, self.jump))

    # Marks, notes, export

    def action_mark(self: Any) -> None:
        """Mark the neuron, and go down one in the list."""
        if not self.chosen() or self.session.model.neuron is None:
            return
        self.session.model.toggle_mark()
        self.frame.table.forget()
        self.show_page()
        if self.frame.at == "neurons" and self.session.model.move(1):
            self.moved()
        self.draw("head", "table")

    def action_mark_all(self: Any) -> None:
        """Mark every neuron listed."""
        if not self.chosen() or not len(self.session.model.rows):
            return
        how_many, on = self.session.model.mark_all()
        self.refresh_list()
        self.say(f"{how_many:,} neurons {'marked' if on else 'not marked any more'}")

    def action_note(self: Any) -> None:
        """Ask for a note."""
        key = self.session.model.key if self.chosen() else None
        if key is None:
            return

        def written(text: str | None) -> None:
            if text is not None:
                self.session.model.set_note(key, text)
                self.show_page()
                self.say(f"note on L{key[0]}N{key[1]} {'kept' if text.strip() else 'deleted'}")

        self.app.push_screen(questions.note_prompt(self.session, key), written)

    def action_export(self: Any) -> None:
        """Ask for a file name."""
        if not self.session.model.marks and not self.chosen():
            return
        selection, what = self.session.model.selection()
        if not len(selection):
            none = "is marked or listed" if what == "listed" else "that is marked is in this store"
            self.say(f"nothing to export: no neuron {none}", "dim")
            return

        def named(text: str | None) -> None:
            if text:
                self._export(text, selection)

        self.app.push_screen(questions.export_prompt(self.session, len(selection), what), named)

    @work(thread=True, group="export")
    def _export(self: Any, name: str, selection: Any) -> None:
        try:
            path = questions.export_path(name)
            written = self.session.export(path, selection, overwrite=path.is_file())
        except UserError as error:
            self.app.call_from_thread(self.say, str(error), "error")
        else:
            self.app.call_from_thread(self.say, f"{written:,} neurons written to {path}")

    def action_copy(self: Any) -> None:
        """The neuron's name to the terminal's clipboard."""
        key = self.session.model.key if self.chosen() else None
        if key:
            self.app.copy_to_clipboard(f"L{key[0]}N{key[1]}")
            self.say(f"L{key[0]}N{key[1]} sent to the terminal's clipboard")

    def action_copy_row(self: Any) -> None:
        """The neuron's CSV row to the terminal's clipboard."""
        key = self.session.model.key if self.chosen() else None
        if key:
            self.app.copy_to_clipboard(self.session.csv_row(key))
            self.say(f"L{key[0]}N{key[1]} as a CSV row sent to the terminal's clipboard")
