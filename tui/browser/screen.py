"""The main screen: layers, neurons, the neuron; side by side where there is room, else one at a time."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from textual import events, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal
from textual.message import Message
from textual.screen import Screen
from textual.timer import Timer

from ffnscope.store.errors import UserError
from ffnscope.tui.browser.moves import MoveActions
from ffnscope.tui.browser.panes import PANES, Frame
from ffnscope.tui.browser.tasks import TaskActions
from ffnscope.tui.drawing.pane import Pane
from ffnscope.tui.neuron.data import PageData
from ffnscope.tui.neuron.related import Related, pointing, same_tokens
from ffnscope.tui.state.gc_pause import keeping
from ffnscope.tui.state.session import Session

WIDE = 120  # columns from which the three panes stand side by side
SETTLE = 0.08  # seconds the cursor rests before the neuron's page is read
SAY = 6.0


class Browser(MoveActions, TaskActions, Screen[None], inherit_bindings=False):
    """Keys move a cursor in the view-model; the panes are asked to draw what changed."""

    BINDINGS = [
        Binding("j,down", "move(1)", "Down", id="down", show=False),
        Binding("k,up", "move(-1)", "Up", id="up", show=False),
        Binding("h,left", "left", "Pane to the left, or shorter n-grams", id="left", show=False),
        Binding("l,right", "right", "Pane to the right, or longer n-grams", id="right", show=False),
        Binding("ctrl+d,pagedown", "page(1)", "Page down", id="page-down", show=False),
        Binding("ctrl+u,pageup", "page(-1)", "Page up", id="page-up", show=False),
        Binding("g,home", "first", "First", id="first", show=False),
        Binding("G,end", "last", "Last", id="last", show=False),
        Binding("enter", "enter", "Open", id="enter"),
        Binding("escape", "out", "Out", id="out", show=False),
        Binding("slash", "search", "Search token detectors", id="search"),
        Binding("t", "search('promotes')", "Search promoted and suppressed tokens", id="search-pushed"),
        Binding("n", "match(1)", "Next match of the search", id="next-match"),
        Binding("N", "match(-1)", "Previous match of the search", id="previous-match"),
        Binding("f", "filter", "Filter", id="filter"),
        Binding("F", "saved", "Saved filters", id="saved-filters"),
        Binding("W", "save", "Save the filter under a name", id="save-filter"),
        Binding("s", "sort", "Sort by a column", id="sort"),
        Binding("S", "reverse", "Turn the sort direction round", id="reverse"),
        Binding("less_than_sign", "columns(-1)", "Columns to the left", id="columns-left"),
        Binding("greater_than_sign", "columns(1)", "Columns to the right", id="columns-right"),
        Binding("colon", "goto", "Go to a neuron (L5N123)", id="goto"),
        Binding("left_square_bracket", "neighbour(-1)", "Previous neuron of the list", id="previous-neuron"),
        Binding("right_square_bracket", "neighbour(1)", "Next neuron of the list", id="next-neuron"),
        Binding("space", "mark", "Mark, or unmark", id="mark"),
        Binding("asterisk", "mark_all", "Mark, or unmark, all listed neurons", id="mark-all"),
        Binding("a", "note", "Note on the neuron", id="note"),
        Binding("e", "export", "Export marked or listed neurons to CSV", id="export"),
        Binding("y", "copy", "Copy the neuron's name", id="copy"),
        Binding("Y", "copy_row", "Copy the neuron as a CSV row", id="copy-row"),
        Binding("c", "contexts", "Contexts", id="contexts"),
        Binding("z", "position", "Position plot at full size", id="position"),
        Binding("o", "overview", "Overview of the layers", id="overview"),
        Binding("p", "prompt", "Run a prompt", id="prompt"),
        Binding("b", "store", "Next store", id="store"),
        Binding("B", "beside", "The neuron in two stores side by side", id="beside"),
        Binding("question_mark", "app.help", "Help", id="help"),
        Binding("q", "quit", "Out one pane, or quit", id="quit"),
    ]

    class FiguresRead(Message):
        """A layer was counted for the layer list."""

        def __init__(self, layer: int):
            super().__init__()
            self.layer = layer

    class PlotReady(Message):
        """The plot library is loaded."""

    class NotKept(Message):
        """Why a mark or a note could not be written."""

        def __init__(self, text: str):
            super().__init__()
            self.text = text

    class RelatedRead(Message):
        """The neurons that have to do with one."""

        def __init__(self, name: str, related: Related):
            super().__init__()
            self.name, self.related = name, related

    def __init__(self, session: Session):
        super().__init__()
        self.session = session
        self.glyphs = session.glyphs
        self.frame = Frame(session)
        self._settle: Timer | None = None
        self._saying: Timer | None = None
        self._arriving = False

    def compose(self) -> ComposeResult:
        """Head line, panes, peek, line of keys; of fixed size all of them."""
        frame = self.frame
        yield Pane(frame.head, id="head", classes="line")
        with Horizontal(id="body"):
            yield Pane(frame.layers, id="layers")
            yield Pane(frame.neurons, id="table")
            yield Pane(frame.neuron, id="neuron")
        yield Pane(frame.peek, id="peek")
        yield Pane(frame.hints, id="hints", classes="line")

    def arrive(self, at: str) -> None:
        """It is about to be shown, with this pane in front; its model may have been moved meanwhile."""
        self.frame.at = at
        self._arriving = True

    def on_screen_resume(self) -> None:
        """Draw what has moved since it was last shown."""
        if self._arriving:
            self._arriving = False
            self.frame.sync_layers(follow=True)
            self._place()
            self.refresh_list()

    def pane(self, name: str) -> Pane:
        """A pane by its id."""
        return self.query_one(f"#{name}", Pane)

    def on_mount(self) -> None:
        """Draw the first layer at once; the figures of all layers and the plots follow."""
        self.session.failed = lambda message: self.post_message(self.NotKept(message))
        self.frame.sync_layers()
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
            self.frame.at = "layers"
        if wide != self.frame.wide or start:
            self.frame.wide = wide
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
        # Side by side nothing looks different for it, and classes are dear: every widget is styled anew.
        if not self.frame.wide:
            for name in PANES:
                self.set_class(self.frame.at == name, f"-at-{name}")

    # Drawing

    def draw(self, *names: str) -> None:
        """Draw panes again; all of them where none is named."""
        for pane in [self.pane(name) for name in names] or self.query(Pane):
            if pane.display:
                pane.redraw()

    def say(self, text: str, style: str = "accent") -> None:
        """Say in the last line what has happened, for a while."""
        self.frame.say(text, style)
        self.draw("hints")
        if self._saying:
            self._saying.stop()
        self._saying = self.set_timer(SAY, self._quiet)

    def _quiet(self) -> None:
        self.frame.quiet()
        self.draw("hints")

    def go_to_pane(self, name: str) -> None:
        """Give a pane the keys."""
        if self.frame.at == name:
            return
        self.frame.at = name
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
        try:
            self.frame.follow(contexts=self.frame.wide or self.frame.at == "neuron")
        except UserError as error:
            self.frame.page = None
            self.say(str(error), "error")
        self.draw("neuron", "peek")
        page = self.frame.page
        if page is not None and self.frame.at == "neuron":
            self.read_related(page)

    def refresh_list(self) -> None:
        """Layer, filter or sort have changed."""
        self.frame.table.forget()
        self.draw("head", "layers", "table", "hints")
        self.call_later(self.show_page)  # together they would hold the next key up

    # Work in threads

    @work(thread=True, group="figures")
    def read_figures(self) -> None:
        """Count the layers that have not been counted yet."""
        for layer in self.session.layers:
            if layer not in self.session.figures:
                try:
                    self.session.read_figures(layer)
                except UserError:
                    continue
                self.post_message(self.FiguresRead(layer))

    @work(thread=True, group="index", exclusive=True)
    def load_index(self) -> None:
        """Read the token index, for search and for related neurons."""
        with suppress(UserError):
            self.session.read_index()

    @work(thread=True, group="related", exclusive=True)
    def read_related(self, page: PageData) -> None:
        """Find the neurons that have to do with one."""
        with suppress(UserError):
            related = pointing(page, self.session.store.neuron)
            if page.neuron.order == 1:
                related = replace(related, same=same_tokens(self.session.read_index(), page))
            self.post_message(self.RelatedRead(page.name, related))

    def on_browser_related_read(self, event: RelatedRead) -> None:
        """They stand at the end of the page."""
        self.frame.related = (event.name, event.related)
        self.draw("neuron")

    @work(thread=True, group="plot")
    def load_plot(self) -> None:
        """Import the plot library, which takes a moment."""
        with keeping():
            import plotext  # noqa: F401

        self.post_message(self.PlotReady())

    def on_browser_not_kept(self, event: NotKept) -> None:
        """Say so."""
        self.say(event.text, "error")

    def on_browser_figures_read(self, event: FiguresRead) -> None:
        """Another layer has its bar."""
        self.frame.sync_layers()
        self.draw("layers")

    def on_browser_plot_ready(self) -> None:
        """Plots can be drawn now."""
        from ffnscope.tui.drawing.curves import curve

        self.frame.plot = curve
        self.draw("neuron", "peek")
        self.load_index()

    def looked(self) -> None:
        """The collector has gone on: show what is new, the cursor stays."""
        if self.session.model.layer < 0 and self.session.layers:
            try:
                self.session.start()
            except UserError as error:
                self.say(str(error), "error")
            self.refresh_list()
        self.frame.sync_layers()
        self.read_figures()
        self.load_index()
        self.draw("head", "layers")

    # The mouse

    def on_pane_clicked(self, event: Pane.Clicked) -> None:
        """A click chooses a row."""
        if event.pane.id == "table":
            self.go_to_pane("neurons")
            if self.session.model.move_to(self.frame.table.top + event.y - 2):
                self.moved()
        elif event.pane.id == "layers":
            self.go_to_pane("layers")
            self.move_layer(self.frame.layer_list.top + event.y - 2 - self.frame.layer_list.cursor)
        elif event.pane.id in ("neuron", "peek"):
            self.go_to_pane("neuron")
            self.show_page()  # with all that the pane has room for

    def on_pane_wheeled(self, event: Pane.Wheeled) -> None:
        """The wheel moves in the pane it is over."""
        names = {"table": "neurons", "layers": "layers", "neuron": "neuron"}
        if event.pane.id in names:
            self.go_to_pane(names[event.pane.id])
            self.action_move(event.lines)
