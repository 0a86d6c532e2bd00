"""All of `collect` on a GPU that is not there (fake_cuda.py): no mixed devices, no copy that is read too early,
no race between streams, and the store of a run on the CPU."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import fake_cuda_guard
import pytest
import tiny_models as tm
from tiny_experts import KINDS

RUNS = Path(__file__).parents[2] / "support" / "processes" / "emulated_runs.py"
GPU = "a GPU that is not there"
WAYS: dict[str, dict[str, Any]] = {
    "resident": {"count_on": "device"},
    "one group": {"group_layers": 9},
    "resident, hidden states on the disk": {"hidden": "disk"},
    "offloaded": {"offload": True, "count_on": "device"},
    "offloaded, counted by the host": {"offload": True, "count_on": "host"},
    "offloaded, activated by share": {"offload": True, "activated": "share:0.1"},
    "offloaded in twos, hidden states on the disk": {"offload": True, "group_layers": 2, "hidden": "disk"},
}
FEW = [
    ("opt", "float32", "resident"),
    ("opt", "bfloat16", "one group"),
    ("llama", "float32", "offloaded in twos, hidden states on the disk"),
    ("gemma3", "bfloat16", "offloaded"),
    ("gptj", "float16", "offloaded, counted by the host"),
    ("llama", "bfloat16", "offloaded, activated by share"),
    ("qwen2_moe", "bfloat16", "offloaded"),
    ("llama4_text", "float32", "offloaded"),
]
SLOW = [(family, dtype, way) for family in (*tm.FAMILIES, *KINDS) for dtype in ("float32", "bfloat16") for way in WAYS]
# What the compiled recorder of a CPU adds up in another order than torch does.
SUMMED = "mean_activation"


@pytest.fixture(scope="module")
def guard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What tells torch of a CUDA device."""
    if shutil.which("g++") is None:
        pytest.skip("needs g++, to compile tests/support/processes/fake_cuda_guard.cpp")
    return fake_cuda_guard.build(tmp_path_factory.mktemp("guard"))


def answers(guard: Path, folder: Path, cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What emulated_runs.py says of each of ``cases``."""
    ran = subprocess.run(
        [sys.executable, str(RUNS), str(guard), str(folder)],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    return [json.loads(line) for line in ran.stdout.splitlines()]


def case(
    family: str,
    dtype: str,
    without: str | None = None,
    pinnable: int | None = None,
    memory: int | None = None,
    **options: Any,
) -> dict[str, Any]:
    """A case of emulated_runs.py."""
    given = {"without": without, "pinnable": pinnable, "memory": memory}
    return {"family": family, "dtype": dtype, "options": options} | given


def check(answer: dict[str, Any], dtype: str) -> None:
    """Fail for what a GPU would punish, and for another store than the CPU's."""
    assert answer["problems"] == []
    assert [key for key in answer["differing"] if dtype != "float32" or SUMMED not in key] == []
    assert answer["gpu"] == GPU
    assert answer["streams"] > 2 and answer["to_host"]["pinned"] > 0


WAITS = ("wait_stream", "synchronize", "record_stream")
# family, way, and bytes that can be pinned
UNPINNED = [
    ("opt", "resident", 0),
    ("llama", "offloaded", 1 << 14),
    ("qwen2_moe", "offloaded", 0),
]

# Bytes of a device: a layer of the mixture fits half of what is left of the first, and not of the second.
LARGE, SMALL = 1 << 20, 30 << 10


@pytest.fixture(scope="module")
def found(guard: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The answers to FEW, then those of runs without each of WAITS, then UNPINNED, then by LARGE and SMALL devices; from one
    process, which takes seconds to start."""
    cases = [case(family, dtype, **WAYS[way]) for family, dtype, way in FEW]
    cases += [case("opt", "bfloat16", without, group_layers=1) for without in WAITS]
    cases += [case(family, "float32", pinnable=pinnable, **WAYS[way]) for family, way, pinnable in UNPINNED]
    offloaded = {"offload": True, "count_on": "host"}
    cases += [case("qwen2_moe", "float32", memory=memory, **offloaded) for memory in (LARGE, SMALL)]
    return answers(guard, tmp_path_factory.mktemp("runs"), cases)


def test_the_store_is_that_of_a_run_on_the_cpu(found: list[dict[str, Any]]) -> None:
    for (_, dtype, way), answer in zip(FEW, found, strict=False):
        check(answer, dtype)
        assert all(answer["ordered"]) and bool(answer["ordered"]) == (WAYS[way].get("count_on") != "host")


def test_a_wait_that_is_taken_out_is_noticed(found: list[dict[str, Any]]) -> None:
    without = dict(zip(WAITS, found[len(FEW) :], strict=False))
    assert any("without waiting for it" in problem for problem in without["wait_stream"]["problems"])
    assert any("may still read it" in problem for problem in without["record_stream"]["problems"])
    assert without["synchronize"]["problems"] or without["synchronize"]["differing"]


def test_memory_that_cannot_be_pinned_is_replaced_by_ordinary_memory(found: list[dict[str, Any]]) -> None:
    for (family, way, pinnable), answer in zip(UNPINNED, found[-len(UNPINNED) - 2 : -2], strict=True):
        assert answer["problems"] == [], (family, way)
        assert [key for key in answer["differing"] if SUMMED not in key] == []
        assert bool(answer["to_host"].get("pinned")) == bool(pinnable) and answer["to_host"]["pageable"] > 0
        (line,) = [line for line in answer["lines"] if "pinned" in line]
        assert "cannot be pinned (CUDA error: out of memory); ordinary memory is used" in line
    assert not any("cannot be pinned" in line for answer in found[: len(FEW)] for line in answer["lines"])


def test_a_plan_says_where_the_run_then_keeps_the_experts(found: list[dict[str, Any]]) -> None:
    for memory, answer in zip((LARGE, SMALL), found[-2:], strict=True):
        check(answer, "float32")
        planned = dict(answer["planned"])
        on_host = memory == SMALL
        assert any("do not fit the GPU" in line for line in answer["lines"]) == on_host
        assert ("stay in the host's memory" in planned["experts"]) == on_host
        assert any(line.startswith(planned["groups"] + ", ") for line in answer["lines"])
        assert ("of experts at most" in planned["bus"]) == on_host
        assert "for weights on their way to the GPU" in planned["memory"]


@pytest.mark.slow
def test_every_family_in_every_way(guard: Path, tmp_path: Path) -> None:
    found = answers(guard, tmp_path, [case(family, dtype, **WAYS[way]) for family, dtype, way in SLOW])
    for (_, dtype, _), answer in zip(SLOW, found, strict=True):
        check(answer, dtype)
