"""What every screen does with its help key."""

from __future__ import annotations

from typing import Any


class Helped:
    """Mixed into screens: `action_help`."""

    def action_help(self: Any) -> None:
        """The keys of this screen first, then those of all others."""
        from ffnscope.tui.screens.help import Help

        self.app.push_screen(Help(self))
