"""Several processes on one run (accelerate launch, torchrun): who does what, and how they stay in step.

Only small Python objects travel between the processes, over gloo; bits and hidden states are exchanged through the
scratch folder, which all processes must see. The names are those of accelerate.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist

from ffnscope.store.errors import LostProcessError, UserError, device_message, is_device_error

Item = TypeVar("Item")
Slices = TypeVar("Slices", range, list[tuple[int, int]])
NOT_WAITED_FOR = "not waited for"  # the name of threads that do not keep the program from ending
SAY_AFTER = 5.0  # seconds of waiting for the other processes
TIMEOUT = timedelta(days=7)  # one process may count for hours while another waits


@dataclass(frozen=True)
class Processes:
    """The ``size`` processes of a run, of which this one is ``rank``; ``local_rank`` and ``local_size`` count those on
    its host."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    group: dist.ProcessGroup | None = None  # over gloo; None for torch's default group

    @property
    def is_main_process(self) -> bool:
        """Whether this process writes the store and reports."""
        return self.rank == 0

    def share(self, items: Slices) -> Slices:
        """This process's part of ``items``: consecutive, in the order of the ranks; the parts of all make up ``items``."""
        return items[len(items) * self.rank // self.size : len(items) * (self.rank + 1) // self.size]

    def gather(self, value: Any) -> list[Any]:
        """The ``value`` of every process, by rank. Waits for all processes."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with self._others_alive():
            dist.all_gather_object(values, value, group=self.group)
        return values

    def gather_on_main(self, value: Any) -> list[Any]:
        """The ``value`` of every process, by rank, on the main process; an empty list on the others."""
        if self.size == 1:
            return [value]
        values: list[Any] | None = [None] * self.size if self.is_main_process else None
        with self._others_alive():
            dist.gather_object(value, values, dst=0, group=self.group)
        return values or []

    @contextmanager
    def _others_alive(self) -> Iterator[None]:
        """Raise LostProcessError where another process has closed its connection: it ended, or was killed."""
        try:
            yield
        except RuntimeError as error:
            raise LostProcessError(
                f"process {self.rank} of {self.size}: another process of this run has ended; what is finished is in the "
                "store, start all processes again with --resume"
            ) from error

    def broadcast(self, value: Item) -> Item:
        """The main process's ``value``, on every process."""
        return self.gather(value)[0]

    def wait_for_everyone(self) -> None:
        """Wait until all processes have reached this call."""
        self.gather(None)

    @contextmanager
    def beside(self) -> Iterator[Processes]:
        """The same processes, for a second thread of each: what these threads exchange is in an order of its own. Entered by
        all processes."""
        if self.size == 1:
            yield self
            return
        with self._others_alive():
            group = dist.new_group(backend="gloo", timeout=TIMEOUT)
        try:
            yield replace(self, group=group)
        finally:
            with suppress(RuntimeError):  # another process is gone
                dist.destroy_process_group(group)

    def on_all(self, work: Callable[[], Item]) -> Item:
        """Do ``work`` on every process. If one raises UserError, all do, so that none waits forever."""
        result, error = None, None
        try:
            result = work()
        except UserError as raised:
            error = raised
        except RuntimeError as raised:  # torch.OutOfMemoryError is one
            if self.size == 1 or not is_device_error(raised):
                raise
            error = UserError(device_message(f"process {self.rank}: its device", raised))
        messages = [message for message in self.gather(None if error is None else str(error)) if message is not None]
        if messages:
            raise error or UserError(messages[0])
        return result  # type: ignore[return-value]

    def on_main(self, work: Callable[[], Item]) -> Item | None:
        """Do ``work`` on the main process; None on the others. A UserError is raised on all, as by ``on_all``."""
        return self.on_all(lambda: work() if self.is_main_process else None)

    def main_process_first(self, work: Callable[[], Item]) -> Item:
        """Do ``work`` on the main process, and then on the others. A UserError is raised on all, as by ``on_all``."""
        result = self.on_main(work)
        others = self.on_all(lambda: None if self.is_main_process else work())
        return result if self.is_main_process else others  # type: ignore[return-value]


SINGLE_PROCESS = Processes()


def _meet(say: Callable[[str], None]) -> None:
    """Wait until all processes of the run are there, and say for whom where that takes long.

    In a thread: torch waits deaf to signals, this thread hears them. Raises UserError where the processes cannot meet.
    """
    failures: list[Exception] = []

    def meet() -> None:
        try:
            dist.init_process_group("gloo", timeout=TIMEOUT)
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=meet, name=NOT_WAITED_FOR, daemon=True)
    thread.start()
    said_at = time.monotonic() + SAY_AFTER
    while thread.is_alive():
        thread.join(0.1)
        if time.monotonic() > said_at and thread.is_alive():
            said_at = float("inf")
            say(_whom())
    if failures:
        reason = " ".join(str(failures[0]).split())[:200]
        raise UserError(f"{_whom()}, but cannot reach them ({reason}); check MASTER_ADDR, MASTER_PORT, RANK and WORLD_SIZE"
                        ) from failures[0]  # fmt: skip


def _whom() -> str:
    rank, size = os.environ.get("RANK", "?"), os.environ["WORLD_SIZE"]
    place = f"{os.environ.get('MASTER_ADDR', '?')}:{os.environ.get('MASTER_PORT', '?')}"
    if rank != "0":
        return f"process {rank} of {size} waits for process 0 at {place}"
    others = "process 1" if size == "2" else f"processes 1 to {int(size) - 1}"
    return f"process 0 of {size} waits for {others} at {place}"


@contextmanager
def join_processes(say: Callable[[str], None] = lambda line: None) -> Iterator[Processes]:
    """The processes that this one was started with: itself alone, unless a launcher set RANK and WORLD_SIZE.

    ``say`` is given a line where the others keep this one waiting. Where the caller has made torch's process group
    already, over NCCL perhaps, the run talks over a gloo group of its own, and leaves the caller's as it was.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield SINGLE_PROCESS
        return
    started = not dist.is_initialized()
    if started:
        _meet(say)
    group = None if started else dist.new_group(backend="gloo", timeout=TIMEOUT)
    try:
        yield Processes(
            dist.get_rank(),
            dist.get_world_size(),
            int(os.environ.get("LOCAL_RANK", "0")),
            int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
            group,
        )
    finally:
        with suppress(RuntimeError):  # another process is gone
            dist.destroy_process_group(group)
