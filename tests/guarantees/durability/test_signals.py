"""Signals and hang-ups, in a terminal: it is left as it was found, and what was done is there."""

from __future__ import annotations

import os
import pty
import select
import signal
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models as tm
from exact import run, sources_of
from pty_browser import PtyBrowser
from same_store import contents
from synthetic import make_store

from ffnscope.core.corpus.sources import DomainSource
from ffnscope.store.notes import Notes
from ffnscope.store.reader import Store
from ffnscope.store.records import Progress
from ffnscope.store.verify.check import verify

OPTIONS: dict[str, Any] = {"bos_id": tm.BOS_ID, "batch_size": 4, "min_occurrences": 2}
SECONDS = 60
SIGNALS = [signal.SIGTERM, signal.SIGHUP, signal.SIGINT]


def ended(process: int, terminal: int | None) -> tuple[int, bytes]:
    """The exit code of a process and what it still sends. Raises AssertionError where it goes on."""
    deadline, sent = time.monotonic() + SECONDS, b""
    while time.monotonic() < deadline:
        if terminal is not None and select.select([terminal], [], [], 0.05)[0]:
            try:
                sent += os.read(terminal, 1 << 16)
            except OSError:
                terminal = None
        else:
            time.sleep(0.02)
        number, status = os.waitpid(process, os.WNOHANG)
        if number:
            while terminal is not None and select.select([terminal], [], [], 0.1)[0]:
                try:
                    sent += os.read(terminal, 1 << 16)
                except OSError:
                    break
            return os.waitstatus_to_exitcode(status), sent
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    raise AssertionError("it goes on")


def restored(sent: bytes) -> None:
    """The other screen is left, the cursor shown, mouse and bracketed paste are off."""
    for on, off in ((b"\x1b[?1049h", b"\x1b[?1049l"), (b"\x1b[?25l", b"\x1b[?25h")):
        assert sent.rfind(off) > sent.rfind(on) >= 0, (on, sent[-400:])
    for mode in (b"1000", b"1003", b"1006", b"2004"):
        on, off = b"\x1b[?" + mode + b"h", b"\x1b[?" + mode + b"l"
        assert on not in sent or sent.rfind(off) > sent.rfind(on), (on, sent[-400:])


@pytest.mark.parametrize("how", [*SIGNALS, "typed"])
def test_the_browser_leaves_the_terminal_as_it_was_and_keeps_marks(how: signal.Signals | str, tmp_path: Path) -> None:
    path = make_store(tmp_path / "s.ffn", layers=1, neurons=16)
    browser = PtyBrowser(path, 80, 24)
    terminal = browser._terminal
    before = termios.tcgetattr(terminal)
    browser.wait_for("layers")
    browser.press("l")
    browser.press(" ")
    assert termios.tcgetattr(terminal) != before
    if isinstance(how, str):
        os.write(terminal, b"\x03")
    else:
        os.kill(browser.process, how)
    _, sent = ended(browser.process, terminal)
    after = termios.tcgetattr(terminal)
    os.close(terminal)
    restored(browser.raw + sent)
    assert after == before
    assert b"Traceback" not in browser.raw + sent
    with Store.open(path) as store, Notes.open(path) as notes:
        assert store.complete and list(verify(store)) == []
        assert len(notes.marks()) == 1


def test_a_browser_whose_terminal_is_gone_ends(tmp_path: Path) -> None:
    path = make_store(tmp_path / "s.ffn", layers=1, neurons=16)
    browser = PtyBrowser(path, 80, 24)
    browser.wait_for("layers")
    os.close(browser._terminal)
    ended(browser.process, None)
    with Store.open(path) as store:
        assert list(verify(store)) == []


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five layers."""
    return tm.tiny("opt", tmp_path_factory.mktemp("model"), num_hidden_layers=5)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[DomainSource, ...]:
    """A domain of windows."""
    windows = tm.random_windows(np.random.default_rng(0), 60, 12, tm.VOCAB, 0)
    return sources_of(tmp_path_factory.mktemp("data"), {"all": windows})


@pytest.fixture(scope="module")
def whole(model: Path, sources: tuple[DomainSource, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an undisturbed run makes."""
    return run(model, sources, tmp_path_factory.mktemp("whole") / "run.ffn", **OPTIONS)


def collecting(
    model: Path, sources: tuple[DomainSource, ...], store: Path, hangup: Any = signal.SIG_DFL
) -> tuple[int, int]:
    """``ffnscope collect`` on a terminal of its own, slowed down: its process and the terminal."""
    arguments = ["collect", str(model), "--store", str(store), "--bos-id", str(tm.BOS_ID), "--batch-size", "4"]
    arguments += ["--min-occurrences", "2", "--device", "cpu", "--group-layers", "1"]
    arguments += ["--data", f"{sources[0].name}={sources[0].path}"]
    process, terminal = pty.fork()
    if process:
        return process, terminal
    signal.alarm(SECONDS)
    try:
        from ffnscope.tui.cli import main
        from ffnscope.tui.commands import progress

        draw: Callable[..., None] = progress.Reporter.__call__

        def slowly(self: Any, event: Any) -> None:
            draw(self, event)
            if isinstance(event, Progress) and event.layers_done == 2:
                time.sleep(0.1)

        progress.Reporter.__call__ = slowly  # type: ignore[method-assign]
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, hangup)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ["TERM"] = "xterm-256color"
        for number, mode in enumerate("rww"):
            setattr(__import__("sys"), ("stdin", "stdout", "stderr")[number], os.fdopen(number, mode, closefd=False))
        os._exit(main(arguments))
    finally:
        os._exit(1)


def read_until(terminal: int, text: bytes) -> bytes:
    """What is sent until a text is among it."""
    deadline, sent = time.monotonic() + SECONDS, b""
    while text not in sent:
        assert time.monotonic() < deadline, sent[-400:]
        if select.select([terminal], [], [], 0.1)[0]:
            sent += os.read(terminal, 1 << 16)
    return sent


@pytest.mark.parametrize("how", [*SIGNALS, "typed", "gone"])
def test_collect_leaves_the_terminal_as_it_was_and_goes_on(
    how: signal.Signals | str, model: Path, sources: tuple[DomainSource, ...], whole: Path, tmp_path: Path
) -> None:
    store = tmp_path / "run.ffn"
    process, terminal = collecting(model, sources, store)
    before = termios.tcgetattr(terminal)
    sent = read_until(terminal, b"2 of 5 layers")
    if how == "gone":
        os.close(terminal)
        ended(process, None)
    else:
        if isinstance(how, signal.Signals):
            os.kill(process, how)
        else:
            os.write(terminal, b"\x03")
        code, rest = ended(process, terminal)
        after = termios.tcgetattr(terminal)
        os.close(terminal)
        sent += rest
        assert code == 130, (code, sent[-600:])
        assert b"--resume" in sent and b"Traceback" not in sent
        assert b"\x1b[?25l" in sent and sent.rfind(b"\x1b[?25h") > sent.rfind(b"\x1b[?25l")
        assert after == before
    with Store.open(store) as opened:
        assert not opened.complete and len(opened.layers()) >= 2
        assert list(verify(opened)) == []
    run(model, sources, store, resume=True, **OPTIONS)
    assert contents(store) == contents(whole)


def test_a_run_that_ignores_hang_ups_outlives_its_terminal(
    model: Path, sources: tuple[DomainSource, ...], whole: Path, tmp_path: Path
) -> None:
    store = tmp_path / "run.ffn"
    process, terminal = collecting(model, sources, store, hangup=signal.SIG_IGN)  # as nohup and disown leave it
    read_until(terminal, b"2 of 5 layers")
    os.kill(process, signal.SIGHUP)
    os.close(terminal)
    code, _ = ended(process, None)
    assert code == 0
    assert contents(store) == contents(whole)
