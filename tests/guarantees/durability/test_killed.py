"""kill -9 at thirty random moments of a collection: each is resumed, and the export is the same in the end."""

from __future__ import annotations

import io
import os
import random
import select
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models as tm
from exact import run, sources_of
from same_store import contents

from ffnscope.core.corpus.sources import DomainSource
from ffnscope.store.errors import UserError
from ffnscope.store.export.write import write
from ffnscope.store.reader import Store
from ffnscope.store.verify.check import verify

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

OPTIONS: dict[str, Any] = {"bos_id": tm.BOS_ID, "batch_size": 4, "min_occurrences": 2, "group_layers": 2}
KILLS, CHAINS, SECONDS = 30, 10, 60


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five layers, so that groups of two leave one over."""
    return tm.tiny("gpt2", tmp_path_factory.mktemp("model"), n_layer=5)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[DomainSource, ...]:
    """A counted domain and a count-only one."""
    rng = np.random.default_rng(2)
    domains = {f"domain{i}": tm.random_windows(rng, count, 16, tm.VOCAB, 0) for i, count in enumerate((60, 9))}
    return sources_of(tmp_path_factory.mktemp("data"), domains, ["domain1"])


def exported(path: Path) -> str:
    """The whole CSV."""
    with Store.open(path) as store, io.StringIO() as out:
        write(store, out)
        return out.getvalue()


def begun(model: Path, sources: tuple[DomainSource, ...], store: Path, resume: bool) -> tuple[int, int]:
    """The run in a process of its own: its number, and a pipe that gets a byte an event."""
    reading, writing = os.pipe()
    process = os.fork()
    if not process:
        signal.alarm(SECONDS)
        try:
            run(model, sources, store, lambda event: os.write(writing, b"."), resume=resume, **OPTIONS)  # type: ignore
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writing)
    return process, reading


def killed(process: int, reading: int, events: int, seconds: float) -> bool:
    """Kill -9 so long after so many events, or at once where the run ends before; whether it was killed."""
    deadline = time.monotonic() + SECONDS
    for _ in range(events):
        if not select.select([reading], [], [], deadline - time.monotonic())[0] or not os.read(reading, 1):
            break
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)
    status = os.waitpid(process, 0)[1]
    os.close(reading)
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0
        return False
    return True


def state(store: Path) -> str:
    """Where the kill caught it; what there is, is whole at every moment."""
    if not (store / "data.mdb").is_file():
        return "no file"
    try:
        with Store.open(store) as opened:
            assert list(verify(opened)) == []
            return f"{len(opened.layers())} layers"
    except UserError as error:
        assert "\n" not in str(error)
        return "no entry"


def test_thirty_kills(model: Path, sources: tuple[DomainSource, ...], tmp_path: Path) -> None:
    events: list[Any] = []
    begun_at = time.monotonic()
    whole = run(model, sources, tmp_path / "whole.ffn", events.append, **OPTIONS)
    between = (time.monotonic() - begun_at) / len(events)
    expected = contents(whole), exported(whole)
    rng, kills, caught = random.Random(30), 0, Counter[str]()
    for chain in range(10 * CHAINS):
        store, times = tmp_path / f"run-{chain}.ffn", 0
        while times < KILLS // CHAINS:
            # A resumed run has fewer events left: each kill is somewhere in what is left of it.
            most = len(events) if times == 0 else len(events) // (times + 1)
            process, reading = begun(model, sources, store, resume=times > 0)
            if not killed(process, reading, rng.randrange(most), rng.random() * 2 * between):
                break
            times += 1
            caught[state(store)] += 1
        kills += times
        run(model, sources, store, resume=times > 0 or store.exists(), **OPTIONS)
        assert (contents(store), exported(store)) == expected
        if kills >= KILLS:
            break
    assert kills >= KILLS
    # Moments of every sort: before the store is one, and between its layers.
    assert len(caught) >= 4, caught
