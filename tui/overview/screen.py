"""Overview (`o`): the paper's figures of this store over its layers; `enter` goes to the layer under the cursor."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual import work
from textual.binding import Binding
from textual.timer import Timer

from ffnscope.core.statistics.position_ranges import NeuronRanges
from ffnscope.store.errors import UserError
from ffnscope.store.figures.layers import ModelFigures
from ffnscope.tui.drawing.lines import Line, Part, Writer, clip, line
from ffnscope.tui.drawing.numbers import count
from ffnscope.tui.drawing.pane import Pane
from ffnscope.tui.drawing.text import visible
from ffnscope.tui.overview.compare import names
from ffnscope.tui.overview.data import overview_of, read_figures, read_ranges
from ffnscope.tui.overview.figures import COMPARED, FIGURES, RANGES
from ffnscope.tui.overview.grid import PANEL, Drawer, Grid, Place, make_grid
from ffnscope.tui.overview.layer_axis import make_axis
from ffnscope.tui.screens.pager import Pager
from ffnscope.tui.state.gc_pause import keeping
from ffnscope.tui.state.session import Session

GRID = (120, 24)  # columns and lines from which several figures stand side by side
SETTLE = 0.08  # seconds the cursor rests before a layer's curves are read
LOOK = 1.0


class Overview(Pager, inherit_bindings=True):
    """Figures side by side where there is room, else one at a time. `chosen` is called with the layer of `enter`."""

    BINDINGS = [
        Binding("h,left", "figure(-1)", "Previous figure", id="left"),
        Binding("l,right", "figure(1)", "Next figure", id="right"),
        Binding("enter", "go", "Go to the layer", id="go"),
        Binding("b", "compare", "Compare the open stores over relative depth", id="compare"),
        Binding("z", "whole", "One figure at full size, or several", id="whole"),
    ]

    def __init__(self, session: Session, chosen: Callable[[int], None]):
        super().__init__(session.glyphs, session.rule)
        self.session = session
        self.overview = overview_of(session)
        self.drawer = Drawer(self.overview)
        layers = self.overview.layers
        self.cursor = layers.index(session.neurons.layer) if session.neurons.layer in layers else 0
        self.figure = 0  # a slot of the grid
        self.whole = False
        self.failed = ""
        self.message = ""
        self._reading = self._drawing = False  # in a thread
        self._chosen = chosen
        self._grid: Grid | None = None
        self._places: tuple[Place, ...] = ()
        self._settle: Timer | None = None

    def on_mount(self) -> None:
        """Read what has not been read; look whether a live store has grown."""
        self._look()
        self.set_interval(LOOK, self._look)
        self._ask_ranges()

    def _look(self) -> None:
        """Read what is new of this store, and of the others where they are compared."""
        wanted = self._sessions() if self.drawer.stores else [self.session]
        stale = [session for session in wanted if overview_of(session).read != session.layers]
        if stale and not self._reading and not self.failed:
            self._reading = True
            self.read_figures(stale)

    @work(thread=True, group="overview")
    def read_figures(self, sessions: list[Session]) -> None:
        """Read every layer of these stores."""
        for session in sessions:
            try:
                with keeping():
                    self.call_later(self._show_figures, session, *read_figures(session))
            except UserError as error:
                self.call_later(self._fail, str(error))

    @work(thread=True, exclusive=True, group="ranges")
    def read_ranges(self, layer: int) -> None:
        """Read the curves of one layer's strong oscillatory neurons."""
        try:
            self.call_later(self._show_ranges, layer, read_ranges(self.session.store, layer))
        except UserError as error:
            self.call_later(self._fail, str(error))

    def _show_figures(self, session: Session, figures: ModelFigures, layers: tuple[int, ...]) -> None:
        """Draw the figures of an open store; the cursor stays on its layer."""
        layer = self.at
        overview_of(session).take(figures, layers)
        self.cursor = self.overview.layers.index(layer) if layer in self.overview.layers else 0
        self._reading = False
        self.drawer.forget()
        self._ask_ranges()
        self.refresh_content()

    def _show_ranges(self, layer: int, ranges: tuple[NeuronRanges, ...]) -> None:
        """Draw Figure 9 of one layer."""
        self.overview.ranges[layer] = ranges
        self.drawer.forget()
        self.refresh_content()

    @work(thread=True, exclusive=True, group="curves")
    def draw_curves(self, places: list[Place]) -> None:
        """Draw curves for these places."""
        version = self.drawer.version
        self.call_later(self._show_curves, version, self.drawer.draw_curves(places))

    def _show_curves(self, version: int, bodies: dict[tuple[object, ...], list[Line]]) -> None:
        """Show curves that are compared, unless the numbers have changed since."""
        self._drawing = False
        if version == self.drawer.version:
            self.drawer.keep(bodies)
        self.refresh_content()

    def _sessions(self) -> list[Session]:
        return list(getattr(self.app, "sessions", [self.session]))

    def action_compare(self) -> None:
        """All open stores over relative depth, or this one over its layers again."""
        sessions = self._sessions()
        if len(sessions) < 2:
            self.message = "one store is open; `ffnscope view A B` opens two"
        elif len({session.store.run.activated for session in sessions}) > 1:
            self.message = "the open stores count by different rules (--activated): their figures are not comparable"
        elif self.drawer.stores:
            self.drawer.stores = []
        else:
            self.drawer.stores = [(session.title, overview_of(session)) for session in sessions]
            self.figure = self.figure if self.figure in COMPARED else COMPARED[0]
        self.drawer.forget()
        self._look()
        self.refresh_content()

    def _fail(self, reason: str) -> None:
        """Say why something could not be read."""
        self.failed = reason
        self.refresh_content()

    def _ask_ranges(self) -> None:
        """Read the curves of the cursor's layer, when the cursor rests."""
        self._settle = None
        figures = self.overview.figures.get(self.at) if self.at is not None else None
        if figures and figures.positional[0] and self.at not in self.overview.ranges:
            self.read_ranges(figures.layer)

    # Drawing

    @property
    def at(self) -> int | None:
        """The layer under the cursor."""
        return self.overview.layers[self.cursor] if self.overview.layers else None

    def title_parts(self) -> list[Part]:
        """The store and, where one figure is shown, which."""
        run = self.session.store.run
        if self.drawer.stores:
            return [("overview ", "accent"), *names(self.drawer.stores, self.glyphs), ("over relative depth", "dim")]
        name = Writer(self.glyphs).prose(self.session.title, "bright").parts
        parts: list[Part] = [("overview ", "accent"), *name]
        at = self._grid.slots.index(self.figure) if self._grid else self.figure
        parts.append((f"  {at + 1}/{len(self._grid.slots) if self._grid else len(FIGURES)}", "accent"))
        return [*parts, (f"  {run.model.layers} {self.glyphs.times} {count(run.model.neurons)} neurons", "text")]

    def hints(self) -> str:
        """The keys."""
        several = "one figure" if self._grid else "several figures"
        zoom = f"z {several}  " if self._roomy else ""
        both = "b one store  " if self.drawer.stores else "b compare  " if len(self._sessions()) > 1 else ""
        return f"j/k layer  h/l figure  {zoom}{both}enter go to the layer  q back"

    @property
    def _roomy(self) -> bool:
        width, height = self.pane.size
        return width >= GRID[0] and height >= GRID[1]

    def _draw(self, width: int, height: int) -> list[Line]:
        self._grid = None
        if self._roomy and not self.whole:
            slots = COMPARED if self.drawer.stores else ()
            layers = 0 if slots else len(self.overview.layers)
            self._grid = make_grid(width, height - 2, layers, self.figure, slots)
        else:
            self.figure = min(self.figure, PANEL - 1)
        return super()._draw(width, height)

    def content(self, width: int, height: int) -> Sequence[Line]:
        """A line of exact numbers, then the figures."""
        self.top = 0
        if self.failed:
            return [line((" " + visible(self.failed, self.glyphs, spaces=False), "error"))]
        message = line((f" {self.message}", "dim")) if self.message else self.drawer.says(self.figure, self.cursor)
        self.message = ""
        out = [Line(clip(message.parts, width, self.glyphs))]
        self._places = self._grid.places if self._grid else (Place(self.figure, 0, 0, width, height - 1),)
        if self.drawer.stores and not self._drawing and (missing := self.drawer.missing(self._places)):
            self._drawing = True
            self.draw_curves(missing)
        if self._grid:
            return out + self.drawer.grid(self._grid, self.cursor, self.figure, width, height - 1)
        return out + self.drawer.figure(self.figure, self.cursor, width, height - 1, True)

    def on_resize(self) -> None:
        """Other figures may fit."""
        self.call_after_refresh(self.refresh_content)

    # Keys and the mouse

    def on_pane_clicked(self, event: Pane.Clicked) -> None:
        """A click chooses a figure and a layer."""
        for place in self._places:
            x, y = event.x - place.x, event.y - 2 - place.y
            if 0 <= x < place.width and 0 <= y < place.height:
                self.figure = place.slot
                number = make_axis(self.overview.layers, place.width, self.cursor).at(x)
                if number is not None and place.slot not in (PANEL, RANGES):
                    self.cursor = number
                self.action_move(0)

    def action_move(self, by: int) -> None:
        """Another layer."""
        self.cursor = max(0, min(self.cursor + by, len(self.overview.layers) - 1))
        self.refresh_content()
        if self._settle:
            self._settle.stop()
        self._settle = self.set_timer(SETTLE, self._ask_ranges)

    def action_page(self, by: int) -> None:
        """An eighth of the layers."""
        self.action_move(by * max(len(self.overview.layers) // 8, 1))

    def action_figure(self, by: int) -> None:
        """Another figure."""
        order = self._grid.slots if self._grid else COMPARED if self.drawer.stores else tuple(range(PANEL))
        self.figure = order[(order.index(self.figure) + by) % len(order)]
        self.refresh_content()

    def action_whole(self) -> None:
        """One figure on the whole screen, or several again."""
        self.whole = not self.whole
        self.refresh_content()

    def action_go(self) -> None:
        """To the layer, where it is collected."""
        if self.at is None or self.at not in self.session.layers:
            return
        layer = self.at
        self.dismiss(None)
        self._chosen(layer)
