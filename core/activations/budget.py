"""Choose the layers per group, and where hidden states are kept between groups, so that a run fits its disk, memory and
device."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

from ffnscope.core.activations.scratch_folder import bytes_used
from ffnscope.store.errors import UserError

SHARE_OF_FREE = 0.8  # of a disk's free space that a run uses by default
SHARE_OF_MEMORY = 0.8  # of the memory that is available: what hidden states and counting take without being told to
OVERLAPPING_GROUPS = 4  # at least, where a group is counted while the next one runs: the last one is counted alone
MOST_THREADS = 32  # for counting: each has arrays as long as the corpus
BUSY_THREADS = 2  # that run the model, write and read while others count
GIB = 1 << 30


@dataclass(frozen=True)
class Plan:
    """Layers per group, the scratch space they take, and where the hidden states between groups are kept."""

    group_layers: int
    groups: int
    scratch_bytes: int  # at most, at any time
    hidden_in_memory: bool = field(default=False, compare=False)
    hidden_bytes: int = field(default=0, compare=False)  # of all windows, once
    snapshots: bool = field(default=False, compare=False)  # whether the disk has room for them
    reason: str = field(default="", compare=False)  # why they are kept there

    def __str__(self) -> str:
        layers = "1 layer" if self.group_layers == 1 else f"{self.group_layers} layers"
        groups = "1 group" if self.groups == 1 else f"{self.groups} groups of {layers}"
        return f"{groups}, {size_text(self.scratch_bytes)} of scratch"

    def hidden_line(self) -> str:
        """Where the hidden states are kept, and why."""
        if self.groups == 1:
            return "one group: no hidden states are kept"
        where = "in memory" if self.hidden_in_memory else "in scratch files"
        why = f"; {self.reason}" if self.reason else ""
        text = f"hidden states between groups are kept {where} ({size_text(self.hidden_bytes)}{why})"
        if self.hidden_in_memory and not self.snapshots:
            return text + "; the disk has no room for copies of them, so a run that is killed repeats its forward pass"
        return text


def make_plan(
    layers: tuple[int, ...],
    windows: int,
    seq_len: int,
    *,
    layer_bytes: int,
    width: int,
    itemsize: int,
    folder: Path,
    scratch_gb: float | None = None,
    group_layers: int | None = None,
    most_layers: int | None = None,
    groups_at_once: int = 1,
    hidden: str = "disk",
    memory: int | None = None,
    host_share: float = 1.0,
) -> Plan:
    """The largest groups whose scratch fits the budget: ``scratch_gb``, else most of the disk's free space.

    ``layer_bytes``: scratch that a recorded layer takes at most. ``itemsize``: bytes of a hidden state's value.
    ``most_layers``: the most layers per group that the device holds, where ``group_layers`` does not give their number.
    ``groups_at_once``: groups whose bits and entering hidden states are on
    the disk at the same time; with two of them, at least OVERLAPPING_GROUPS groups where they fit.

    ``hidden``: where hidden states are kept, ``disk``, ``memory``, or ``auto``: in memory where they fit. There, every
    layer is a group by itself. ``memory``: bytes that are available for them (None where that is not known), on a host
    whose processes run ``host_share`` of the windows. Raises UserError where not even one layer fits.
    """
    copy = windows * seq_len * width * itemsize
    free = shutil.disk_usage(_existing(folder)).free + bytes_used(folder)
    budget = int(scratch_gb * GIB) if scratch_gb is not None else int(free * SHARE_OF_FREE)
    if scratch_gb is not None and budget > free:
        raise UserError(
            f"--scratch-gb {scratch_gb:g}: {folder} has {size_text(free)} free; name another with --scratch"
        )
    total = layers[-1] + 1
    if total == 1 or (group_layers is not None and group_layers >= total):
        hidden = "disk"  # one group keeps none
    in_memory, reason = _choose_memory(hidden, int(copy * host_share), memory)
    copies = 0 if in_memory else 1 + groups_at_once

    def needed(size: int) -> int:
        return min(size * groups_at_once, len(layers)) * layer_bytes + (copies * copy if size < total else 0)

    sizes = [group_layers] if group_layers else _sizes(total, most_layers, in_memory, groups_at_once)
    size = next((candidate for candidate in sizes if needed(candidate) <= budget), None)
    if size is None:
        least = min(needed(candidate) for candidate in sizes)
        raise UserError(
            f"{folder}: {size_text(least)} of scratch are needed and {size_text(budget)} may be used; name a larger "
            "disk with --scratch, raise --scratch-gb, or lower --max-tokens"
        )
    size = min(size, total)
    room = needed(size) + 2 * copy <= budget
    return Plan(size, -(-total // size), needed(size), in_memory, copy, in_memory and room, reason)


def _sizes(total: int, most_layers: int | None, in_memory: bool, groups_at_once: int) -> list[int]:
    """Layers per group in the order in which they are tried."""
    if in_memory:
        return [1]
    most = min(total, most_layers or total)
    few = max(1, min(most, total // OVERLAPPING_GROUPS)) if groups_at_once > 1 else most
    # One group of all layers keeps no hidden states, so it may fit where several do not.
    return [*range(few, 0, -1), *range(most, few, -1)]


def _choose_memory(hidden: str, needed: int, memory: int | None) -> tuple[bool, str]:
    """Whether ``needed`` bytes of hidden states are kept in memory, and why."""
    if hidden == "disk":
        return False, ""
    known = "an unknown amount" if memory is None else size_text(max(memory, 0))
    if hidden == "memory":
        if memory is not None and needed > memory:
            raise UserError(
                f"--scratch memory: hidden states take {size_text(needed)} and {known} of memory are available beside "
                "counting; leave them on the disk (--scratch disk), or lower --max-tokens"
            )
        return True, "as --scratch says"
    if memory is not None and needed <= memory * SHARE_OF_MEMORY:
        return True, f"they fit the {known} of memory that are available"
    return False, f"they do not fit the {known} of memory that are available"


def available_memory() -> int | None:
    """Bytes of memory that can be used without swapping, None where the system does not say."""
    lines = Path("/proc/meminfo").read_text().splitlines() if Path("/proc/meminfo").is_file() else []
    free = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
    limits = [limit for limit in (free, _control_group_memory()) if limit is not None]
    return min(limits, default=None)


def _control_group_memory(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int | None:
    """Bytes that this process's control group may still use, as Slurm and containers limit it; None without a limit."""
    try:
        paths = [line.split("::", 1)[1] for line in own.read_text().splitlines() if line.startswith("0::")]
    except OSError:
        return None
    left = []
    for path in paths:
        folder = root / path.lstrip("/")
        for group in takewhile(lambda group: group.is_relative_to(root), (folder, *folder.parents)):
            try:
                most = (group / "memory.max").read_text().strip()
                used = int((group / "memory.current").read_text())
                cached = [line for line in (group / "memory.stat").read_text().splitlines() if line.startswith("file ")]
            except (OSError, ValueError):
                continue
            if most.isdigit():
                left.append(int(most) - used + sum(int(line.split()[1]) for line in cached))
    return min(left, default=None)


def check_memory(needed: int) -> None:
    """Raise UserError where counting needs more memory than is available."""
    available = available_memory()
    if available is not None and needed > available:
        raise UserError(
            f"counting needs {needed / GIB:.1f} GiB of memory and {available / GIB:.1f} are available; lower --max-tokens, "
            "or give further domains as --count-only"
        )


def count_threads(processes: int = 1, overlaps: bool = False) -> int:
    """Threads for counting: this process's part of the cores, of ``processes`` on the host. Where counting ``overlaps`` with
    the model, some cores are left to that."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = min(cores // processes, MOST_THREADS)
    return max(1, threads - BUSY_THREADS if overlaps else threads)


def size_text(count: int) -> str:
    """A number of bytes, as a user reads it."""
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / (1 << 20):.1f} MiB"


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.resolve().parents) if path.exists())
