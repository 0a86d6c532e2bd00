"""Folders that hold no weights that can be read: refused at once, with what is in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_models as tm
import transformers as hf
from exact import run

from ffnscope.core.corpus.sources import DomainSource
from ffnscope.core.model.load import check_structure
from ffnscope.core.model.source import _own_code, open_model
from ffnscope.core.model.tokenizer import load_tokenizer
from ffnscope.store.errors import UserError

ABSENT = (DomainSource("text", Path("there-is-no-such-file.txt")),)
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n"


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        open_model(str(folder))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["model-00001-of-00002.safetensors"], "shards without their index; fetch model.safetensors.index.json"),
        (["pytorch_model-00001-of-00002.bin"], "fetch pytorch_model.bin.index.json"),
        (["model.fp16.safetensors"], "model.fp16.safetensors: weights of a variant only"),
        (["model.fp16-00001-of-00002.safetensors", "model.safetensors.index.fp16.json"], "a variant only"),
        (["flax_model.msgpack"], "Flax weights"),
        (["tf_model.h5"], "TensorFlow weights"),
        (["model.ckpt.index"], "TensorFlow weights"),
        (["onnx/model.onnx"], "an ONNX export"),
        (["pytorch_model_fsdp_0/__0_0.distcp"], "FSDP"),
        (["global_step100/mp_rank_00_model_states.pt", "zero_to_fp32.py"], "DeepSpeed"),
        (["optimizer.pt", "scheduler.pt", "rng_state.pth"], "the state of a trainer only"),
        (["consolidated.00.pth", "params.json"], "their maker's own format"),
        (["tiny.Q4_K_M.gguf"], "tiny.Q4_K_M.gguf: a .gguf file; name the file itself"),
        (["checkpoint-500/model.safetensors"], "checkpoints in folders of their own"),
        (["weights.pt"], "a name of their own"),
        (["notes.txt"], "notes.txt"),
        ([], ""),
    ],
)
def test_what_is_there_in_place_of_weights_is_said(names: list[str], says: str, tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    without_config = refusal(tmp_path)
    assert says in without_config and "no config.json" in without_config
    hf.OPTConfig().save_pretrained(tmp_path)
    with_config = refusal(tmp_path)
    assert says in with_config and "no weights in it" in with_config


def test_missing_shards_and_git_lfs_pointers_are_named(tmp_path: Path) -> None:
    folder = tm.tiny("llama", tmp_path, shards=True, tokenizer=True)
    shard = sorted(folder.glob("model-*.safetensors"))[1]
    (folder / "tokenizer.json").rename(tmp_path / "kept.json")
    (folder / "tokenizer.json").write_text(POINTER)
    assert refusal(folder).startswith(f"{folder / 'tokenizer.json'}: a Git LFS pointer")
    (tmp_path / "kept.json").replace(folder / "tokenizer.json")
    shard.write_text(POINTER)
    assert refusal(folder) == f"{shard}: a Git LFS pointer, not the file itself; run git lfs pull in its folder"
    shard.unlink()
    assert str(shard) in refusal(folder) and "not complete" in refusal(folder)


def _mask_filler(folder: Path) -> None:
    config = hf.CLIPTextConfig(vocab_size=64, hidden_size=16, num_hidden_layers=2, intermediate_size=24)
    config.save_pretrained(folder)


def _four_bits(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (folder / "config.json").write_text(json.dumps(config))


def _tekken(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()
    (folder / "tekken.json").write_text("{}")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_mask_filler, "is not a causal LM"),
        (_four_bits, "quantised by gptq, .*give the checkpoint that is not quantised"),
        (_tekken, "tekken.json is a tokenizer for the package mistral-common"),
    ],
)
def test_what_is_known_at_the_start_is_said_before_the_corpus(
    spoil: Callable[[Path], None], says: str, tmp_path: Path
) -> None:
    folder = tm.tiny("llama", tmp_path, tokenizer=True)
    spoil(folder)
    with pytest.raises(UserError, match=says):
        run(folder, ABSENT, tmp_path / "run.ffn")
    assert not (tmp_path / "run.ffn").exists()


def test_packages_that_are_missing_are_said_before_the_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ImportError("This modeling file requires the following packages: einops. Run `pip install einops`")

    monkeypatch.setattr(hf.AutoModelForCausalLM, "from_config", missing)
    with pytest.raises(UserError, match="pip install einops"):
        check_structure(open_model(str(tm.tiny("llama", tmp_path))))


@pytest.mark.parametrize(
    ("file", "content", "kind"),
    [
        ("tokenizer.model", b"\n\x0e\n\x05<unk>", "SentencePiece"),
        ("spiece.model", b"\n\x0e", "SentencePiece"),
        ("sentencepiece.bpe.model", b"\n\x0e", "SentencePiece"),
        ("tokenizer.model", b"IQ== 0\n", "tiktoken"),
    ],
)
def test_a_tokenizer_file_names_the_extra_that_reads_it(
    file: str, content: bytes, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ffnscope.core.model.tokenizer.importlib.util.find_spec", lambda name: None)
    folder = tm.tiny("llama", tmp_path)
    (folder / file).write_bytes(content)
    with pytest.raises(UserError, match=rf"its {file} is a {kind} file.*pip install 'ffnscope\[sentencepiece\]'"):
        load_tokenizer(open_model(str(folder)))


def test_a_tokenizer_file_whose_packages_are_there_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ffnscope.core.model.tokenizer._installed", lambda package: True)
    folder = tm.tiny("llama", tmp_path)
    (folder / "tokenizer.model").write_bytes(b"\n\x0e")
    with pytest.raises(UserError, match="its tokenizer cannot be read"):  # as it is cut short
        load_tokenizer(open_model(str(folder)))


def test_a_tokenizer_that_is_python_code_names_the_option_that_runs_it(tmp_path: Path) -> None:
    folder = tm.tiny("llama", tmp_path)
    settings = {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match="--trust-remote-code"):
        load_tokenizer(open_model(str(folder)))


def test_a_trainers_leftovers_beside_weights_are_nothing(tmp_path: Path) -> None:
    folder = tm.tiny("opt", tmp_path)
    for name in ("optimizer.pt", "flax_model.msgpack", "model.fp16.safetensors"):
        (folder / name).write_bytes(b"x")
    windows = tm.random_windows(np.random.default_rng(0), 3, 8, tm.VOCAB, 0)
    np.save(tmp_path / "w.npy", windows)
    run(folder, (DomainSource("w", tmp_path / "w.npy"),), tmp_path / "run.ffn")


def test_code_of_a_models_own_is_what_lies_in_its_folder(tmp_path: Path) -> None:
    for name in ("own.py", "other.py"):
        (tmp_path / name).write_text("X = 1\n")
    named = {"AutoConfig": "own.Config", "AutoModel": "some/where--other.Model", "AutoTokenizer": ["missing.T", None]}
    source = SimpleNamespace(
        location=str(tmp_path), name=str(tmp_path), trust_remote_code=True, config=SimpleNamespace(auto_map=named)
    )
    assert _own_code(source) == [tmp_path / "own.py"]  # type: ignore[arg-type]
