"""A run in a process of its own while the browser shows what is finished: started, watched, asked about, waited for."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import typer

from ffnscope.store.errors import UserError
from ffnscope.tui.commands.progress import Reporter, Status
from ffnscope.tui.commands.shared import open_store, safe

LOOK = 0.3  # seconds between looks at the run
STOPPING = 60.0  # seconds that a run may take to stop
QUESTION = "still running: enter waits here, b leaves it in the background, s stops it: "


class BackgroundRun:
    """A command of ffnscope that fills ``store``, in a session of its own: what ends the terminal or the browser, and
    Ctrl-C, do not reach it. What it says goes to ``log``, beside the store."""

    def __init__(
        self,
        arguments: Sequence[str],
        store: Path,
        again: str = "the same command with --resume",
        command: Sequence[str] = ("-m", "ffnscope.tui"),
    ):
        """Start it; ``again`` is what continues it where it was stopped. Raises UserError where the log cannot be written."""
        self.store, self.again = store, again
        self.log = store.with_name(f"{store.name}.log")
        self._begun = time.time()
        try:
            with self.log.open("wb") as log:
                self.process = subprocess.Popen(
                    [sys.executable, *command, *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        except OSError as error:
            raise UserError(f"{self.log}: cannot be written ({error.strerror})") from error

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.poll() is None

    def last_line(self) -> str:
        """The last line of its log."""
        with suppress(OSError):
            lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
            return next((line.strip() for line in reversed(lines) if line.strip()), "")
        return ""

    def failure(self) -> str:
        """Why it failed, in one line; empty while it runs, and where it succeeded."""
        code = self.process.poll()
        if not code:
            return ""
        if code < 0:
            return f"the run was ended by {signal.Signals(-code).name}; {self.last_line() or 'its log is empty'}"
        return self.last_line().removeprefix("ffnscope: ") or f"the run failed with exit code {code}"

    def has_begun(self) -> bool:
        """Whether the store can be opened and is the one of this run."""
        try:
            with open_store(self.store) as opened:
                return opened.progress().updated >= self._begun
        except (UserError, OSError):
            return False

    def stop(self) -> None:
        """Stop it as Ctrl-C does, and wait: finished layers stay in the store."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOPPING)


def collect_and_browse(arguments: Sequence[str], store: Path, finish: Callable[[], None], again: str) -> None:
    """Run a command that fills ``store`` in the background, browse the store meanwhile, and ask what to do with the run
    when the browser is left first. ``finish`` says what there is to say when browser and run are done, ``again`` is what
    continues the run where it was stopped.

    Raises UserError where the run fails, with what it said; typer.Exit where it is left or stopped.
    """
    from ffnscope.tui.commands.view import browse

    run = BackgroundRun(arguments, store, again)
    try:
        _await_store(run)
        browse([store], failure=run.failure)
    except KeyboardInterrupt:
        run.stop()
        raise
    except BaseException:
        if run.running:
            _say(_left(run))
        raise
    if run.running:
        _ask(run)
    if failure := run.failure():
        raise UserError(failure)
    run.log.unlink(missing_ok=True)
    finish()


def _await_store(run: BackgroundRun) -> None:
    """Until there is a store to look at. Raises UserError where the run fails before."""
    with Status("starting:") as status:
        while run.running and not run.has_begun():
            status.say(run.last_line())
            time.sleep(LOOK)
    if failure := run.failure():
        run.log.unlink(missing_ok=True)
        raise UserError(failure)


def _ask(run: BackgroundRun) -> None:
    """Ask until the run is over. Raises typer.Exit where the user leaves it running, or stops it."""
    while run.running:
        try:
            print(QUESTION, end="", file=sys.stderr, flush=True)
            answer = sys.stdin.readline()
        except (KeyboardInterrupt, OSError, ValueError):
            answer = ""
            _say("")
        choice = answer.strip().lower()[:1]
        if choice == "s":
            run.stop()
            _say(f"stopped; {run.again} continues ({safe(str(run.store), sys.stderr)})")
            raise typer.Exit(130)
        if choice == "b" or not answer:  # no answer at all: nobody is there
            _say(_left(run))
            raise typer.Exit(0)
        if not choice:
            with suppress(KeyboardInterrupt):
                _wait(run)


def _wait(run: BackgroundRun) -> None:
    with Reporter() as report, open_store(run.store) as opened:
        while run.running:
            report(opened.progress())
            time.sleep(LOOK)


def _left(run: BackgroundRun) -> str:
    store, log = safe(str(run.store), sys.stderr), safe(str(run.log), sys.stderr)
    return f"{store}: the run goes on in the background (process {run.process.pid}, `kill {run.process.pid}` stops it; log {log})"


def _say(text: str) -> None:
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)
