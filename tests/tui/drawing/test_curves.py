from __future__ import annotations

import fcntl
import math
import os
import pty
import struct
import subprocess
import sys
import termios

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rich.cells import cell_len

from ffnscope.tui.drawing.bar_charts import dots, plain, ranges, stacked_bars
from ffnscope.tui.drawing.curves import curve, lines_plot, pool

few = settings(max_examples=40)
VALUES = hnp.arrays(np.float32, st.integers(1, 2048), elements=st.floats(-1, 2, width=32) | st.just(float("nan")))
ODD = st.floats(allow_nan=True, allow_infinity=True)
SPOT = st.integers(-9, 3000)
LABEL = st.text(max_size=6) | st.sampled_from(["L0", "\x1b[31m", "a\nb", "漢字", "[/]"])


def all_are(lines: list[str], width: int, ascii: bool) -> None:
    for line in lines:
        assert cell_len(line) == max(width, 0), line
        assert line == "" or line.isprintable()
        assert line.isascii() or not ascii


def braille_columns(lines: list[str], left: int) -> np.ndarray:
    """The lit dots bool [4 * rows, 2 * cols] of canvas lines after `left` cells of axis, top row first."""
    places = [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (3, 0), (3, 1)]
    grid = np.zeros((4 * len(lines), 2 * (len(lines[0]) - left)), dtype=bool)
    for row, line in enumerate(lines):
        for col, char in enumerate(line[left:]):
            mask = ord(char) - 0x2800 if char >= "\u2800" else 0
            for bit, (down, right) in enumerate(places):
                grid[4 * row + down, 2 * col + right] = mask >> bit & 1
    return grid


@given(VALUES, st.integers(1, 300))
@few
def test_pool_keeps_every_extreme(values, bins):
    low, high = pool(values, bins)
    assert low.shape == high.shape == (bins,)
    seen = values[~np.isnan(values)]
    if len(seen) and bins <= len(values):
        assert np.nanmin(low) == seen.min()
        assert np.nanmax(high) == seen.max()
    for b in {0, bins // 2, bins - 1}:
        start = b * len(values) // bins
        part = values[start : max((b + 1) * len(values) // bins, start + 1)]
        part = part[~np.isnan(part)]
        if len(part):
            assert (low[b], high[b]) == (part.min(), part.max())
        else:
            assert np.isnan(low[b]) and np.isnan(high[b])


@given(VALUES, st.integers(-1, 110), st.integers(-1, 12), st.booleans(), st.none() | st.integers(-5, 3000))
@few
def test_curve_has_its_size_for_any_values(values, width, height, ascii, cursor):
    lines = curve(values, width, height, ascii=ascii, cursor=cursor)
    assert len(lines) == max(height, 0)
    all_are(lines, width, ascii)


@pytest.mark.parametrize("T", [1, 2, 3, 7, 84, 85, 512, 2047, 2048])
def test_curve_dots_are_the_pooled_values(T):
    values = np.random.default_rng(T).random(T).round(2)
    lines = curve(values, 44, 9)
    low, high = pool(values, 84)
    expected = np.zeros((32, 84), dtype=bool)
    for x in range(84):
        a, b = (round(edge * 31) for edge in (low[x], high[x]))
        expected[31 - b : 32 - a, x] = True
    np.testing.assert_array_equal(braille_columns(lines[:-1], left=2), expected)


def test_a_lone_activation_is_seen():
    values = np.zeros(2048)
    values[1234] = 1
    grid = braille_columns(curve(values, 60, 6)[:-1], left=2)
    assert grid[0].sum() == 1
    assert grid[0].argmax() == 1234 * grid.shape[1] // 2048
    assert grid[-1].all()


def test_nan_is_a_gap_and_not_a_zero():
    values = np.array([1.0, np.nan, 0.0, 1.0])
    grid = braille_columns(curve(values, 6, 3)[:-1], left=2)
    assert not grid[:, 2:4].any()
    assert grid[-1, 4:6].all()
    assert grid[0, 6:8].all()


def test_curve_axes():
    lines = curve(np.zeros(2048), 60, 6)
    assert [line[:2] for line in lines] == ["1┤", " │", " │", " │", "0┼", "  "]
    ticks = lines[-1][2:]
    assert ticks.split() == ["0", "1000", "2047"]
    assert ticks.endswith("2047")
    middle = ticks.index("1000") + 2
    assert abs(middle - 1000 * 58 // 2048) <= 1
    assert curve(np.zeros(4), 20, 4, y_max=0.05)[0].startswith(".05┤")
    assert curve(np.zeros(4), 20, 4, ascii=True)[0].startswith("1+")


def test_cursor_marks_its_position_behind_the_dots():
    bare, marked = (curve(np.zeros(100), 52, 6, cursor=at) for at in (None, 40))
    changed = {(r, c) for r in range(6) for c in range(52) if bare[r][c] != marked[r][c]}
    assert changed == {(row, 2 + 40 * 50 // 100) for row in range(4)}


def test_no_two_tick_labels_touch():
    for T in (1, 2, 10, 64, 100, 1000, 2048):
        for width in range(8, 120, 7):
            ticks = curve(np.zeros(T), width, 4)[-1].split()
            assert [int(tick) for tick in ticks] == sorted({int(tick) for tick in ticks})
            assert ticks[0] == "0" and (T == 1 or int(ticks[-1]) <= T - 1)


SERIES = st.lists(st.tuples(LABEL, st.lists(ODD, max_size=8), st.lists(ODD, max_size=8)), max_size=4)


@given(SERIES, st.integers(-1, 90), st.integers(-1, 12), st.booleans(), st.none() | ODD)
@few
def test_lines_plot_has_its_size_for_any_values(series, width, height, ascii, y_max):
    lines = plain(lines_plot(series, width, height, ascii=ascii, y_max=y_max, styles=["red", "blue"]))
    assert len(lines) == max(height, 0)
    all_are(lines, width, ascii)


@pytest.mark.parametrize("xs", [[-1.7e308, 1.7e308], [0, 5e-324], [1e16, 1e16 + 2], [3, 3], [math.inf, 1]])
def test_lines_plot_survives_extreme_axes(xs):
    all_are(plain(lines_plot([("x", xs, xs)], 60, 8)), 60, False)


def test_lines_plot_places_letters_and_styles():
    lines = lines_plot([("wiki", [0, 1, 2], [0, 1, 2]), ("code", [0, 1, 2], [2, 2, 2])], 42, 11, styles=["s0", "s1"])
    text = plain(lines)
    assert text[0].split() == ["a:wiki", "b:code"]
    body = text[1:-1]
    assert body[-1][2] == "a" and body[-1].startswith("0┼")
    assert body[0].startswith("2┤b") and body[0].count("b") == 3
    assert body[4].count("a") == 1
    assert text[-1].split() == ["0", "1", "2"]
    for line in lines:
        for part, style in line:
            assert style in ("", "s0", "s1")
            if style:
                assert (style == "s0") == ("a" in part) or not {"a", "b"} & set(part)


def test_lines_plot_breaks_at_nan():
    broken = plain(lines_plot([("x", [0, 1, 2, 3], [1, math.nan, math.nan, 1])], 42, 5))
    whole = plain(lines_plot([("x", [0, 1, 2, 3], [1, 1, 1, 1])], 42, 5))
    assert broken[1][2:].split() == ["a", "a"]
    assert " " not in whole[1][2:].strip()


@given(
    hnp.arrays(np.float64, st.tuples(st.integers(0, 5), st.integers(1, 12)), elements=ODD),
    st.integers(0, 80),
    st.booleans(),
)
@few
def test_stacked_bars_have_their_width(matrix, width, ascii):
    labels, names = [str(i) for i in range(len(matrix))], [str(i) for i in range(matrix.shape[1])]
    lines = plain(stacked_bars(labels, matrix, width, names=names, styles=["x"], ascii=ascii))
    assert len(lines) == len(matrix) + 1
    all_are(lines, width, ascii)


def test_stacked_bars_share_the_row():
    lines = stacked_bars(["0", "1"], [[10, 20, 10], [20, 0, 0]], 42, names=["1", "2-3", ">3"], styles=["x", "y", "z"])
    assert plain(lines)[0].split() == ["a:1", "b:2-3", "c:>3"]
    assert [(len(part), style) for part, style in lines[1][1:4]] == [(10, "x"), (20, "y"), (10, "z")]
    assert lines[2][1] == ("a" + "█" * 19, "x")
    assert plain(lines)[2][22:].strip() == ""


def test_stacked_bars_show_the_smallest_category():
    line = plain(stacked_bars(["0"], [[10_000, 1, 1]], 30, names=["p", "q", "r"]))[1]
    assert line.startswith("0 a") and line.endswith("bc")


@given(st.lists(st.lists(st.tuples(LABEL, st.just("x")), max_size=30), max_size=4), st.integers(0, 50), st.booleans())
@few
def test_dots_have_their_width(rows, width, ascii):
    lines = plain(dots(rows, width, ascii=ascii))
    assert len(lines) == len(rows)
    all_are(lines, width, ascii)


def test_dots_turn_into_counts_when_they_do_not_fit():
    rows = [[("O", "strong")] * 3 + [("o", "weak")], [("O", "strong")] * 30 + [("o", "weak")] * 2, []]
    lines = dots(rows, 14)
    assert plain(lines) == ["0 OOOo        ", "1 O×30 o×2    ", "2             "]
    assert ("OOO", "strong") in lines[0]
    assert [style for _, style in lines[1]][1:3] == ["strong", "weak"]


@given(
    st.lists(st.tuples(LABEL, st.lists(st.tuples(SPOT, SPOT), max_size=4)), max_size=4),
    st.integers(0, 2048),
    st.integers(0, 80),
    st.booleans(),
)
@few
def test_ranges_have_their_width(rows, T, width, ascii):
    lines = ranges(rows, T, width, ascii=ascii)
    assert len(lines) == len(rows) + 1
    all_are(lines, width, ascii)


def test_ranges_are_where_they_say():
    lines = ranges([("N7", [(0, 25), (75, 100)]), ("N12", [(99, 100)]), ("N3", [(50, 50)])], 100, 44)
    assert lines[0] == "N7  " + "█" * 10 + " " * 20 + "█" * 10
    assert lines[1].rstrip() == "N12 " + " " * 39 + "▐"
    assert lines[2].rstrip() == "N3"
    assert lines[-1].startswith("    0") and lines[-1].endswith("99")


def test_plotext_gives_independent_figures_of_any_size():
    """The adapter makes figures from the master's class, which is undocumented, larger than any terminal."""
    import plotext

    plotext.figure.draw(plotext.figure.signal([1, 2], [5, 6]))
    before = plotext.figure.build().string(colorless=True)
    assert curve(np.ones(8), 300, 90) != curve(np.zeros(8), 300, 90)
    assert plotext.figure.build().string(colorless=True) == before
    plotext.figure.clear.data()


def test_plots_are_not_cut_to_the_terminal():
    script = (
        "import numpy as np, ffnscope.tui.drawing.curves as p\n"
        "lines = p.curve(np.ones(4), 200, 60)\n"
        "assert lines[0] == ' 1┤' + '⠉' * 197, lines[0]\n"
        "assert len(lines) == 60\n"
    )
    ours, theirs = pty.openpty()
    try:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        done = subprocess.run([sys.executable, "-c", script], stdin=theirs, stdout=theirs, stderr=subprocess.PIPE)
    finally:
        os.close(theirs)
        os.close(ours)
    assert done.returncode == 0, done.stderr.decode()


def test_plotext_is_imported_by_the_first_plot_only():
    script = (
        "import sys, ffnscope.tui.drawing.curves as p\n"
        "assert 'plotext' not in sys.modules\n"
        "p.curve([1.0], 20, 5)\n"
        "assert 'plotext' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
