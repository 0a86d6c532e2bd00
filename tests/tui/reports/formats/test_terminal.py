"""A report on a terminal of any width and encoding."""

from __future__ import annotations

import re

import pytest
from report_page import document, drawn
from rich.cells import cell_len

from ffnscope.tui.drawing.glyphs import ASCII, UNICODE
from ffnscope.tui.reports.formats.values import shown


@pytest.mark.parametrize("width", [1, 8, 20, 40, 80, 200])
@pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=["unicode", "ascii"])
def test_any_width_and_encoding(store, width, glyphs):
    printed = drawn(store, width, glyphs)
    assert glyphs is UNICODE or printed.isascii()
    if width >= 40:
        assert max(map(cell_len, printed.splitlines())) <= width
    if width >= 80:
        for row in ("1a: dead neurons, share of the layer", "What the data say", "9: position ranges"):
            assert row in printed


def test_numbers_survive_a_narrow_terminal(store):
    made = document(store)
    (table,) = made.sections[0].shown
    digits = re.sub(r"\s", "", drawn(store, 40))
    for value, column in zip(table.rows[0], table.columns, strict=True):
        assert shown(value, column.style).strip()[:3] in digits
