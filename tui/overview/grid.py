"""Where the overview's figures stand: one at a time, or as many as fit beside and below each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ffnscope.tui.drawing.lines import BLANK, Line, Part, clip, filled, line, rule, wrap
from ffnscope.tui.overview.charts import body, layer_panel, legend_lines
from ffnscope.tui.overview.compare import curves, says
from ffnscope.tui.overview.data import Overview
from ffnscope.tui.overview.figures import COVERING, FIGURES, RANGES
from ffnscope.tui.overview.layer_axis import LEFT, Axis, axis_line, make_axis

PANEL = len(FIGURES)  # the slot of the cursor layer's numbers
GAP = 2  # cells between figures side by side
NARROWEST, LOWEST = 38, 10  # cells and lines of a figure in the grid


@dataclass(frozen=True)
class Place:
    """A figure's place on the screen."""

    slot: int
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Grid:
    """The slots in the order they are drawn, and the places of those in view."""

    slots: tuple[int, ...]
    columns: int
    places: tuple[Place, ...]


def make_grid(width: int, height: int, layers: int, chosen: int, slots: Sequence[int] = ()) -> Grid:
    """As many figures side by side as leave at least one cell per layer; the row of the chosen one is in view.

    ``slots``: only these, in this order.
    """
    fitting = [
        n for n in (5, 4, 3) if (width + GAP) // n - GAP >= NARROWEST and (width + GAP) // n - GAP - LEFT >= layers
    ]
    across = fitting[0] if fitting else 2
    order = tuple(slots) or tuple(range(PANEL + 1))
    if across == 3 and not slots:
        # The three figures that share the panel's legend stand in one row.
        others = (*range(COVERING[0]), PANEL)
        whole_rows = len(others) // across * across
        order = (*others[:whole_rows], *COVERING, *others[whole_rows:])
    rows = -(-len(order) // across)
    shown = min(rows, max(height // LOWEST, 1))
    row = order.index(chosen) // across
    top = max(0, min(row - shown // 2, rows - shown))
    places = []
    y = 0
    for number in range(shown):
        lines = height // shown + (number < height % shown)
        for column in range(across):
            at = (top + number) * across + column
            if at < len(order):
                x = column * (width + GAP) // across
                places.append(Place(order[at], x, y, (column + 1) * (width + GAP) // across - x - GAP, lines))
        y += lines
    return Grid(order, across, tuple(places))


class Drawer:
    """Draws figures. Bodies are kept: a step of the cursor changes axis lines and titles only."""

    def __init__(self, overview: Overview):
        self.overview = overview
        self.stores: list[tuple[str, Overview]] = []  # to be compared; none: the layers of one store are shown
        self.version = 0  # of the numbers
        self._bodies: dict[tuple[object, ...], list[Line]] = {}

    def forget(self) -> None:
        """The numbers have changed."""
        self.version += 1
        self._bodies.clear()

    def figure(self, slot: int, cursor: int, width: int, height: int, chosen: bool, legend: bool = True) -> list[Line]:
        """A figure with its title, exactly ``height`` lines."""
        overview, glyphs = self.overview, self.overview.glyphs
        layer = overview.layers[cursor] if overview.layers else -1
        title = [(text, style) for text, style in self.title(slot, layer, chosen)]
        out = [rule(title, width, glyphs)]
        room = height - 1
        if self.stores:
            drawn = self._bodies.get((slot, width, room))
            return filled([*out, *(drawn or [BLANK, line((f"  drawing{glyphs.ellipsis}", "dim"))])], height)
        if slot == PANEL:
            return filled([*out, *layer_panel(overview, layer, width, room)], height)
        figure = FIGURES[slot]
        if overview.read is None:
            return filled([*out, BLANK, line((f"  reading the layers{glyphs.ellipsis}", "dim"))], height)
        layers = overview.known()
        if empty := figure.empty(layers):
            reason = [line(("  ", "text"), *row) for row in wrap([(empty, "dim")], max(width - 4, 1))]
            return filled([*out, BLANK, *reason], height)
        if legend:
            lines = legend_lines(figure.key(layers), width, glyphs)
            if len(lines) <= room // 3:
                out += lines
                room -= len(lines)
        axis = make_axis(overview.layers, width, cursor)
        if slot == RANGES:
            return filled([*out, *self._body(slot, axis, cursor, room)], height)
        chart = self._body(slot, axis, cursor, room - 1)
        return filled([*out, *chart, axis_line(axis, cursor, glyphs)], height)

    def title(self, slot: int, layer: int, chosen: bool) -> list[Part]:
        """The paper's number, the name, and the number of the cursor's layer."""
        style = "accent" if chosen else "text"
        marked = (self.overview.glyphs.cursor if chosen else " ", "accent")
        if slot == PANEL:
            return [marked, (f"layer {layer} by letter", style)]
        figure = FIGURES[slot]
        name = figure.value_name or figure.name if self.stores else figure.name
        parts: list[Part] = [marked, (figure.number + " " if figure.number else "", "dim"), (name, style)]
        if self.stores:
            return parts
        figures = self.overview.figures.get(layer)
        if figures is None or figure.absent([figures]):
            return parts
        return [*parts, ("  " + figure.short(figures), "bright")]

    def says(self, slot: int, cursor: int) -> Line:
        """The exact numbers of the cursor's layer in a figure."""
        overview = self.overview
        if not overview.layers:
            return line((" this store holds no layer yet", "dim"))
        layer = overview.layers[cursor]
        figures = overview.figures.get(layer)
        if figures is None:
            what = "not collected yet" if overview.read is not None else overview.glyphs.ellipsis
            return line((f" layer {layer} ", "accent"), (what, "dim"))
        if self.stores:
            return says(FIGURES[slot], self.stores, figures.depth)
        figure = FIGURES[min(slot, PANEL - 1)]
        text = figure.absent([figures]) or figure.long(figures, overview.known())
        return line((f" layer {layer} ", "accent"), (text, "bright"))

    def grid(self, grid: Grid, cursor: int, chosen: int, width: int, height: int) -> list[Line]:
        """All figures in view, put together."""
        rows: list[list[Part]] = [[] for _ in range(height)]
        ends = [0] * height
        panel = any(place.slot == PANEL for place in grid.places)
        for place in grid.places:
            legend = not (panel and place.slot in COVERING)
            drawn = self.figure(place.slot, cursor, place.width, place.height, place.slot == chosen, legend)
            for y, row in enumerate(drawn, place.y):
                rows[y] += [(" " * (place.x - ends[y]), "text"), *clip(row.parts, place.width, self.overview.glyphs)]
                ends[y] = place.x + min(row.width, place.width)
        return [Line(tuple(parts)) for parts in rows]

    def missing(self, places: Sequence[Place]) -> list[Place]:
        """The places whose curves are not drawn yet."""
        return [place for place in places if (place.slot, place.width, place.height - 1) not in self._bodies]

    def draw_curves(self, places: Sequence[Place]) -> dict[tuple[object, ...], list[Line]]:
        """Curves for places, to be given to ``keep``. Slow: call it in a thread."""
        glyphs = self.overview.glyphs
        return {
            (place.slot, place.width, place.height - 1): curves(
                FIGURES[place.slot], self.stores, place.width, place.height - 1, glyphs
            )
            for place in places
        }

    def keep(self, bodies: dict[tuple[object, ...], list[Line]]) -> None:
        """Show these curves."""
        self._bodies |= bodies

    def _body(self, slot: int, axis: Axis, cursor: int, height: int) -> list[Line]:
        key = (slot, axis, height, cursor if slot == RANGES else -1)
        if height < 1:
            return []
        if key not in self._bodies:
            if len(self._bodies) > 256:
                self._bodies.clear()
            self._bodies[key] = body(FIGURES[slot], self.overview, axis, cursor, height)
        return self._bodies[key]
