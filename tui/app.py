"""The terminal browser: opens the stores, chooses what the terminal can show, and holds the screens."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from textual import events, work
from textual.app import SystemCommand
from textual.binding import Binding
from textual.css.query import NoMatches
from textual.dom import DOMNode
from textual.screen import Screen
from textual.theme import BUILTIN_THEMES

from ffnscope.store.errors import UserError
from ffnscope.store.records import Progress
from ffnscope.tui import keymap
from ffnscope.tui.browser.screen import Browser
from ffnscope.tui.drawing import palette
from ffnscope.tui.drawing.glyphs import ASCII, Glyphs, choose_glyphs
from ffnscope.tui.screens import bindings
from ffnscope.tui.screens.help import Help
from ffnscope.tui.state.remembered import (
    Place,
    read_places,
    state_path,
    write_last_viewed,
    write_places,
)
from ffnscope.tui.state.session import Session
from ffnscope.tui.terminal.screen_diff import Wire
from ffnscope.tui.terminal.textual_private import CompositorUpdate, TerminalApp, forward_key

LOOK = 2.0  # seconds between looks at a store that is being written


class FfnscopeApp(TerminalApp, inherit_bindings=False):
    """Holds a browser for each store; the first is shown."""

    CSS_PATH = "app.tcss"
    TITLE = "ffnscope"
    ENABLE_COMMAND_PALETTE = True
    BINDINGS = [
        Binding("ctrl+c", "quit", "Quit", id="quit-now", show=False, priority=True),
        Binding("ctrl+p", "command_palette", "Every action by name", id="palette", show=False, priority=True),
        # With priority: modal screens hide the app's other bindings.
        Binding("ctrl+l", "redraw", "Redraw the screen", id="redraw", show=False, priority=True),
        Binding("ctrl+z", "suspend_process", "Suspend (fg comes back)", id="suspend", show=False, priority=True),
    ]

    def __init__(
        self,
        stores: Sequence[Path],
        glyphs: Glyphs,
        theme: str = "ffnscope",
        places: dict[str, Place] | None = None,
        failure: Callable[[], str] | None = None,
    ):
        """`places` by run id are where each store is opened; `close` updates them. `failure` says why the run that fills the
        first store failed, if it did."""
        super().__init__()
        self._failure = failure or (lambda: "")
        self._places = {} if places is None else places
        self.animation_level = "none"
        self._wire = Wire()
        self._sent: deque[tuple[events.Key, Screen]] = deque(maxlen=256)
        self.glyphs = glyphs
        self.sessions: list[Session] = []
        try:
            for path in stores:
                session = Session(path, glyphs)
                self.sessions.append(session)
                session.start(self._places.get(session.store.run.run_id))
        except BaseException:
            self.close()
            raise
        for known_theme in palette.THEMES:
            self.register_theme(known_theme)
        self.theme = theme
        self.set_class(glyphs is ASCII, "-ascii")
        self._shown = 0  # the index of the store that is shown
        self._browsers: list[Browser] = []

    def outgoing(self, update: CompositorUpdate) -> CompositorUpdate:
        """Send only what differs from what the terminal shows."""
        return self._wire.wrap(update, self.size.width, self.size.height)

    def action_help(self) -> None:
        """The keys of the screen in front first, then those of all others."""
        self.push_screen(Help(self.screen, keymap.screens()))

    async def run_action(self, action: Any, *arguments: Any, **named: Any) -> bool:
        """As Textual does; damage in a store is shown as a message and ends nothing."""
        try:
            return await super().run_action(action, *arguments, **named)
        except UserError as error:
            self._browsers[self._shown].say(str(error), "error")
            return True

    async def on_event(self, event: events.Event) -> None:
        """Remember which screen a key was meant for."""
        if isinstance(event, events.Key) and not event.is_forwarded and self.screen_stack:
            self._sent.append((event, self.screen))
        await super().on_event(event)

    def on_key(self, event: events.Key) -> None:
        """A key typed ahead comes back from a screen that is no longer in front: give it to the one that is."""
        meant_for = next((screen for key, screen in self._sent if key is event), self.screen)
        if meant_for is self.screen:
            return
        event.prevent_default()  # App's own handler would look for a binding of the screen in front
        again = events.Key(event.key, event.character)
        self._sent.append((again, self.screen))
        forward_key(self.screen, again)

    def on_resize(self) -> None:
        """A terminal rearranges what it shows when its size changes."""
        self._wire.forget()

    def action_redraw(self) -> None:
        """Send the whole screen again."""
        self._wire.forget()
        self.refresh(layout=True)

    def close(self) -> list[str]:
        """Close the stores; returns a sentence for each mark or note that could not be written."""
        failures: list[str] = []
        for session in self.sessions:
            if session.neurons.layer >= 0:
                self._places[session.store.run.run_id] = session.place
            failures += session.close()
        self.sessions = []
        return failures

    def on_mount(self) -> None:
        """Show the first store, and follow those that are being collected."""
        # A dropped SSH connection or a kill must leave the terminal as it was found.
        for number in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self.exit)
        self.app_resume_signal.subscribe(self, lambda _: self.action_redraw())
        for index, session in enumerate(self.sessions):
            browser = Browser(session, self.sessions)
            self._browsers.append(browser)
            # An installed screen stays as it is while another store is shown.
            self.install_screen(browser, f"store-{index}")
        self.push_screen("store-0")
        if any(session.progress.state != "complete" for session in self.sessions):
            self.set_interval(LOOK, self.look)

    @work(thread=True, exclusive=True, group="look")
    def look(self) -> None:
        """Read how far the collectors of the stores are."""
        for session in self.sessions:
            if session.progress.state != "complete":
                try:
                    failure = self._failure() if session is self.sessions[0] else ""
                    self.call_later(self.show_progress, session, *session.look(), failure)
                except UserError:
                    continue

    def show_progress(self, session: Session, progress: Progress, layers: tuple[int, ...], failure: str) -> None:
        """Tell a store's browser how far its collector is, and why it failed, if it did."""
        changed = (progress, layers) != (session.progress, session.layers)
        session.progress, session.layers = progress, layers
        for browser in self._browsers:
            if browser.session is not session or not browser.is_mounted:
                continue
            # News may come while the panes are being taken down.
            with suppress(NoMatches):
                if failure and failure != session.failure:
                    session.failure = failure
                    browser.say(failure, "error")
                if changed:
                    browser.show_progress()
                else:
                    browser.draw("head")  # the time since the collector's last word goes on

    def action_next_store(self) -> None:
        """Show the next store, the same neuron in it where it has it."""
        browser = self._browsers[self._shown]
        browser.settle_layer()
        if len(self._browsers) < 2:
            browser.say("one store is open; `ffnscope view A B` opens two", "dim")
            return
        key = browser.session.neurons.key
        self._shown = (self._shown + 1) % len(self._browsers)
        other = self._browsers[self._shown]
        if key is not None and key[0] in other.session.layers:
            with suppress(UserError):
                other.session.neurons.select(*key)
        other.arrive(browser.state.pane)
        self.switch_screen(f"store-{self._shown}")

    def get_system_commands(self, screen: Screen) -> Iterable[SystemCommand]:
        """Every action of the screen by its name, then the themes."""
        seen: set[tuple[object, str]] = set()
        for node, binding in bindings.live(screen):
            if not binding.description or (node, binding.action) in seen or binding.action == "command_palette":
                continue
            seen.add((node, binding.action))

            async def act(action: str = binding.action, node: DOMNode = node) -> None:
                await self.run_action(action, node)

            yield SystemCommand(binding.description, f"key {bindings.key_name(binding.key)}", act)
        for name in (*(theme.name for theme in palette.THEMES), "ansi-dark", "ansi-light"):
            yield SystemCommand(f"Theme {name}", "colours", lambda name=name: setattr(self, "theme", name))


def choose_theme(name: str | None, environ: dict[str, str] | os._Environ[str] = os.environ) -> str:
    """The theme for a terminal: 16 colours of its own where it has no more. Raises UserError for an unknown name."""
    if name:
        name = palette.ALIASES.get(name, name)
        names = [*(theme.name for theme in palette.THEMES), *BUILTIN_THEMES]
        if name not in names:
            raise UserError(f"unknown theme {name!r}; available are dark, light, ansi, {', '.join(names)}")
        return name
    term = environ.get("TERM", "")
    many = environ.get("COLORTERM") or any(
        word in term for word in ("256color", "direct", "kitty", "alacritty", "ghostty")
    )
    return "ffnscope" if many else "ansi-dark"


def run(
    stores: Sequence[Path],
    *,
    mouse: bool | None = None,
    ascii: bool = False,
    theme: str | None = None,
    failure: Callable[[], str] | None = None,
) -> int:
    """Open the browser on one or more stores; returns when the user quits: 0, or 1 where the browser failed.

    `mouse` None: off over SSH, where every motion would be sent. Raises UserError for a store that cannot be opened.
    """
    config = keymap.user_config(FfnscopeApp)
    if mouse is None:
        mouse = config.mouse if config.mouse is not None else not os.environ.get("SSH_CONNECTION")
    glyphs = choose_glyphs(getattr(sys.__stderr__, "encoding", None), ascii or config.ascii)
    places = read_places(state_path())
    app = FfnscopeApp([Path(store) for store in stores], glyphs, choose_theme(theme or config.theme), places, failure)
    write_last_viewed(state_path(), [Path(store) for store in stores])
    app.set_keymap(config.keys)
    failures: list[str] = []
    try:
        app.run(mouse=mouse)
    finally:
        failures = app.close()
        write_places(state_path(), read_places(state_path()) | places)
    if failures:
        raise UserError(failures[-1])
    return app.return_code or 0
