"""A model of five layers and a corpus whose runs are cut, stopped and resumed in several files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models as tm
from exact import run, sources_of
from same_store import contents
from stopped_runs import OPTIONS, exported

from ffnscope.core.corpus.sources import DomainSource
from ffnscope.store.records import Progress


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five layers, so that groups of two leave one over."""
    return tm.tiny("llama", tmp_path_factory.mktemp("model"), num_hidden_layers=5)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[DomainSource, ...]:
    """Two counted domains and a count-only one; batches reach over their edges."""
    rng = np.random.default_rng(0)
    domains = {f"domain{i}": tm.random_windows(rng, count, 12, tm.VOCAB, 0) for i, count in enumerate((9, 6, 4))}
    return sources_of(tmp_path_factory.mktemp("data"), domains, ["domain2"])


@pytest.fixture(scope="module")
def whole(
    model: Path, sources: tuple[DomainSource, ...], tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[tuple[bytes, bytes], bytes], str]:
    """What an uninterrupted run says."""
    store = run(model, sources, tmp_path_factory.mktemp("whole") / "run.ffn", **OPTIONS)
    return contents(store), exported(store)


@pytest.fixture(scope="module")
def started(model: Path, sources: tuple[DomainSource, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two of five layers."""
    store = tmp_path_factory.mktemp("started") / "run.ffn"

    def stop(event: Any) -> None:
        if isinstance(event, Progress) and event.state == "collecting" and event.layers_done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(model, sources, store, stop, group_layers=1, **OPTIONS)
    return store
