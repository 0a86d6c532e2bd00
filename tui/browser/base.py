"""The browser's screen without its keys: the panes and what fills them, at once or from a thread."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from textual import events, work
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.screen import Screen
from textual.timer import Timer

from ffnscope.store.errors import UserError
from ffnscope.tui.browser.panes import Panes
from ffnscope.tui.browser.state import PANES, BrowserState
from ffnscope.tui.drawing.pane import Pane
from ffnscope.tui.neuron.data import PageData
from ffnscope.tui.neuron.related import Related, pointing, same_tokens
from ffnscope.tui.state.gc_pause import keeping
from ffnscope.tui.state.session import Session

WIDE = 120  # columns from which the three panes stand side by side
SETTLE = 0.08  # seconds the cursor rests before the neuron's page is read
SAY = 6.0  # seconds that a message stays


class BrowserBase(Screen[None]):
    """What the modules with actions (moves, tasks, narrowing, asking, other_screens) work on."""

    def __init__(self, session: Session, sessions: Sequence[Session]):
        """`session` is one of the opened `sessions`."""
        super().__init__()
        self.session, self.sessions = session, sessions
        self.glyphs = session.glyphs
        self.state = BrowserState()
        self.panes = Panes(session, self.state, sessions)
        self._settle: Timer | None = None
        self._message_timer: Timer | None = None
        self._arriving = False

    def compose(self) -> ComposeResult:
        """Head line, panes, peek, line of keys; of fixed size all of them."""
        panes = self.panes
        yield Pane(panes.head, id="head", classes="line")
        with Horizontal(id="body"):
            yield Pane(panes.layers, id="layers")
            yield Pane(panes.neurons, id="table")
            yield Pane(panes.neuron, id="neuron")
        yield Pane(panes.peek, id="peek")
        yield Pane(panes.hints, id="hints", classes="line")

    def arrive(self, pane: str) -> None:
        """The browser is about to be shown, with this pane in front; its cursor may have been moved meanwhile."""
        self.state.pane = pane
        self._arriving = True

    def on_screen_resume(self) -> None:
        """Draw what has moved since the browser was last shown."""
        if self._arriving:
            self._arriving = False
            self.panes.sync_layers(follow=True)
            self._place()
            self.refresh_list()

    def pane(self, name: str) -> Pane:
        """A pane by its id."""
        return self.query_one(f"#{name}", Pane)

    def on_mount(self) -> None:
        """Draw the first layer at once; the figures of all layers and the plots follow."""
        self.session.failed = lambda reason: self.call_later(self.say, reason, "error")
        self.panes.sync_layers()
        self._arrange(self.app.size.width, self.app.size.height, start=True)
        self.show_page()
        self.read_figures()
        self.load_plot()

    def on_resize(self, event: events.Resize) -> None:
        """Side by side, or one at a time."""
        self._arrange(event.size.width, event.size.height)

    def _arrange(self, width: int, height: int, start: bool = False) -> None:
        wide = width >= WIDE
        if start and not wide and not self._arriving:
            self.state.pane = "layers"
        if wide != self.state.wide or start:
            self.state.wide = wide
            self.set_class(not wide, "-narrow")
            self.show_page()
        self.set_class(height >= 20, "-tall")
        if wide:
            self.pane("layers").styles.width = 32 if width >= 150 else 29
            self.pane("neuron").styles.width = min(max(width * 2 // 5, 48), 84)
        else:
            for name in ("layers", "neuron"):
                self.pane(name).styles.width = "1fr"
        self.pane("peek").styles.height = 8 if height >= 24 else 6
        self._place()

    def _place(self) -> None:
        # Side by side nothing looks different for it, and classes are slow: every widget is styled again.
        if not self.state.wide:
            for name in PANES:
                self.set_class(self.state.pane == name, f"-at-{name}")

    # Drawing

    def draw(self, *names: str) -> None:
        """Draw panes again; all of them where none is named."""
        for pane in [self.pane(name) for name in names] or self.query(Pane):
            if pane.display:
                pane.redraw()

    def say(self, text: str, style: str = "accent") -> None:
        """Show a message in the last line for a while."""
        self.state.message = (text, style)
        self.draw("hints")
        if self._message_timer:
            self._message_timer.stop()
        self._message_timer = self.set_timer(SAY, self._clear_message)

    def _clear_message(self) -> None:
        self.state.message = None
        self.draw("hints")

    def go_to_pane(self, name: str) -> None:
        """Give a pane the keys."""
        if self.state.pane == name:
            return
        self.state.pane = name
        if self._settle:
            self.show_page()
        self._place()
        self.draw()

    def moved(self) -> None:
        """The cursor is on another neuron: draw the list now, the neuron when the cursor rests."""
        self.draw("table")
        if self._settle:
            self._settle.stop()
        self._settle = self.set_timer(SETTLE, self.show_page)

    def show_page(self) -> None:
        """Read the neuron under the cursor and draw it."""
        if self._settle:
            self._settle.stop()
            self._settle = None
        state = self.state
        try:
            state.read_page(self.session, contexts=state.wide or state.pane == "neuron")
        except UserError as error:
            state.page = None
            self.say(str(error), "error")
        self.draw("neuron", "peek")
        if state.page is not None and state.pane == "neuron":
            self.read_related(state.page)

    def refresh_list(self) -> None:
        """Layer, filter or sort have changed."""
        self.panes.table.forget()
        self.draw("head", "layers", "table", "hints")
        self.call_later(self.show_page)  # together they would hold the next key up

    def show_from_top(self) -> None:
        """Draw the list again from its first row."""
        self.panes.table.top = 0
        self.refresh_list()

    # Going to a layer or a neuron

    def open_chosen_layer(self) -> bool:
        """Show the neurons of the layer under the cursor; whether they can be shown."""
        layer = self.panes.layer_list.layer
        if layer is None or layer == self.session.neurons.layer:
            return layer is not None
        try:
            self.session.neurons.open_layer(layer)
        except UserError as error:
            if layer in self.session.layers:
                self.say(str(error), "error")
            else:
                self.say(f"layer {layer} is not collected yet", "dim")
            return False
        self.show_from_top()
        return True

    def settle_layer(self) -> bool:
        """Open the layer under the cursor if the layers have the keys: it may not have been yet. Whether it is shown."""
        return self.state.pane != "layers" or self.open_chosen_layer()

    def jump(self, layer: int, neuron: int | None) -> None:
        """Go to a neuron or a layer. Raises UserError for one that the store does not have."""
        neurons, filter_left = self.session.neurons, False
        if neuron is None:
            neurons.open_layer(layer)
        else:
            filter_left = neurons.select(layer, neuron)
        self.panes.layer_list.cursor = self.panes.layer_list.layers.index(layer)
        if self.state.pane == "layers":
            self.go_to_pane("neurons")
        self.refresh_list()
        if filter_left:
            self.say("the filter hid this neuron and is off now; u brings it back", "dim")

    # Work in threads

    @work(thread=True, group="figures")
    def read_figures(self) -> None:
        """Read the figures of the layers that have none yet."""
        for layer in self.session.layers:
            if layer not in self.session.figures:
                try:
                    self.session.read_figures(layer)
                except UserError:
                    continue
                self.call_later(self.show_figures)

    def show_figures(self) -> None:
        """Another layer has its bar."""
        self.panes.sync_layers()
        self.draw("layers")

    @work(thread=True, group="index", exclusive=True)
    def load_index(self) -> None:
        """Read the token index, for search and for related neurons."""
        with suppress(UserError):
            self.session.read_index()

    @work(thread=True, group="related", exclusive=True)
    def read_related(self, page: PageData) -> None:
        """Find the neurons related to one."""
        with suppress(UserError):
            related = pointing(page, self.session.store.neuron)
            if page.neuron.order == 1:
                related = replace(related, same=same_tokens(self.session.read_index(), page))
            self.call_later(self.show_related, page.name, related)

    def show_related(self, name: str, related: Related) -> None:
        """Draw the neurons related to the one of this name at the end of its page."""
        self.state.related = (name, related)
        self.draw("neuron")

    @work(thread=True, group="plot")
    def load_plot(self) -> None:
        """Import the plot library, which takes a moment."""
        with keeping():
            import plotext  # noqa: F401

        self.call_later(self.show_plot)

    def show_plot(self) -> None:
        """Plots can be drawn now."""
        from ffnscope.tui.drawing.curves import curve

        self.state.plot = curve
        self.draw("neuron", "peek")
        self.load_index()

    def show_progress(self) -> None:
        """The collector has made progress: show what is new; the cursor stays."""
        if self.session.neurons.layer < 0 and self.session.layers:
            try:
                self.session.start()
            except UserError as error:
                self.say(str(error), "error")
            self.refresh_list()
        self.panes.sync_layers()
        self.read_figures()
        self.load_index()
        self.draw("head", "layers")
