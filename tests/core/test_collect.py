"""What a user can give wrongly to ``collect``: one line that names it, nothing lost, never another exception."""

from __future__ import annotations

import json
import math
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models as tm
from exact import compare, run, sources_of
from safetensors.torch import load_file, save_file
from tiny_experts import unknown_experts

from ffnscope.core.corpus.sources import DomainSource
from ffnscope.store.errors import UserError
from ffnscope.store.reader import Store
from ffnscope.store.records import Progress


def refusal(model: Path, sources: tuple[DomainSource, ...], store: Path, **options: Any) -> str:
    """The one line that a run ends with."""
    with pytest.raises(UserError) as caught:
        run(model, sources, store, **options)
    line = str(caught.value)
    assert line and "\n" not in line
    assert len(line) < 600
    if (store / "data.mdb").is_file():
        with Store.open(store) as opened:
            assert not opened.complete
    return line


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model with a tokenizer, to be spoiled."""
    return tm.tiny("opt", tmp_path / "models", tokenizer=True)


@pytest.fixture
def text(tmp_path: Path) -> tuple[DomainSource, ...]:
    """A text that the tokenizer knows."""
    (tmp_path / "text.txt").write_text(tm.random_text(np.random.default_rng(0), 200), encoding="utf-8")
    return (DomainSource("text", tmp_path / "text.txt"),)


@pytest.fixture
def windows(tmp_path: Path) -> tuple[DomainSource, ...]:
    """Windows of tokens."""
    return sources_of(tmp_path, {"all": tm.random_windows(np.random.default_rng(0), 5, 8, tm.VOCAB, 0)})


def test_it_runs_as_it_is(model: Path, text: tuple[DomainSource, ...], tmp_path: Path) -> None:
    with Store.open(run(model, text, tmp_path / "run.ffn")) as store:
        assert store.complete and store.layers() == (0, 1, 2)


@pytest.mark.parametrize("name", ["no-such-folder", "a/b/c", "no such folder", "x\x1b[2Jy", "-", "ünï"])
def test_a_missing_folder(name: str, text: tuple[DomainSource, ...], tmp_path: Path) -> None:
    assert "no-such-folder" in refusal(tmp_path / "no-such-folder", text, tmp_path / "run.ffn")
    refusal(tmp_path / name, text, tmp_path / "run.ffn")
    assert not (tmp_path / "run.ffn").exists()


def test_a_folder_without_a_model(text: tuple[DomainSource, ...], tmp_path: Path) -> None:
    assert "config.json" in refusal(tmp_path, text, tmp_path / "run.ffn")


def test_a_file_in_place_of_a_model(model: Path, text: tuple[DomainSource, ...], tmp_path: Path) -> None:
    assert "folder" in refusal(model / "config.json", text, tmp_path / "run.ffn")


def test_a_model_without_a_tokenizer(model: Path, text: tuple[DomainSource, ...], tmp_path: Path) -> None:
    for path in model.glob("*token*"):
        path.unlink()
    line = refusal(model, text, tmp_path / "run.ffn")
    assert "no tokenizer" in line and ".npy" in line


@pytest.mark.parametrize("junk", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"model": 3}', b'{"version": "1.0"}'])
def test_a_broken_tokenizer(junk: bytes, model: Path, text: tuple[DomainSource, ...], tmp_path: Path) -> None:
    (model / "tokenizer.json").write_bytes(junk)
    assert "tokenizer" in refusal(model, text, tmp_path / "run.ffn")


def test_a_vocabulary_that_does_not_fit(text: tuple[DomainSource, ...], tmp_path: Path) -> None:
    small = tm.tiny("opt", tmp_path, vocab_size=20)
    tm.tiny_tokenizer(small, vocab=tm.words(60))
    assert "vocabulary" in refusal(small, text, tmp_path / "run.ffn")


@pytest.mark.parametrize(("ids", "says"), [([[0, 64, 1]], "64"), ([[0, -1, 1]], "-1|negative|below 0"), ([[0.5]], "")])
def test_windows_that_do_not_fit(ids: list[list[Any]], says: str, model: Path, tmp_path: Path) -> None:
    import re

    line = refusal(model, sources_of(tmp_path, {"all": np.array(ids)}), tmp_path / "run.ffn")
    assert re.search(says, line)


@pytest.mark.parametrize(
    "content", [b"", b" \n\t", b"the", b"\x00\x01\xff" * 999, b"\x7fELF\x02\x01\x01" + bytes(500), b"\x89PNG\r\n\x1a\n"]
)
def test_a_corpus_that_is_none(content: bytes, model: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_bytes(content)
    assert "text.txt" in refusal(model, (DomainSource("text", tmp_path / "text.txt"),), tmp_path / "run.ffn")


@pytest.mark.parametrize("name", ["missing.txt", "data.npy", "data.jsonl", "data.parquet"])
def test_data_that_cannot_be_read(name: str, model: Path, tmp_path: Path) -> None:
    if name != "missing.txt":
        (tmp_path / name).write_bytes(b"\x93NUMPY junk that is not a file of its kind\n" * 20)
    assert name in refusal(model, (DomainSource("d", tmp_path / name),), tmp_path / "run.ffn")


@pytest.mark.parametrize("spoil", ["empty folder", "other shape", "no windows"])
def test_windows_that_cannot_be_used(spoil: str, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "data"
    if spoil == "empty folder":
        path.mkdir()
    else:
        path = path.with_suffix(".npy")
        np.save(path, np.zeros(5, int) if spoil == "other shape" else np.zeros((0, 8), int))
    assert "data" in refusal(model, (DomainSource("d", path),), tmp_path / "run.ffn")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"seq_len": 33}, "--seq-len 33"),
        ({"seq_len": 0}, "--seq-len 0"),
        ({"seq_len": 1}, "--seq-len 1"),
        ({"max_tokens": 31}, "--max-tokens"),
        ({"max_tokens": 0}, "--max-tokens"),
        ({"batch_size": 0}, "--batch-size"),
        ({"layers": "3"}, "--layers"),
        ({"layers": "x"}, "--layers"),
        ({"min_occurrences": 0}, "--min-occurrences"),
        ({"top_k": 0}, "--top-k"),
        ({"dtype": "float8"}, "--dtype"),
        ({"bos_id": 64}, "64"),
        ({"bos_id": -1}, "-1"),
        ({"resume": True, "overwrite": True}, "--resume"),
        ({"scratch_gb": 1e-9}, "--scratch-gb"),
        ({"scratch_gb": float("nan")}, "--scratch-gb"),
        ({"scratch": Path("/dev/null/scratch")}, "/dev/null/scratch"),
    ],
)
def test_options_that_cannot_be(
    options: dict[str, Any], says: str, model: Path, text: tuple[DomainSource, ...], tmp_path: Path
) -> None:
    assert says in refusal(model, text, tmp_path / "run.ffn", **options)


@pytest.mark.parametrize("size", [0.0, -1.0, math.nan, math.inf])
def test_a_size_of_scratch_that_is_none_is_refused_before_the_corpus_is_read(
    size: float, model: Path, tmp_path: Path
) -> None:
    absent = (DomainSource("text", tmp_path / "absent.txt"),)
    assert f"--scratch-gb {size:g}: must be a size" in refusal(model, absent, tmp_path / "run.ffn", scratch_gb=size)


def test_an_unknown_device(model: Path, text: tuple[DomainSource, ...], tmp_path: Path) -> None:
    from ffnscope.core.collect import collect
    from ffnscope.core.run.request import CollectRequest

    for device in ("cuda:77", "tpu", ""):
        with pytest.raises(UserError, match="--device"):
            collect(CollectRequest(str(model), text, tmp_path / "run.ffn", device=device))


def test_no_domain_and_one_twice(model: Path, text: tuple[DomainSource, ...], tmp_path: Path) -> None:
    assert "--data" in refusal(model, (), tmp_path / "run.ffn")
    assert "twice" in refusal(model, text * 2, tmp_path / "run.ffn")
    assert "--data" in refusal(model, (DomainSource("d", text[0].path, True),), tmp_path / "run.ffn")


def test_a_store_that_is_there(model: Path, text: tuple[DomainSource, ...], tmp_path: Path) -> None:
    store = run(model, text, tmp_path / "run.ffn")
    before = (store / "data.mdb").read_bytes()
    with pytest.raises(UserError, match=r"--resume.*--overwrite"):
        run(model, text, store)
    assert (store / "data.mdb").read_bytes() == before


@pytest.mark.parametrize("options", [{}, {"resume": True}, {"overwrite": True}])
@pytest.mark.parametrize("what", ["file", "folder", "lmdb", "junk"])
def test_a_place_that_holds_something_else(
    what: str, options: dict[str, bool], model: Path, text: tuple[DomainSource, ...], tmp_path: Path
) -> None:
    import lmdb

    place = tmp_path / "mine"
    if what == "file":
        place.write_text("mine")
    else:
        place.mkdir()
        (place / "letter.txt").write_text("mine")
        if what == "junk":
            (place / "data.mdb").write_bytes(b"mine" * 5000)
        if what == "lmdb":
            with lmdb.open(str(place)) as environment, environment.begin(write=True) as transaction:
                transaction.put(b"mine", b"mine")
    if what in ("lmdb", "junk") and options.get("overwrite"):
        pytest.skip("data.mdb is taken for a store that is broken")
    before = {path: path.read_bytes() for path in tmp_path.glob("mine/[ld][ea]t*")}
    with pytest.raises(UserError, match="mine") as caught:
        run(model, text, place, **options)
    assert "\n" not in str(caught.value)
    assert all(path.read_bytes() == content for path, content in before.items())


# Models


def test_experts_that_cannot_be_recorded_exactly(windows: tuple[DomainSource, ...], tmp_path: Path) -> None:
    said = refusal(unknown_experts(tmp_path), windows, tmp_path / "run.ffn")
    assert "is a mixture of experts of a kind that ffnscope cannot record exactly" in said


@pytest.mark.parametrize(
    "junk", ["", "{", "[]", "null", "3", '"x"', "{}", '{"model_type": 3}', '{"model_type": "none"}']
)
def test_a_broken_configuration(junk: str, model: Path, windows: tuple[DomainSource, ...], tmp_path: Path) -> None:
    (model / "config.json").write_text(junk)
    assert str(model) in refusal(model, windows, tmp_path / "run.ffn")


def test_a_model_that_is_no_causal_lm(windows: tuple[DomainSource, ...], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit", "architectures": ["ViTModel"]}))
    refusal(tmp_path, windows, tmp_path / "run.ffn")


GONE = object()
MANGLED = (GONE, None, -1, 0, 2, 1.5, "junk", [], {}, True)


@pytest.mark.parametrize("family", ["opt", "llama", "gpt2", "gemma3"])
def test_a_mangled_configuration_is_refused_or_run_right(
    family: str, request: pytest.FixtureRequest, windows: tuple[DomainSource, ...], tmp_path: Path
) -> None:
    """Each field left out or spoilt (a sample; with --slow all): refused in a line, or the numbers are those of
    Hugging Face's model of the same configuration."""
    folder = tm.tiny(family, tmp_path)
    config = json.loads((folder / "config.json").read_text())
    cases = [(name, value) for name in config for value in MANGLED]
    if not request.config.getoption("--slow"):
        cases = random.Random(family).sample(cases, 25)
    store, tokens = tmp_path / "run.ffn", np.load(windows[0].path)
    for name, value in cases:
        changed = {key: old for key, old in config.items() if key != name} | ({} if value is GONE else {name: value})
        (folder / "config.json").write_text(json.dumps(changed))
        shutil.rmtree(store, ignore_errors=True)
        try:
            run(folder, windows, store, bos_id=0)
        except UserError as error:
            assert "\n" not in str(error)
        except Exception as error:
            raise AssertionError(f"{name}: {value!r} ends in {type(error).__name__}: {error}") from error
        else:
            compare(store, folder, tokens)


@pytest.mark.parametrize(
    ("family", "change"),
    [
        ("opt", {"dropout": 2.0}),
        ("opt", {"num_attention_heads": -1}),
        ("gpt2", {"n_head": -1}),
        ("gemma3", {"sliding_window": None}),
        ("gemma3", {"query_pre_attn_scalar": -1}),
    ],
)
def test_a_model_that_cannot_be_run(
    family: str, change: dict[str, Any], windows: tuple[DomainSource, ...], tmp_path: Path
) -> None:
    folder = tm.tiny(family, tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    refusal(folder, windows, tmp_path / "run.ffn", bos_id=0)


def _truncate(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def _drop(model: Path, *names: str) -> None:
    weights = load_file(model / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not any(part in name for part in names)}
    assert len(kept) < len(weights)
    save_file(kept, model / "model.safetensors", metadata={"format": "pt"})


def _reshape(model: Path) -> None:
    weights = load_file(model / "model.safetensors")
    name = next(each for each in weights if each.endswith("fc1.weight"))
    weights[name] = weights[name][:-1].clone()
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    "spoil",
    [
        lambda model: (model / "model.safetensors").unlink(),
        lambda model: _truncate(model / "model.safetensors", 0.0),
        lambda model: _truncate(model / "model.safetensors", 0.001),
        lambda model: _truncate(model / "model.safetensors", 0.3),
        lambda model: _truncate(model / "model.safetensors", 0.99),
        lambda model: (model / "model.safetensors").write_bytes(b"junk" * 5000),
        lambda model: _drop(model, "layers.1.fc1.weight"),
        lambda model: _drop(model, "layers.2."),
        lambda model: _drop(model, "embed_positions"),
        lambda model: _reshape(model),
    ],
)
@pytest.mark.parametrize("offload", [False, True])
def test_spoilt_weights(
    spoil: Callable[[Path], Any], offload: bool, model: Path, windows: tuple[DomainSource, ...], tmp_path: Path
) -> None:
    spoil(model)
    assert str(model) in refusal(model, windows, tmp_path / "run.ffn", offload=offload)


@pytest.mark.parametrize("spoil", ["a shard is missing", "a shard is cut short", "the index is broken"])
def test_spoilt_shards(spoil: str, windows: tuple[DomainSource, ...], tmp_path: Path) -> None:
    model = tm.tiny("opt", tmp_path / "models", shards=True)
    shards = sorted(model.glob("*.safetensors"))
    assert len(shards) > 1
    if spoil == "a shard is missing":
        shards[1].unlink()
    elif spoil == "a shard is cut short":
        _truncate(shards[1], 0.5)
    else:
        next(model.glob("*.index.json")).write_text('{"weight_map": 3}')
    refusal(model, windows, tmp_path / "run.ffn")


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_pickle_cut_short(share: float, windows: tuple[DomainSource, ...], tmp_path: Path) -> None:
    model = tm.tiny("opt", tmp_path / "models", bin=True)
    _truncate(model / "pytorch_model.bin", share)
    refusal(model, windows, tmp_path / "run.ffn")


# Progress


def test_progress_goes_on_to_the_end(model: Path, text: tuple[DomainSource, ...], tmp_path: Path) -> None:
    events: list[Any] = []
    run(model, text, tmp_path / "run.ffn", events.append, batch_size=1, group_layers=1)
    shown = [event for event in events if isinstance(event, Progress) and not event.phase.startswith("reading")]
    fractions = [event.fraction for event in shown]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    assert max(np.diff(fractions)) < 0.4
    assert [event.state for event in shown[-2:]] == ["collecting", "complete"]
    assert {event.layers_total for event in shown} == {3}
    assert all(line.isprintable() for line in events if isinstance(line, str))
