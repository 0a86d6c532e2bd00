"""Several processes on one run (accelerate launch, torchrun): who does what, and how they stay in step.

Only small Python objects travel between the processes, over gloo; bits and hidden states meet in the scratch folder,
which all of them must see.
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
PATIENCE = timedelta(days=7)  # one process may count for hours while another waits


@dataclass(frozen=True)
class Team:
    """``size`` processes, of which this one is ``rank``; ``local_rank`` and ``local_size`` are those on its host."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes the store."""
        return self.rank == 0

    def share(self, items: Slices) -> Slices:
        """This process's part of ``items``: consecutive, in the processes' order, all of them together everything."""
        return items[len(items) * self.rank // self.size : len(items) * (self.rank + 1) // self.size]

    def gather(self, value: Any) -> list[Any]:
        """Every process's ``value``, by rank; waits until all have come here."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def gather_to_leader(self, value: Any) -> list[Any]:
        """Every process's ``value``, by rank, for the process that leads; an empty list for the others."""
        if self.size == 1:
            return [value]
        values: list[Any] | None = [None] * self.size if self.leads else None
        dist.gather_object(value, values, dst=0)
        return values or []

    def in_turn(self, work: Callable[[bool], Item]) -> Item:
        """Do ``work(True)`` in the process that leads, and after it ``work(False)`` in the others."""
        mine: Item | None = None

        def turn(now: bool) -> None:
            nonlocal mine
            if now:
                mine = work(self.leads)

        self.together(lambda: turn(self.leads))
        self.together(lambda: turn(not self.leads))
        return mine  # type: ignore[return-value]

    def wait(self) -> None:
        """Wait until all processes have come here."""
        self.gather(None)

    def together(self, work: Callable[[], Item]) -> Item:
        """Do ``work`` in every process. Where one of them raises UserError all do, so that none waits for ever."""
        result, error = None, None
        try:
            result = work()
        except UserError as raised:
            error = raised
        except torch.OutOfMemoryError as raised:
            if self.size == 1:
                raise
            error = UserError(device_full(f"process {self.rank}: its device", raised))
        errors = [message for message in self.gather(None if error is None else str(error)) if message is not None]
        if errors:
            raise error or UserError(errors[0])
        return result  # type: ignore[return-value]


ALONE = Team()


@contextmanager
def join_team() -> Iterator[Team]:
    """The team that this process was started in: of one, unless a launcher set RANK and WORLD_SIZE."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    started = not dist.is_initialized()
    if started:
        dist.init_process_group("gloo", timeout=PATIENCE)
    try:
        yield Team(
            dist.get_rank(),
            dist.get_world_size(),
            int(os.environ.get("LOCAL_RANK", "0")),
            int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        )
    finally:
        if started:
            dist.destroy_process_group()
