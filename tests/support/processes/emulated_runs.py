"""Runs of `collect` on a GPU that is not there, each compared with the same run on the CPU, in a process of their own.

    python emulated_runs.py GUARD FOLDER < cases.json      a JSON object per case, one a line

A case is {"family", "dtype", "options": of CollectRequest, "without": what is taken out, or null, "pinnable": bytes of the
host's memory that can be pinned, or null, "memory": bytes of the device's, or null}. The answer has what the device would punish
(``problems``), the keys in which the stores differ, what was copied and waited for, the lines of the run, and with "memory"
those of its plan.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_cuda  # before the collector: it replaces torch.inference_mode
import fake_gpu
import numpy as np
import tiny_experts
import tiny_models as tm
import torch
import transformers
from exact import sources_of
from same_store import contents
from transformers.integrations import moe

from ffnscope.core.collect import collect
from ffnscope.core.corpus.sources import DomainSource
from ffnscope.core.run import plan as planning
from ffnscope.core.run.request import CollectRequest
from ffnscope.core.statistics import counts as counting
from ffnscope.core.statistics import projection, similarity
from ffnscope.core.statistics.device.device_counts import DeviceCounter
from ffnscope.store.reader import Store

WINDOWS, LENGTH, BATCH = (9, 5), 16, 4
CELLS = 1 << 9  # of a block of projections: several blocks
ORDERED: list[bool] = []  # whether a device put a block of bits in order, for each that was to
WAITS = {
    "wait_stream": (fake_gpu.Stream, "wait_stream"),
    "wait_event": (fake_gpu.Stream, "wait_event"),
    "synchronize": (fake_gpu.Event, "synchronize"),
    "record_stream": (fake_cuda.CudaTensor, "record_stream"),
}


@contextlib.contextmanager
def taken_out(name: str | None) -> Iterator[None]:
    """Without one of WAITS."""
    if name is None:
        yield
        return
    home, attribute = WAITS[name]
    whole = getattr(home, attribute)
    setattr(home, attribute, lambda *_: None)
    try:
        yield
    finally:
        setattr(home, attribute, whole)


class Runs:
    """Models, corpora and CPU stores in ``folder``, each made once."""

    def __init__(self, guard: Path, folder: Path):
        self.guard, self.folder = guard, folder
        rng = np.random.default_rng(0)
        windows = {f"d{index}": tm.random_windows(rng, n, LENGTH, tm.VOCAB, 0) for index, n in enumerate(WINDOWS)}
        self.sources: tuple[DomainSource, ...] = sources_of(folder / "data", windows, ["d1"])
        self.models: dict[str, Path] = {}
        self.plain: dict[tuple[str, str, str], dict[tuple[bytes, bytes], bytes]] = {}
        self.count = 0
        self.lines: list[str] = []  # of the last run

    def request(self, family: str, dtype: str, device: str, **options: Any) -> CollectRequest:
        """For a new store."""
        self.count += 1
        if family not in self.models:
            make = tiny_experts.tiny_experts if family in tiny_experts.KINDS else tm.tiny
            self.models[family] = make(family, self.folder)
        store = self.folder / f"store-{self.count}"
        given = {"bos_id": 0, "batch_size": BATCH, "min_occurrences": 2, "device": device, "dtype": dtype} | options
        return CollectRequest(str(self.models[family]), self.sources, store, **given)

    def run(self, family: str, dtype: str, device: str, **options: Any) -> Path:
        """Collect into a new store."""
        self.lines.clear()
        request = self.request(family, dtype, device, **options)
        collect(request, self._report)
        return request.store

    def _report(self, event: object) -> None:
        if isinstance(event, str):
            self.lines.append(event)

    def on_cpu(self, family: str, dtype: str, rule: str) -> dict[tuple[bytes, bytes], bytes]:
        """What the same run on the CPU gives, by the ``rule`` of --activated."""
        if (family, dtype, rule) not in self.plain:
            self.plain[family, dtype, rule] = contents(self.run(family, dtype, "cpu", activated=rule))
        return self.plain[family, dtype, rule]

    def compare(
        self,
        family: str,
        dtype: str,
        options: dict[str, Any],
        without: str | None,
        pinnable: int | None,
        memory: int | None,
    ) -> dict[str, Any]:
        """One case."""
        expected = self.on_cpu(family, dtype, options.get("activated", "positive"))
        ORDERED.clear()
        planned: list[tuple[str, str]] = []
        with fake_cuda.installed(self.guard, memory or 80 << 30) as gpu, taken_out(without):
            gpu.pinnable = gpu.pinnable if pinnable is None else pinnable
            if memory is not None:
                lines = planning.plan_run(self.request(family, dtype, "cuda", **options), lambda event: None)
                planned = [(line.name, line.text) for line in lines]
            try:
                store = self.run(family, dtype, "cuda", **options)
            except Exception as error:
                if without is None:
                    raise
                return {"problems": [*gpu.problems, f"{type(error).__name__}: {error}"], "differing": []}
        found = contents(store)
        with Store.open(store) as opened:
            name = opened.run.settings["gpu"]
        differing = [key for key in sorted(expected.keys() | found.keys()) if expected.get(key) != found.get(key)]
        return {
            "problems": gpu.problems,
            "differing": [f"{database.decode()} {key!r}" for database, key in differing if key != b"run_id"],
            "gpu": name,
            "waits": dict(gpu.waits),
            "to_host": dict(gpu.to_host),
            "to_device": dict(gpu.to_device),
            "streams": len(gpu.streams),
            "ordered": list(ORDERED),
            "lines": list(self.lines),
            "planned": planned,
        }


def main() -> None:
    """Answer the cases of stdin."""
    torch.set_num_threads(1)
    transformers.logging.disable_progress_bar()
    for module in (projection, similarity):
        module.BLOCK_CELLS, module.GPU_BLOCK_CELLS = CELLS, CELLS
    counting.ORDERED_NEURONS = 1
    planning.PROBE_SECONDS, planning.GPU_PROBE_SIZE = 0.01, 64
    order = DeviceCounter.order

    def ordered(counter: DeviceCounter, bits: np.ndarray) -> np.ndarray | None:
        found = order(counter, bits)
        ORDERED.append(found is not None)
        return found

    DeviceCounter.order = ordered  # type: ignore[method-assign]
    # The CPU that stands in for the GPU has this kernel for other shapes only.
    moe._can_use_grouped_mm = lambda *_: False
    runs = Runs(Path(sys.argv[1]), Path(sys.argv[2]))
    for case in json.load(sys.stdin):
        print(json.dumps(runs.compare(**case)), flush=True)


if __name__ == "__main__":
    main()
