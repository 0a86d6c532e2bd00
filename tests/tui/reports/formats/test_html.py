"""The page: it loads nothing, shows what the tables hold, and is harmless whatever a token is."""

from __future__ import annotations

import csv
import json
import re
import xml.etree.ElementTree as ElementTree

from report_page import Page, document, drawn, run
from synthetic import make_store

from ffnscope.tui.drawing.glyphs import ASCII, UNICODE
from ffnscope.tui.reports.formats.html import page


def test_the_page_loads_nothing_and_runs_only_its_own_script(store):
    text = page(document(store))
    parsed = Page(text)
    assert parsed.tags.count("script") == 1 and len(parsed.scripts) == 1
    assert not {"img", "iframe", "object", "embed", "a", "form", "base", "audio", "video"} & set(parsed.tags)
    for tag, name, value in parsed.attributes:
        assert not name.startswith("on") and name not in ("src", "action", "srcset", "xlink:href"), (tag, name)
        assert name != "href" or value == "data:,"
        assert name != "style"
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text, re.IGNORECASE)
    assert "default-src 'none'" in text
    assert "eval" not in parsed.scripts[0] and "innerHTML" not in parsed.scripts[0]
    figures = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert len(figures) == 11
    for figure in figures:
        ElementTree.fromstring(figure)


def test_the_page_shows_what_the_tables_hold(store):
    made = document(store)
    parsed = Page(page(made))
    for finding in made.findings:
        assert finding.claim in parsed.text and finding.text in parsed.text
    for value in dict(made.about).values():
        assert value in parsed.text
    assert parsed.tags.count("tbody") == sum(len(section.shown) for section in made.sections)
    assert parsed.tags.count("svg") == sum(len(section.plots) for section in made.sections)


HOSTILE = [
    "<script>alert(1)</script>",
    "[/]",
    "[bold red]",
    "\x1b[31mred",
    "a\u202eb",
    '"><img src=x onerror=y>',
    "'",
    "\ud800",
]


def test_hostile_names_and_tokens_are_harmless_everywhere(tmp_path, capsys, monkeypatch):
    path = make_store(
        tmp_path / "s.ffn", neurons=60, hostile=True, name="".join(HOSTILE[:-1]), domains=("<b>", "[/]\x1b[2J")
    )
    from ffnscope.store.vocabulary import Vocabulary

    monkeypatch.setattr(Vocabulary, "text", lambda self, token: HOSTILE[token % len(HOSTILE)])
    text = page(document(path))
    parsed = Page(text)
    assert parsed.tags.count("script") == 1 and "img" not in parsed.tags and "b" not in parsed.tags
    assert "<script>alert(1)</script>" in parsed.text and "[/]" in parsed.text
    assert not set(text) & {chr(c) for c in (*range(9), 11, *range(14, 32), *range(127, 160), 0x202E, 0xD800)}
    for glyphs in (UNICODE, ASCII):
        printed = drawn(path, 100, glyphs)
        assert "[/]" in printed and "[bold red]" in printed
        assert not set(printed) & {chr(c) for c in (*range(10), *range(11, 32), *range(127, 160), 0x202E)}
        assert glyphs is UNICODE or printed.isascii()
    code, out, _ = run(capsys, "report", path, "--csv", tmp_path / "csv")
    with (tmp_path / "csv" / "figure_5_token_detectors.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert rows and all(set(json.loads(row["detected"])) <= set(HOSTILE) for row in rows)
    assert code == 0 and out == ""
