"""Checkpoints in every form give the same tensors, one at a time; broken ones are named in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_models as tm
import torch
from sweeping import CPU
from transformers import AutoModelForCausalLM

from ffnscope.core.model.checkpoint import Checkpoint, weight_files
from ffnscope.store.errors import UserError


def _expect(folder: Path, part: str) -> None:
    with pytest.raises(UserError) as error:
        checkpoint = Checkpoint.open(folder)
        for name in checkpoint.names():
            checkpoint.tensor(name, torch.float32, CPU)
    assert part in str(error.value)
    assert "\n" not in str(error.value)


def _bin_shards(folder: Path) -> Path:
    """Cut the folder's one `.bin` into two with an index."""
    whole = folder / "pytorch_model.bin"
    weights = torch.load(whole, weights_only=True)
    names = sorted(weights)
    index = {}
    for number, part in enumerate((names[::2], names[1::2])):
        shard = f"pytorch_model-{number:05d}-of-00002.bin"
        torch.save({name: weights[name] for name in part}, folder / shard)
        index |= dict.fromkeys(part, shard)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": index}))
    whole.unlink()
    return folder


@pytest.mark.parametrize("form", ["single", "shards", "bin", "bin shards"])
def test_every_form_gives_the_same_tensors(form: str, tmp_path: Path) -> None:
    folder = tm.tiny("llama", tmp_path, shards=form == "shards", bin="bin" in form)
    expected = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    if form == "bin shards":
        _bin_shards(folder)
    checkpoint = Checkpoint.open(folder)
    assert set(checkpoint.names()) == set(expected)
    for name, value in expected.items():
        assert checkpoint.shape(name) == tuple(value.shape)
        assert torch.equal(checkpoint.tensor(name, torch.float32, CPU), value)
        half = checkpoint.tensor(name, torch.bfloat16, CPU)
        assert half.dtype == torch.bfloat16
        assert torch.equal(half, value.bfloat16())
    assert len(weight_files(folder)) == {"single": 1, "shards": len(list(folder.glob("*.safetensors")))}.get(
        form, 2 if form == "bin shards" else 1
    )


@pytest.mark.parametrize("bin", [False, True])
def test_tensors_outlive_their_file(bin: bool, tmp_path: Path) -> None:
    folder = tm.tiny("gpt2", tmp_path, bin=bin)
    checkpoint = Checkpoint.open(folder)
    name = checkpoint.names()[0]
    tensor = checkpoint.tensor(name, torch.float32, CPU)
    before = tensor.clone()
    file = weight_files(folder)[0]
    file.write_bytes(bytes(file.stat().st_size))
    assert torch.equal(tensor, before)


@pytest.mark.parametrize("bin", [False, True])
@pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.99])
def test_a_file_that_was_cut_short(bin: bool, kept: float, tmp_path: Path) -> None:
    folder = tm.tiny("opt", tmp_path, bin=bin)
    file = weight_files(folder)[0]
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * kept)])
    _expect(folder, f"{file.name}: cannot be read and may be truncated")


def test_a_missing_shard_and_a_wrong_index(tmp_path: Path) -> None:
    folder = tm.tiny("opt", tmp_path, shards=True)
    index = folder / "model.safetensors.index.json"
    good = index.read_text()
    listed = json.loads(good)
    shards = weight_files(folder)
    kept = shards[1].read_bytes()
    shards[1].unlink()
    _expect(folder, f"{shards[1].name}: missing")
    shards[1].write_bytes(kept)

    for text in ("", "[]", "{}", '{"weight_map": {}}', '{"weight_map": {"a": 3}}', '{"weight_map": 1}'):
        index.write_text(text)
        _expect(folder, "not an index of weights")
    listed["weight_map"]["model.extra.weight"] = shards[0].name
    index.write_text(json.dumps(listed))
    _expect(folder, "lacks model.extra.weight")
    listed["weight_map"]["model.extra.weight"] = "../" + shards[0].name
    index.write_text(json.dumps(listed))
    _expect(folder, "which is outside its folder")


def test_a_folder_without_weights(tmp_path: Path) -> None:
    _expect(tmp_path, "no weights in it; looked for model.safetensors")
    assert weight_files(tmp_path) == []


class _Payload:
    def __reduce__(self):
        return (exec, ("raise SystemExit('the file ran its code')",))


def test_a_bin_that_would_run_code_does_not(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(2), "more": _Payload()}, tmp_path / "pytorch_model.bin")
    _expect(tmp_path, "can run code and are never read")
    torch.save([torch.ones(2)], tmp_path / "pytorch_model.bin")
    _expect(tmp_path, "holds a list")


def test_the_old_bin_format_says_what_to_do(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(2)}, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    _expect(tmp_path, "run without --offload")
