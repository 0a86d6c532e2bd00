"""What a run says while it goes: a line now and then in a log, a bar on a terminal, no raw text on either."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from ffnscope.store.records import Progress
from ffnscope.tui.commands import progress as module
from ffnscope.tui.commands.progress import Reporter, Status

HALF = Progress("collecting", "counting layer 3", 3, 6, 0.5, 1234.4, 75.0)


def test_a_log_gets_a_line_now_and_then(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with Reporter() as report:
        report("wiki: 5 windows \x1b[31m\nof 8")
        for _ in range(1000):
            report(HALF)
        now[0] += module.LINE_SECONDS
        report(HALF)
        report(HALF)
        report(Progress("complete", "", 6, 6, 1.0, 2000.0))
    out, err = capsys.readouterr()
    half = "counting layer 3: 50%, 3 of 6 layers, 1,234 tokens/s, 1 min 15 s left"
    complete = "complete: 100%, 6 of 6 layers, 2,000 tokens/s"
    assert out == "" and err.splitlines() == ["wiki: 5 windows ␛[31m⏎of 8", half, complete]


CODE = """
from ffnscope.store.records import Progress
from ffnscope.tui.commands.progress import Reporter, Status
with Reporter() as report:
    report("before [/] [red]")
    for i in range(50):
        report(Progress("collecting", "[/]\\x07phase", 1, 2, i / 50, 1000.0, 3.0))
    report("after \\x1b]0;x\\x07 [/]")
with Status("verifying") as status:
    status.update("layer 1", 0.5)
    status.print_result("found")
print("end")
"""


def test_a_terminal_gets_a_bar_and_nothing_raw():
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "100", "PYTHONIOENCODING": "utf-8"}
    with subprocess.Popen([sys.executable, "-c", CODE], stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        sent = b""
        try:
            while part := os.read(ours, 65536):
                sent += part
        except OSError:
            pass
        assert process.wait() == 0
    os.close(ours)
    text = sent.decode("utf-8")
    assert "before [/] [red]" in text and "after ␛]0;x␇ [/]" in text and "[/]␇phase" in text
    assert "1,000 tokens/s" in text and "\x07" not in text and "\x1b]" not in text
    assert text.endswith("found\r\nend\r\n")


@pytest.mark.parametrize("state", ["interrupted", "complete"])
def test_an_end_is_always_said(capsys, state):
    with Reporter() as report:
        report(HALF)
        report(Progress(state, "", 3, 6, 0.5))
    assert capsys.readouterr().err.splitlines()[-1].startswith(state)


def test_a_status_says_nothing_in_a_log(capsys):
    with Status("verifying") as status:
        status.update("layer 1", 0.5)
        status.print_result("a line")
    assert capsys.readouterr() == ("a line\n", "")
