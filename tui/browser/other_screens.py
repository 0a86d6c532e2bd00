"""The browser's keys that open another screen on the neuron under the cursor, or on the whole store."""

from __future__ import annotations

from ffnscope.store.bits.kept import kept_number
from ffnscope.store.escaping import unescape
from ffnscope.tui.browser.base import BrowserBase


class OtherScreens(BrowserBase):
    """One method for each binding; a screen is imported when it is first opened."""

    def action_contexts(self) -> None:
        """Where the neuron is activated: at all kept positions, where bits are kept."""
        from ffnscope.tui.ask.concordance import Concordance
        from ffnscope.tui.screens.contexts import Contexts

        if self.settle_layer() and (key := self.session.neurons.key):
            screen = Concordance if kept_number(self.session.store) else Contexts
            self.app.push_screen(screen(self.session, key))

    def action_position(self) -> None:
        """The position plot at full size."""
        from ffnscope.tui.screens.position import Position

        if self.settle_layer() and (key := self.session.neurons.key):
            self.app.push_screen(Position(self.session, key))

    def action_overview(self) -> None:
        """Every layer's figures."""
        from ffnscope.tui.overview.screen import Overview

        self.settle_layer()
        self.app.push_screen(Overview(self.session, lambda layer: self.jump(layer, None)))

    def action_prompt(self) -> None:
        """A text of the user's own through the store's model."""
        from ffnscope.tui.prompt.screen import PromptScreen, prompt_input

        def run(text: str | None) -> None:
            if text and text.strip():
                if text not in self.session.prompts:
                    self.session.prompts.append(text)
                self.app.push_screen(PromptScreen(self.session, unescape(text), self.jump))

        self.settle_layer()
        self.app.push_screen(prompt_input(self.session), run)

    def action_beside(self) -> None:
        """The neuron here and in the next store."""
        from ffnscope.tui.screens.side_by_side import SideBySide, obstacle

        if len(self.sessions) < 2:
            self.say("one store is open; `ffnscope view A B` opens two", "dim")
            return
        other = self.sessions[(self.sessions.index(self.session) + 1) % len(self.sessions)]
        if reason := obstacle(self.session, other):
            self.say(reason, "dim")
        elif self.settle_layer() and (key := self.session.neurons.key):
            self.app.push_screen(SideBySide(self.session, other, key))
