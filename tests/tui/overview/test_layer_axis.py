"""Figures over layers as columns of cells."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ffnscope.tui.drawing.glyphs import ASCII, UNICODE
from ffnscope.tui.overview.layer_axis import (
    LEFT,
    axis_line,
    bar_cells,
    columns,
    letter_cells,
    make_axis,
    stack_cells,
)
from ffnscope.tui.reports.document import Category

ABC = tuple(Category(letter, letter, "text") for letter in "abc")


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
