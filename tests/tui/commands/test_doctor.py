"""`ffnscope doctor`: what it finds, and the way out of what is wrong."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from forks import ended, forked
from synthetic import make_store

from ffnscope.tui.cli import main
from ffnscope.tui.commands.doctor import colours


def doctor(home: Path, *arguments: object, **environment: str) -> tuple[str, str]:
    """Its standard output and error, settings and state under `home`; it ends with 0."""
    kept = {name: value for name, value in os.environ.items() if name not in ("COLORTERM", "NO_COLOR", "TMUX", "STY")}
    kept |= {"XDG_CONFIG_HOME": str(home), "XDG_STATE_HOME": str(home), "PYTHONUTF8": "1", "TERM": "xterm-256color"}
    done = subprocess.run(
        [sys.executable, "-m", "ffnscope.tui", "doctor", *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        env=kept | environment,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def forked_doctor(home: Path, *arguments: object) -> str:
    """Its standard output, where nothing but settings and state matters; it ends with 0."""

    def work(pipe: int) -> None:
        os.environ.update({"XDG_CONFIG_HOME": str(home), "XDG_STATE_HOME": str(home), "TERM": "xterm-256color"})
        sys.stdout = open(pipe, "w", encoding="utf-8")  # noqa: SIM115
        assert main(["doctor", *map(str, arguments)]) == 0

    status, said = ended(*forked(work))
    assert status == 0, said
    return said.decode()


def test_versions_terminal_and_choices(tmp_path: Path) -> None:
    out, err = doctor(tmp_path, SSH_CONNECTION="1 2 3 4", TMUX="x")
    assert not err
    for name in ("ffnscope", "textual", "plotext", "lmdb", "numpy", "torch", "transformers"):
        assert f"  {name:<13} {version(name)}\n" in out
    assert (
        "tmux, SSH" in out and "off (over SSH)" in out and "256 (by TERM" in out and "  theme         ffnscope " in out
    )
    assert "stdin, stdout, stderr are not a terminal" in out and "drawn in      Unicode" in out
    assert "store\n" not in out and out.endswith("1 problem found\n")


def test_a_terminal_that_cannot(tmp_path: Path) -> None:
    out, _ = doctor(tmp_path, TERM="dumb", PYTHONUTF8="0", PYTHONIOENCODING="ascii", SSH_CONNECTION="")
    assert "problem: set TERM" in out and "problem: UTF-8 is off" in out and "drawn in      ASCII" in out
    assert "mouse         on" in out and out.endswith("3 problems found\n")


@pytest.mark.parametrize(
    ("text", "problem"),
    [("theme = [", "not valid TOML"), ("[keys]\nnothing = 'x'", "unknown action"), ("colour = 1", "unknown setting")],
)
def test_a_bad_config_is_named(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "ffnscope").mkdir()
    path = tmp_path / "ffnscope" / "config.toml"
    path.write_text(text)
    out = forked_doctor(tmp_path)
    assert f"{path}: cannot be used" in out and f"problem: {path}: {problem}" in out


def test_a_theme_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "ffnscope").mkdir()
    (tmp_path / "ffnscope" / "config.toml").write_text("theme = 'pink\\u001b'".replace("'", '"'))
    out = forked_doctor(tmp_path)
    assert "problem: unknown theme" in out and "\x1b" not in out


def test_stores(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s.ffn", layers=2, neurons=48)
    out = forked_doctor(tmp_path, store)
    assert f"{store}, format 2" in out and "complete, 2 layers" in out and "file system   local" in out
    assert "in the store's folder" in out and out.endswith("1 problem found\n")
    old = shutil.copytree(Path(__file__).resolve().parents[2] / "data" / "format-1", tmp_path / "old.ffn")
    assert f"{old}, format 1" in forked_doctor(tmp_path, old)
    out = forked_doctor(tmp_path, tmp_path / "nope.ffn")
    assert "opens         no\n" in out and "no such store" in out
    empty = make_store(tmp_path / "e.ffn", layers=2, neurons=48, written=0, complete=False)
    out = forked_doctor(tmp_path, empty)
    assert "problem: no layer is finished yet" in out
    with (store / "data.mdb").open("r+b") as file:
        file.truncate(20_000)
    out = forked_doctor(tmp_path, store)
    assert "problem: " in out and "cut short" in out


def test_colours() -> None:
    assert colours("xterm-256color", "truecolor").startswith("16 million")
    assert colours("tmux", "").startswith("16 (") and colours("xterm", "truecolor", True).startswith("none")
