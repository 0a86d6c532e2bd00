"""Collecting with several processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def collect(folder: Path, store: str, processes: int, *more: str) -> subprocess.CompletedProcess[str]:
    """Run `ffnscope collect` on the windows in ``folder`` in one process, or under torchrun in several."""
    launcher = (
        ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes > 1 else []
    )
    command = [sys.executable, *launcher, "-m", "ffnscope.tui", "collect", "model", "--store", store]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, "--data", "a=a.npy", "--count-only", "b=b.npy", "--batch-size", "2", "--bos-id", "2", *more],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
    )
