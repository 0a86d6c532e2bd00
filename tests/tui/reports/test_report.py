"""`ffnscope report`: the same numbers in every format, the same bytes each time, harmless whatever a token is."""

from __future__ import annotations

import csv
import io
import json
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import synthetic
from report_page import Page, run
from rich.cells import cell_len
from rich.console import Console
from synthetic import make_store

from ffnscope.store.reader import Store
from ffnscope.tui.drawing.glyphs import ASCII, UNICODE
from ffnscope.tui.reports.formats.html import page
from ffnscope.tui.reports.formats.terminal import show
from ffnscope.tui.reports.formats.values import exact, layers_text, shown
from ffnscope.tui.reports.reading import gather
from ffnscope.tui.reports.sections import report_document


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("report") / "s.ffn", layers=4, neurons=150, windows=110, hostile=True)


def document(path):
    with Store.open(path) as opened:
        return report_document(gather(opened, every_range=True))


def drawn(path, width, glyphs=UNICODE):
    out = io.StringIO()
    show(document(path), Console(file=out, width=width, markup=False, emoji=False, highlight=False), glyphs)
    return out.getvalue()


def test_csv_and_json_hold_the_same(capsys, store, tmp_path):
    code, out, err = run(capsys, "report", store, "--csv", tmp_path / "out")
    assert (code, out) == (0, "") and "files written to" in err
    report = json.loads(run(capsys, "report", store, "--json")[1])
    names = {path.stem for path in (tmp_path / "out").iterdir()}
    assert names == set(report["figures"]) | {"about", "findings"}
    for key, figure in report["figures"].items():
        header, *rows = csv.reader(io.StringIO((tmp_path / "out" / f"{key}.csv").read_text("utf-8"), newline=""))
        assert header == [column["name"] for column in figure["columns"]]
        assert all(column["meaning"] for column in figure["columns"])
        assert rows == [[exact(value) for value in row] for row in figure["rows"]] and rows
    about = dict(csv.reader(io.StringIO((tmp_path / "out" / "about.csv").read_text("utf-8"))))
    with Store.open(store) as opened:
        assert about["store fingerprint"] == report["about"]["store fingerprint"] == opened.run.run_id
        assert opened.run.model.fingerprint in about["model"] and opened.run.corpus.fingerprint in about["corpus"]
        assert "min_occurrences 5" in about["settings"] and "ffnscope" in about["reported by"]
    assert report["findings"][0]["finding"] == "sparse_first_half"


def test_two_runs_give_identical_bytes(capsys, store, tmp_path):
    for name in ("a", "b"):
        assert run(capsys, "report", store, "--csv", tmp_path / name, "--html", tmp_path / f"{name}.html")[0] == 0
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(files) == 12 and all(
        (tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files
    )
    for options in ([], ["--json"]):
        assert run(capsys, "report", store, *options) == run(capsys, "report", store, *options)


def test_nothing_is_replaced_unless_asked_for(capsys, store, tmp_path):
    page_file, folder = tmp_path / "r.html", tmp_path / "csv"
    page_file.write_text("mine")
    folder.mkdir()
    (folder / "figure_1a_dead_neurons.csv").write_text("mine")
    (folder / "other.txt").write_text("mine")
    for options in (["--html", page_file], ["--csv", folder], ["--html", tmp_path], ["--csv", page_file]):
        code, out, err = run(capsys, "report", store, *options)
        assert (code, out) == (2, "") and err.startswith("ffnscope: ") and err.count("\n") == 1
    assert page_file.read_text() == (folder / "figure_1a_dead_neurons.csv").read_text() == "mine"
    assert len(list(folder.iterdir())) == 2
    assert run(capsys, "report", store, "--html", page_file, "--csv", folder, "--overwrite")[0] == 0
    assert page_file.read_text("utf-8").startswith("<!DOCTYPE html>")
    assert (folder / "other.txt").read_text() == "mine" and len(list(folder.iterdir())) == 13
    code, _, err = run(capsys, "report", store, "--html", tmp_path / "nowhere" / "r.html")
    assert code == 2 and "cannot be written" in err
    assert not list(tmp_path.rglob("*.tmp"))


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
    assert len(figures) == 10
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


def test_an_unfinished_store_says_what_is_missing(capsys, tmp_path):
    path = make_store(tmp_path / "s.ffn", layers=6, neurons=40, complete=False)
    code, out, _ = run(capsys, "report", path)
    assert code == 0 and "layers 3-5 are missing" in out and "Too few windows (40" in out
    assert "3 of 6 that are there" in " ".join(out.split())
    empty = make_store(tmp_path / "e.ffn", layers=2, neurons=20, complete=False, written=0)
    for options in ([], ["--json"], ["--html", tmp_path / "e.html"], ["--csv", tmp_path / "e"]):
        code, out, err = run(capsys, "report", empty, *options)
        assert code == 0, err
    assert Page((tmp_path / "e.html").read_text("utf-8")).text.count("layers 0-1 are missing") == 1


def test_a_store_with_nothing_alive(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "_mix", lambda depth: np.array([1.0, *[0.0] * 8]))
    path = make_store(tmp_path / "s.ffn", neurons=30, windows=120)
    code, out, _ = run(capsys, "report", path)
    assert code == 0 and "100.0%" in out and "No token detectors" in out and "nan" not in out
    code, out, _ = run(capsys, "report", path, "--json")
    assert code == 0 and "NaN" not in out and json.loads(out)["figures"]["figure_5_token_detectors"]["rows"] == []
    assert "nan" not in page(document(path)).lower().replace("nano", "")


def test_what_is_no_evidence_is_called_so(tmp_path, demo_store, monkeypatch):
    said = " ".join(document(demo_store).warnings)
    assert "no evidence for the paper's claims" in said
    other = make_store(tmp_path / "s.ffn", layers=2, neurons=20)
    said = " ".join(document(other).warnings)
    assert "fewer than the paper's smallest model" in said and "demo" not in said


def test_dead_share_of_the_table_is_the_stores(capsys, store):
    out = run(capsys, "report", store)[1]
    with Store.open(store) as opened:
        for layer in opened.layers():
            share = (opened.column(layer, "activations") == 0).mean()
            assert re.search(rf"^ +{layer} +150 +\d+ +{100 * share:.1f}% ", out, re.MULTILINE)


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
