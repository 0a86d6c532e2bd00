"""Names that are no folders: hub ids, taken from the cache where the hub is out of reach, and one line at once if not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import tiny_models as tm
from exact import run, sources_of
from ffnscope.core.hub import PATIENCE
from ffnscope.core.loading import open_model
from ffnscope.store.errors import UserError
from ffnscope.store.reader import Store
from same_store import contents

NAME = "some-lab/tiny-llama"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
RUN = """
import sys
from pathlib import Path
from ffnscope.core.collect import collect
from ffnscope.core.request import CollectRequest
from ffnscope.core.windows import DomainSource
from ffnscope.store.errors import UserError
model, data, store, offload = sys.argv[1:]
try:
    collect(CollectRequest(model, (DomainSource("a", Path(data)),), Path(store), device="cpu", batch_size=2,
                           offload=offload == "True"))
except UserError as error:
    raise SystemExit(f"UserError: {error}")
"""


def _line(name: str) -> str:
    with pytest.raises(UserError) as error:
        open_model(name)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(name)
    return str(error.value)


@pytest.mark.parametrize("name", ["./models/foo", "/models/foo", "models/foo/", "a/b/c", "no such", "a" * 300, "a\0b", ""])
def test_what_cannot_be_a_hub_id(name: str) -> None:
    assert "no such folder" in _line(name)


@pytest.mark.parametrize("name", ["models/foo", "foo"])
def test_a_name_that_may_be_a_hub_id(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_reach(self: object, repo: str, *, timeout: float) -> None:
        assert timeout <= PATIENCE
        raise ConnectionError

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", out_of_reach)
    assert "nor is it in the hub cache, and the hub is out of reach" in _line(name)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub, "is_offline_mode", lambda: True)
    assert "HF_HUB_OFFLINE is set" in _line(name)


def test_folders_and_files_that_are_no_model(tmp_path: Path) -> None:
    assert "no config.json" in _line(str(tmp_path))
    (tmp_path / "file").write_text("x")
    assert "is a file" in _line(str(tmp_path / "file"))
    (tmp_path / "config.json").write_text("{")
    assert "not JSON" in _line(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "no-such-type"}))
    assert "does not know" in _line(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"auto_map": {"AutoConfig": "own.Config"}, "model_type": "own"}))
    (tmp_path / "own.py").write_text("raise SystemExit('its code ran')")
    assert "--trust-remote-code" in _line(str(tmp_path))


def test_a_cached_model_runs_without_network(tmp_path: Path) -> None:
    folder = tm.tiny("llama", tmp_path, shards=True)
    cache = tmp_path / "cache" / "models--some-lab--tiny-llama"
    shutil.copytree(folder, cache / "snapshots" / COMMIT)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(COMMIT)
    windows = tm.random_windows(np.random.default_rng(5), 6, 24, tm.VOCAB)
    sources = sources_of(tmp_path / "data", {"a": windows})
    # Nothing listens on port 9 of this host: the hub is out of reach.
    here = {"HF_HUB_CACHE": str(tmp_path / "cache"), "HF_ENDPOINT": "http://127.0.0.1:9", "OMP_NUM_THREADS": "1"}

    def collected(name: str, offload: bool, store: str, **more: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-c", RUN, name, str(sources[0].path), str(tmp_path / store), str(offload)]
        return subprocess.run(command, env=os.environ | here | more, capture_output=True, text=True, check=False)

    resident, offloaded = collected(NAME, False, "1"), collected(NAME, True, "2", HF_HUB_OFFLINE="1")
    assert (resident.returncode, offloaded.returncode) == (0, 0), resident.stderr + offloaded.stderr
    assert contents(tmp_path / "1") == contents(tmp_path / "2")
    local = run(folder, sources, tmp_path / "local", batch_size=2)
    with Store.open(tmp_path / "1") as one, Store.open(local) as other:
        assert one.run.model.name == NAME
        assert one.run.model.fingerprint == other.run.model.fingerprint

    next((cache / "snapshots" / COMMIT).glob("*00002*.safetensors")).unlink()
    for offload in (False, True):
        begun = time.monotonic()
        broken = collected(NAME, offload, "3")
        assert broken.stderr.splitlines()[-1].startswith(f"UserError: {NAME}: ")
        assert time.monotonic() - begun < 60
