"""What a report says of a store: unfinished, dead, small, or the demo."""

from __future__ import annotations

import json
import re

from report_page import Page, document, run
from synthetic import NOTHING_ALIVE, make_store

from ffnscope.store.reader import Store
from ffnscope.tui.reports.formats.html import page


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


def test_a_store_with_nothing_alive(capsys, tmp_path):
    path = make_store(tmp_path / "s.ffn", neurons=30, windows=120, mix=NOTHING_ALIVE)
    code, out, _ = run(capsys, "report", path)
    assert code == 0 and "100.0%" in out and "No token detectors" in out and "nan" not in out
    code, out, _ = run(capsys, "report", path, "--json")
    assert code == 0 and "NaN" not in out and json.loads(out)["figures"]["figure_5_token_detectors"]["rows"] == []
    assert "nan" not in page(document(path)).lower().replace("nano", "")


def test_what_is_no_evidence_is_called_so(tmp_path, demo_store, monkeypatch):
    said = " ".join(document(demo_store).warnings)
    assert "not evidence for the paper's claims" in said
    other = make_store(tmp_path / "s.ffn", layers=2, neurons=20)
    said = " ".join(document(other).warnings)
    assert "fewer than the paper's smallest model" in said and "demo" not in said


def test_dead_share_of_the_table_is_the_stores(capsys, store):
    out = run(capsys, "report", store)[1]
    with Store.open(store) as opened:
        for layer in opened.layers():
            share = (opened.column(layer, "activations") == 0).mean()
            assert re.search(rf"^ +{layer} +150 +\d+ +{100 * share:.1f}% ", out, re.MULTILINE)
