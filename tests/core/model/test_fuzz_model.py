"""Tokenizer files with fields left out or spoilt, and safetensors cut or mangled: a right result, or one line."""

from __future__ import annotations

import copy
import json
import random
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models as tm
from exact import compare, run, sources_of
from transformers import AutoTokenizer

from ffnscope.core.corpus.sources import DomainSource
from ffnscope.store.errors import UserError
from ffnscope.store.reader import Store

GONE = object()
SPOILT = (GONE, None, -1, 0, 1.5, "junk", [], {}, True, [["a"]], "\ud800\x1b[2J")
TOKENIZERS = {
    "words": {"vocab": tm.words(tm.VOCAB - 3)},
    "bytes": {"texts": ["the school of the city ", "water and paper "] * 20, "size": 290},
    "hostile": {"hostile": True},
}
SAMPLE = 40


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value of a JSON document, but for all but two entries of a long list or vocabulary."""
    if at:
        yield at
    if isinstance(value, dict | list):
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        for key in keys if len(keys) < 12 else (keys[0], keys[-1]):
            yield from places(value[key], (*at, key))


def spoil(document: Any, at: tuple[Any, ...], to: Any) -> Any:
    """The document with one value left out or another in its place."""
    changed = copy.deepcopy(document)
    inner = changed
    for key in at[:-1]:
        inner = inner[key]
    if to is GONE:
        del inner[at[-1]]
    else:
        inner[at[-1]] = to
    return changed


def one_line(error: UserError) -> None:
    assert str(error) and "\n" not in str(error) and len(str(error)) < 900


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_mangled_tokenizer_is_refused_or_used_as_it_is(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Each field of each file (a sample; with --slow all). What is run has the windows that Hugging Face's tokenizer of
    the same files makes of the text."""
    model = tm.tiny("opt", tmp_path / "models", vocab_size=320, num_hidden_layers=1)
    tm.tiny_tokenizer(model, **TOKENIZERS[kind])  # type: ignore[arg-type]
    text = "the school of the city </s> water and paper [red]x \x1b[2J été " * 9
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    source = (DomainSource("a", tmp_path / "a.txt"),)
    files = {file: json.loads(file.read_text("utf-8")) for file in sorted(model.glob("*token*.json"))}
    assert len(files) >= 2
    cases = [(file, at, to) for file, document in files.items() for at in places(document) for to in SPOILT]
    if not request.config.getoption("--slow"):
        cases = random.Random(kind).sample(cases, SAMPLE)
    store, ran = tmp_path / "run.ffn", 0
    for file, at, to in cases:
        file.write_text(json.dumps(spoil(files[file], at, to)), encoding="utf-8")
        shutil.rmtree(store, ignore_errors=True)
        try:
            run(model, source, store, seq_len=8, batch_size=8)
        except UserError as error:
            one_line(error)
        except BaseException as error:
            raise AssertionError(f"{file.name} {at}: {to!r} ends in {type(error).__name__}: {error}") from error
        else:
            ran += 1
            tokenizer = AutoTokenizer.from_pretrained(model)
            bos = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            piece = 8 if bos is None else 7
            with Store.open(store) as opened:
                windows = [opened.window(index).tolist() for index in range(opened.run.corpus.counted_windows)]
            begin = [] if bos is None else [bos]
            cut = [begin + ids[i : i + piece] for i in range(0, len(ids) - piece + 1, piece)]
            assert windows == cut, (file.name, at, to)
        finally:
            file.write_text(json.dumps(files[file]), encoding="utf-8")
    assert 0 < ran < len(cases)


@pytest.fixture
def windows(tmp_path: Path) -> tuple[DomainSource, ...]:
    """Windows of tokens."""
    return sources_of(tmp_path, {"all": tm.random_windows(np.random.default_rng(0), 5, 8, tm.VOCAB, 0)})


def tried(model: Path, windows: tuple[DomainSource, ...], store: Path, offload: bool, what: str) -> bool:
    """Collect; whether it ran, and then right."""
    shutil.rmtree(store, ignore_errors=True)
    try:
        run(model, windows, store, bos_id=0, offload=offload)
    except UserError as error:
        one_line(error)
        return False
    except BaseException as error:
        raise AssertionError(f"{what} ends in {type(error).__name__}: {error}") from error
    compare(store, model, np.load(windows[0].path))
    return True


@pytest.mark.parametrize("offload", [False, True])
def test_safetensors_cut_anywhere_are_refused(offload: bool, windows: tuple[DomainSource, ...], tmp_path: Path) -> None:
    model = tm.tiny("llama", tmp_path / "models", num_hidden_layers=1)
    file = model / "model.safetensors"
    whole = file.read_bytes()
    header = 8 + struct.unpack("<Q", whole[:8])[0]
    rng = random.Random(int(offload))
    ends = [0, 1, 7, 8, 9, header - 1, header, header + 1, len(whole) - 1, *rng.sample(range(len(whole)), 6)]
    for end in ends:
        file.write_bytes(whole[:end])
        assert not tried(model, windows, tmp_path / "run.ffn", offload, f"cut at {end}"), end
    file.write_bytes(whole)
    assert tried(model, windows, tmp_path / "run.ffn", offload, "whole")


@pytest.mark.parametrize("offload", [False, True])
def test_a_mangled_header_of_safetensors(offload: bool, windows: tuple[DomainSource, ...], tmp_path: Path) -> None:
    """Lengths, dtypes, shapes and places of the tensors are not trusted."""
    model = tm.tiny("llama", tmp_path / "models", num_hidden_layers=1)
    file = model / "model.safetensors"
    whole = file.read_bytes()
    size = struct.unpack("<Q", whole[:8])[0]
    header, data = json.loads(whole[8 : 8 + size]), whole[8 + size :]
    name = next(key for key in header if key.endswith("gate_proj.weight"))
    begin, end = header[name]["data_offsets"]
    entries = [
        {},
        {"dtype": "F16"},
        {"dtype": "U8"},
        {"dtype": "junk"},
        {"dtype": None},
        {"shape": [24]},
        {"shape": [16, 24]},
        {"shape": [-24, -16]},
        {"shape": [2**40, 2**40]},
        {"shape": "x"},
        {"data_offsets": [begin, end + 4]},
        {"data_offsets": [end, begin]},
        {"data_offsets": [begin - 64, end - 64]},
        {"data_offsets": [0, 2**62]},
        {"data_offsets": []},
    ]
    headers: list[Any] = [header | {name: header[name] | entry} for entry in entries]
    headers += [{**header, name: None}, {**header, name: []}, [], None, {**header, "__metadata__": 3}]
    raw = [json.dumps(each).encode() for each in headers]
    raw += [b"[" * 5000, b'{"a":' * 5000, b"\xff" * 64, json.dumps(header).encode()[:-1]]
    ran = 0
    for number, encoded in enumerate(raw):
        file.write_bytes(struct.pack("<Q", len(encoded)) + encoded + data)
        ran += tried(model, windows, tmp_path / "run.ffn", offload, f"header {number}: {encoded[:60]!r}")
    assert ran >= 1
    for length in (0, 1, size - 1, size + 1, len(whole), 2**63 - 1, 2**64 - 1):
        file.write_bytes(struct.pack("<Q", length) + whole[8:])
        assert not tried(model, windows, tmp_path / "run.ffn", offload, f"length {length}")
