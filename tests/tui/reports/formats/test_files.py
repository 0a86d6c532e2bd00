"""Reports in files: whole, never replaced unasked, the same bytes each time."""

from __future__ import annotations

import csv
import io
import json

from report_page import run

from ffnscope.store.reader import Store
from ffnscope.tui.reports.formats.values import exact


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
    assert len(files) == 13 and all(
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
    assert (folder / "other.txt").read_text() == "mine" and len(list(folder.iterdir())) == 14
    code, _, err = run(capsys, "report", store, "--html", tmp_path / "nowhere" / "r.html")
    assert code == 2 and "cannot be written" in err
    assert not list(tmp_path.rglob("*.tmp"))
