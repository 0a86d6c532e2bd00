"""Several processes on one run (accelerate launch, torchrun): who does what, and how they stay in step.

Only small Python objects travel between the processes, over gloo; bits and hidden states are exchanged through the
scratch folder, which all processes must see. The names are those of accelerate.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from ffnscope.store.errors import UserError, device_full

Item = TypeVar("Item")
Slices = TypeVar("Slices", range, list[tuple[int, int]])
TIMEOUT = timedelta(days=7)  # one process may count for hours while another waits


@dataclass(frozen=True)
class Processes:
    """The ``size`` processes of a run, of which this one is ``rank``; ``local_rank`` and ``local_size`` count those on
    its host."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

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
        dist.all_gather_object(values, value)
        return values

    def gather_on_main(self, value: Any) -> list[Any]:
        """The ``value`` of every process, by rank, on the main process; an empty list on the others."""
        if self.size == 1:
            return [value]
        values: list[Any] | None = [None] * self.size if self.is_main_process else None
        dist.gather_object(value, values, dst=0)
        return values or []

    def broadcast(self, value: Item) -> Item:
        """The main process's ``value``, on every process."""
        return self.gather(value)[0]

    def wait_for_everyone(self) -> None:
        """Wait until all processes have reached this call."""
        self.gather(None)

    def on_all(self, work: Callable[[], Item]) -> Item:
        """Do ``work`` on every process. If one raises UserError, all do, so that none waits forever."""
        result, error = None, None
        try:
            result = work()
        except UserError as raised:
            error = raised
        except torch.OutOfMemoryError as raised:
            if self.size == 1:
                raise
            error = UserError(device_full(f"process {self.rank}: its device", raised))
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


@contextmanager
def join_processes() -> Iterator[Processes]:
    """The processes that this one was started with: itself alone, unless a launcher set RANK and WORLD_SIZE."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield SINGLE_PROCESS
        return
    started = not dist.is_initialized()
    if started:
        dist.init_process_group("gloo", timeout=TIMEOUT)
    try:
        yield Processes(
            dist.get_rank(),
            dist.get_world_size(),
            int(os.environ.get("LOCAL_RANK", "0")),
            int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        )
    finally:
        if started:
            dist.destroy_process_group()
