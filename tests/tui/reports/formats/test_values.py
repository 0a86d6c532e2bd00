"""Values as text."""

from __future__ import annotations

from ffnscope.tui.reports.formats.values import exact, layers_text, shown


def test_values_as_text():
    assert [shown(v, "share") for v in (0.0, 0.00001, 0.5, 0.99999, 1.0, None)] == [
        "0.0%",
        "<0.1%",
        "50.0%",
        ">99.9%",
        "100.0%",
        "-",
    ]
    assert (
        shown(1234567, "count") == "1,234,567"
        and shown(True, "count") == "yes"
        and shown(float("nan"), "number") == "-"
    )
    assert [exact(v) for v in (None, True, 3, 0.1, float("nan"), "a")] == ["", "true", "3", "0.1", "", "a"]
    assert exact('=HYPERLINK("x")') == '\'=HYPERLINK("x")' and exact("-1+1") == "'-1+1" and exact(-1) == "-1"
    assert exact("a\x1b[2J\n\x9b") == r"a\u001b[2J\n\u009b"
    assert layers_text((0, 1, 2, 5, 7, 8)) == "0-2,5,7-8" and layers_text(()) == ""
