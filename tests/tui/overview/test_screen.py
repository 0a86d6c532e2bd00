"""The overview: its charts of columns, what it says of a layer, and the screen at both sizes."""

from __future__ import annotations

import asyncio
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pty_browser import PtyBrowser
from rich.cells import cell_len
from synthetic import make_store

from ffnscope.store.definitions import POSITION_STRENGTHS, POSITION_TYPES
from ffnscope.store.figures.layers import POSITIONAL, model_figures
from ffnscope.store.reader import Store
from ffnscope.tui.app import FfnscopeApp
from ffnscope.tui.drawing.glyphs import ASCII, UNICODE
from ffnscope.tui.drawing.numbers import percent
from ffnscope.tui.drawing.pane import Pane
from ffnscope.tui.drawing.text import visible
from ffnscope.tui.overview.compare import curves, names, says
from ffnscope.tui.overview.data import Overview, read_ranges
from ffnscope.tui.overview.figures import COMPARED, FIGURES
from ffnscope.tui.overview.grid import PANEL, Drawer, make_grid
from ffnscope.tui.overview.layer_axis import (
    LEFT,
    axis_line,
    bar_cells,
    columns,
    letter_cells,
    make_axis,
    stack_cells,
)
from ffnscope.tui.reports.catalogue.detectors import NEW_TOKENS
from ffnscope.tui.reports.catalogue.positions import POSITIONAL_TYPES
from ffnscope.tui.reports.catalogue.sparsity import BINS
from ffnscope.tui.reports.document import Category

SMALL, LARGE = (80, 24), (160, 48)
GLYPHS = pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=["unicode", "ascii"])
ABC = tuple(Category(letter, letter, "text") for letter in "abc")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(
        tmp_path_factory.mktemp("overview") / "s.ffn", layers=5, neurons=160, seq_len=96, windows=60, hostile=True
    )


@pytest.fixture(scope="module")
def opened(store, tmp_path_factory):
    # A copy: an environment is opened once in a process, and the browser opens the other.
    with Store.open(shutil.copytree(store, tmp_path_factory.mktemp("copy") / "s.ffn")) as opened:
        yield opened


def overview_of(opened, glyphs=UNICODE):
    """An overview that has read everything."""
    run = opened.run
    out = Overview(glyphs, run.layers, run.model.neurons, run.corpus.seq_len)
    out.take(model_figures(opened), opened.layers())
    out.ranges = {layer: read_ranges(opened, layer) for layer in opened.layers()}
    return out


# Columns


@given(st.floats(0, 1e6), st.floats(0.1, 1e6), st.integers(1, 40), st.integers(1, 9), st.sampled_from([UNICODE, ASCII]))
def test_a_bar_is_as_high_as_its_value(value, top, rows, width, glyphs):
    cells = bar_cells(value, top, rows, width, "bar", glyphs)
    assert len(cells) <= rows and all(len(text) == width for (text, _) in (row[0] for row in cells))
    assert bool(cells) == (value > 0)
    if value:
        assert abs(len(cells) - min(max(value / top * rows, 1), rows)) <= 1


@given(st.lists(st.integers(0, 1000), min_size=3, max_size=3), st.integers(1, 30), st.integers(1, 9), st.floats(1, 3))
def test_a_stack_keeps_proportions(counts, rows, width, factor):
    top = max(sum(counts), 1) * factor
    cells = stack_cells(counts, top, rows, width, ABC, UNICODE)
    assert len(cells) <= rows and bool(cells) == bool(sum(counts))
    if sum(counts):
        assert abs(len(cells) - sum(counts) / top * rows) <= 1
    # Read back by the letters alone: every run begins with its letter, in order.
    runs = [row[0][0][0] for row in cells if row[0][0][0] in "abc"]
    assert runs == sorted(set(runs))
    heights = dict.fromkeys("abc", 0)
    current = ""
    for row in cells:
        current = row[0][0][0] if row[0][0][0] in "abc" else current
        heights[current] += 1
    if len(cells) > 1:
        assert all(abs(heights[c] - n / top * rows) <= 1 for c, n in zip("abc", counts, strict=True))


@given(st.lists(st.integers(0, 30), min_size=3, max_size=3), st.integers(1, 9))
def test_letters_are_one_a_neuron(counts, width):
    letters = [letter for row in letter_cells(counts, width, ABC) for letter, _ in row]
    assert [letters.count(c) for c in "abc"] == counts


@settings(max_examples=200)
@given(st.integers(0, 130), st.integers(1, 170), st.data())
def test_every_layer_has_its_cells_or_the_cursor_is_in_view(count, width, data):
    layers = tuple(range(count))
    cursor = data.draw(st.integers(0, max(count - 1, 0)))
    axis = make_axis(layers, width, cursor)
    assert count == 0 or cursor in axis.view
    assert axis.first >= 0 and axis.first + axis.shown <= count
    assert axis.shown == count or axis.shown == max(width - LEFT, 1)
    for glyphs in (UNICODE, ASCII):
        drawn = [axis_line(axis, cursor, glyphs), *columns([[]] * count, axis, 3, {2: "9.99M", 0: "0"}, glyphs)]
        if width > LEFT + 4 and count:
            assert all(each.width <= max(width, LEFT + axis.shown * axis.cell) for each in drawn)
            pointer = "^" if glyphs is ASCII else "▴"
            assert f"{pointer}{cursor}" in drawn[0].text
    for number in axis.view:
        assert axis.at(LEFT + (number - axis.first) * axis.cell) == number
    assert axis.at(0) is None


# Figures


def test_a_type_and_a_strength_have_a_letter_of_their_own():
    assert len({each.letter for each in POSITIONAL_TYPES}) == len(POSITIONAL_TYPES) == len(POSITIONAL)
    assert len({each.letter for each in BINS}) == len(BINS)
    for category, (_, strength) in zip(POSITIONAL_TYPES, POSITIONAL, strict=True):
        assert category.letter.isupper() == (strength == "strong")


def test_new_tokens_add_up_to_the_detected(opened):
    seen, before = set(), set()
    for each in model_figures(opened).layers:
        order = opened.column(each.layer, "order")[opened.column(each.layer, "detected_neuron")]
        tokens = set(opened.column(each.layer, "detected_tokens")[order == 1, 0].tolist())
        expected = (len(tokens - seen), len((tokens & seen) - before), len(tokens & before))
        if each.layer == 0:
            expected = (len(tokens), 0, 0)
        assert NEW_TOKENS.stack.values(each) == expected
        seen, before = seen | tokens, tokens


@GLYPHS
@pytest.mark.parametrize("size", [(38, 10), (53, 14), (80, 22), (158, 45), (20, 6), (9, 3)])
def test_every_figure_fits_its_place(opened, glyphs, size):
    overview = overview_of(opened, glyphs)
    drawer = Drawer(overview)
    for slot in range(PANEL + 1):
        for cursor in range(len(overview.layers)):
            drawn = drawer.figure(slot, cursor, *size, chosen=True)
            assert len(drawn) == size[1]
            for each in drawn:
                assert each.text == visible(each.text, glyphs, spaces=False)
                assert size[0] < 38 or each.width <= size[0], (slot, each.text)


def test_letters_of_figure_8_count_the_positional_neurons(opened):
    overview = overview_of(opened)
    lines = Drawer(overview).figure(6, 0, 158, 45, chosen=False)
    body = "".join(each.text[LEFT:] for each in lines[2:-1])
    for index, category in enumerate(POSITIONAL_TYPES):
        assert body.count(category.letter) == sum(each.positional[index] for each in overview.known())
    assert sum(each.positional_neurons for each in overview.known()) > 10


def test_what_is_said_are_the_layers_numbers(opened):
    overview = overview_of(opened)
    drawer = Drawer(overview)
    for cursor, layer in enumerate(overview.layers):
        dead = int((opened.column(layer, "activations") == 0).sum())
        assert f"layer {layer} {dead} of 160 neurons dead" in drawer.says(0, cursor).text
        token = int((opened.column(layer, "order") == 1).sum())
        assert f"{token} token," in drawer.says(2, cursor).text
        alive = opened.column(layer, "unigrams_95")[opened.column(layer, "activations") > 0]
        panel = [each.text for each in drawer.figure(PANEL, cursor, 40, 16, chosen=False)]
        assert next(each for each in panel if each.startswith(" a ")).split()[2] == str((alive == 1).sum())
        assert next(each for each in panel if each.startswith(" c ")).split()[2] == str(
            ((alive > 3) & (alive < 6)).sum()
        )


def test_ranges_are_those_of_the_strong_oscillatory(opened):
    found = 0
    for layer in opened.layers():
        strong = opened.column(layer, "position_strength") == POSITION_STRENGTHS.index("strong")
        oscillatory = opened.column(layer, "position_type") == POSITION_TYPES.index("oscillatory")
        read = read_ranges(opened, layer)
        assert {each.neuron for each in read} == set(np.flatnonzero(strong & oscillatory).tolist())
        starts = [each.ranges for each in read]
        assert starts == sorted(starts)
        for each in read:
            curve = opened.position_frequency(layer, each.neuron)
            inside = np.zeros(len(curve), bool)
            for first, stop in each.ranges:
                inside[first:stop] = True
            assert curve[inside].mean() > curve[~inside].mean() + 0.5
            found += 1
    assert found


@pytest.mark.parametrize("layers", [1, 6, 12, 24, 32, 48, 64, 100])
@pytest.mark.parametrize("size", [(120, 24), (160, 48), (240, 60)])
def test_figures_in_a_grid_do_not_overlap_and_the_chosen_one_is_there(layers, size):
    width, height = size[0], size[1] - 3
    for chosen in range(PANEL + 1):
        grid = make_grid(width, height, layers, chosen)
        taken = set()
        assert sorted(grid.slots) == list(range(PANEL + 1))
        assert chosen in {place.slot for place in grid.places}
        for place in grid.places:
            cells = {
                (x, y) for x in range(place.x, place.x + place.width) for y in range(place.y, place.y + place.height)
            }
            assert not cells & taken and all(x < width and y < height for x, y in cells)
            taken |= cells


def test_curves_of_stores_are_over_relative_depth(opened, tmp_path):
    with Store.open(make_store(tmp_path / "deep.ffn", layers=9, neurons=48, seed=4)) as other:
        stores = [("[/]", overview_of(opened)), ("deep", overview_of(other))]
        for number in COMPARED:
            drawn = curves(FIGURES[number], stores, 60, 12, UNICODE)
            assert len(drawn) == 12 and all(each.width == 60 for each in drawn)
        text = "\n".join(each.text for each in curves(FIGURES[0], stores, 60, 12, UNICODE))
        assert "a" in text and "b" in text and "relative depth" in text
        first, second = model_figures(opened).layers[2], model_figures(other).layers[4]
        said = says(FIGURES[0], stores, 0.5).text
        assert (
            f"a {percent(first.dead_share)} (layer 2)" in said and f"b {percent(second.dead_share)} (layer 4)" in said
        )
        assert "".join(text for text, _ in names(stores, UNICODE)).split() == ["a", "[/]", "b", "deep"]


# The screen


def walk(store, size, *keys, glyphs=UNICODE, theme="ffnscope", then=None, beside=()):
    """The text lines of the screen in front after pressing keys; `then(app)` is asked too."""

    async def go():
        app = FfnscopeApp([store, *beside], glyphs, theme)
        async with app.run_test(size=size) as pilot:
            await pilot.pause(0.2)
            app.sessions[0].neurons.open_layer(app.sessions[0].layers[0]) if app.sessions[0].layers else None
            for key in keys:
                await pilot.press(key)
                await pilot.pause(0.02)
            for _ in range(4):  # what was read may ask for more: ranges, curves
                await app.workers.wait_for_complete()
                await pilot.pause(0.1)
            shown = [line for pane in app.screen.query(Pane) if pane.display for line in pane.shown]
            more = then(app) if then else None
        app.close()
        return (shown, more) if then else shown

    return asyncio.run(go())


def test_all_figures_at_once_where_there_is_room(store):
    shown = walk(store, LARGE, "o")
    text = "\n".join(shown)
    for figure in FIGURES:
        assert figure.name in text
    assert "layer 0 by letter" in text
    assert all(cell_len(each) <= 160 for each in shown)


def test_one_figure_at_a_time_where_there_is_not(store):
    for number, figure in enumerate(FIGURES):
        shown = walk(store, SMALL, "o", *"l" * number)
        assert f"{number + 1}/{len(FIGURES)}" in shown[0]
        assert figure.name in shown[2]
        assert sum(f"{other.number} {other.name}" in "\n".join(shown) for other in FIGURES) == 1


def test_a_figure_at_full_size_and_back(store):
    one, several = ("\n".join(walk(store, LARGE, "o", "l", *keys)) for keys in ("z", "zz"))
    assert [figure.name for figure in FIGURES if f"{figure.number} {figure.name}" in one] == [FIGURES[1].name]
    assert all(figure.name in several for figure in FIGURES)


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_the_cursor_tells_numbers_and_enter_goes_there(store, opened, size):
    dead = int((opened.column(3, "activations") == 0).sum())
    shown = walk(store, size, "o", "j", "j", "j")
    assert f"layer 3 {dead} of 160 neurons dead" in shown[1]
    _, layer = walk(store, size, "o", "j", "j", "j", "enter", then=lambda app: app.sessions[0].neurons.layer)
    assert layer == 3
    _, layer = walk(store, size, "o", "G", "k", "q", then=lambda app: app.sessions[0].neurons.layer)
    assert layer == 0


@GLYPHS
@pytest.mark.parametrize("size", [SMALL, LARGE, (40, 12), (130, 30)])
def test_nothing_raw_reaches_the_terminal(store, glyphs, size):
    for each in walk(store, size, "o", "j", "l", "l", glyphs=glyphs, theme="ansi-dark"):
        assert each == visible(each, glyphs, spaces=False) and cell_len(each) == size[0]


def test_empty_figures_speak(tmp_path):
    store = make_store(tmp_path / "s.ffn", layers=1, neurons=3, seq_len=16, windows=4, seed=3)
    with Store.open(store) as opened:
        each = model_figures(opened).layers[0]
    text = "\n".join(walk(store, LARGE, "o"))
    assert not each.positional[0] and "no strong oscillatory neurons" in text
    if not each.positional_neurons:
        assert "no positional neurons in" in text
    nothing = make_store(tmp_path / "n.ffn", layers=3, neurons=32, written=0, complete=False)
    text = "\n".join(walk(nothing, SMALL, "o", "j", "enter"))
    assert "layer 1 not collected yet" in text


async def settled(pilot, done):
    """Wait until something holds."""
    for _ in range(300):
        if done():
            await pilot.pause(0.1)
            return
        await pilot.pause(0.05)
    raise AssertionError("it never came")


def test_help_lists_the_keys_of_the_screen(store):
    text = "\n".join(walk(store, LARGE, "o", "question_mark"))
    assert "Next figure" in text and "Go to the layer" in text


def test_a_live_store_grows(tmp_path):
    from ffnscope.tui.overview.screen import Overview as Screen

    store = make_store(tmp_path / "live.ffn", layers=4, neurons=48, complete=False)

    async def go():
        app = FfnscopeApp([store], UNICODE)
        async with app.run_test(size=LARGE) as pilot:
            await pilot.pause(0.2)
            session = app.sessions[0]
            every, session.layers = session.layers, session.layers[:1]
            await pilot.press("o")
            await settled(pilot, lambda: isinstance(app.screen, Screen) and app.screen.overview.read)
            assert app.screen.overview.read == (0,)
            assert any("?" in line for line in app.screen.pane.shown)
            session.layers = every
            await settled(pilot, lambda: app.screen.overview.read == every)
            assert sorted(app.screen.overview.figures) == [0, 1]
        app.close()

    asyncio.run(go())


def test_two_stores_are_compared_and_one_says_how(store, tmp_path):
    other = make_store(tmp_path / "deep.ffn", layers=9, neurons=48, seed=4)
    shown = walk(store, LARGE, "o", "b", "j", "j", beside=[other])
    assert "a s.ffn  b deep.ffn  over relative depth" in shown[0]
    assert "at depth 0.50" in shown[1] and "(layer 2)" in shown[1] and "(layer 4)" in shown[1]
    assert "drawing" not in "\n".join(shown) and "token detectors" in "\n".join(shown)
    back = walk(store, SMALL, "o", "b", "l", "b", beside=[other])
    assert "overview s.ffn  2/11" in back[0]
    assert "one store is open" in walk(store, SMALL, "o", "b")[1]


@pytest.mark.parametrize(("size", "most"), [(SMALL, 1500), (LARGE, 3000)])
def test_a_step_of_the_cursor_sends_little(store, size, most):
    with PtyBrowser(store, *size) as terminal:
        terminal.wait_for("layers")
        terminal.press("o", 2.0)
        terminal.wait_for("overview")
        assert all(len(terminal.press("j", 0.8)) <= most for _ in range(3))
