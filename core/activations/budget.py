"""Choose the layers per group so that a run fits its scratch disk, memory and device."""

from __future__ import annotations

import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from ffnscope.core.activations.scratch import LayerScratch
from ffnscope.core.activations.scratch_folder import bytes_used
from ffnscope.store.errors import UserError

SHARE_OF_FREE = 0.8  # of a disk's free space that a run uses by default
MOST_THREADS = 32  # for counting: each has arrays as long as the corpus
GIB = 1 << 30


@dataclass(frozen=True)
class Plan:
    """Layers per group, and the scratch space they take."""

    group_layers: int
    groups: int
    scratch_bytes: int  # at most, at any time

    def __str__(self) -> str:
        layers = "1 layer" if self.group_layers == 1 else f"{self.group_layers} layers"
        groups = "1 group" if self.groups == 1 else f"{self.groups} groups of {layers}"
        return f"{groups}, {_size(self.scratch_bytes)} of scratch"


def make_plan(
    layers: tuple[int, ...],
    windows: int,
    seq_len: int,
    *,
    neurons: int,
    width: int,
    itemsize: int,
    folder: Path,
    scratch_gb: float | None = None,
    group_layers: int | None = None,
    most_layers: int | None = None,
    groups_at_once: int = 1,
) -> Plan:
    """The largest groups whose scratch fits the budget: ``scratch_gb``, else most of the disk's free space.

    ``itemsize``: bytes of a hidden state's value. ``most_layers``: the most layers per group that the device holds, where
    ``group_layers`` does not give their number. ``groups_at_once``: groups whose bits and entering hidden states are on
    the disk at the same time. Raises UserError where not even one layer fits.
    """
    per_layer = LayerScratch.bytes_needed(windows, neurons, seq_len)
    hidden = (1 + groups_at_once) * windows * seq_len * width * itemsize
    free = shutil.disk_usage(_existing(folder)).free + bytes_used(folder)
    if scratch_gb is not None and not 0 < scratch_gb < math.inf:
        raise UserError(f"--scratch-gb {scratch_gb:g}: must be a size in GiB above 0")
    budget = int(scratch_gb * GIB) if scratch_gb is not None else int(free * SHARE_OF_FREE)
    if scratch_gb is not None and budget > free:
        raise UserError(f"--scratch-gb {scratch_gb:g}: {folder} has {_size(free)} free; name another with --scratch")
    total = layers[-1] + 1

    def needed(size: int) -> int:
        return min(size * groups_at_once, len(layers)) * per_layer + (hidden if size < total else 0)

    sizes = [group_layers] if group_layers else range(min(total, most_layers or total), 0, -1)
    size = next((candidate for candidate in sizes if needed(candidate) <= budget), None)
    if size is None:
        least = needed(group_layers or 1)
        raise UserError(
            f"{folder}: {_size(least)} of scratch are needed and {_size(budget)} may be used; name a larger "
            "disk with --scratch, raise --scratch-gb, or lower --max-tokens"
        )
    size = min(size, total)
    return Plan(size, -(-total // size), needed(size))


def available_memory() -> int | None:
    """Bytes of memory that can be used without swapping, None where the system does not say."""
    lines = Path("/proc/meminfo").read_text().splitlines() if Path("/proc/meminfo").is_file() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def check_memory(needed: int) -> None:
    """Raise UserError where counting needs more memory than is available."""
    available = available_memory()
    if available is not None and needed > available:
        raise UserError(
            f"counting needs {needed / GIB:.1f} GiB of memory and {available / GIB:.1f} are available; lower --max-tokens, "
            "or give further domains as --count-only"
        )


def count_threads(processes: int = 1) -> int:
    """Threads for counting: this process's part of the cores, of ``processes`` on the host."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores // processes, MOST_THREADS))


def _size(count: int) -> str:
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / (1 << 20):.1f} MiB"


def _existing(folder: Path) -> Path:
    return next(parent for parent in (folder, *folder.resolve().parents) if parent.exists())
