"""The main screen and its keys: layers, neurons, the neuron; side by side where there is room, else one at a time."""

from __future__ import annotations

from textual.binding import Binding

from ffnscope.tui.browser.asking import Asking
from ffnscope.tui.browser.moves import Moves


class Browser(Moves, Asking, inherit_bindings=False):
    """Keys move a cursor in the session's NeuronList; the panes draw what changed. A new key is a Binding here, with an
    ``id`` for config.toml, and its ``action_`` method in moves.py, tasks.py, narrowing.py, asking.py or other_screens.py."""

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
        Binding("H,ctrl+r", "history", "Search the filters used before", id="filter-history"),
        Binding("equals_sign", "value", "Filter to the value in the column sorted by", id="filter-to-value"),
        Binding("minus", "value(True)", "Filter away from the value", id="filter-away"),
        Binding("D", "distribution", "Distribution of the column sorted by", id="distribution"),
        Binding("X", "experts", "Experts of the layer", id="experts"),
        Binding("u", "undo", "Undo the last filter, sort or mark", id="undo"),
        Binding("E", "command", "The command line that gives these rows", id="command"),
        Binding("s", "sort", "Sort by a column", id="sort"),
        Binding("S", "reverse", "Reverse the sort order", id="reverse"),
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
        Binding("A", "ask", "Ask which neurons fire on positions", id="ask"),
        Binding("w", "coactive", "Neurons that fire with this one", id="fires-with"),
        Binding("z", "position", "Position plot at full size", id="position"),
        Binding("o", "overview", "Overview of the layers", id="overview"),
        Binding("p", "prompt", "Run a prompt", id="prompt"),
        Binding("b", "app.next_store", "Next store", id="store"),
        Binding("B", "beside", "The neuron in two stores side by side", id="beside"),
        Binding("question_mark", "app.help", "Help", id="help"),
        Binding("q", "quit", "Out one pane, or quit", id="quit"),
    ]
