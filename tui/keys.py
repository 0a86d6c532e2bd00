"""The keys of every screen: what help and palette list, and what `[keys]` in config.toml may give to an action by its id."""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from textual.binding import Binding
from textual.keys import Keys, _character_to_key, key_to_character

from ffnscope.store.errors import UserError
from ffnscope.tui.settings import Config, config_path, read_config

if TYPE_CHECKING:
    from textual.app import App
    from textual.dom import DOMNode
    from textual.screen import Screen

_NAMES = {
    "question_mark": "?", "slash": "/", "colon": ":", "space": "space", "left_square_bracket": "[",
    "right_square_bracket": "]", "less_than_sign": "<", "greater_than_sign": ">", "escape": "esc", "pagedown": "pgdn",
    "pageup": "pgup", "asterisk": "*", "full_stop": ".", "comma": ",", "plus": "+", "minus": "-",
    "equals_sign": "=", "question": "?", "backslash": "\\", "tilde": "~", "left_curly_bracket": "{",
    "right_curly_bracket": "}",
}  # fmt: skip
_MODIFIERS = ("ctrl+", "alt+", "shift+", "super+")


@dataclass(frozen=True)
class Row:
    """An action: its keys as printed on them, what it does, its id."""

    keys: tuple[str, ...]
    description: str
    id: str


def key_name(key: str) -> str:
    """A key as printed on it."""
    return _NAMES.get(key, key)


def listed(bindings: Iterable[Binding]) -> list[Row]:
    """The bindings that say what they do, those of one action together, in the order they were made."""
    keys: dict[tuple[str, str], list[str]] = {}
    ids: dict[tuple[str, str], str] = {}
    for binding in bindings:
        if binding.description:
            name = key_name(binding.key)
            group = keys.setdefault((binding.action, binding.description), [])
            ids.setdefault((binding.action, binding.description), binding.id or "")
            if name not in group:
                group.append(name)
    return [Row(tuple(names), action[1], ids[action]) for action, names in keys.items()]


def live(screen: Screen) -> list[tuple[DOMNode, Binding]]:
    """The keys that act while a screen is in front, each with what it acts on; the app's own last.

    Textual's own list leaves out the app's keys on modal screens, though those with priority act there, and names
    scrolling keys of every widget, though none of ours scrolls by them.
    """
    found: dict[str, tuple[DOMNode, Binding]] = {}
    always = {
        key for node, bindings in screen._binding_chain if node is screen.app for key, each in bindings if each.priority
    }
    for node, bindings in (*screen._modal_binding_chain, *screen._binding_chain[-1:]):
        for key, binding in bindings:
            ours = node in (screen, screen.app)
            if ours or not (key in always or binding.action.startswith(("scroll_", "page_")) or "shift+" in key):
                found.setdefault(key, (node, binding))
    return list(found.values())


def bindings_of(screen: type[DOMNode], keymap: Mapping[str, str] | None = None) -> list[Binding]:
    """All bindings of a class of screens under a keymap (key names as Textual spells them)."""
    made = screen._merge_bindings()
    made.apply_keymap(dict(keymap or {}))
    return [binding for _, binding in made]


def screens() -> dict[str, type[DOMNode]]:
    """Every screen that has keys, by what the help calls it, the browser first."""
    # Most runs never show most of them.
    from ffnscope.tui.screens.beside import Beside
    from ffnscope.tui.screens.browser import Browser
    from ffnscope.tui.screens.contexts import Contexts
    from ffnscope.tui.screens.help import Help
    from ffnscope.tui.screens.overview import Overview
    from ffnscope.tui.screens.picker import SortPicker
    from ffnscope.tui.screens.position import Position
    from ffnscope.tui.screens.prompt import Prompt
    from ffnscope.tui.screens.prompt_run import PromptRun
    from ffnscope.tui.screens.saved import SavedFilters
    from ffnscope.tui.screens.search import Search

    return {
        "browser": Browser,
        "search": Search,
        "filter and other lines": Prompt,
        "saved filters": SavedFilters,
        "sort picker": SortPicker,
        "contexts": Contexts,
        "position plot": Position,
        "overview": Overview,
        "a prompt that was run": PromptRun,
        "two stores side by side": Beside,
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
        for binding in (*app._merge_bindings(), *screen._merge_bindings()):
            action = binding[1].id or binding[1].action
            for key in keymap.get(action, [binding[0]]):
                if holders.setdefault(key, action) == action:
                    continue
                taker, loser = (action, holders[key]) if action in keymap else (holders[key], action)
                where = "" if name in ("browser", "everywhere") else f" (in the {name})"
                raise UserError(
                    f"{path}: [keys] {taker} takes the key {key_name(key)} of {loser}{where}; give {loser} another one"
                )
    for binding in app._merge_bindings():
        for key in keymap.get(binding[1].id or "", []):
            if binding[1].priority and key_to_character(key):
                raise UserError(
                    f"{path}: [keys] {binding[1].id} = {key!r}: no text could hold it; give it ctrl+ a letter"
                )
    return config


def _keys_of(action: str, keys: str, path: Path) -> list[str]:
    out = []
    for key in keys.split(","):
        if not (spelled := _spelled(key.strip())):
            raise UserError(
                f"{path}: [keys] {action}: no key {key.strip()!r}; a key is a character, or a name such as space, enter, "
                "f5 or ctrl+t; commas part several"
            )
        out.append(spelled)
    return out


def _spelled(key: str) -> str:
    """The key as Textual spells it; empty for one that no terminal sends."""
    rest = key
    while found := next((each for each in _MODIFIERS if rest.startswith(each) and rest != each), None):
        rest = rest.removeprefix(found)
    before = key.removesuffix(rest)
    if len(rest) == 1:
        return before + _character_to_key(rest)
    known = {each.value for each in Keys} | {_character_to_key(char) for char in string.printable if char.isprintable()}
    return key if rest in known or key in known else ""
