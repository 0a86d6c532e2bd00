"""`ffnscope ablate` as a command: columns, a file that is continued, other text, and what it refuses."""

from __future__ import annotations

import csv
import io
import json
import shutil

import numpy as np
import pytest
import tiny_models as tm
from commands import one_line, run
from prompt_store import collect

import ffnscope.store

COLUMNS = (
    "layer,neuron,mode,positions,active_positions,delta_loss,delta_loss_low,delta_loss_high,delta_loss_active,"
    "delta_trigger_logit,changed"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ablate")


@pytest.fixture(scope="module")
def model(folder):
    return tm.tiny("opt", folder / "models", tokenizer=True)


@pytest.fixture(scope="module")
def store(folder, model):
    return collect(model, folder / "store", keep="20")


def test_columns_and_formats(store, capsys):
    arguments = ["ablate", store, "--neurons", "L1N3,L0N5,l0n5", "--tokens", 200]
    code, out, err = run(capsys, *arguments, "--format", "csv")
    assert code == 0 and out.splitlines()[0] == COLUMNS
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [(row["layer"], row["neuron"]) for row in rows] == [("0", "5"), ("1", "3")]
    assert "2 neurons on 7 of 20 kept windows" in err
    code, lines, _ = run(capsys, *arguments, "--format", "jsonl", "--intervals")
    for row, line in zip(rows, map(json.loads, lines.splitlines()), strict=True):
        for name in COLUMNS.split(","):
            assert str("" if line[name] is None else line[name]) == row[name]
        assert "delta_trigger_logit_high" in line
    code, table, _ = run(capsys, *arguments)
    assert code == 0 and [line.split()[0] for line in table.splitlines()] == ["neuron", "L0N5", "L1N3"]
    code, out, _ = run(capsys, *arguments, "--together", "--format", "csv")
    assert out.splitlines()[1].startswith(f",,zero,{7 * (tm.SEQ_LEN - 1)},")


def test_a_filter_says_which(store, capsys):
    with ffnscope.store.open(store) as opened:
        chosen = opened.select("layer:2 freq>0.5").tolist()
    assert chosen
    code, out, _ = run(capsys, "ablate", store, "--where", "layer:2 freq>0.5", "--tokens", 64, "--format", "csv")
    assert code == 0 and [[int(c) for c in row.split(",")[:2]] for row in out.splitlines()[1:]] == chosen


def test_a_file_is_continued(store, tmp_path, capsys, monkeypatch):
    from ffnscope.core.effects.ablation import Experiment

    whole, file = tmp_path / "whole.csv", tmp_path / "rows.csv"
    arguments = ["ablate", store, "--where", "layer:1", "--tokens", 64]
    assert run(capsys, *arguments, "--output", whole)[0] == 0
    plain, calls = Experiment.effect, []

    def interrupted(self, neurons, *rest):
        calls.append(neurons)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return plain(self, neurons, *rest)

    monkeypatch.setattr(Experiment, "effect", interrupted)
    code, _, err = run(capsys, *arguments, "--output", file)
    assert code == 130 and "the rows of 4 of 24 are in" in err and "continues" in err
    assert len(file.read_text().splitlines()) == 5
    with file.open("a") as out:
        out.write("1,4,ze")  # as a killed run leaves it
    code, _, err = run(capsys, *arguments, "--output", file)
    assert code == 0 and "4 are in the file already" in err
    assert file.read_text() == whole.read_text()
    assert len(calls) == 5 + 20
    assert run(capsys, *arguments, "--output", file)[0] == 0 and len(calls) == 25
    # Other settings stand beside, other windows don't.
    assert run(capsys, *arguments, "--mode", "mean", "--output", file)[0] == 0
    assert len(file.read_text().splitlines()) == 1 + 2 * 24
    code, _, err = run(capsys, *arguments[:-1], 32, "--output", file)
    assert code == 2 and "holds effects over 62 positions, not 31" in one_line(err)


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl"])
def test_rows_of_another_store_or_of_other_windows_are_not_taken_for_known(store, model, tmp_path, capsys, name):
    """However many positions there are."""
    file, neurons = tmp_path / name, ["--neurons", "L0N1", "--output", tmp_path / name]
    assert run(capsys, "ablate", store, "--tokens", 64, *neurons)[0] == 0
    with ffnscope.store.open(store) as opened:
        own = opened.run.run_id[:16]
    assert own in file.read_text() and own in run(capsys, "info", store)[1]
    other = collect(model, tmp_path / "other", keep="20", text=tm.random_text(np.random.default_rng(9), 900))
    before = file.read_text()
    for _ in range(2):
        code, _, err = run(capsys, "ablate", other, "--tokens", 64, *neurons)
        assert code == 2 and one_line(err.splitlines(keepends=True)[-1])
        assert f"holds effects of another store, of run '{own}', not " in err and "or --overwrite" in err
        assert file.read_text() == before
    np.save(tmp_path / "w.npy", np.random.default_rng(2).integers(1, tm.VOCAB, (2, tm.SEQ_LEN)))
    code, _, err = run(capsys, "ablate", store, "--data", tmp_path / "w.npy", *neurons)
    assert code == 2 and "holds effects over other windows, or other text; give another" in err
    assert run(capsys, "ablate", other, "--tokens", 64, *neurons, "--overwrite")[0] == 0
    assert own not in file.read_text()


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl"])
def test_a_file_of_an_earlier_version_is_continued_as_it_was_begun(store, tmp_path, capsys, name):
    file, arguments = tmp_path / name, ["ablate", store, "--tokens", 64, "--neurons"]
    assert run(capsys, *arguments, "L0N1,L0N2", "--output", file)[0] == 0
    if name.endswith("csv"):
        old = "".join(",".join(line.split(",")[:-2]) + "\n" for line in file.read_text().splitlines())
    else:
        lines = map(json.loads, file.read_text().splitlines())
        rows = ({key: value for key, value in row.items() if key not in ("run", "windows")} for row in lines)
        old = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)
    file.write_text(old)
    code, _, err = run(capsys, *arguments, "L0N2,L0N3", "--output", file)
    assert code == 0 and "whose rows do not say which store" in err and "1 are in the file already" in err
    text = file.read_text()
    assert text.startswith(old) and len(text.splitlines()) == len(old.splitlines()) + 1
    assert run(capsys, *arguments, "L0N1,L0N2,L0N3", "--output", file)[0] == 0 and file.read_text() == text
    code, _, err = run(capsys, *arguments[:3], 32, "--neurons", "L0N1", "--output", file)
    assert code == 2 and "holds effects over 62 positions, not 31" in err


def test_a_file_of_something_else_stays(store, tmp_path, capsys):
    file = tmp_path / "notes.csv"
    for content in ("my notes\n", "my notes", '{"a": 1}\n', COLUMNS + "\n1,2\n", "layer,neuron\n", "\xff\xfe\n"):
        file.write_text(content, "latin-1")
        code, _, err = run(capsys, "ablate", store, "--neurons", "L0N1", "--tokens", 64, "--output", file)
        assert code == 2 and "is not a csv file of" in one_line(err)
        assert file.read_text("latin-1") == content
    code, _, _ = run(capsys, "ablate", store, "--neurons", "L0N1", "--tokens", 64, "--output", file, "--overwrite")
    assert code == 0 and file.read_text().startswith(COLUMNS)


def test_other_text(store, model, tmp_path, capsys):
    rng = np.random.default_rng(2)
    words = tmp_path / "words.txt"
    words.write_text(tm.random_text(rng, 200), "utf-8")
    base = ["ablate", store, "--neurons", "L0N5", "--format", "csv"]
    code, out, err = run(capsys, *base, "--data", words)
    assert code == 0 and "6 of 6 windows of" in err and out.splitlines()[1].split(",")[3] == str(6 * (tm.SEQ_LEN - 1))
    np.save(tmp_path / "w.npy", rng.integers(1, tm.VOCAB, (3, tm.SEQ_LEN)))
    assert "3 of 3 windows of" in run(capsys, *base, "--data", tmp_path / "w.npy")[2]
    code, out, _ = run(capsys, *base, "--text", tm.random_text(rng, 9))
    assert code == 0 and out.splitlines()[1].split(",")[3] == "9"
    code, out, _ = run(capsys, *base, "--text", tm.random_text(rng, 9), model)
    assert code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["S"], 2, "say which neurons"),
        (["S", "--neurons", "L0N1", "--where", "layer:0"], 2, "say which neurons"),
        (["S", "--neurons", "L0N1,"], 2, "names no neuron"),
        (["S", "--neurons", "L9N1"], 2, "no layer 9"),
        (["S", "--neurons", "L0N99"], 2, "no neuron 99"),
        (["S", "--where", "foo"], 2, "filter term"),
        (["S", "--where", "layer:9"], 1, "no neuron fits"),
        (["S", "--neurons", "L0N1", "--mode", "median"], 2, "known are zero, mean"),
        (["S", "--neurons", "L0N1", "--format", "xml"], 2, "known are table, csv, jsonl"),
        (["S", "--neurons", "L0N1", "--tokens", "0"], 2, "--tokens"),
        (["S", "--neurons", "L0N1", "--device", "abacus"], 2, "--device abacus"),
        (["S", "--neurons", "L0N1", "--data", "nowhere.txt"], 2, "nowhere.txt"),
        (["S", "--neurons", "L0N1", "--data", "x", "--text", "y"], 2, "exclude each other"),
        (["S", "--neurons", "L0N1", "--text", ""], 2, "no two tokens"),
        (["S", "nowhere", "--neurons", "L0N1"], 2, "nowhere"),
        (["S", "O", "--neurons", "L0N1"], 2, "is not the model that this store was collected from"),
        (["S", "--neurons", "L0N1", "--output", "DIR"], 2, "is a folder"),
        (["S", "--neurons", "L0N1", "--output", "DIR/a/b.csv"], 2, "b.csv"),
        (["S", "--neurons", "L0N1", "--output", "x.txt", "--format", "table"], 2, "a table is for the terminal"),
        (["N", "--neurons", "L0N1"], 2, "keeps no activation bits; collect it with --keep"),
        (["nowhere.ffn", "--neurons", "L0N1"], 2, "nowhere.ffn"),
    ],
)
def test_what_it_refuses_is_one_line(store, model, folder, tmp_path, capsys, monkeypatch, arguments, code, says):
    monkeypatch.chdir(tmp_path)
    other = folder / "other"
    if "O" in arguments and not other.exists():
        shutil.copytree(tm.tiny("opt", folder / "more", seed=1, tokenizer=True), other)
    if "N" in arguments:
        collect(model, tmp_path / "bare", keep="0")
    places = {
        "S": store,
        "O": other,
        "N": tmp_path / "bare" / "s.ffn",
        "DIR": tmp_path,
        "DIR/a/b.csv": tmp_path / "a/b.csv",
    }
    found, out, err = run(capsys, "ablate", *(places.get(word, word) for word in arguments))
    assert found == code and says in err and not out
    if code == 2:
        one_line(err.splitlines(keepends=True)[-1])
