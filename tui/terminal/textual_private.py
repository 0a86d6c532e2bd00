"""Every private name of Textual and Rich that the browser uses.

Textual may change them in any release: ``tests/tui/terminal/test_textual_private.py`` names what an upgrade takes away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any

from rich.color import ColorSystem
from rich.console import Console, RenderableType
from rich.style import Style
from textual._ansi_sequences import ANSI_SEQUENCES_KEYS
from textual._compositor import ChopsUpdate, CompositorUpdate, LayoutUpdate
from textual._xterm_parser import XTermParser
from textual.app import App
from textual.binding import BindingsMap
from textual.dom import DOMNode
from textual.drivers import linux_driver
from textual.keys import _character_to_key as character_to_key
from textual.message import Message

from ffnscope.tui.terminal.replies import ReplyFilter

if TYPE_CHECKING:
    from textual import events
    from textual.screen import Screen

__all__ = ["ChopsUpdate", "CompositorUpdate", "LayoutUpdate", "character_to_key"]


class TerminalApp(App[None]):
    """An app that may change what is sent to the terminal, and takes no answer of it for keys."""

    def __init__(self) -> None:
        super().__init__()
        driver: Any = linux_driver
        driver.XTermParser = AnswerFreeParser  # its input thread makes one by this name

    def outgoing(self, update: CompositorUpdate) -> CompositorUpdate:
        """What to send in the place of an update."""
        return update

    def _display(self, screen: Screen[object], renderable: RenderableType | None) -> None:
        if isinstance(renderable, CompositorUpdate) and not self.is_inline:
            renderable = self.outgoing(renderable)
        super()._display(screen, renderable)


class AnswerFreeParser(XTermParser):
    """Reads what the terminal sends, less its answers to questions that Textual did not ask."""

    def __init__(self, debug: bool = False):
        super().__init__(debug)
        self.replies = ReplyFilter(is_key_sequence, monotonic)

    def feed(self, data: str) -> Iterable[Message]:
        """The messages for what has come; "" is the end of the input."""
        kept = self.replies.keep(data)
        return super().feed(kept) if kept or not data else ()

    def tick(self) -> Iterable[Message]:
        """The messages for input that nothing has followed for a while."""
        if expired := self.replies.expired():
            yield from super().feed(expired)
            self._timeout_time = 0.0  # it has waited long enough
        yield from super().tick()


def is_key_sequence(sequence: str) -> bool:
    """Whether Textual knows an escape sequence as a key."""
    return sequence in ANSI_SEQUENCES_KEYS


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
