"""The browser's config file and what it remembers."""

from __future__ import annotations

from pathlib import Path

import pytest

from ffnscope.store.errors import UserError
from ffnscope.tui.app import FfnscopeApp, choose_theme
from ffnscope.tui.keymap import ids
from ffnscope.tui.state.config import Config, read_config
from ffnscope.tui.state.remembered import Place, read_places, write_places


def test_no_config_is_the_default(tmp_path: Path) -> None:
    assert read_config([], tmp_path / "none.toml") == Config()


def test_a_config_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('theme = "light"\nmouse = true\n[keys]\nsearch = "ctrl+f"\n')
    assert read_config(ids(FfnscopeApp), path) == Config("light", True, False, {"search": "ctrl+f"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("theme = ", "not valid TOML"),
        ("colour = 1", "unknown setting 'colour'"),
        ("mouse = 1", "mouse must be true or false, not 1"),
        ('[keys]\nserach = "x"', "unknown action 'serach'"),
        ("[keys]\nsearch = 3", "must be a key"),
        ("\xff", "not valid TOML"),
    ],
)
def test_a_bad_config_names_the_file_and_the_mistake(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError) as caught:
        read_config(ids(FfnscopeApp), path)
    assert said in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_places_come_back(tmp_path: Path) -> None:
    places = {"run": Place(3, 7, "frequency", True, 'detects:=" [/]"', ["kind:token"])}
    write_places(tmp_path / "new" / "state.json", places)
    assert read_places(tmp_path / "new" / "state.json") == places


@pytest.mark.parametrize("text", ["", "{", "[]", '{"run": 3}', '{"run": {"layer": "x"}}', '{"run": {"bad": 1}}'])
def test_a_spoilt_state_is_no_state(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)
    assert read_places(tmp_path / "state.json") == {}


@pytest.mark.parametrize(
    ("term", "theme"),
    [("xterm-256color", "ffnscope"), ("tmux-256color", "ffnscope"), ("xterm", "ansi-dark"), ("linux", "ansi-dark")],
)
def test_the_theme_follows_the_terminal(term: str, theme: str) -> None:
    assert choose_theme(None, {"TERM": term}) == theme
    assert choose_theme("light", {"TERM": term}) == "ffnscope-light"


def test_an_unknown_theme_is_named() -> None:
    with pytest.raises(UserError, match="unknown theme 'pink'"):
        choose_theme("pink", {})
