"""A `.gguf` file is read as Hugging Face reads it, and equals the checkpoint that it was made from."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import gguf
import numpy as np
import pytest
import tiny_models as tm
import torch
from exact import run
from gguf.quants import quantize
from sweeping import CPU, ordinary, ordinary_of, same, swept
from transformers import AutoModelForCausalLM

from ffnscope.core.corpus.sources import DomainSource
from ffnscope.core.model.load import load_model
from ffnscope.core.model.offload import load_offloaded
from ffnscope.core.model.source import fingerprint, open_model
from ffnscope.core.model.tokenizer import load_tokenizer
from ffnscope.store.errors import UserError
from ffnscope.store.reader import Store

NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}  # fmt: skip
LETTERS = "abcdefghijklmnopqrstuvwxyz"
BOS, EOS = 0, 1


def _interleaved(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a query or key matrix in the order in which llama.cpp keeps rotary pairs."""
    return weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def _write(folder: Path, file: Path, kind: gguf.GGMLQuantizationType | None = None) -> Path:
    """The llama of `folder` as a .gguf file with a byte-level tokenizer of the letters."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    config = model.config
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    tokens = ["<s>", "</s>", "Ġ", *LETTERS, "th", "he"]
    tokens += [f"<{i}>" for i in range(len(tokens), config.vocab_size)]
    types = [gguf.TokenType.CONTROL] * 2 + [gguf.TokenType.NORMAL] * (len(tokens) - 2)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(["t h", "h e"])
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(EOS)
    for name, tensor in model.state_dict().items():
        stem, _, end = name.rpartition(".")
        parts = stem.split(".")
        block = f"blk.{parts[2]}." if parts[1:2] == ["layers"] else ""
        value = tensor.numpy()
        if "q_proj" in name:
            value = _interleaved(value, config.num_attention_heads)
        if "k_proj" in name:
            value = _interleaved(value, config.num_key_value_heads)
        target = f"{block}{NAMES['.'.join(parts[3:]) if block else stem]}.{end}"
        if kind is not None and value.ndim == 2:
            writer.add_tensor(target, quantize(value, kind), raw_dtype=kind)
        else:
            writer.add_tensor(target, np.ascontiguousarray(value))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@pytest.fixture
def windows() -> np.ndarray:
    return tm.random_windows(np.random.default_rng(5), 7, 24, tm.VOCAB)


def test_it_equals_the_checkpoint_it_was_made_from(windows: np.ndarray, tmp_path: Path) -> None:
    folder = tm.tiny("llama", tmp_path)
    file = _write(folder, tmp_path / "tiny.gguf")
    source = open_model(str(file))
    assert (source.vocabulary, source.positions, source.title) == (tm.VOCAB, tm.SEQ_LEN, "tiny.gguf")
    model = load_model(source, CPU, torch.float32)
    seen, _ = swept(model, windows, 2, tmp_path / "scratch")
    same(seen, ordinary(folder, windows))
    assert torch.equal(model.unembedding(), AutoModelForCausalLM.from_pretrained(folder).lm_head.weight)


def test_quantised_weights_are_those_of_hugging_face(windows: np.ndarray, tmp_path: Path) -> None:
    folder = tm.tiny("llama", tmp_path, hidden_size=32, intermediate_size=64)
    file = _write(folder, tmp_path / "tiny.gguf", gguf.GGMLQuantizationType.Q8_0)
    seen, _ = swept(load_model(open_model(str(file)), CPU, torch.float32), windows, 1, tmp_path / "scratch")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=file.name, dtype=torch.float32).eval()
    same(seen, ordinary_of(theirs, windows))
    with pytest.raises(AssertionError):
        same(seen, ordinary(folder, windows))


def test_a_whole_run_from_text(tmp_path: Path) -> None:
    file = _write(tm.tiny("llama", tmp_path), tmp_path / "tiny.gguf")
    (tmp_path / "text.txt").write_text("the quick brown fox jumps over the lazy dog " * 40)
    store = run(file, (DomainSource("text", tmp_path / "text.txt"),), tmp_path / "store", seq_len=16, batch_size=2)
    with Store.open(store) as opened:
        assert opened.complete
        assert opened.run.model.name == "tiny.gguf"
        assert opened.run.settings["model_path"] == str(file)
        assert opened.run.corpus.bos_id == BOS
        first = list(opened.window(0))
    tokenizer = load_tokenizer(open_model(str(file)))
    assert tokenizer.decode(first[1:]).strip().startswith("the quick")


def test_the_fingerprint_is_of_the_file(tmp_path: Path) -> None:
    file = _write(tm.tiny("llama", tmp_path), tmp_path / "tiny.gguf")
    before = fingerprint(open_model(str(file)))
    copied = shutil.copytree(tmp_path, tmp_path.parent / f"{tmp_path.name}-copy") / file.name
    assert fingerprint(open_model(str(copied))) == before
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    assert fingerprint(open_model(str(file))) != before


def test_what_cannot_be_done_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = _write(tm.tiny("llama", tmp_path), tmp_path / "tiny.gguf")

    def refused(call) -> str:
        with pytest.raises(UserError) as error:
            call()
        assert "\n" not in str(error.value)
        return str(error.value)

    source = open_model(str(file))
    assert "run without --offload" in refused(lambda: load_offloaded(source, CPU, torch.float32))
    assert "no such file" in refused(lambda: open_model(str(tmp_path / "other.gguf")))
    broken = tmp_path / "broken.gguf"
    for content in (b"", b"not gguf at all" * 9, file.read_bytes()[:200]):
        broken.write_bytes(content)
        assert str(broken) in refused(lambda: open_model(str(broken)))
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(file.read_bytes()[:-5000])
    assert "perhaps cut short" in refused(lambda: load_model(open_model(str(cut)), CPU, torch.float32))
    with pytest.raises(UserError, match="run without --offload"):
        run(file, (DomainSource("text", Path("no-such-file.txt")),), tmp_path / "store", offload=True)

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "gguf" else find(name, *rest))
    assert "pip install 'ffnscope[gguf]'" in refused(lambda: open_model(str(file)))
