"""Every private name of Textual and Rich that the browser uses.

Textual may change them in any release: ``tests/tui/terminal/test_textual_private.py`` names what an upgrade takes away.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.color import ColorSystem
from rich.console import Console, RenderableType
from rich.style import Style
from textual._compositor import ChopsUpdate, CompositorUpdate, LayoutUpdate
from textual.app import App
from textual.binding import BindingsMap
from textual.dom import DOMNode
from textual.keys import _character_to_key as character_to_key

if TYPE_CHECKING:
    from textual import events
    from textual.screen import Screen

__all__ = ["ChopsUpdate", "CompositorUpdate", "LayoutUpdate", "character_to_key"]


class TerminalApp(App[None]):
    """An app that may change what is sent to the terminal."""

    def outgoing(self, update: CompositorUpdate) -> CompositorUpdate:
        """What to send in the place of an update."""
        return update

    def _display(self, screen: Screen[object], renderable: RenderableType | None) -> None:
        if isinstance(renderable, CompositorUpdate) and not self.is_inline:
            renderable = self.outgoing(renderable)
        super()._display(screen, renderable)


def forward_key(screen: Screen[object], key: events.Key) -> None:
    """Give a key to a screen as if it had just been typed."""
    screen._forward_event(key)


def class_bindings(node: type[DOMNode]) -> BindingsMap:
    """The bindings of a class with those it inherits."""
    return node._merge_bindings()


def binding_chain(screen: Screen[object]) -> list[tuple[DOMNode, BindingsMap]]:
    """The nodes a key is offered to, the focused one first, the app last, each with its bindings."""
    return screen._binding_chain


def modal_binding_chain(screen: Screen[object]) -> list[tuple[DOMNode, BindingsMap]]:
    """The same, up to the first modal screen."""
    return screen._modal_binding_chain


def user_keymap(app: App[object]) -> Mapping[str, str]:
    """The keys that were set in the place of those of the bindings, by binding id."""
    return app._keymap


def style_attributes(style: Style) -> int:
    """The attributes that a style switches on, a bit each, in the order of ``textual.strip.SGR_STYLES``."""
    return style._attributes & style._set_attributes


def color_system(console: Console) -> ColorSystem:
    """The colours of a terminal; all of them where they are not known."""
    return console._color_system or ColorSystem.TRUECOLOR
