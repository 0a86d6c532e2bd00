"""`ffnscope ask` and `ffnscope contexts` on the command line."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from commands import one_line, run
from synthetic import make_store

import ffnscope.store
from ffnscope.store.query.ask import COLUMNS


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("ask") / "s.ffn", neurons=120, hostile=True, keep=30)


@pytest.fixture(scope="module")
def detector(store):
    """A token detector with misses of layer 0, and one of its places of each sort."""
    with ffnscope.store.open(store) as opened:
        from ffnscope.store.query.contexts import missed

        for layer, neuron in opened.select("kind:token").tolist():
            if len(missed(opened, layer, neuron)):
                return f"L{layer}N{neuron}"
        return "L{}N{}".format(*opened.select("kind:token")[0])


def test_files_say_what_python_says(store, capsys, tmp_path):
    query = "token:the -position:0-9"
    code, out, err = run(capsys, "ask", store, query, "--format", "csv", "--by", "phi", "--min-hits", 1)
    rows = list(csv.DictReader(io.StringIO(out)))
    with ffnscope.store.open(store) as opened:
        answer = opened.ask(query, by="phi", min_hits=1)
    assert code == 0 and tuple(rows[0]) == COLUMNS and len(rows) == len(answer)
    assert [(int(row["layer"]), int(row["neuron"])) for row in rows] == list(
        zip(answer["layer"].tolist(), answer["neuron"].tolist(), strict=True)
    )
    assert f"{answer.positions:,} kept of {answer.corpus_positions:,} positions" in err and "chance" in err
    code, lines, _ = run(capsys, "ask", store, query, "--format", "jsonl", "--top", 3)
    assert code == 0 and [list(json.loads(line)) for line in lines.splitlines()] == [list(COLUMNS)] * 3
    code, nothing, _ = run(
        capsys, "ask", store, query, "--format", "csv", "-o", tmp_path / "a.csv", "--where", "layer:1"
    )
    assert code == 0 and not nothing and (tmp_path / "a.csv").read_text().startswith("layer,neuron,hits\n"[:12])
    assert one_line(run(capsys, "ask", store, query, "-o", tmp_path / "a.csv")[2])


def test_a_query_may_begin_with_a_negated_term(store, capsys):
    query = "-token:the position:3-20"
    with ffnscope.store.open(store) as opened:
        answer = opened.ask(query, where="-layer:1", top=3)
    for arguments in (
        (store, query, "--where", "-layer:1", "--top", 3),
        ("--top", 3, "--where", "-layer:1", store, query),
        ("--top", 3, "--where", "-layer:1", "--", store, query),
    ):
        code, out, err = run(capsys, "ask", "--format", "csv", *arguments)
        rows = list(csv.DictReader(io.StringIO(out)))
        assert code == 0 and f"fit {query}" in err
        assert [int(row["neuron"]) for row in rows] == answer["neuron"].tolist()
    code, _, err = run(capsys, "ask", store, "-domain:nowhere")
    assert code == 2 and "no domain 'nowhere'" in one_line(err)
    code, _, err = run(capsys, "ask", store, "x", "--nothing:x")
    assert code == 2 and "No such option" in one_line(err)


def test_a_table(store, capsys):
    code, out, err = run(capsys, "ask", store, "text:/school/", "--top", 4)
    assert code == 0 and len(out.splitlines()) == 5 and out.startswith("neuron")
    assert "fit text:/school/" in err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["ask", "S", "token:nowhere"], 1, "no position of"),
        (["ask", "S", "tokn:x"], 2, "no term 'tokn'"),
        (["ask", "S", "text:/(/"], 2, "not a regular expression"),
        (["ask", "S", "token:a", "--by", "x"], 2, "known are f1"),
        (["ask", "S", "token:a", "--format", "xml"], 2, "known are table"),
        (["ask", "S", "token:a", "--where", "x"], 2, "filter term"),
        (["ask", "N", "token:a"], 2, "keeps no activation bits; collect it with --keep"),
        (["contexts", "N", "L0N1"], 2, "keeps no activation bits; collect it with --keep"),
        (["contexts", "S", "5"], 2, "as in L2N10"),
        (["contexts", "S", "L0N120"], 2, "0 to 119"),
        (["contexts", "S", "L7N0"], 2, "no layer 7"),
        (["contexts", "S", "L0N0", "--where", "foo"], 2, "query term 'foo'"),
        (["contexts", "S", "L0N0", "--where", "token:nowhere"], 1, "0 activations at"),
    ],
)
def test_what_cannot_be_answered_is_one_line(store, tmp_path, capsys, arguments, code, says):
    none = make_store(tmp_path / "none.ffn", layers=1, neurons=20)
    given = [{"S": store, "N": none}.get(word, word) for word in arguments]
    found, out, err = run(capsys, *given)
    assert found == code and not out and says in err and err.count("\n") == 1


def test_every_kept_activation_in_context(store, capsys, detector):
    code, out, err = run(capsys, "contexts", store, detector, "--format", "csv", "--width", 1000)
    rows = list(csv.DictReader(io.StringIO(out)))
    _, lines, _ = run(capsys, "contexts", store, detector, "--format", "jsonl", "--width", 1000)
    with ffnscope.store.open(store) as opened:
        layer, neuron = map(int, detector[1:].split("N"))
        kept, members = opened.kept, opened.kept.neuron(layer, neuron)
        places = [
            (int(kept.windows[i]), p) for i, p in zip(kept.window_of[members], kept.position_of[members], strict=True)
        ]
        assert code == 0 and [(int(row["window"]), int(row["position"])) for row in rows] == places
        assert f"{len(places):,} activations at {kept.positions:,} kept of" in err
        for line, (window, position) in zip(map(json.loads, lines.splitlines()), places, strict=True):
            texts = [opened.vocabulary.text(t) for t in opened.window(window).tolist()]
            assert line["token"] == texts[position] and line["position"] == position
            if all(map(opened.vocabulary.whole, opened.window(window).tolist())) and "\ud83d" not in "".join(texts):
                assert line["left"] == "".join(texts[1:position]) and line["right"] == "".join(texts[position + 1 :])
    code, text, _ = run(capsys, "contexts", store, detector, "--limit", 3, "--width", 10)
    assert code == 0 and len(text.splitlines()) == 3


@pytest.mark.parametrize("format", ["text", "csv", "jsonl"])
@pytest.mark.parametrize("more", [[], ["--beside"], ["--misses"], ["--sort", "left"], ["--sort", "right"]])
def test_nothing_that_acts_on_a_terminal_is_written(store, capsys, format, more, detector):
    code, out, _ = run(capsys, "contexts", store, "L0N1" if not more else detector, "--format", format, *more)
    assert code in (0, 1)
    assert not any(char in out for char in "\x00\x07\x1b\x9b\u202e\u200b\u2028\ufeff\r")


def test_contexts_by_strength_begin_with_the_strongest_known(store, capsys, detector):
    layer, neuron = map(int, detector[1:].split("N"))
    code, out, _ = run(capsys, "contexts", store, detector, "--sort", "strength", "--format", "csv")
    rows = [(int(row["window"]), int(row["position"])) for row in csv.DictReader(io.StringIO(out))]
    with ffnscope.store.open(store) as opened:
        known = {(c.window, c.position): c.activation for c in opened.neuron(layer, neuron).strongest}
    first = [known[place] for place in rows if place in known]
    assert code == 0 and first and first == sorted(first, reverse=True)
    assert all(place in known for place in rows[: len(first)]) and rows[len(first) :] == sorted(rows[len(first) :])


def test_neighbours_and_misses(store, capsys):
    from ffnscope.store.query.contexts import missed, neighbours

    with ffnscope.store.open(store) as opened:
        kept = opened.kept
        for layer, neuron in opened.select("kind:detector").tolist()[:12]:
            active = kept.neuron(layer, neuron)
            rows = np.flatnonzero(active)
            tokens, counts = neighbours(kept, rows, -1)
            before = [
                int(kept.tokens[kept.window_of[r], kept.position_of[r] - 1]) for r in rows if kept.position_of[r] > 0
            ]
            assert dict(zip(tokens.tolist(), counts.tolist(), strict=True)) == {t: before.count(t) for t in set(before)}
            ngrams = [ngram.tokens for ngram in opened.neuron(layer, neuron).detected]
            wanted = []
            for row, (i, p) in enumerate(zip(kept.window_of.tolist(), kept.position_of.tolist(), strict=True)):
                ends = any(p + 1 - len(n) >= 0 and tuple(kept.tokens[i, p + 1 - len(n) : p + 1]) == n for n in ngrams)
                if ends and not active[row]:
                    wanted.append(row)
            assert missed(opened, layer, neuron).tolist() == wanted


def test_ctrl_c_ends_a_regular_expression_that_never_ends(tmp_path):
    path = make_store(tmp_path / "s.ffn", layers=1, neurons=8, seq_len=256, windows=8, keep=8)
    query = r"text:/(\w|\s|.|\n)+(\w|\s|.|\n)+\x01$/"
    code = (
        # A shell's background jobs, and what they start, ignore SIGINT.
        "import signal, sys\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from ffnscope.store.bits import window_text\nfrom ffnscope.tui.cli import main\n"
        "window_text.SECONDS = 60\nWindowTexts = window_text.WindowTexts\n"
        "matches = WindowTexts.matches\n"
        "def said(*given):\n    print('searching', flush=True)\n    return matches(*given)\n"
        "WindowTexts.matches = said\nsys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "ask", str(path), query]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline() == b"searching\n"
        time.sleep(0.5)
        begun = time.monotonic()
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=50)
    assert child.returncode == 130 and not out and not err
    assert time.monotonic() - begun < 40  # of the 60 s after which the expression is given up
