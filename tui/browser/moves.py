"""How the browser's keys move, and the screens they open."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ffnscope.store.errors import UserError
from ffnscope.tui.browser.panes import PANES


class MoveActions:
    """Mixed into the browser: one method a binding."""

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
        except UserError as error:
            if layer in self.session.layers:
                self.say(str(error), "error")
            else:
                self.say(f"layer {layer} is not collected yet", "dim")
            return False
        self.frame.table.top = 0
        self.refresh_list()
        return True

    def chosen(self: Any) -> bool:
        """Open the layer under the cursor where the layers have the keys, which may not have been; whether it is there."""
        return self.frame.at != "layers" or self.open_chosen_layer()

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
            if self.frame.at == "neuron" or not self.frame.wide:
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
        if self.chosen() and self.session.model.move(by):
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

    # Other screens

    def action_contexts(self: Any) -> None:
        """Where the neuron is active."""
        from ffnscope.tui.screens.contexts import Contexts

        if self.chosen() and self.session.model.key:
            self.app.push_screen(Contexts(self.session, self.session.model.key))

    def action_position(self: Any) -> None:
        """The position plot at full size."""
        from ffnscope.tui.screens.position import Position

        if self.chosen() and self.session.model.key:
            self.app.push_screen(Position(self.session, self.session.model.key))

    def action_overview(self: Any) -> None:
        """Every layer's figures."""
        from ffnscope.tui.overview.screen import Overview

        self.chosen()
        self.app.push_screen(Overview(self.session, lambda layer: self.jump(layer, None)))

    def action_prompt(self: Any) -> None:
        """A text of one's own through the store's model."""
        from ffnscope.tui.prompt.screen import ask

        self.chosen()
        ask(self)

    def action_beside(self: Any) -> None:
        """The neuron here and in the next store."""
        from ffnscope.tui.screens.side_by_side import Beside, fits

        other = self.app.other_session()
        if other is None:
            self.say("one store is open; `ffnscope view A B` opens two", "dim")
        elif wrong := fits(self.session, other):
            self.say(wrong, "dim")
        elif self.chosen() and self.session.model.key:
            self.app.push_screen(Beside(self.session, other, self.session.model.key))

    def action_store(self: Any) -> None:
        """The next store, the same neuron in it."""
        self.chosen()
        self.app.next_store()
