"""Adapters of peft: merged with their base model exactly as peft merges them, or refused before the corpus is read."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models as tm
import torch
from exact import load, run, sources_of

from ffnscope.core.corpus.sources import DomainSource
from ffnscope.core.model.source import fingerprint, open_model
from ffnscope.core.model.tokenizer import load_tokenizer
from ffnscope.store.errors import UserError
from ffnscope.store.reader import Store

ABSENT = (DomainSource("text", Path("there-is-no-such-file.txt")),)


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """An adapter of attention and FFN, saved alone; its base is beside it, and so is what peft merges of both."""
    import peft  # here: importing it takes a while, which other processes that collect these tests need not

    base = tm.tiny("llama", tmp_path)
    wrapped = peft.get_peft_model(
        load(base), peft.LoraConfig(r=2, lora_alpha=8, target_modules=["q_proj", "down_proj"])
    )
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    folder = tmp_path / "adapter"
    wrapped.save_pretrained(folder)
    wrapped.merge_and_unload().save_pretrained(tmp_path / "merged")
    return folder


def collected(model: Path, store: Path, lines: list[Any]) -> Path:
    windows = tm.random_windows(np.random.default_rng(0), 9, 16, tm.VOCAB, 0)
    return run(model, sources_of(store.parent, {"all": windows}), store, lines.append, bos_id=0, batch_size=9)


def test_base_and_adapter_give_what_the_merged_model_gives(adapter: Path, tmp_path: Path) -> None:
    lines: list[Any] = []
    collected(adapter, tmp_path / "a.ffn", lines)
    assert "an adapter, merged with its base model" in str(lines[0]), "before the corpus is read"
    collected(tmp_path / "merged", tmp_path / "b.ffn", lines)
    with Store.open(tmp_path / "a.ffn") as one, Store.open(tmp_path / "b.ffn") as two:
        assert one.run.model.name == "adapter"
        for layer in one.layers():
            for name in ("activations", "mean_activation", "promoted", "promoted_projection", "suppressed_projection"):
                assert np.array_equal(one.column(layer, name), two.column(layer, name), equal_nan=True), name


def test_the_fingerprint_is_of_base_and_adapter_wherever_they_are(adapter: Path, tmp_path: Path) -> None:
    first = fingerprint(open_model(str(adapter)))
    base = next(tmp_path.glob("llama-*"))
    assert first != fingerprint(open_model(str(base)))
    settings = json.loads((adapter / "adapter_config.json").read_text())
    moved = base.rename(tmp_path / "moved")
    (adapter / "adapter_config.json").write_text(json.dumps(settings | {"base_model_name_or_path": "moved"}))
    assert fingerprint(open_model(str(adapter))) == first, "a base beside the adapter's folder is found by its name"
    (adapter / "adapter_config.json").write_text(
        json.dumps(settings | {"base_model_name_or_path": str(moved), "lora_alpha": 4})
    )
    assert fingerprint(open_model(str(adapter))) != first


def _beside_weights(folder: Path, settings: dict[str, Any]) -> None:
    shutil.copy(next(folder.parent.glob("llama-*")) / "model.safetensors", folder)


def _without_weights(folder: Path, settings: dict[str, Any]) -> None:
    (folder / "adapter_model.safetensors").unlink()


def _without_base(folder: Path, settings: dict[str, Any]) -> None:
    shutil.rmtree(next(folder.parent.glob("llama-*")))


def _of_itself(folder: Path, settings: dict[str, Any]) -> None:
    settings["base_model_name_or_path"] = str(folder)


def _unnamed(folder: Path, settings: dict[str, Any]) -> None:
    settings["base_model_name_or_path"] = None


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (
            _beside_weights,
            r"a LoRA adapter \(base model: .*\) beside complete weights, .* give a folder with one of the two",
        ),
        (_without_weights, "without its weights; looked for adapter_model.safetensors"),
        (_without_base, "an adapter whose base model cannot be opened: .*: no such folder"),
        (_of_itself, "an adapter of an adapter"),
        (_unnamed, "does not name its base model; merge it"),
    ],
)
def test_what_cannot_be_merged_is_refused_before_the_corpus(
    adapter: Path, spoil: Callable[[Path, dict[str, Any]], None], says: str, tmp_path: Path
) -> None:
    file = adapter / "adapter_config.json"
    settings = json.loads(file.read_text())
    spoil(adapter, settings)
    file.write_text(json.dumps(settings))
    with pytest.raises(UserError, match=says) as caught:
        run(adapter, ABSENT, tmp_path / "run.ffn")
    assert "\n" not in str(caught.value)


def test_a_broken_configuration_a_missing_package_and_offloading_are_refused(
    adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="an adapter is merged with the whole model; run without --offload"):
        run(adapter, ABSENT, tmp_path / "run.ffn", offload=True)
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "peft" else found(name, *rest))
    with pytest.raises(UserError, match=r"needs a package: pip install 'ffnscope\[adapters\]'"):
        open_model(str(adapter))
    monkeypatch.undo()
    for content, says in (("{", "cannot be read"), ("[]", "is not a JSON object")):
        (adapter / "adapter_config.json").write_text(content)
        with pytest.raises(UserError, match=f"adapter_config.json {says}"):
            open_model(str(adapter))


def test_an_adapter_of_another_shape_is_refused_with_a_line(adapter: Path, tmp_path: Path) -> None:
    shutil.rmtree(next(tmp_path.glob("llama-*")))
    tm.tiny("llama", tmp_path, hidden_size=32)
    with pytest.raises(UserError, match="its adapter cannot be merged with"):
        collected(adapter, tmp_path / "run.ffn", [])


def test_a_tokenizer_beside_the_adapter_comes_before_the_bases(adapter: Path) -> None:
    source = open_model(str(adapter))
    assert load_tokenizer(source) is None
    tm.tiny_tokenizer(adapter, vocab=["house"])
    found = load_tokenizer(source)
    assert found is not None and "house" in found.get_vocab()
    assert source.path == str(adapter) and source.title == "adapter"
    assert source.adapter is not None
    shutil.rmtree(adapter)
    assert source.path == source.adapter.name


def test_an_adapter_that_changes_no_weights_is_refused(tmp_path: Path) -> None:
    import peft

    base = tm.tiny("llama", tmp_path)
    settings = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    peft.get_peft_model(load(base), settings).save_pretrained(tmp_path / "prompt")
    with pytest.raises(UserError, match="an adapter of type PROMPT_TUNING, which does not change the model's weights"):
        open_model(str(tmp_path / "prompt"))
    config = tmp_path / "prompt" / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"peft_type": "NEXT_YEARS"}))
    with pytest.raises(UserError, match="an adapter of type NEXT_YEARS, which this version of peft does not know"):
        open_model(str(tmp_path / "prompt"))
