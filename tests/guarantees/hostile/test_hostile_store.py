"""A store that someone made to do harm: right checksums, impossible contents. Every command refuses it in one line."""

from __future__ import annotations

import json
import resource
import shutil
import socket
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damage import alive, change, put
from synthetic import make_store

from ffnscope.store.definitions import POSITION_STRENGTHS, POSITION_TYPES
from ffnscope.store.errors import UserError
from ffnscope.store.format.encoding import decode_array, decode_json, encode_array, encode_json
from ffnscope.store.format.keys import INDEX_KEY, LAYER_KEY, NEURON_KEY
from ffnscope.store.format.schema import ABSENT
from ffnscope.store.reader import Store
from ffnscope.store.records import Progress
from ffnscope.tui.cli import main

COMMANDS = ("info", "info --json", "export", "search the", "report", "report --json", "verify", "compare O")
NESTED = 100_000


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A right one."""
    folder = tmp_path_factory.mktemp("hostile") / "small.ffn"
    return make_store(folder, layers=2, neurons=48, vocabulary=300, seq_len=16, windows=12)


@pytest.fixture
def path(small: Path, tmp_path: Path) -> Path:
    """A copy to be spoiled."""
    shutil.copytree(small, tmp_path / "other.ffn")
    return shutil.copytree(small, tmp_path / "s.ffn")


def sealed(payload: bytes) -> bytes:
    return struct.pack("<I", zlib.crc32(payload)) + payload


def refused(path: Path, capsys: pytest.CaptureFixture[str], commands: tuple[str, ...] = COMMANDS) -> None:
    """Each of the commands ends in one line (verify in a list too), without a traceback."""
    for command in commands:
        name, *rest = command.split()
        code = main([name, str(path), *(str(path.parent / "other.ffn") if word == "O" else word for word in rest)])
        out, err = capsys.readouterr()
        assert code == (1 if name == "verify" else 2), (command, code, out[:300], err)
        assert err.startswith("ffnscope: ") and err.count("\n") == 1 and len(err) < 600, (command, err)
        assert "damaged" in (out if name == "verify" else err), (command, out, err)
        assert err[:-1].isprintable()


def set_field(*names: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def work(run: dict[str, Any]) -> None:
        inner: Any = run
        for name in names[:-1]:
            inner = inner[name]
        inner[names[-1]] = to

    return work


ABSURD = [
    (("model", "vocabulary"), (10**12, -1, 0, 299, 301, 4 * 10**9, "300", None, True, 3.5)),
    (("model", "neurons"), (0, -5, 10**12, 2**63, "48", None, [48])),
    (("model", "layers"), (0, -1, 10**9, "2", None)),
    (("model", "name"), (3, None, ["x"], {})),
    (("model", "gated"), (1, "no", None)),
    (("model",), (None, [], "x", {}, 7)),
    (("corpus", "seq_len"), (0, -16, 17, 10**12, "16", None)),
    (("corpus", "bos_id"), (-1, 10**12, "0")),
    (("corpus", "domains"), (None, 3, [], [3], [{}], {"a": 1})),
    (("corpus", "domains", 0, "windows"), (10**9, -6, 10**18, "6", None, 7)),
    (("corpus", "domains", 1, "windows"), (10**9, 10**18, -1)),
    (("corpus", "domains", 1, "first_window"), (0, 10**9, -1)),
    (("corpus", "domains", 0, "count_only"), (1, True, "no")),
    (("corpus", "domains", 0, "name"), ("code", 3, None)),
    (("settings",), (None, [], 5, {})),
    (("settings", "layers"), (None, "all", [10**9], [-1], [0, 0], [1, 0], ["0"], [[0]], {"0": 1})),
    (("settings", "top_k"), (0, -1, 10**12, "20", None, 2.5, True)),
    (("settings", "min_occurrences"), (0, "5", None, [5])),
    (("created",), (5, None)),
    (("run_id",), (5, None)),
]


def opens(path: Path) -> bool:
    """Whether a reader takes the run entry and a layer's arrays for right."""
    with Store.open(path) as store:
        for name in ("kind", "promoted", "domain_activations"):
            store.column(0, name)
        return True


@pytest.mark.parametrize(("names", "values"), ABSURD, ids=lambda value: ".".join(map(str, value))[:30])
def test_an_absurd_run_entry_is_refused(path: Path, names: tuple[Any, ...], values: tuple[Any, ...]) -> None:
    run: dict[str, Any] = {}
    change(path, "meta", b"run", lambda before: run.update(decode_json(before)) or before)
    for value in values:
        wrong = json.loads(json.dumps(run))
        set_field(*names, to=value)(wrong)
        change(path, "meta", b"run", lambda _, wrong=wrong: encode_json(wrong))
        with pytest.raises(UserError, match="damaged"):
            opens(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"run", sealed(b"[" * NESTED + b"]" * NESTED)),
        (b"run", sealed(b'{"a":' * NESTED + b"1" + b"}" * NESTED)),
        (b"run", sealed(b"9" * NESTED)),
        (b"run", sealed(b"\xff\xfe")),
        (b"run", b""),
        (b"run", encode_json([])),
        (b"run", encode_json(None)),
        (b"format", encode_json({"version": "1"})),
        (b"format", encode_json([1])),
        (b"format", sealed(b"[" * NESTED)),
        (b"unigram_totals", encode_array(np.zeros((300, 300), np.uint32))),
        (b"unigram_totals", encode_array(np.zeros(10**6, np.uint32))),
    ],
    ids=lambda value: repr(value[:12]),
)
def test_a_broken_entry_is_refused(path: Path, capsys: pytest.CaptureFixture[str], key: bytes, value: bytes) -> None:
    put(path, "meta", key, value)
    refused(path, capsys)


@pytest.mark.parametrize(
    "value",
    [
        {"state": 5},
        {"state": "collecting", "fraction": "half"},
        {"state": "collecting", "layers_done": -1},
        {"state": "collecting", "process": 10**30},
        {"state": "collecting", "process": -1},
        {"state": "collecting", "tokens_per_second": float("nan")},
        {"state": "collecting", "seconds_left": float("inf")},
        [],
        3,
        {},
    ],
)
def test_a_broken_progress_entry_is_refused(path: Path, capsys: pytest.CaptureFixture[str], value: Any) -> None:
    put(path, "meta", b"progress", encode_json(value))
    refused(path, capsys, ("info", "verify"))


@pytest.mark.parametrize(
    "key", [b"layer:x", b"layer:", b"layer:-0001", b"layer:000000", b"layer:9999999999", b"layer:\x1b[2J"]
)
def test_layers_that_are_no_numbers(path: Path, capsys: pytest.CaptureFixture[str], key: bytes) -> None:
    put(path, "meta", key, encode_json({}))
    refused(path, capsys)


def declared(codec: int, dtype: bytes, *shape: int, payload: bytes = b"") -> bytes:
    return sealed(struct.pack("<BB3sx", codec, len(shape), dtype) + struct.pack(f"<{len(shape)}Q", *shape) + payload)


@pytest.mark.parametrize(
    "value",
    [
        declared(0, b"|u1", 1 << 40),
        declared(1, b"|u1", 1 << 35, payload=zlib.compress(bytes(100))),
        declared(1, b"<u4", (1 << 62), 4),
        declared(0, b"|O8", 48),
        declared(0, b"|V8", 48, payload=bytes(384)),
        declared(0, b"<f4", 48, payload=bytes(192)),
        declared(0, b"|u1", 47, payload=bytes(47)),
        declared(0, b"|u1", 48, 1, payload=bytes(48)),
        declared(0, b"|u1", payload=b"\0"),
        declared(0, b"|u1", 48, payload=b"\xff" * 48),
        declared(0, b"|u1", 0),
        b"",
        b"\x80\x04" * 40,
    ],
    ids=lambda value: repr(value[:12]),
)
def test_a_column_of_the_wrong_make_is_refused(path: Path, capsys: pytest.CaptureFixture[str], value: bytes) -> None:
    put(path, "columns", LAYER_KEY.pack(0) + b"kind", value)
    refused(path, capsys, ("export", "report", "verify"))


def test_owners_that_are_no_neurons(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in (10**9, 48):
        change(path, "columns", LAYER_KEY.pack(0) + b"detected_neuron", lambda v, w=wrong: encode_array(_last(v, w)))
        refused(path, capsys, ("export", "report", "verify"))


def _last(value: bytes, to: int) -> np.ndarray:
    array = decode_array(value).copy()
    array[-1] = to
    return array


def test_detected_tokens_that_are_none(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(path, "columns", LAYER_KEY.pack(0) + b"detected_tokens", lambda v: encode_array(_last(v, 300)))
    refused(path, capsys, ("export", "report", "compare O", "verify"))
    change(path, "columns", LAYER_KEY.pack(0) + b"detected_tokens", lambda v: encode_array(_last(v, ABSENT)))
    refused(path, capsys, ("export", "report", "compare O", "verify"))


def test_curves_of_more_windows_than_there_are(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    neuron = alive(path)
    change(path, "curves", NEURON_KEY.pack(0, neuron), lambda v: encode_array(decode_array(v) * 0 + 13))
    for name, code in (
        ("position_type", POSITION_TYPES.index("oscillatory")),
        ("position_strength", POSITION_STRENGTHS.index("strong")),
    ):
        at = LAYER_KEY.pack(0) + name.encode()
        change(path, "columns", at, lambda v, code=code: encode_array(np.full_like(decode_array(v), code)))
    refused(path, capsys, ("report",))


def test_a_process_that_no_system_has(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress("collecting", layers_done=1, layers_total=2, process=2**40, host=socket.gethostname())
    put(path, "meta", b"progress", encode_json(progress.to_json()))
    assert main(["info", str(path)]) == 0
    assert "collecting" in capsys.readouterr().out


def test_a_setting_of_a_vast_range_takes_no_memory(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(path, "meta", b"run", lambda v: encode_json(_setting_to(decode_json(v), "vast", [0, 1 << 40, 1 << 41])))
    assert main(["info", str(path)]) == 0
    assert f"vast 0,{1 << 40},{1 << 41}" in capsys.readouterr().out


def _setting_to(run: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    run["settings"][name] = value
    return run


def test_lists_of_different_lengths(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(path, "columns", LAYER_KEY.pack(0) + b"detected_count", lambda v: encode_array(decode_array(v)[:1]))
    refused(path, capsys, ("export", "verify"))


def test_a_bomb_is_not_inflated(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A curve of a gigabyte in a megabyte: refused by its shape, within half a gigabyte of address space more."""
    neuron = alive(path)
    bomb = declared(1, b"|u1", 2, 1 << 29, payload=zlib.compress(bytes(1 << 20)) * 1000)
    put(path, "curves", NEURON_KEY.pack(0, neuron), bomb)
    code = """
import sys
from ffnscope.store.reader import Store
with Store.open(sys.argv[1]) as store:
    try:
        store.curves(0, int(sys.argv[2]))
    except Exception as error:
        print(type(error).__name__)
"""
    limit = (resource.RLIMIT_AS, (1 << 30, 1 << 30))
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), str(neuron)],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(*limit),
        env={"OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.stdout == "DamagedStoreError\n", done.stderr
    refused(path, capsys, ("verify",))


@pytest.mark.parametrize(
    ("part", "value"),
    [
        (b"ends", encode_array(np.full(300, 2**32 - 1, np.uint32))),
        (b"ends", encode_array(np.arange(300, 0, -1).astype(np.uint32))),
        (b"ends", encode_array(np.zeros(3, np.uint32))),
        (b"ends", encode_array(np.zeros(300, np.float32))),
        (b"whole", encode_array(np.zeros(1, np.uint8))),
        (b"bytes", encode_array(np.full(3000, 0xFF, np.uint8))),
        (b"bytes", encode_array(np.zeros((3, 3), np.uint8))),
    ],
    ids=lambda value: repr(value[:12]),
)
def test_texts_that_are_none(path: Path, capsys: pytest.CaptureFixture[str], part: bytes, value: bytes) -> None:
    put(path, "vocabulary", INDEX_KEY.pack(0) + part, value)
    refused(path, capsys, ("info", "export", "search the", "verify"))


def test_a_window_of_the_wrong_make(path: Path) -> None:
    for value in (
        declared(0, b"|u1", 1 << 40),
        encode_array(np.zeros(16, np.float32)),
        encode_array(np.zeros(3, "u2")),
    ):
        put(path, "windows", INDEX_KEY.pack(4), value)
        with Store.open(path) as store, pytest.raises(UserError, match=r"damaged .window 4"):
            store.window(4)


def test_a_link_in_place_of_the_data_file_and_odd_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, make in {
        "loop": lambda folder: (folder / "data.mdb").symlink_to(folder / "data.mdb"),
        "folder": lambda folder: (folder / "data.mdb").mkdir(),
        "device": lambda folder: (folder / "data.mdb").symlink_to("/dev/zero"),
    }.items():
        (tmp_path / name).mkdir()
        make(tmp_path / name)
        assert main(["info", str(tmp_path / name)]) == 2
        assert capsys.readouterr().err.count("\n") == 1
