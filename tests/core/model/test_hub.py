"""Names that are not folders: hub ids, taken from the cache where the hub is out of reach, and one line at once if not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import tiny_models as tm
import transformers
from exact import run, sources_of
from same_store import differing

from ffnscope.core.model.hub import PATIENCE
from ffnscope.core.model.source import fingerprint, open_model
from ffnscope.core.prompt import PromptModel
from ffnscope.store.errors import UserError
from ffnscope.store.reader import Store

NAME = "some-lab/tiny-llama"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def _line(name: str) -> str:
    with pytest.raises(UserError) as error:
        open_model(name)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(name)
    return str(error.value)


@pytest.mark.parametrize("name", ["./models/foo", "/models/foo", "models/foo/", "a/b/c", "no such", "a" * 200, "a\0b"])
def test_what_cannot_be_a_hub_id(name: str) -> None:
    assert "no such folder" in _line(name)


@pytest.mark.parametrize("name", ["models/foo", "foo"])
def test_a_name_that_may_be_a_hub_id(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", _out_of_reach)
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
    assert "unknown to this version of transformers" in _line(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"auto_map": {"AutoConfig": "own.Config"}, "model_type": "own"}))
    (tmp_path / "own.py").write_text("raise SystemExit('its code ran')")
    assert "--trust-remote-code" in _line(str(tmp_path))


def _out_of_reach(self: object, repo: str, *, timeout: float) -> None:
    assert timeout <= PATIENCE
    raise ConnectionError


def test_a_cached_model_runs_without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tm.tiny("llama", tmp_path, shards=True)
    cache = tmp_path / "cache" / "models--some-lab--tiny-llama"
    shutil.copytree(folder, cache / "snapshots" / COMMIT)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", _out_of_reach)
    windows = tm.random_windows(np.random.default_rng(5), 6, 24, tm.VOCAB)
    sources = sources_of(tmp_path / "data", {"a": windows})

    resident = run(NAME, sources, tmp_path / "resident", batch_size=2)
    offloaded = run(NAME, sources, tmp_path / "offloaded", batch_size=2, offload=True)
    local = run(folder, sources, tmp_path / "local", batch_size=2)
    assert differing(resident, offloaded) == []
    assert differing(resident, local) == []
    with Store.open(resident) as one:
        assert (one.run.model.name, one.run.settings["model_path"]) == (NAME, NAME)

    shard = next((cache / "snapshots" / COMMIT).glob("*00002*.safetensors"))
    shard.unlink()
    for offload in (False, True):
        with pytest.raises(UserError) as error:
            run(NAME, sources, tmp_path / f"broken-{offload}", offload=offload)
        assert str(error.value).startswith(f"{NAME}: ")
        assert "\n" not in str(error.value)


def test_a_revision_is_another_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache" / "models--some-lab--tiny-llama"
    commits = {"main": COMMIT, "step100": COMMIT[::-1]}
    (cache / "refs").mkdir(parents=True)
    for seed, (revision, commit) in enumerate(commits.items()):
        shutil.copytree(tm.tiny("llama", tmp_path, seed=seed), cache / "snapshots" / commit)
        (cache / "refs" / revision).write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        huggingface_hub.HfApi, "model_info", lambda self, repo, **_: _out_of_reach(self, repo, timeout=0)
    )
    windows = tm.random_windows(np.random.default_rng(5), 6, 24, tm.VOCAB)
    sources = sources_of(tmp_path / "data", {"a": windows})

    def info(store: Path) -> tuple[str, str, str]:
        with Store.open(store) as opened:
            settings = opened.run.settings
            return opened.run.model.name, settings["model_path"], settings["model_commit"]

    by_name = run(f"{NAME}@step100", sources, tmp_path / "by-name", batch_size=2)
    by_option = run(NAME, sources, tmp_path / "by-option", batch_size=2, revision="step100")
    snapshot = cache / "snapshots" / commits["step100"]
    by_path = run(snapshot, sources, tmp_path / "by-path", batch_size=2, offload=True)
    main = run(NAME, sources, tmp_path / "main", batch_size=2)
    assert differing(by_name, by_option) == differing(by_name, by_path) == []
    assert differing(by_name, main) != []
    assert info(by_name) == info(by_option) == (f"{NAME}@step100", f"{NAME}@step100", commits["step100"])
    assert info(by_path) == (NAME, str(snapshot), commits["step100"])
    assert info(main) == (NAME, NAME, COMMIT)
    with Store.open(by_name) as opened, pytest.raises(UserError, match=f"{snapshot}: has no tokenizer"):
        PromptModel.load(opened.run)

    assert "step1@step2" in _refused("step1@step2", None) and "one revision" in _refused(f"{NAME}@a", "b")
    assert f"{NAME}@step7: no such folder; nor is it in the hub cache" in _refused(NAME, "step7")
    assert "only models of the hub have the revision 'main'" in _refused(str(snapshot), "main")


def _refused(name: str, revision: str | None) -> str:
    with pytest.raises(UserError) as error:
        open_model(name, revision=revision)
    return str(error.value)


def test_an_adapter_on_the_hub_and_a_model_without_weights_are_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = ["adapter_config.json"]
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "some/base"}')
    hf_config = tm.tiny("llama", tmp_path) / "config.json"
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: None)
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", lambda *_, **__: files)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda repo, name, **_: str(tmp_path / name))
    assert f"{NAME}: a LoRA adapter (base model: some/base)" in _line(NAME)
    config = transformers.AutoConfig.from_pretrained(hf_config)
    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", lambda *_, **__: config)
    files[:] = ["config.json", "tf_model.h5"]
    assert f"{NAME}: no weights in it, but tf_model.h5: TensorFlow" in _line(NAME)


OWN_CODE = """
from transformers import OPTConfig, OPTForCausalLM

class Config(OPTConfig):
    model_type = "own"

class Model(OPTForCausalLM):
    config_class = Config
"""


def test_a_model_with_code_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = tm.tiny("opt", tmp_path)
    sources = sources_of(tmp_path / "data", {"a": tm.random_windows(np.random.default_rng(6), 6, 24, tm.VOCAB)})
    plain = run(folder, sources, tmp_path / "plain", batch_size=2)

    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(OWN_CODE)
    for name, offload in (("resident", False), ("offloaded", True)):
        own = run(folder, sources, tmp_path / name, batch_size=2, trust_remote_code=True, offload=offload)
        # Its name and fingerprint are others, its numbers the same.
        assert differing(own, plain) == ["b'meta' b'run_id'"]

    before = fingerprint(open_model(str(folder), trust_remote_code=True))
    (folder / "own.py").write_text(OWN_CODE.replace("Config)", "Config )"))
    assert fingerprint(open_model(str(folder), trust_remote_code=True)) != before
