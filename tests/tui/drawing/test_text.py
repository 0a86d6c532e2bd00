from __future__ import annotations

import math
import sys
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len, get_character_cell_size

from ffnscope.tui.drawing.glyphs import ASCII, UNICODE, choose_glyphs
from ffnscope.tui.drawing.numbers import count, duration, filesize, freq, percent, signed
from ffnscope.tui.drawing.text import bar, fit, spans, visible

ANY = st.text(alphabet=st.characters())
# Characters that break rows, far more often than chance would pick them.
HOSTILE = st.text(
    alphabet=st.sampled_from(
        " \n\t\r\x1b\x00\x7f\x85\u200d\u200b\ufe0f\u202e\u2066\u2028\u00ad\u0301\u0300\u20e3\u3000\ud800"
        "\ue000\U000e0001👨👩🏽❤🇫🇷漢ｱ가ᅡ\u0915\u093e\u094dשل1a◌␣\\"
    )
)
TEXT = ANY | HOSTILE
GLYPHS = st.sampled_from([UNICODE, ASCII])


def is_safe(text: str) -> bool:
    return all(unicodedata.category(char)[0] not in "CZ" or char == " " for char in text)


@given(TEXT, GLYPHS, st.booleans())
@example("\x1b]52;c;AAAA\x07", UNICODE, True)
@example("a" + "\u0301" * 30, UNICODE, True)
def test_visible_is_one_printable_line(text, glyphs, spaces):
    drawn = visible(text, glyphs, spaces)
    assert is_safe(drawn)
    assert "\x1b" not in drawn
    assert len(drawn.splitlines()) <= 1
    assert not (spaces and " " in drawn)
    assert not glyphs.ascii or drawn.isascii()
    drawn.encode("utf-8")


@given(TEXT, GLYPHS, st.booleans())
def test_visible_twice_is_visible_once(text, glyphs, spaces):
    drawn = visible(text, glyphs, spaces)
    assert visible(drawn, glyphs, spaces) == drawn


@given(TEXT, TEXT, GLYPHS)
def test_width_is_the_sum_of_the_parts(left, right, glyphs):
    """What Textual counts for a row is what it counts for its cells, however the texts meet."""
    one, two = visible(left, glyphs), visible(right, glyphs)
    assert cell_len(one + two) == cell_len(one) + cell_len(two)
    assert cell_len(one) == sum(map(get_character_cell_size, one))


def test_every_kept_character_has_a_width_two_tables_agree_on():
    wcwidth = pytest.importorskip("wcwidth").wcwidth
    for code in range(sys.maxunicode + 1):
        char = chr(code)
        if char in visible(char):
            assert wcwidth(char) == cell_len(char), hex(code)


@given(TEXT, GLYPHS)
def test_nothing_but_text_vanishes(text, glyphs):
    """Every character leaves something behind, so two tokens of different length never both look empty."""
    assert len(visible(text, glyphs)) >= len(text)
    assert "".join(part for part, _ in spans(text, glyphs)) == visible(text, glyphs)


@pytest.mark.parametrize(
    ("text", "drawn", "in_ascii"),
    [
        (" school", "␣school", "~school"),
        ("a  b", "a␣␣b", "a~~b"),
        ("_x", "_x", "_x"),
        ("\n", "⏎", r"\n"),
        ("\t", "⇥", r"\t"),
        ("\x1b[31m", "␛[31m", r"\x1b[31m"),
        ("\x7f", "␡", r"\x7f"),
        ("\x85", r"\x85", r"\x85"),
        ("\u202eabc", r"\u202eabc", r"\u202eabc"),
        ("\u2028", r"\u2028", r"\u2028"),
        ("\ud800", r"\ud800", r"\ud800"),
        ("\ufffd", "\ufffd", r"\ufffd"),
        ("\u0301x", "◌\u0301x", r"\u0301x"),
        ("e\u0301", "e\u0301", r"e\u0301"),
        ("👨\u200d👩", "👨\\u200d👩", r"\U0001f468\u200d\U0001f469"),
        ("❤\ufe0f", "❤\\ufe0f", r"\u2764\ufe0f"),
        ("漢", "漢", r"\u6f22"),
        # Tables call spacing vowel signs 0 wide, the C library of most terminals 1.
        ("\u0915\u093e", "\u0915\\u093e", r"\u0915\u093e"),
        ("שלום", "שלום", r"\u05e9\u05dc\u05d5\u05dd"),
        ("[/INST]", "[/INST]", "[/INST]"),
    ],
)
def test_visible_examples(text, drawn, in_ascii):
    assert visible(text) == drawn
    assert visible(text, ASCII) == in_ascii


def test_running_text_keeps_its_spaces():
    assert visible("a b\nc", spaces=False) == "a b⏎c"


def test_spans_tell_stand_ins_from_text():
    assert spans(" a\n\n␣") == [("␣", True), ("a", False), ("⏎⏎", True), ("␣", False)]


@given(TEXT, st.integers(-2, 40), st.sampled_from(["left", "right"]), GLYPHS, st.booleans())
def test_fit_is_exactly_as_wide_as_asked(text, width, align, glyphs, spaces):
    fitted = fit(visible(text, glyphs, spaces), width, align, glyphs)
    assert cell_len(fitted) == max(width, 0)
    assert is_safe(fitted)


@given(TEXT, st.integers(1, 40))
def test_fit_cuts_only_what_does_not_fit_and_says_so(text, width):
    drawn = visible(text)
    fitted = fit(drawn, width)
    if cell_len(drawn) <= width:
        assert fitted.startswith(drawn)
    else:
        kept, _, rest = fitted.rpartition("…")
        assert drawn.startswith(kept)
        assert not rest.strip()


def test_fit_edges():
    assert fit("漢字", 3) == "漢…"
    assert fit("漢字", 2) == "… "
    assert fit("漢字", 2, "right") == " …"
    assert fit("e\u0301te", 2) == "e\u0301…"
    assert fit("12", 5, "right") == "   12"
    assert fit("abcdef", 4, glyphs=ASCII) == "ab.."
    with pytest.raises(ValueError, match="middle"):
        fit("a", 1, "middle")


@pytest.mark.parametrize(
    ("encoding", "wish", "ascii"),
    [
        ("utf-8", False, False),
        ("UTF8", False, False),
        ("utf-8", True, True),
        ("ascii", False, True),
        ("latin-1", False, True),
        ("cp437", False, True),
        ("no such", False, True),
        ("hex", False, True),
        ("", False, True),
        (None, False, True),
    ],
)
def test_choose_glyphs(encoding, wish, ascii):
    assert choose_glyphs(encoding, wish).ascii is ascii


def test_glyphs_are_one_cell():
    for field in ("space", "newline", "tab", "cursor", "mark", "dot", "ellipsis", "trigger", "times"):
        assert cell_len(getattr(UNICODE, field)) == 1
    for field in ("space", "cursor", "mark", "dot", "trigger", "times"):
        assert len(getattr(ASCII, field)) == 1
    for glyphs in (UNICODE, ASCII):
        assert cell_len(glyphs.box) == len(glyphs.box) == 12
        assert cell_len(glyphs.steps) == len(glyphs.steps)


@given(st.floats(allow_nan=True, allow_infinity=True), st.integers(0, 60), GLYPHS)
def test_bar_width_and_ends(value, width, glyphs):
    drawn = bar(value, width, glyphs)
    assert cell_len(drawn) == width
    if width:
        assert (drawn.strip() == "") == (math.isnan(value) or value <= 0)
        assert (drawn == glyphs.steps[-1] * width) == (value >= 1)


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 30), GLYPHS)
def test_a_larger_value_never_has_a_shorter_bar(a, b, width, glyphs):
    def length(value: float) -> int:
        return sum(glyphs.steps.index(char) for char in bar(value, width, glyphs))

    assert a >= b or length(a) <= length(b)


def test_bar_examples():
    assert bar(0.5, 4) == "██  "
    assert bar(0.53125, 4) == "██▏ "
    assert bar(0.5, 4, ASCII) == "##  "
    assert bar(0.9999, 2) == "█▉"


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (0, "    0"),
        (1, " 1.00"),
        (0.5, " .500"),
        (0.0512, ".0512"),
        (0.00194, ".0019"),
        (0.0009, " 9e-4"),
        (2e-5, " 2e-5"),
        (0.9994, " .999"),
        (0.9996, ".9996"),
        (0.999999, ">.999"),
        (12.34, " 12.3"),
        (math.nan, "    -"),
    ],
)
def test_freq(x, text):
    assert freq(x) == text


@given(st.floats(1e-90, 1, exclude_max=True))
def test_freq_is_near_its_value_and_neither_0_nor_1(x):
    text = freq(x)
    assert len(text) == 5
    shown = float(text.strip().removeprefix(">"))
    assert 0 < shown < 1
    # One significant digit below .00095, two up to .01, three above.
    assert shown == pytest.approx(x, rel=0.5 if x < 0.00095 else 0.053 if x < 0.01 else 0.006)


@pytest.mark.parametrize(
    ("n", "full", "short"),
    [
        (0, "0", "0"),
        (1204, "1,204", "1,204"),
        (9999, "9,999", "9,999"),
        (36_864, "36,864", "36.9k"),
        (622_592, "622,592", "623k"),
        (999_999, "999,999", "1.00M"),
        (12_345_678, "12,345,678", "12.3M"),
        (-20_000, "-20,000", "-20.0k"),
    ],
)
def test_count(n, full, short):
    assert count(n) == full
    assert count(n, compact=True) == short


@given(st.integers(0, 10**15))
def test_count_full_is_exact_and_compact_is_short(n):
    assert int(count(n).replace(",", "")) == n
    assert len(count(n, compact=True)) <= 5


def test_percent_never_rounds_to_none_or_all():
    assert [percent(x) for x in (0, 0.001, 0.21, 0.999, 1)] == ["0%", "<1%", "21%", ">99%", "100%"]
    assert [percent(x, 1) for x in (0.0001, 0.989, 0.9999)] == ["<0.1%", "98.9%", ">99.9%"]
    assert [percent(-0.004), percent(-0.0004, 1), percent(-0.21)] == [">-1%", ">-0.1%", "-21%"]
    assert percent(math.nan) == "-"


def test_signed_keeps_the_sign():
    assert [signed(x) for x in (0.11, -0.14, 1.25, -0.001, 0.0)] == ["  .11", " -.14", " 1.25", " -.00", "  .00"]
    assert signed(math.nan) == "    -"


def test_duration():
    shown = [duration(s) for s in (0.4, 12, 59.6, 125, 5000, 190_000, math.inf, math.nan)]
    assert shown == ["0.4 s", "12 s", "1 min 00 s", "2 min 05 s", "1 h 23 min", "2 d 4 h", "-", "-"]


def test_filesize():
    assert [filesize(n) for n in (0, 512, 4100, 999_999, 1_250_000_000)] == [
        "0 B",
        "512 B",
        "4.10 kB",
        "1.00 MB",
        "1.25 GB",
    ]
