"""Runs in a process of their own: what they say when they fail, what becomes of them, and `collect --view` as a whole."""

from __future__ import annotations

import io
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tiny_models as tm
import typer
from commands import one_line, run
from pty_browser import PtyBrowser
from screens import LARGE, shown
from synthetic import make_store

from ffnscope.store.errors import UserError
from ffnscope.store.reader import Store
from ffnscope.tui.app import FfnscopeApp
from ffnscope.tui.commands import background_run
from ffnscope.tui.commands.background_run import BackgroundRun
from ffnscope.tui.commands.view import default_stores
from ffnscope.tui.drawing.glyphs import UNICODE
from ffnscope.tui.state.remembered import state_path, write_last_viewed

SLEEPS = "import time; print('at work', flush=True); time.sleep(100)"


def script(code: str, store: Path) -> BackgroundRun:
    return BackgroundRun([code], store, command=("-c",))


def await_bytes(terminal: PtyBrowser, text: bytes) -> None:
    deadline = time.monotonic() + 60
    while text not in terminal.raw and time.monotonic() < deadline:
        terminal.read(0.1)
    assert text in terminal.raw


def test_a_run_that_fails_says_why_in_a_line(tmp_path: Path) -> None:
    failing = script("import sys; print('a warning\\nffnscope: bad input'); sys.exit(2)", tmp_path / "s.ffn")
    failing.process.wait(60)
    assert failing.failure() == "bad input" and not failing.running and not failing.has_begun()
    killed = script("import os; os.kill(os.getpid(), 9)", tmp_path / "s.ffn")
    killed.process.wait(60)
    assert "SIGKILL" in killed.failure()
    with pytest.raises(UserError, match="cannot be written"):
        script("", tmp_path / "no" / "s.ffn")


@pytest.mark.parametrize(
    ("answers", "code", "says"),
    [("s\n", 130, "--resume continues"), ("b\n", 0, "goes on in the background"), ("", 0, "stops it; log")],
)
def test_who_leaves_the_browser_is_asked(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answers: str,
    code: int,
    says: str,
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(answers))
    sleeping = script(SLEEPS, make_store(tmp_path / "s.ffn", layers=1, neurons=48))
    assert os.getsid(sleeping.process.pid) == sleeping.process.pid  # what ends this terminal does not end it
    with pytest.raises(typer.Exit) as left:
        background_run._ask(sleeping)
    assert left.value.exit_code == code and says in capsys.readouterr().err
    assert sleeping.running == (code == 0)
    sleeping.stop()


def test_who_waits_sees_it_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
    short = script("import time; time.sleep(1)", make_store(tmp_path / "s.ffn", layers=1, neurons=48))
    background_run._ask(short)
    assert not short.running and not short.failure()


def test_collect_view_shows_layers_while_the_run_goes_on(tmp_path: Path) -> None:
    """The run is halted while its store is looked at, left to itself, and completes."""
    model = tm.tiny("opt", tmp_path, tokenizer=True)
    text = tmp_path / "words.txt"
    text.write_text(tm.random_text(np.random.default_rng(5), 60_000), "utf-8")
    store = tmp_path / "s.ffn"
    command = ["collect", str(model), "--data", f"words={text}", "--store", str(store), "--seq-len", "16", "--view"]
    terminal = PtyBrowser(store, 80, 24, command)
    child = 0
    for _ in range(20_000):
        children = Path(f"/proc/{terminal.process}/task/{terminal.process}/children").read_text().split()
        child = int(children[0]) if children else 0
        if child and (store / "data.mdb").exists():
            break
        terminal.read(0.01, 0.01)
    assert child
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with Store.open(store) as opened:
                if opened.progress().updated:
                    break
        except UserError:
            time.sleep(0.005)
    os.kill(child, signal.SIGSTOP)
    try:
        terminal.wait_for("collecting", 120)
        terminal.press("q")
        await_bytes(terminal, b"b leaves it in")
        terminal.press("b\r")
        await_bytes(terminal, b"goes on in the background")
        assert os.waitstatus_to_exitcode(os.waitpid(terminal.process, 0)[1]) == 0
    finally:
        os.kill(child, signal.SIGCONT)
    deadline = time.monotonic() + 120
    complete = False
    while not complete and time.monotonic() < deadline:
        time.sleep(0.2)
        with Store.open(store) as opened:
            complete = opened.complete
    assert complete


def test_view_without_a_store_takes_the_latest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    with pytest.raises(UserError, match="no store was viewed yet"):
        default_stores()
    viewed = make_store(tmp_path / "viewed.ffn", layers=1, neurons=48)
    write_last_viewed(state_path(), [viewed, tmp_path / "gone.ffn"])
    assert default_stores() == [viewed]
    collected = make_store(Path("collected.ffn"), layers=1, neurons=48)
    assert default_stores() == [collected]
    write_last_viewed(state_path(), [viewed])
    assert default_stores() == [viewed]
    code, _, error = run(capsys, "collect", "m", "--data", "a=b", "--store", "x.ffn", "--view")
    assert code == 2 and "collect --view needs a terminal" in one_line(error)


async def test_a_run_that_failed_is_told_in_the_browser(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s.ffn", layers=2, neurons=48, written=1, complete=False)
    app = FfnscopeApp([store], UNICODE, failure=lambda: "the disk is full\x1b[2J [/]")
    async with app.run_test(size=LARGE) as pilot:
        app.look()
        await pilot.pause(0.2)
        await app.workers.wait_for_complete()
        await pilot.pause(0.1)
        assert "the disk is full␛[2J [/]" in shown(app) and "the run failed" in shown(app)
    app.close()
