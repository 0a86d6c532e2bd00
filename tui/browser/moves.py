"""The browser's keys and clicks that move: in a pane, from pane to pane, along the list."""

from __future__ import annotations

from dataclasses import replace

from ffnscope.tui.browser.other_screens import OtherScreens
from ffnscope.tui.browser.state import PANES
from ffnscope.tui.drawing.pane import Pane

END = 10**9  # rows or lines to the first or last one


class Moves(OtherScreens):
    """One method for each binding."""

    def action_move(self, by: int) -> None:
        """Down or up in the pane that has the keys."""
        state = self.state
        if state.pane == "layers":
            self.move_layer(by)
        elif state.pane == "neurons":
            if self.session.neurons.move(by):
                self.moved()
        else:
            most = self.panes.most_scrolled
            state.scrolled = max(0, min(min(state.scrolled, most) + by, most))
            self.draw("neuron")

    def move_layer(self, by: int) -> None:
        """Another layer under the cursor; its neurons follow where they are in view."""
        layers = self.panes.layer_list
        if layers.move_to(layers.cursor + by):
            self.draw("layers")
            if self.state.wide:
                self.set_timer(0.08, self.open_chosen_layer)

    def action_page(self, by: int) -> None:
        """A page less two lines."""
        panes = self.panes
        heights = {"layers": panes.layer_list.height, "neurons": panes.table.height, "neuron": panes.page_height}
        self.action_move(by * max(heights[self.state.pane] - 2, 1))

    def action_first(self) -> None:
        """The first row or line."""
        self.action_move(-END)

    def action_last(self) -> None:
        """The last row or line."""
        self.action_move(END)

    def action_left(self) -> None:
        """The pane to the left; on a neuron's page shorter n-grams first."""
        if self.state.pane != "neuron" or not self._show_order(-1):
            self.action_out()

    def action_right(self) -> None:
        """The pane to the right; on a neuron's page longer n-grams."""
        if self.state.pane == "neuron":
            self._show_order(1)
        else:
            self.action_enter()

    def _show_order(self, by: int) -> bool:
        """Show shorter or longer n-grams on the neuron's page; whether there are any."""
        page = self.state.page
        if page is None or not 1 <= page.order + by <= 3:
            return False
        self.state.order = page.order + by
        self.state.page = replace(page, order=page.order + by)
        self.draw("neuron")
        return True

    def action_enter(self) -> None:
        """Into the pane to the right; from a neuron's page to its contexts."""
        pane = self.state.pane
        if pane == "layers" and not self.open_chosen_layer():
            return
        if pane == "neurons" and self.session.neurons.neuron is None:
            return
        if pane != PANES[-1]:
            self.go_to_pane(PANES[PANES.index(pane) + 1])
            if self.state.pane == "neuron" or not self.state.wide:
                self.show_page()
        elif self.state.page:
            self.action_contexts()

    def action_out(self) -> None:
        """Out to the pane on the left."""
        if index := PANES.index(self.state.pane):
            self.go_to_pane(PANES[index - 1])
        else:
            self.say("q quits", "dim")

    def action_quit(self) -> None:
        """Out one pane where they are shown one at a time, else quit."""
        if not self.state.wide and self.state.pane != "layers":
            self.action_out()
        else:
            self.app.exit()

    def action_neighbour(self, by: int) -> None:
        """The next or previous neuron of the list."""
        if self.settle_layer() and self.session.neurons.move(by):
            self.moved()
            self.show_page()

    def on_pane_clicked(self, event: Pane.Clicked) -> None:
        """A click chooses a row."""
        if event.pane.id == "table":
            self.go_to_pane("neurons")
            if self.session.neurons.move_to(self.panes.table.top + event.y - 2):
                self.moved()
        elif event.pane.id == "layers":
            self.go_to_pane("layers")
            layers = self.panes.layer_list
            self.move_layer(layers.top + event.y - 2 - layers.cursor)
        elif event.pane.id in ("neuron", "peek"):
            self.go_to_pane("neuron")
            self.show_page()  # with all that the pane has room for

    def on_pane_wheeled(self, event: Pane.Wheeled) -> None:
        """The wheel moves in the pane it is over."""
        names = {"table": "neurons", "layers": "layers", "neuron": "neuron"}
        if event.pane.id in names:
            self.go_to_pane(names[event.pane.id])
            self.action_move(event.lines)
