"""Processes of a run that start at once: forks of one that has imported torch, transformers and the collector.

These imports are most of what a process costs that collects from a tiny model. A fork is a process like any other: it has
arguments, a folder, an environment and a standard error of its own, and ends by itself or by a signal.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from numba.core.registry import cpu_target

MESSAGE = 1 << 16  # bytes at most
LOOK = 0.02  # seconds between looks for processes that have ended
MODULES = (
    "ffnscope.core.collect",
    "ffnscope.tui.cli",
    "ffnscope.tui.commands.progress",
    "pydantic",
    "torch.distributed",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.opt.modeling_opt",
)


class WarmProcess:
    """One process: what `subprocess.Popen` has of it."""

    def __init__(self, server: WarmServer, pid: int, stderr: int):
        self.pid, self._server = pid, server
        self.stderr = os.fdopen(stderr, encoding="utf-8")

    def wait(self, timeout: float) -> int:
        """How it ended: its exit status, or minus the signal that killed it. Raises TimeoutError."""
        return self._server.wait(self.pid, timeout)

    def communicate(self, timeout: float) -> tuple[int, str]:
        """(how it ended, what it said)."""
        with self.stderr:
            said = self.stderr.read()
        return self.wait(timeout), said

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.pid not in self._server.ended:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it, unless it has ended."""
        self.send_signal(signal.SIGKILL)


class WarmServer:
    """The process that they are forked from."""

    def __init__(self) -> None:
        self.ended: dict[int, int] = {}
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, __file__, str(theirs.fileno())]
            one_thread = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")}
            self._server = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=os.environ | one_thread)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._server.wait()

    def start(self, command: tuple[str, ...], folder: Path, **environment: str) -> WarmProcess:
        """Python's arguments `command`, `-c CODE ...` or `-m MODULE ...`, in `folder`."""
        reading, writing = os.pipe()
        message = json.dumps({"command": command, "folder": str(folder), "environment": environment})
        socket.send_fds(self._socket, [message.encode()], [writing])
        os.close(writing)
        while True:
            answer = self._receive(60)
            if "started" in answer:
                return WarmProcess(self, answer["started"], reading)

    def wait(self, pid: int, timeout: float) -> int:
        """How a process ended. Raises TimeoutError."""
        end = time.monotonic() + timeout
        while pid not in self.ended:
            self._receive(end - time.monotonic())
        return self.ended[pid]

    def _receive(self, timeout: float) -> dict[str, int]:
        if not select.select([self._socket], [], [], max(timeout, 0))[0]:
            raise TimeoutError
        answer = json.loads(self._socket.recv(MESSAGE))
        if "ended" in answer:
            self.ended[answer["ended"]] = os.waitstatus_to_exitcode(answer["status"])
        return answer


def _serve(connection: socket.socket) -> None:
    for module in MODULES:
        importlib.import_module(module)
    # What numba reads when the first compiled loop is called.
    cpu_target.typing_context.refresh()
    cpu_target.target_context.refresh()
    running = set()
    while True:
        if select.select([connection], [], [], LOOK)[0]:
            message, passed, _, _ = socket.recv_fds(connection, MESSAGE, 1)
            if not message:
                return
            stderr = passed[0]
            pid = os.fork()
            if pid == 0:
                connection.close()
                _become(stderr, **json.loads(message))
                return
            running.add(pid)
            os.close(stderr)
            connection.send(json.dumps({"started": pid}).encode())
        while running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            running.remove(pid)
            connection.send(json.dumps({"ended": pid, "status": status}).encode())


def _become(stderr: int, command: list[str], folder: str, environment: dict[str, str]) -> None:
    """Run what is asked for; whatever it raises ends the process as it ends any."""
    os.dup2(stderr, 2)
    os.close(stderr)
    os.chdir(folder)
    os.environ.update(environment)
    kind, what, *arguments = command
    sys.argv = [kind, *arguments]
    if kind == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
