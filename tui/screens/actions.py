"""What the browser's keys do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textual import work

from ffnscope.store.errors import UserError
from ffnscope.store.search import Hit
from ffnscope.tui.frame import PANES
from ffnscope.tui.screens import prompts
from ffnscope.tui.screens.picker import SortPicker
from ffnscope.tui.screens.search import Search
from ffnscope.tui.table import sort_choices

if TYPE_CHECKING:
    from ffnscope.tui.app import FfnscopeApp
    from ffnscope.tui.screens.browser import Browser

    Base = Browser
    App = FfnscopeApp
else:
    Base = object


class BrowserActions:
    """Mixed into the browser: one method a binding."""

    searched: str = ""
    hits: list[Hit] = []  # noqa: RUF012
    hit: int = 0

    # Moving

    def action_move(self: Any, by: int) -> None:
        """Down or up in the pane that has the keys."""
        frame = self.frame
        if frame.at == "layers":
            self.move_layer(by)
        elif frame.at == "neurons":
            if self.session.model.move(by):
                self.moved()
        else:
            frame.scrolled = max(0, min(frame.scrolled + by, frame.page_length - frame.page_height))
            self.draw("neuron")

    def move_layer(self: Any, by: int) -> None:
        """Another layer under the cursor; its neurons follow where they are in view."""
        layers = self.frame.layer_list
        if layers.move_to(layers.cursor + by):
            self.draw("layers")
            if self.frame.wide:
                self.set_timer(0.08, self.open_chosen_layer)

    def open_chosen_layer(self: Any) -> bool:
        """Show the neurons of the layer under the cursor; whether it is there."""
        layer = self.frame.layer_list.layer
        if layer is None or layer == self.session.model.layer:
            return layer is not None
        try:
            self.session.model.open_layer(layer)
        except UserError:
            self.say(f"layer {layer} is not collected yet", "dim")
            return False
        self.frame.table.top = 0
        self.refresh_list()
        return True

    def action_page(self: Any, by: int) -> None:
        """A page less two lines."""
        heights = {
            "layers": self.frame.layer_list.height,
            "neurons": self.frame.table.height,
            "neuron": self.frame.page_height,
        }
        self.action_move(by * max(heights[self.frame.at] - 2, 1))

    def action_first(self: Any) -> None:
        """The first row or line."""
        self.action_move(-(10**9))

    def action_last(self: Any) -> None:
        """The last row or line."""
        self.action_move(10**9)

    def action_left(self: Any) -> None:
        """The pane to the left; on a neuron's page shorter n-grams first."""
        if self.frame.at == "neuron" and self.frame.page and self.frame.page.order > 1:
            self._order(self.frame.page.order - 1)
        else:
            self.action_out()

    def action_right(self: Any) -> None:
        """The pane to the right; on a neuron's page longer n-grams."""
        if self.frame.at != "neuron":
            self.action_enter()
        elif self.frame.page and self.frame.page.order < 3:
            self._order(self.frame.page.order + 1)

    def _order(self: Any, order: int) -> None:
        from dataclasses import replace

        self.frame.order = order
        self.frame.page = replace(self.frame.page, order=order)
        self.draw("neuron")

    def action_enter(self: Any) -> None:
        """Into the pane to the right."""
        at = PANES.index(self.frame.at)
        if self.frame.at == "layers" and not self.open_chosen_layer():
            return
        if self.frame.at == "neurons" and self.session.model.neuron is None:
            return
        if at + 1 < len(PANES):
            self.go_to_pane(PANES[at + 1])
            self.show_page()
        elif self.frame.page:
            self.action_contexts()

    def action_out(self: Any) -> None:
        """Out to the pane on the left."""
        at = PANES.index(self.frame.at)
        if at:
            self.go_to_pane(PANES[at - 1])
        else:
            self.say("q quits", "dim")

    def action_quit(self: Any) -> None:
        """Out one pane where they are shown one at a time, else quit."""
        if not self.frame.wide and self.frame.at != "layers":
            self.action_out()
        else:
            self.app.exit()

    def action_neighbour(self: Any, by: int) -> None:
        """The next or previous neuron of the list."""
        if self.session.model.move(by):
            self.moved()
            self.show_page()

    def jump(self: Any, layer: int, neuron: int | None) -> None:
        """Go to a neuron or a layer. Raises UserError where it is not there."""
        model = self.session.model
        left = False
        if neuron is None:
            model.open_layer(layer)
        else:
            left = model.select(layer, neuron)
        self.frame.layer_list.cursor = self.frame.layer_list.layers.index(layer)
        if self.frame.at == "layers":
            self.go_to_pane("neurons")
        self.refresh_list()
        if left:
            self.say("the filter hid this neuron and is off now", "dim")

    # Asking

    def action_search(self: Any) -> None:
        """Search as one types."""
        screen = Search(self.session.search, self.session.glyphs, "")

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
        self.jump(hit.layer, hit.neuron)
        self.say(f"{self.searched}: match {self.hit + 1} of {len(self.hits)} (n next, N previous)")

    def action_filter(self: Any) -> None:
        """Ask for a filter; it is applied on enter."""
        self.app.push_screen(prompts.filter_prompt(self.session), self._filtered)

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

    def action_sort(self: Any) -> None:
        """Choose the sort column."""
        model = self.session.model

        def chosen(name: str | None) -> None:
            if name:
                if name == model.sort:
                    model.reverse()
                else:
                    model.set_sort(name)
                self._sorted()

        self.app.push_screen(SortPicker(sort_choices(model.domains), model.sort, self.session.glyphs), chosen)

    def action_reverse(self: Any) -> None:
        """The other direction."""
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
        self.app.push_screen(prompts.goto_prompt(self.session, self.jump))

    # Marks, notes, export

    def action_mark(self: Any) -> None:
        """Mark the neuron, and go down one in the list."""
        if self.session.model.neuron is None:
            return
        self.session.model.toggle_mark()
        self.frame.table.forget()
        self.show_page()
        if self.frame.at == "neurons" and self.session.model.move(1):
            self.moved()
        self.draw("head", "table")

    def action_mark_all(self: Any) -> None:
        """Mark every neuron listed."""
        if not len(self.session.model.rows):
            return
        how_many, on = self.session.model.mark_all()
        self.refresh_list()
        self.say(f"{how_many:,} neurons {'marked' if on else 'not marked any more'}")

    def action_note(self: Any) -> None:
        """Ask for a note."""
        key = self.session.model.key
        if key is None:
            return

        def written(text: str | None) -> None:
            if text is not None:
                self.session.model.set_note(key, text)
                self.show_page()
                self.say(f"note on L{key[0]}N{key[1]} {'kept' if text.strip() else 'deleted'}")

        self.app.push_screen(prompts.note_prompt(self.session, key), written)

    def action_export(self: Any) -> None:
        """Ask for a file name."""
        selection, what = self.session.model.selection()
        if not len(selection):
            self.say("nothing to export: no neuron is marked or listed", "dim")
            return

        def named(text: str | None) -> None:
            if text:
                self._export(text, selection)

        self.app.push_screen(prompts.export_prompt(self.session, len(selection), what), named)

    @work(thread=True, group="export")
    def _export(self: Any, name: str, selection: Any) -> None:
        try:
            path = prompts.export_path(name)
            written = self.session.export(path, selection, overwrite=path.exists())
        except UserError as error:
            self.app.call_from_thread(self.say, str(error), "error")
        else:
            self.app.call_from_thread(self.say, f"{written:,} neurons written to {path}")

    def action_copy(self: Any) -> None:
        """The neuron's name to the terminal's clipboard."""
        key = self.session.model.key
        if key:
            self.app.copy_to_clipboard(f"L{key[0]}N{key[1]}")
            self.say(f"L{key[0]}N{key[1]} sent to the terminal's clipboard")

    def action_copy_row(self: Any) -> None:
        """The neuron's CSV row to the terminal's clipboard."""
        key = self.session.model.key
        if key:
            self.app.copy_to_clipboard(self.session.csv_row(key))
            self.say(f"L{key[0]}N{key[1]} as a CSV row sent to the terminal's clipboard")

    # Other screens

    def action_contexts(self: Any) -> None:
        """Where the neuron is active."""
        from ffnscope.tui.screens.contexts import Contexts

        if self.session.model.key:
            self.app.push_screen(Contexts(self.session, self.session.model.key))

    def action_position(self: Any) -> None:
        """The position plot at full size."""
        from ffnscope.tui.screens.position import Position

        if self.session.model.key:
            self.app.push_screen(Position(self.session, self.session.model.key))

    def action_overview(self: Any) -> None:
        """Every layer's figures."""
        from ffnscope.tui.screens.overview import Overview

        self.app.push_screen(Overview(self.session, lambda layer: self.jump(layer, None)))

    def action_help(self: Any) -> None:
        """The keys of this screen."""
        from ffnscope.tui.screens.help import Help

        self.app.push_screen(Help(list(self.active_bindings.values()), self.session.glyphs))

    def action_store(self: Any) -> None:
        """The next store, the same neuron in it."""
        self.app.next_store()
