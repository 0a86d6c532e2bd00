"""Commands as a script or a user at a terminal sees them: exit codes, one-line errors, what goes where."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest
from commands import ffnscope, one_line, run
from damage import change, flip
from synthetic import make_store

from ffnscope.store.format.keys import LAYER_KEY
from ffnscope.store.notes import Notes
from ffnscope.store.reader import Store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("cli") / "s.ffn", neurons=64, hostile=True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["info", "nope.ffn"], "nope.ffn: no such store; `ffnscope collect"),
        (["search", "nope.ffn", "a"], "no such store"),
        (["export", "nope.ffn"], "no such store"),
        (["report", "nope.ffn"], "no such store"),
        (["verify", "nope.ffn"], "no such store"),
        (["view", "nope.ffn"], "view needs a terminal"),
        (["info", "."], "not an ffnscope store"),
        (["info", "bad\x1b[31m\nname"], "bad␛[31m⏎name"),
        (["nonsense"], "nonsense"),
        (["export"], "STORE"),
        (["export", "S", "--nonsense"], "--nonsense"),
        (["search", "S", "a", "--limit", "x"], "--limit"),
        (["search", "S", ""], "TEXT is empty"),
        (["compare", "S"], "1 store given; compare takes 2"),
        (["export", "S", "--where", "kind:token foo"], "'foo' at position 12"),
        (["export", "S", "--sort", "nope"], "no column 'nope'"),
        (["export", "S", "--columns", "layer,nope"], "no column 'nope'"),
        (["export", "S", "--format", "xml"], "csv, jsonl"),
        (["export", "S", "--output", "/nowhere/out.csv"], "/nowhere/out.csv: cannot be written"),
        (["collect", "m", "--store", "x.ffn"], "--data"),
        (["collect", "m", "--store", "x.ffn", "--data", "a"], "write NAME=PATH"),
        (["collect", "m", "--store", "x.ffn", "--data", "a=b", "--device", "tpu"], "auto, cpu, cuda or mps"),
        (["collect", "m", "--store", "x.ffn", "--data", "a=b", "--dtype", "int8"], "float16"),
        (["collect", "m", "--store", "x.ffn", "--data", "a=b", "--seq-len", "1"], "--seq-len"),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_exit_2(capsys, monkeypatch, tmp_path, store, arguments, says):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *[store if word == "S" else word for word in arguments])
    assert (code, out) == (2, "")
    assert says in one_line(err) and "\x1b" not in err
    assert list(tmp_path.iterdir()) == []


def test_the_same_as_a_process(store):
    code, out, err = ffnscope("info", "nope.ffn")
    assert (code, out) == (2, "") and "no such store" in one_line(err)
    code, out, err = ffnscope("export", store, "--where", "x", PYTHONIOENCODING="ascii")
    assert code == 2 and one_line(err).isascii()
    assert ffnscope("--version")[:2] == (
        0,
        f"ffnscope {__import__('importlib.metadata').metadata.version('ffnscope')}\n",
    )
    code, out, _ = ffnscope("--help")
    assert code == 0
    for command in ("demo", "collect", "view", "search", "export", "report", "compare", "info", "verify"):
        assert command in out


def test_export_writes_the_same_bytes_everywhere(store, tmp_path):
    arguments = ("export", store, "--where", "kind:detector", "--sort", "-freq")
    code, out, err = ffnscope(*arguments)
    assert (code, err) == (0, "")
    path = tmp_path / "out.csv"
    code, nothing, err = ffnscope(*arguments, "--output", path, PYTHONIOENCODING="latin-1", LC_ALL="C")
    assert (code, nothing) == (0, "") and "neurons written to" in err
    assert path.read_bytes().decode() == out == ffnscope(*arguments, PYTHONIOENCODING="ascii")[1]
    assert ffnscope(*arguments, "--output", path)[0] == 2 and path.read_bytes().decode() == out
    rows = list(csv.DictReader(io.StringIO(out, newline="")))
    assert rows and {row["kind"] for row in rows} <= {"token", "bigram", "trigram"}
    assert [float(row["frequency"]) for row in rows] == sorted((float(row["frequency"]) for row in rows), reverse=True)


def test_export_of_chosen_columns_and_json_lines(capsys, store):
    code, out, _ = run(capsys, "export", store, "--columns", "layer,neuron,freq", "--where", "layer:1 neuron:3")
    assert code == 0 and out.splitlines()[0] == "layer,neuron,frequency" and out.splitlines()[1].startswith("1,3,")
    code, out, _ = run(capsys, "export", store, "--format", "jsonl", "--where", "kind:token")
    assert code == 0 and {json.loads(line)["kind"] for line in out.splitlines()} == {"token"}


def test_export_of_the_marked(capsys, store):
    with Notes.open(store) as notes:
        notes.set_marks([(1, 7), (0, 60)], True)
        notes.set_note(1, 8, "look")
    assert run(capsys, "export", store, "--columns", "l,n", "--where", "marked")[1] == "layer,neuron\n0,60\n1,7\n"
    assert run(capsys, "export", store, "--columns", "l,n", "--where", "noted")[1] == "layer,neuron\n1,8\n"


def test_search_names_detectors_or_exits_1(capsys, store):
    code, out, err = run(capsys, "search", store, "e", "--limit", "7", "--detectors-only")
    assert code == 0 and err == "" and len(out.splitlines()) == 7
    assert run(capsys, "search", store, "e", "--limit", "7")[1] == out
    assert all(line.startswith("L") and "%" in line for line in out.splitlines())
    code, out, err = run(capsys, "search", store, "e", "--json", "--detectors-only")
    hits = json.loads(out)
    assert code == 0 and [hit["matched_share"] for hit in hits] == sorted(
        (h["matched_share"] for h in hits), reverse=True
    )
    with Store.open(store) as opened:
        for hit in hits:
            neuron = opened.neuron(hit["layer"], hit["neuron"])
            assert hit["kind"] == neuron.kind and hit["activations"] == neuron.activations
            assert any("e" in "".join(each["tokens"]).casefold() for each in hit["matched"])
    assert run(capsys, "search", store, "no token is so")[0] == 1
    code, out, _ = run(capsys, "search", store, "no token is so", "--json")
    assert code == 1 and json.loads(out) == []
    code, out, err = run(capsys, "search", store, "\x1b[31mnone")
    assert code == 1 and "\x1b" not in err


def test_search_lists_the_neurons_that_come_closest_below_the_detectors(capsys, store):
    code, out, _ = run(capsys, "search", store, "e")
    alone = run(capsys, "search", store, "e", "--detectors-only")[1]
    near = out.removeprefix(alone).splitlines()
    assert code == 0 and out.startswith(alone) and len(near) == 20
    assert all(line.startswith("L") and line.count("%") == 2 and " mostly at " in line for line in near)
    hits = json.loads(run(capsys, "search", store, "e", "--json", "--limit", "60")[1])
    assert [hit["match"] for hit in hits] == ["detects"] * len(alone.splitlines()) + ["mostly at"] * (
        60 - len(alone.splitlines())
    )
    scores = [hit["f1"] for hit in hits if hit["match"] == "mostly at"]
    assert scores == sorted(scores, reverse=True)
    with Store.open(store) as opened:
        detected = {opened.vocabulary.text(g.tokens[0]) for n in opened.iterate() if n.order == 1 for g in n.detected}
        met = {opened.vocabulary.text(g.tokens[0]) for n in opened.iterate() for g in n.top_ngrams[0][:5]}
    word = min(met - detected)
    code, out, err = run(capsys, "search", store, f'"{word}"')
    assert code == 1 and "mostly at" in out and "no neuron detects" in err and "fire mostly at" in err
    assert run(capsys, "search", store, f'"{word}"', "--detectors-only")[:2] == (1, "")
    assert run(capsys, "search", store, f"/^{re.escape(word)}$/")[:2] == (1, out)
    code, out, err = run(capsys, "search", store, "/(/")
    assert code == 2 and out == "" and "is not a regular expression" in one_line(err)


def test_info_says_what_the_store_is(capsys, store):
    code, out, _ = run(capsys, "info", store)
    for part in ("synthetic (opt)", "2 layers x 64 neurons", "40 windows x 64 = 2,560", "wiki", "top_k 20", "complete"):
        assert part in out
    facts = json.loads(run(capsys, "info", store, "--json")[1])
    assert code == 0 and facts["layers"] == [0, 1] and facts["corpus"]["positions"] == 2560
    assert facts["progress"]["state"] == "complete" and facts["bytes_on_disk"] > 10_000
    assert [domain["name"] for domain in facts["corpus"]["domains"]] == ["wiki", "code"]


def test_info_of_a_run_that_goes_on(capsys, tmp_path):
    path = make_store(tmp_path / "s.ffn", layers=4, neurons=16, complete=False)
    out = run(capsys, "info", path)[1]
    assert "collecting, 2 of 4 layers, 50%" in out and "12,346 tokens/s" in out and "left" in out


def test_report_has_a_row_a_layer(capsys, store):
    code, out, _ = run(capsys, "report", store)
    part = out[out.index("1b: mean") : out.index("Figure 2")]
    rows = [line.split() for line in part.splitlines() if line.split() and line.split()[0] in ("0", "1")]
    rows = [row for row in rows if row[1:2] == ["64"]]
    assert code == 0 and [row[0] for row in rows] == ["0", "1"]
    with Store.open(store) as opened:
        for layer, row in enumerate(rows):
            assert int(row[2]) == (opened.column(layer, "activations") == 0).sum()
            assert row[3] == f"{100 * (opened.column(layer, 'activations') == 0).mean():.1f}%"


def test_verify_lists_what_is_wrong_and_exits_1(capsys, store, tmp_path):
    assert run(capsys, "verify", store)[:2] == (0, f"{store}: 2 layers, nothing wrong\n")
    path = make_store(tmp_path / "s.ffn", neurons=16)
    change(path, "columns", LAYER_KEY.pack(1) + b"kind", flip)
    code, out, err = run(capsys, "verify", path)
    assert code == 1 and "kind of layer 1: checksum differs" in out and "1 thing is wrong" in one_line(err)
    change(path, "meta", b"run", flip)
    code, out, err = run(capsys, "verify", path)
    assert code == 1 and "damaged" in out


def test_a_closed_pipe_is_quiet(store):
    with subprocess.Popen(
        [sys.executable, "-m", "ffnscope.tui", "export", store], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait() == 141


def test_an_interrupt_is_quiet(capsys, store, monkeypatch):
    from ffnscope.store.query import select

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(select, "select", interrupted)
    assert run(capsys, "export", store) == (130, "", "")


def on_a_terminal(*arguments, **environment):
    """What a command sends to a terminal, and its exit code."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "ffnscope.tui", *map(str, arguments)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8", "COLUMNS": "100"} | environment,
    ) as process:
        os.close(theirs)
        sent = b""
        while select.select([ours], [], [], 20)[0]:
            try:
                part = os.read(ours, 65536)
            except OSError:
                break
            if not part:
                break
            sent += part
        code = process.wait()
    os.close(ours)
    return code, sent.decode("utf-8")


@pytest.mark.parametrize("arguments", ["export S", "export S --format jsonl", "search S e", "search S \x1b", "info S"])
def test_no_token_acts_on_a_terminal(store, arguments):
    code, sent = on_a_terminal(*[store if word == "S" else word for word in arguments.split(" ")])
    assert code == 0 and len(sent) > 100
    assert not set(sent) & {chr(code) for code in (*range(10), 11, 12, *range(14, 32), *range(127, 160))}
    assert not set(sent) & set("\u202e\u200b\u2028\ufeff")


def test_collect_passes_every_option_on(capsys, monkeypatch, tmp_path):
    from dataclasses import asdict

    import ffnscope.core.collect as core

    seen = []
    monkeypatch.setattr(core, "collect", lambda request, report: seen.append((request, report("a line"))))
    given = (
        f"collect some/model --store {tmp_path}/x.ffn --data a=p --data b=q --count-only c=r --seq-len 32 "
        "--max-tokens 100 --batch-size 3 --layers 0-1 --device cpu --dtype float16 --min-occurrences 2 --top-k 7 "
        "--resume --offload --scratch memory:/tmp/sc --scratch-gb 1.5 --bos-id 4 --trust-remote-code"
    )
    code, out, err = run(capsys, *given.split())
    assert code == 0 and out == "" and "a line\n" in err
    request = asdict(seen[0][0])
    assert [(s["name"], str(s["path"]), s["count_only"]) for s in request.pop("sources")] == [
        ("a", "p", False),
        ("b", "q", False),
        ("c", "r", True),
    ]
    assert request | {"store": None} == request | {
        "model": "some/model",
        "store": None,
        "seq_len": 32,
        "max_tokens": 100,
        "batch_size": 3,
        "layers": "0-1",
        "device": "cpu",
        "dtype": "float16",
        "min_occurrences": 2,
        "top_k": 7,
        "resume": True,
        "overwrite": False,
        "offload": True,
        "scratch": Path("/tmp/sc"),
        "hidden": "memory",
        "scratch_gb": 1.5,
        "bos_id": 4,
        "trust_remote_code": True,
    }


def test_no_command_shows_the_help_and_says_so(capsys):
    code, out, err = run(capsys)
    assert code == 2 and "collect" in out and "no command given" in one_line(err)


def test_a_shell_completes_commands_and_options():
    for words, place, expected in (("ffnscope coll", "1", "collect"), ("ffnscope collect --text", "2", "--text-field")):
        _, out, err = ffnscope(_FFNSCOPE_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=place)
        assert expected in out.split(), err


@pytest.mark.parametrize(("term", "says"), [("", "TERM is not set"), ("dumb", "TERM is dumb")])
def test_a_terminal_that_cannot_place_text_is_named_as_it_is(store, term, says):
    code, sent = on_a_terminal("view", store, TERM=term)
    assert code == 2 and says in sent


def test_demo_says_how_to_go_on_where_no_browser_can_run(demo_store):
    code, sent = on_a_terminal("demo", "--store", demo_store, TERM="dumb")
    assert code == 0 and "opens the browser" in sent


def test_demo_opens_what_was_collected_before(capsys, monkeypatch, demo_store):
    monkeypatch.setitem(sys.modules, "ffnscope.core.collect", None)
    code, out, err = run(capsys, "demo", "--store", demo_store, "--no-view")
    assert code == 0 and "collected already" in err
    assert "layer" in out and "suppress" in out and f"ffnscope view {demo_store}" in out


def test_demo_is_of_the_demo_model_only(capsys, store):
    code, out, err = run(capsys, "demo", "--store", store, "--no-view")
    assert (code, out) == (2, "") and "not the demo; give another --store" in one_line(err)
