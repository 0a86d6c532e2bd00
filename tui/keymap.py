"""Every screen with its keys, and the keys of config.toml."""

from __future__ import annotations

import string
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from textual.keys import Keys, key_to_character

from ffnscope.store.errors import UserError
from ffnscope.tui.screens.bindings import Row, bindings_of, key_name, listed
from ffnscope.tui.state.config import Config, config_path, read_config
from ffnscope.tui.terminal.textual_private import character_to_key, class_bindings

if TYPE_CHECKING:
    from textual.app import App
    from textual.dom import DOMNode

_MODIFIERS = ("ctrl+", "alt+", "shift+", "super+")


def screens() -> dict[str, type[DOMNode]]:
    """Every screen that has keys, by what the help calls it, the browser first."""
    # Most runs never show most of them.
    from ffnscope.tui.ask.concordance import Concordance
    from ffnscope.tui.ask.ranking import Ranking
    from ffnscope.tui.browser.screen import Browser
    from ffnscope.tui.overview.screen import Overview
    from ffnscope.tui.prompt.screen import PromptScreen
    from ffnscope.tui.screens.contexts import Contexts
    from ffnscope.tui.screens.distribution import Distribution
    from ffnscope.tui.screens.experts import ExpertsScreen
    from ffnscope.tui.screens.filter_history import FilterHistory
    from ffnscope.tui.screens.help import Help
    from ffnscope.tui.screens.input_line import InputLine
    from ffnscope.tui.screens.position import Position
    from ffnscope.tui.screens.saved_filters import SavedFilters
    from ffnscope.tui.screens.search import Search
    from ffnscope.tui.screens.side_by_side import SideBySide
    from ffnscope.tui.screens.sort_picker import SortPicker

    return {
        "browser": Browser,
        "search": Search,
        "filter and other lines": InputLine,
        "saved filters": SavedFilters,
        "filters used before": FilterHistory,
        "sort picker": SortPicker,
        "distribution": Distribution,
        "experts": ExpertsScreen,
        "contexts": Contexts,
        "kept contexts": Concordance,
        "ranked neurons": Ranking,
        "position plot": Position,
        "overview": Overview,
        "a prompt that was run": PromptScreen,
        "two stores side by side": SideBySide,
        "help": Help,
    }


def every_action(app: type[App[None]]) -> list[tuple[str, Row]]:
    """(screen, action) of everything that can be given a key in config.toml; the app's own as "everywhere"."""
    places: dict[str, type[DOMNode]] = {"everywhere": app, **screens()}
    return [(name, row) for name, screen in places.items() for row in listed(bindings_of(screen)) if row.id]


def ids(app: type[App[None]]) -> Iterator[str]:
    """The ids that `[keys]` knows; the screens are loaded when the first is asked for."""
    for _, row in every_action(app):
        yield row.id


def user_config(app: type[App[None]]) -> Config:
    """The user's config.toml with its keys checked. Raises UserError, one line that names the file."""
    config = read_config(ids(app))
    if not config.keys:
        return config
    path = config_path()
    keymap = {action: _keys_of(action, keys, path) for action, keys in config.keys.items()}
    for name, screen in {"everywhere": app, **screens()}.items():
        holders: dict[str, str] = {}
        for binding in (*class_bindings(app), *class_bindings(screen)):
            action = binding[1].id or binding[1].action
            for key in keymap.get(action, [binding[0]]):
                if holders.setdefault(key, action) == action:
                    continue
                taker, loser = (action, holders[key]) if action in keymap else (holders[key], action)
                where = "" if name in ("browser", "everywhere") else f" (in the {name})"
                raise UserError(
                    f"{path}: [keys] {taker} takes the key {key_name(key)} of {loser}{where}; give {loser} another one"
                )
    for binding in class_bindings(app):
        for key in keymap.get(binding[1].id or "", []):
            if binding[1].priority and key_to_character(key):
                raise UserError(
                    f"{path}: [keys] {binding[1].id} = {key!r}: no text could hold this key then; use ctrl+ and a letter"
                )
    return config


def _keys_of(action: str, keys: str, path: Path) -> list[str]:
    out = []
    for key in keys.split(","):
        if not (name := _textual_name(key.strip())):
            raise UserError(
                f"{path}: [keys] {action}: unknown key {key.strip()!r}; a key is a character, or a name such as space, enter, "
                "f5 or ctrl+t; separate several keys with commas"
            )
        out.append(name)
    return out


def _textual_name(key: str) -> str:
    """Textual's name of a key; empty for a key that no terminal sends."""
    rest = key
    while modifier := next((prefix for prefix in _MODIFIERS if rest.startswith(prefix) and rest != prefix), None):
        rest = rest.removeprefix(modifier)
    before = key.removesuffix(rest)
    if len(rest) == 1:
        return before + character_to_key(rest)
    known = {named.value for named in Keys} | {
        character_to_key(char) for char in string.printable if char.isprintable()
    }
    return key if rest in known or key in known else ""
