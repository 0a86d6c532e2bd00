"""What tests of the browser share: pressing keys, and what is on the screen then."""

from __future__ import annotations

from collections.abc import Iterable

from textual.pilot import Pilot
from textual.widgets import Input

from ffnscope.tui.app import FfnscopeApp
from ffnscope.tui.browser.screen import Browser
from ffnscope.tui.drawing.pane import Pane

SMALL, LARGE = (80, 24), (160, 48)


def screen_text(app: FfnscopeApp) -> str:
    """Every cell of the terminal as text, spaces at the ends of lines left out."""
    update = app.screen._compositor.render_update(full=True, screen_stack=app._background_screens)
    rows = ("".join(strip.text for strip in strips) for strips in update.strips)  # type: ignore[union-attr]
    return "\n".join(row.rstrip() for row in rows) + "\n"


async def press(pilot: Pilot[None], keys: Iterable[str], rest: float = 0.12) -> None:
    """Press keys, `text:...` typing a text at once, then wait until timers and workers have done."""
    for key in keys:
        if key.startswith("text:"):
            pilot.app.screen.query_one(Input).insert_text_at_cursor(key.removeprefix("text:"))
        else:
            await pilot.press(key)
    await pilot.pause(rest)
    await pilot.app.workers.wait_for_complete()
    await pilot.pause(0.05)


async def keys(pilot: Pilot[None], *pressed: str) -> None:
    """Press keys, `text:...` typing a text, and wait until the page has settled."""
    for key in pressed:
        if not key.startswith("text:"):
            await pilot.press(key)
        elif len(key) < 12:
            await pilot.press(*key.removeprefix("text:"))
        else:  # as if pasted: every pressed key takes a while
            pilot.app.screen.query_one(Input).insert_text_at_cursor(key.removeprefix("text:"))
    await pilot.pause(0.1)


def browser(app: FfnscopeApp) -> Browser:
    """The main screen."""
    return next(screen for screen in app.screen_stack if isinstance(screen, Browser))


def shown(app: FfnscopeApp) -> str:
    """All text on the screen in front."""
    return "\n".join(line for pane in app.screen.query(Pane) if pane.display for line in pane.shown)
