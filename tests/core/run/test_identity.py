"""The GPU that a run was made on is in the store, and another one is noticed, not refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import tiny_models as tm
from exact import run, sources_of

from ffnscope.core.activations.forward import Sweep
from ffnscope.core.run import identity
from ffnscope.store.reader import Store


@pytest.mark.parametrize("second", ["NVIDIA A100", "NVIDIA H100", None])
def test_a_run_that_is_resumed_on_another_gpu_says_so(
    second: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tm.tiny("opt", tmp_path)
    sources = sources_of(tmp_path / "data", {"a": tm.random_windows(np.random.default_rng(1), 9, 16, tm.VOCAB, 0)})
    monkeypatch.setattr(identity, "device_name", lambda device: "NVIDIA H100")
    run_group = Sweep.run_group

    def stopping(self, group, advance):
        if group.first == 2:
            raise KeyboardInterrupt
        return run_group(self, group, advance)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Sweep, "run_group", stopping)
        run(model, sources, tmp_path / "run.ffn", bos_id=0, group_layers=1)
    with Store.open(tmp_path / "run.ffn") as store:
        assert store.run.settings["gpu"] == "NVIDIA H100" and store.layers()
        run_id = store.run.run_id
    monkeypatch.setattr(identity, "device_name", lambda device: second)
    said: list[str] = []
    monkeypatch.setattr(identity, "version", lambda package: "99.0")
    monkeypatch.setattr("ffnscope.core.run.store.remote_file_system", lambda path: "nfs4")
    run(model, sources, tmp_path / "run.ffn", lambda event: said.append(str(event)), bos_id=0, resume=True)
    assert any(re.search(r"started with ffnscope \S+, resumed with 99\.0$", line) for line in said)
    assert any("on a network file system (nfs4), where LMDB is slow" in line for line in said)
    warned = [line for line in said if "started on NVIDIA H100, resumed on NVIDIA A100" in line]
    assert bool(warned) == (second == "NVIDIA A100")
    with Store.open(tmp_path / "run.ffn") as store:
        assert store.complete and store.run.run_id == run_id


def test_a_run_on_a_cpu_names_no_gpu(tmp_path: Path) -> None:
    sources = sources_of(tmp_path / "data", {"a": tm.random_windows(np.random.default_rng(1), 3, 16, tm.VOCAB, 0)})
    store = run(tm.tiny("opt", tmp_path), sources, tmp_path / "run.ffn", bos_id=0)
    with Store.open(store) as opened:
        assert "gpu" not in opened.run.settings
