"""Streams and paths that refuse: full, closed, too long, no UTF-8, pipes and links; and a browser that fails."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from commands import ffnscope, one_line, run
from synthetic import make_store

from ffnscope.store.export.write import write_file
from ffnscope.store.reader import Store

LONG = "x" * 300


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2 layers of 32 neurons with tokens of every bad kind."""
    return make_store(tmp_path_factory.mktemp("streams") / "s.ffn", neurons=32, hostile=True)


def redirected(command: str, *arguments: object) -> tuple[int, str]:
    """Exit code and stderr of a command in a shell, where `$1` and on are the arguments."""
    program = f"{sys.executable} -m ffnscope.tui"
    done = subprocess.run(
        ["bash", "-c", command.replace("ffnscope", program), "bash", *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        stdin=subprocess.DEVNULL,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("where", [">/dev/full", ">&-"])
@pytest.mark.parametrize("command", ["export $1", "export $1 --format jsonl", "info $1", "info $1 --json", "--version"])
def test_output_that_nothing_takes_is_a_line(store: Path, command: str, where: str) -> None:
    code, err = redirected(f"ffnscope {command} {where}", store)
    assert code == 2 and "standard output: cannot be" in one_line(err)


def test_what_is_written_to_a_file_needs_no_output(store: Path, tmp_path: Path) -> None:
    code, err = redirected("ffnscope export $1 --output $2 >&-", store, tmp_path / "out.csv")
    assert code == 0 and "64 neurons written" in err
    assert redirected("ffnscope export $1 --output $2 2>&-", store, tmp_path / "more.csv") == (0, "")
    assert (tmp_path / "more.csv").read_bytes() == (tmp_path / "out.csv").read_bytes()


@pytest.mark.parametrize(
    "arguments",
    [
        ["info", LONG],
        ["verify", LONG],
        ["report", LONG],
        ["export", "S", "--output", LONG],
        ["report", "S", "--html", LONG],
        ["report", "S", "--csv", LONG],
        ["collect", "D", "--data", f"a={LONG}", "--store", "new.ffn"],
        ["collect", "D", "--data", "a=D", "--store", LONG],
    ],
)
def test_a_name_that_no_file_can_have_is_a_line(capsys: Any, store: Path, tmp_path: Path, arguments: list[str]) -> None:
    given = [{"S": str(store), "D": str(tmp_path), "a=D": f"a={tmp_path}"}.get(word, word) for word in arguments]
    code, out, err = run(capsys, *given)
    assert code == 2 and not out.strip()
    assert "File name too long" in one_line(err) or "D" in arguments


def test_a_name_as_long_as_a_file_can_have_is_written(store: Path, tmp_path: Path, capsys: Any) -> None:
    name = "y" * 251 + ".csv"
    assert run(capsys, "export", store, "--output", tmp_path / name)[0] == 0
    assert run(capsys, "report", store, "--html", tmp_path / f"{'z' * 250}.html")[0] == 0
    assert sorted(len(path.name) for path in tmp_path.iterdir()) == [255, 255]


def test_a_store_whose_name_is_no_text_is_read(tmp_path: Path) -> None:
    store = make_store(tmp_path / os.fsdecode(b"st\xff.ffn"), layers=1, neurons=16)
    for command in ("info", "verify", "report", "export"):
        code, out, err = ffnscope(command, store)
        assert code == 0 and out and "Traceback" not in err, (command, err)


def test_a_pipe_and_a_device_are_written_into_and_stay(store: Path, tmp_path: Path) -> None:
    pipe, expected = tmp_path / "pipe", tmp_path / "file"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    with Store.open(store) as opened:
        write_file(pipe, opened)
        write_file(expected, opened)
        write_file(Path("/dev/null"), opened, overwrite=True)
    reader.join(60)
    assert read == [expected.read_bytes()]
    assert pipe.is_fifo() and Path("/dev/null").is_char_device()


def test_a_link_stays_one_and_what_it_points_to_is_replaced(store: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "target").write_text("mine")
    (tmp_path / "link").symlink_to("target")
    code, _, err = run(capsys, "export", store, "--output", tmp_path / "link")
    assert code == 2 and "--overwrite" in one_line(err) and (tmp_path / "target").read_text() == "mine"
    assert run(capsys, "export", store, "--output", tmp_path / "link", "--overwrite")[0] == 0
    assert (tmp_path / "link").is_symlink() and (tmp_path / "target").read_text().startswith("layer,neuron")


def test_the_name_of_a_file_cannot_act_on_the_terminal(store: Path, tmp_path: Path, capsys: Any) -> None:
    code, _, err = run(capsys, "export", store, "--output", tmp_path / "b\x1b[31m.csv")
    assert code == 0 and "\x1b" not in err and "neurons written" in err


def test_search_writes_the_same_bytes_whatever_the_encoding(store: Path) -> None:
    with Store.open(store) as opened:
        detected = [token for neuron in opened.iterate() for ngram in neuron.detected for token in ngram.tokens]
        text = next(text for text in map(opened.vocabulary.text, detected) if text.isprintable() and not text.isascii())
    said = ffnscope("search", store, text)
    assert said[0] == 0 and not said[1].isascii()
    assert ffnscope("search", store, text, PYTHONIOENCODING="latin-1")[:2] == said[:2]


def test_only_collect_is_quiet_in_all_but_the_first_process(tmp_path: Path) -> None:
    assert "no such store" in one_line(ffnscope("info", tmp_path / "none", RANK="1")[2])


def test_a_browser_that_fails_ends_with_an_exit_code(store: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from ffnscope.tui.browser.screen import Browser; from ffnscope.tui.cli import main\n"
        "def fail(self): raise RuntimeError('wrong')\n"
        "Browser.load_plot = fail; sys.exit(main(['view', sys.argv[1]]))"
    )
    process, terminal = pty.fork()
    if not process:
        given = os.environ | {"TERM": "xterm-256color", "XDG_STATE_HOME": str(tmp_path)}
        os.execve(sys.executable, [sys.executable, "-c", program, str(store)], given)
    sent = b""
    try:
        while part := os.read(terminal, 1 << 16):
            sent += part
    except OSError:
        pass
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 1
    assert b"wrong" in sent and sent.rfind(b"\x1b[?1049l") > sent.rfind(b"\x1b[?1049h")
