"""A prompt (`p`): a text of one's own through the store's model, and the neurons that fire at each of its tokens."""

from __future__ import annotations

from textual.binding import Binding

from ffnscope.tui.drawing.pane import Pane
from ffnscope.tui.prompt.base import PromptBase
from ffnscope.tui.screens.input_line import InputLine
from ffnscope.tui.state.session import Session

HINT = r"a text for the store's model; \n is a newline, \t a tab, \uXXXX any character; up: earlier texts"
DIRECT_HINT = (
    'a token, or two with \' - \' between them for the difference of their logits; quotes keep spaces: " the" - " a"'
)


def prompt_input(session: Session) -> InputLine:
    """Asks for a text to run."""
    return InputLine("prompt", glyphs=session.glyphs, hint=HINT, recall=session.prompts, escapes=True)


class PromptScreen(PromptBase, inherit_bindings=True):
    """Tokens left and right, the neurons that fire at the token up and down; the first row is the browser's neuron."""

    BINDINGS = [
        Binding("h,left", "step(-1)", "Previous token", id="left"),
        Binding("l,right", "step(1)", "Next token", id="right"),
        Binding("H,b", "step(-10)", "Ten tokens back", id="leap-left", show=False),
        Binding("L,w", "step(10)", "Ten tokens on", id="leap-right", show=False),
        Binding("J,right_curly_bracket", "layer(1)", "Next layer", id="next-layer"),
        Binding("K,left_curly_bracket", "layer(-1)", "Previous layer", id="previous-layer"),
        Binding("v,tab", "turn", "List, or the neuron along the text", id="turn"),
        Binding("p", "predict", "Next-token distribution", id="predictions"),
        Binding("t", "direct", "Direct effects on a token", id="direct"),
        Binding("T", "fires", "The neurons that fire again", id="fires"),
        Binding("space", "mark", "Mark the neuron", id="mark"),
        Binding("x", "take", "Take the neuron, or the marked ones, away", id="take-away"),
        Binding("X", "give_back", "Give all neurons back", id="give-back"),
        Binding("enter", "go", "Go to the neuron", id="go"),
    ]

    # Keys and the mouse

    def action_move(self, by: int) -> None:
        """Another neuron of the list."""
        self.cursor = max(0, min(self.cursor + by, len(self.firings) - 1))
        self.refresh_content()

    def action_layer(self, by: int) -> None:
        """The first neuron of the next, or previous, layer."""
        if self.effects is not None and self.effects.direct is not None:
            self.action_move(by * max(self.query_one("#list", Pane).size.height // 2, 1))
            return
        layers = [firing.layer if not firing.pinned else -1 for firing in self.firings]
        if not layers:
            return
        starts = [i for i, layer in enumerate(layers) if not i or layers[i - 1] != layer]
        here = max(i for i, start in enumerate(starts) if start <= self.cursor)
        self.cursor = starts[max(0, min(here + by, len(starts) - 1))]
        self.refresh_content()

    def action_step(self, by: int) -> None:
        """Another token."""
        if self.view is not None:
            self.at = max(0, min(self.at + by, len(self.view.result.tokens) - 1))
            self._read()
            self.refresh_content()

    def action_turn(self) -> None:
        """The list, or the neuron along the text, where there is room for one."""
        self.along, self.predicting = self.predicting or not self.along, False
        self._arrange(*self.size)
        self.call_after_refresh(self.refresh_content)

    def action_predict(self) -> None:
        """The next-token distribution, or what stood there before."""
        self._show_predictions(not self.predicting)

    def _show_predictions(self, shown: bool) -> None:
        if self.effects is None:
            return
        self.predicting = shown
        if shown:
            self.effects.predict()
        self._arrange(*self.size)
        self.call_after_refresh(self.refresh_content)

    def action_take(self) -> None:
        """Take the neuron away, with all marked ones where it is marked, or give it back."""
        if self.effects is None or not self.firings:
            return
        key, marks = self.firings[self.cursor].key, self.session.neurons.marks
        model = self.session.store.run.model  # marks outlive a store that is collected again
        neurons = sorted(mark for mark in marks if model.has_neuron(*mark))
        self.effects.take(neurons if key in marks else [key])
        self._show_predictions(True)

    def action_give_back(self) -> None:
        """Give every neuron back."""
        if self.effects is not None:
            self.effects.give_back()
            self.refresh_content()

    def action_mark(self) -> None:
        """Mark the neuron, or take its mark away; marks are those of the browser."""
        if self.firings:
            key = self.firings[self.cursor].key
            self.session.neurons.set_marks([key], key not in self.session.neurons.marks)
            self.action_move(1)

    def action_direct(self) -> None:
        """Ask for a token, and list the neurons by their direct effect on its logit."""
        if self.effects is None:
            return

        def run(text: str | None) -> None:
            if text and self.effects is not None:
                self.effects.ask_direct(text)
                self._show_list()

        self.app.push_screen(InputLine("effects on", glyphs=self.glyphs, hint=DIRECT_HINT, escapes=True), run)

    def action_fires(self) -> None:
        """The neurons that fire, instead of direct effects."""
        if self.effects is not None:
            self.effects.forget_direct()
            self._read()
            self._show_list()

    def _show_list(self) -> None:
        if not self._beside:
            self.along = self.predicting = False
        self._arrange(*self.size)
        self.call_after_refresh(self.refresh_content)

    def action_go(self) -> None:
        """To the neuron in the browser."""
        if self.firings:
            layer, neuron = self.firings[self.cursor].key
            self.dismiss(None)
            self._jump(layer, neuron)
