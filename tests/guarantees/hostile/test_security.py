"""What others wrote is data: nothing in a model, corpus or store runs, calls home, or acts on the terminal."""

from __future__ import annotations

import ast
import os
import pickle
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models as tm
from damage import change
from exact import run, sources_of
from synthetic import make_store, write_store

from ffnscope.core.corpus.sources import DomainSource
from ffnscope.store.errors import UserError
from ffnscope.store.format.encoding import decode_json, encode_json
from ffnscope.store.notes import Notes
from ffnscope.store.reader import Store
from ffnscope.tui.cli import main

ROOT = Path(__file__).resolve().parents[3]
MODULES = [path for part in ("core", "store", "tui") for path in sorted((ROOT / part).rglob("*.py"))]
ESCAPES = "a\x1b[31mred\x1b]0;title\x07\x9b2J\u202eevil\r\x08[bold]b[/]"


class Bomb:
    """Makes a file where it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.fixture
def windows(tmp_path: Path) -> tuple[DomainSource, ...]:
    """Some windows."""
    return sources_of(tmp_path, {"all": tm.random_windows(np.random.default_rng(0), 4, 8, tm.VOCAB, 0)})


def test_a_bomb_goes_off_when_unpickled(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(tmp_path / "mark")))
    assert (tmp_path / "mark").exists()


@pytest.mark.parametrize("offload", [False, True])
def test_a_checkpoint_that_is_a_pickle_of_code_is_refused(
    offload: bool, windows: tuple[DomainSource, ...], tmp_path: Path
) -> None:
    import torch

    model = tm.tiny("opt", tmp_path / "models", bin=True)
    weights = torch.load(model / "pytorch_model.bin", weights_only=True)
    for spoilt in (weights | {"extra": Bomb(tmp_path / "mark")}, Bomb(tmp_path / "mark")):
        torch.save(spoilt, model / "pytorch_model.bin")
        with pytest.raises(UserError) as caught:
            run(model, windows, tmp_path / "run.ffn", offload=offload)
        assert "\n" not in str(caught.value) and not (tmp_path / "mark").exists()
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(tmp_path / "mark")))
    with pytest.raises(UserError):
        run(model, windows, tmp_path / "run.ffn", offload=offload)
    assert not (tmp_path / "mark").exists()


def test_windows_that_are_a_pickle_of_code_are_refused(windows: tuple[DomainSource, ...], tmp_path: Path) -> None:
    model = tm.tiny("opt", tmp_path / "models")
    np.save(windows[0].path, np.array([[Bomb(tmp_path / "mark")]], object), allow_pickle=True)
    with pytest.raises(UserError) as caught:
        run(model, windows, tmp_path / "run.ffn")
    assert "all.npy" in str(caught.value) and not (tmp_path / "mark").exists()
    windows[0].path.write_bytes(pickle.dumps(Bomb(tmp_path / "mark")))
    with pytest.raises(UserError):
        run(model, windows, tmp_path / "run.ffn")
    assert not (tmp_path / "mark").exists()


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_unpickles_or_evaluates(path: Path) -> None:
    for name, call in calls(path):
        given = {word.arg: ast.unparse(word.value) for word in call.keywords}
        last = name.rpartition(".")[2]
        assert name not in ("eval", "exec", "compile", "os.system", "os.popen", "__import__"), ast.unparse(call)
        assert not (name.startswith(("pickle.", "dill.", "marshal.", "shelve.", "joblib."))), ast.unparse(call)
        assert last != "Unpickler" and given.get("allow_pickle", "False") == "False", ast.unparse(call)
        assert given.get("shell", "False") == "False", ast.unparse(call)
        if name == "torch.load":
            assert given["weights_only"] == "True", ast.unparse(call)
        if last == "from_pretrained" and "AutoModel" in name:
            assert given["weights_only"] == "True", ast.unparse(call)


def test_no_network_for_a_model_in_a_folder(
    windows: tuple[DomainSource, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def refuse(*arguments: Any, **_: Any) -> None:
        asked.append(arguments[1:])
        raise OSError("no network here")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    model = tm.tiny("llama", tmp_path / "models", tokenizer=True)
    store = run(model, windows, tmp_path / "run.ffn", bos_id=tm.BOS_ID)
    for command in ("info", "export", "report", "verify"):
        assert main([command, str(store)]) == 0
    assert asked == []


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose folder, model, domains, settings and tokens all carry escape sequences."""
    folder = tmp_path_factory.mktemp("hostile") / ESCAPES.replace("/", "|")
    make_store(folder, layers=1, neurons=48, hostile=True, name=ESCAPES)

    def spoil(before: bytes) -> bytes:
        entry = decode_json(before)
        for field in ("architecture", "activation", "fingerprint"):
            entry["model"][field] = ESCAPES
        for number, domain in enumerate(entry["corpus"]["domains"]):
            domain["name"] = f"{ESCAPES}{number}"
        entry["settings"] |= {"dtype": ESCAPES, ESCAPES: [ESCAPES]}
        return encode_json(entry | {"created": ESCAPES, "version": ESCAPES, "run_id": ESCAPES})

    change(folder, "meta", b"run", spoil)
    change(folder, "meta", b"progress", lambda v: encode_json(decode_json(v) | {"phase": ESCAPES, "host": ESCAPES}))
    with Notes.open(folder) as notes:
        notes.set_note(0, 1, ESCAPES)
    return folder


@pytest.mark.parametrize(
    "command",
    [
        "info S",
        "info --json S",
        "search S e",
        "search --json S e",
        "export S",
        "export S --format jsonl",
        "export S --where noted",
        "export S --where zz\x1b[2J",
        "report S",
        "report --json S",
        "verify S",
        "compare S T",
        "info S\x1b]0;x\x07",
        "collect S --store S --data \x1b[2J=x",
        "collect \x1b[2J --store T\x1b[2J --data a\x1b=x\x9b",
    ],
)
def test_no_escape_sequence_reaches_the_terminal(
    hostile: Path, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_store(tmp_path / "other.ffn", layers=1, neurons=48)
    words = [word.replace("S", str(hostile)).replace("T", str(other)) for word in command.split(" ")]
    main(words)
    out, err = capsys.readouterr()
    assert out or err
    for text in (out, err):
        raw = {char for char in text if not (char.isprintable() or char in "\n\r")}
        assert not raw, (raw, text[:400])
        assert "\r" not in text.replace("\r\n", "\n")


def test_a_damaged_hostile_store_is_safe_too(hostile: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    data = (hostile / "data.mdb").read_bytes()
    folder = tmp_path / ESCAPES.replace("/", "|")
    folder.mkdir()
    (folder / "data.mdb").write_bytes(data[: len(data) // 2])
    for command in ("verify", "info"):
        assert main([command, str(folder)]) > 0
        out, err = capsys.readouterr()
        assert "cut short" in out + err and (out + err).replace("\n", "").isprintable()


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o027, 0o002])
def test_files_are_made_with_the_users_umask(mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        path = write_store(tmp_path / "s.ffn", layers=1, neurons=16)
        with Notes.open(path) as notes:
            notes.set_mark(0, 1, True)
        main(["export", str(path), "--output", str(tmp_path / "out.csv")])
        with Store.open(path):
            pass
    finally:
        os.umask(before)
    files = [file for file in (*path.rglob("*"), tmp_path / "out.csv") if file.is_file()]
    assert len(files) >= 6
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o666 & ~mask, file
    for folder in (path, path / "notes"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o777 & ~mask, folder
