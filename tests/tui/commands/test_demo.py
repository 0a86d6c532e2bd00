"""``ffnscope demo --checkpoints``: three models, one comparison."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from commands import one_line, run

from ffnscope.core.collect import collect
from ffnscope.core.demo import checkpoint_stores, demo_request


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three stores, of one window of each domain."""
    store = tmp_path_factory.mktemp("checkpoints") / "demo.ffn"
    for model, path in checkpoint_stores(store):
        collect(replace(demo_request(path, model), max_tokens=512, device="cpu", group_layers=None))
    return store


def test_three_checkpoints_are_compared(
    demo: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # nothing is collected again
    code, out, err = run(capsys, "demo", "--store", demo, "--no-view", "--checkpoints")
    assert (code, err) == (0, "")
    assert "From a to b: neuron by neuron" in out and "From b to c: neuron by neuron" in out
    assert re.search(r"ffnscope view \S+demo-early.ffn \S+demo-middle.ffn \S+demo.ffn ", out)


def test_a_checkpoint_is_not_taken_for_another(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "demo", "--store", demo.with_name("demo-early.ffn"), "--no-view")
    assert (code, out) == (2, "") and "not the demo; give another --store" in one_line(err)
    code, out, err = run(capsys, "demo", "--store", demo.with_name("demo-early.ffn"), "--no-view", "--checkpoints")
    assert (code, out) == (2, "") and "early checkpoint, not the demo" in one_line(err)
