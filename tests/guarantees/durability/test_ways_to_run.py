"""However a run is cut into groups, threads and scratch files, the store is the same to the last byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from exact import run
from same_store import contents
from stopped_runs import OPTIONS, exported

from ffnscope.core.corpus.sources import DomainSource
from ffnscope.core.run import prepare


@pytest.mark.parametrize("offload", [False, True])
@pytest.mark.parametrize("size", [None, 1, 2, 3, 9])
def test_group_sizes_and_offloading_do_not_matter(
    size: int | None, offload: bool, model: Path, sources: tuple[DomainSource, ...], whole: Any, tmp_path: Path
) -> None:
    store = run(model, sources, tmp_path / "run.ffn", group_layers=size, offload=offload, **OPTIONS)
    assert (contents(store), exported(store)) == whole


@pytest.mark.parametrize("threads", [1, 2, 5, 16])
def test_counting_threads_do_not_matter(
    threads: int,
    model: Path,
    sources: tuple[DomainSource, ...],
    whole: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def count_threads(*_: Any, **__: Any) -> int:
        asked.append(threads)
        return threads

    monkeypatch.setattr(prepare, "count_threads", count_threads)
    store = run(model, sources, tmp_path / "run.ffn", **OPTIONS)
    assert contents(store) == whole[0]
    assert asked


def test_scratch_elsewhere_does_not_matter(
    model: Path, sources: tuple[DomainSource, ...], whole: Any, tmp_path: Path
) -> None:
    store = run(model, sources, tmp_path / "run.ffn", scratch=tmp_path / "scratch", scratch_gb=0.01, **OPTIONS)
    assert contents(store) == whole[0]
    assert not [path for path in (tmp_path / "scratch").rglob("*") if path.name.startswith(("bits", "hidden"))]


def test_nothing_is_left_in_the_scratch_folder(model: Path, sources: tuple[DomainSource, ...], tmp_path: Path) -> None:
    store = run(model, sources, tmp_path / "run.ffn", group_layers=2, **OPTIONS)
    assert {path.name for path in store.iterdir()} <= {"data.mdb", "lock.mdb", "collector.lock"}
