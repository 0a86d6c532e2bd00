"""A store takes the run that began it and no other, and one collector at a time."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models as tm
from exact import run, sources_of
from same_store import contents
from stopped_runs import OPTIONS

from ffnscope.core.corpus.sources import DomainSource
from ffnscope.store.errors import UserError
from ffnscope.store.records import Progress


def other_model(folder: Path) -> Path:
    """The same configuration, other weights."""
    return tm.tiny("llama", folder, seed=1, num_hidden_layers=5)


def other_windows(folder: Path, seq_len: int = 12) -> tuple[DomainSource, ...]:
    """Other windows of the same number."""
    rng = np.random.default_rng(9)
    domains = {f"domain{i}": tm.random_windows(rng, n, seq_len, tm.VOCAB, 0) for i, n in enumerate((9, 6, 4))}
    return sources_of(folder, domains, ["domain2"])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda folder, model, sources: (other_model(folder), sources, {}), "model"),
        (lambda folder, model, sources: (model, other_windows(folder), {}), "corpus"),
        (lambda folder, model, sources: (model, sources[:2], {}), "corpus"),
        (lambda folder, model, sources: (model, sources, {"bos_id": 1}), "corpus|bos"),
        (lambda folder, model, sources: (model, sources, {"bos_id": None}), "corpus|bos"),
        (lambda folder, model, sources: (model, other_windows(folder, 11), {}), "seq-len"),
        (lambda folder, model, sources: (model, sources, {"min_occurrences": 3}), "min-occurrences"),
        (lambda folder, model, sources: (model, sources, {"top_k": 7}), "top-k"),
        (lambda folder, model, sources: (model, sources, {"batch_size": 5}), "batch-size"),
        (lambda folder, model, sources: (model, sources, {"layers": "0-2"}), "layers"),
        (lambda folder, model, sources: (model, sources, {"dtype": "bfloat16"}), "dtype"),
    ],
)
def test_another_run_is_not_resumed(
    change: Callable[..., Any],
    named: str,
    started: Path,
    model: Path,
    sources: tuple[DomainSource, ...],
    tmp_path: Path,
) -> None:
    other, data, options = change(tmp_path, model, sources)
    before = (started / "data.mdb").read_bytes()
    with pytest.raises(UserError, match=rf"run\.ffn: .*differs in .*({named}).*--overwrite") as caught:
        run(other, data, started, resume=True, **(OPTIONS | options))
    assert "\n" not in str(caught.value)
    assert (started / "data.mdb").read_bytes() == before


SECOND = """
import json, sys
from pathlib import Path
from ffnscope.core.collect import collect
from ffnscope.core.run.request import CollectRequest
from ffnscope.core.corpus.sources import DomainSource
from ffnscope.store.errors import UserError
model, store, sources, options = json.loads(sys.argv[1])
sources = tuple(DomainSource(name, Path(path), count_only) for name, path, count_only in sources)
for option in ({}, {"resume": True}, {"overwrite": True}):
    try:
        collect(CollectRequest(model, sources, Path(store), device="cpu", **options, **option))
    except UserError as error:
        print(error)
"""


def test_two_collectors_never_write_one_store(
    model: Path, sources: tuple[DomainSource, ...], whole: Any, tmp_path: Path
) -> None:
    store = tmp_path / "run.ffn"
    what = json.dumps([str(model), str(store), [[s.name, str(s.path), s.count_only] for s in sources], OPTIONS])
    said: list[str] = []

    def second(event: Any) -> None:
        if not said and isinstance(event, Progress) and event.layers_done == 2:
            done = subprocess.run([sys.executable, "-c", SECOND, what], capture_output=True, text=True, check=True)
            said.extend(done.stdout.splitlines())

    run(model, sources, store, second, group_layers=1, **OPTIONS)
    assert len(said) == 3
    assert "2 of 5 layers finished" in said[0]
    assert "another collector" in said[1] and "another collector" in said[2]
    assert contents(store) == whole[0]
