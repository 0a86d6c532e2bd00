"""What a terminal would show: the screen in front and what stands behind it, as text; and walks through screens."""

from __future__ import annotations

from collections.abc import Iterable

from textual.pilot import Pilot
from textual.widgets import Input

from ffnscope.tui.app import FfnscopeApp

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
