"""The loops are compiled beside the first run: all that it needs, for the types it has, and never its failure."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import tiny_models as tm

from ffnscope.core.collect import collect
from ffnscope.core.corpus.sources import parse_sources
from ffnscope.core.run import compile_ahead as ahead
from ffnscope.core.run.request import CollectRequest
from ffnscope.store.errors import UserError

COLLECT = """
import sys
from pathlib import Path

from ffnscope.core.run import compile_ahead as ahead

ahead.compile_loops(concepts_first=True)
assert "torch" not in sys.modules
before = {loop: set(loop.signatures) for loop in ahead.LOOPS}

from ffnscope.core.collect import collect
from ffnscope.core.corpus.sources import parse_sources
from ffnscope.core.run.request import CollectRequest

model, text, store = sys.argv[1:]
collect(CollectRequest(model, parse_sources([f"text={text}"]), Path(store), seq_len=16, keep="all"))
for loop, signatures in before.items():
    assert signatures == set(loop.signatures) and len(signatures) == 1, loop
print(ahead.compile_ahead())
"""


def test_a_run_compiles_nothing_that_was_not_compiled_before(tmp_path: Path) -> None:
    import numpy as np

    model = tm.tiny("llama", tmp_path, tokenizer=True)
    text = tmp_path / "text.txt"
    text.write_text(tm.random_text(np.random.default_rng(5), 2000))
    done = subprocess.run(
        [sys.executable, "-c", COLLECT, model, text, tmp_path / "s.ffn"], capture_output=True, text=True
    )
    assert done.stdout.strip() == "False", "all is cached" + done.stderr


@pytest.fixture
def nothing_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "_processes", [])
    monkeypatch.setattr(ahead, "is_cached", lambda loop: False)
    monkeypatch.delenv("LOCAL_RANK", raising=False)


def test_both_processes_end_with_the_one_that_started_them(nothing_cached: None, tmp_path: Path) -> None:
    code = (
        "import os, signal, time\nfrom ffnscope.core.run import compile_ahead as ahead\n"
        "assert ahead.compile_ahead() and ahead.compile_ahead()\nprint(ahead._processes[0].pid, flush=True)\ntime.sleep(60)\n"
    )
    # A cache of its own: there is more to compile than the test takes.
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = psutil.Process(int(process.stdout.readline()))
        end = time.monotonic() + 30
        while not first.children() and time.monotonic() < end:
            time.sleep(0.05)
        both = [first, *first.children()]
        assert len(both) == 2
        process.kill()
    assert not psutil.wait_procs(both, timeout=30)[1]


def test_bad_input_is_answered_before_compiling_is_spoken_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ffnscope.core.collect.compile_ahead", lambda: True)
    text = tmp_path / "text.txt"
    text.write_text("a")
    lines: list[object] = []
    request = CollectRequest("m", parse_sources([f"text={text}"]), tmp_path / "s.ffn", device="tpu")
    with pytest.raises(UserError, match="--device tpu"):
        collect(request, lines.append)
    assert not lines


def test_where_no_process_can_start_the_run_goes_on(nothing_cached: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    assert ahead.compile_ahead() is False


def test_one_process_of_a_host_is_enough(nothing_cached: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr(subprocess, "Popen", None)
    assert ahead.compile_ahead() is False
