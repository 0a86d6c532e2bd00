"""Collecting with several processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_models


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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("processes")
    tiny_models.tiny("opt", folder).rename(folder / "model")
    rng = np.random.default_rng(5)
    for name, windows in (("a", 13), ("b", 4)):
        np.save(folder / f"{name}.npy", tiny_models.random_windows(rng, windows, 24, 64, bos_id=2))
    return folder
