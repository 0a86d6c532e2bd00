"""The keys of every screen: what help and palette list, and what `[keys]` in config.toml may give to an action by its id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.binding import Binding

from ffnscope.tui.terminal.textual_private import binding_chain, class_bindings, modal_binding_chain

if TYPE_CHECKING:
    from textual.dom import DOMNode
    from textual.screen import Screen

_NAMES = {
    "question_mark": "?", "slash": "/", "colon": ":", "space": "space", "left_square_bracket": "[",
    "right_square_bracket": "]", "less_than_sign": "<", "greater_than_sign": ">", "escape": "esc", "pagedown": "pgdn",
    "pageup": "pgup", "asterisk": "*", "full_stop": ".", "comma": ",", "plus": "+", "minus": "-",
    "equals_sign": "=", "question": "?", "backslash": "\\", "tilde": "~", "left_curly_bracket": "{",
    "right_curly_bracket": "}",
}  # fmt: skip


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
    actions: dict[str, tuple[DOMNode, Binding]] = {}
    always = {
        key
        for node, bindings in binding_chain(screen)
        if node is screen.app
        for key, binding in bindings
        if binding.priority
    }
    for node, bindings in (*modal_binding_chain(screen), *binding_chain(screen)[-1:]):
        for key, binding in bindings:
            own = node in (screen, screen.app)
            if own or not (key in always or binding.action.startswith(("scroll_", "page_")) or "shift+" in key):
                actions.setdefault(key, (node, binding))
    return list(actions.values())


def bindings_of(screen: type[DOMNode], keymap: Mapping[str, str] | None = None) -> list[Binding]:
    """All bindings of a class of screens under a keymap (key names as Textual spells them)."""
    bindings = class_bindings(screen)
    bindings.apply_keymap(dict(keymap or {}))
    return [binding for _, binding in bindings]
