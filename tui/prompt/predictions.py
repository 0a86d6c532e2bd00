"""The next-token distribution at a token, as it is and with neurons taken away, and what adds up to a token's logit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ffnscope.tui.drawing.glyphs import Glyphs
from ffnscope.tui.drawing.lines import BLANK, Line, Part, Writer, clip, line
from ffnscope.tui.drawing.numbers import count, freq
from ffnscope.tui.drawing.text import bar
from ffnscope.tui.state.neuron_list import Key

if TYPE_CHECKING:
    from ffnscope.core.effects.attribution import DirectEffects
    from ffnscope.core.effects.next_tokens import Change, Prediction

TOKEN = 16  # cells of a token's text at most
MOVED = 4  # tokens named that rose, and that fell

Text = Callable[[int], str]


def prediction_lines(
    prediction: Prediction,
    change: Change | None,
    following: int | None,
    at: int,
    width: int,
    text: Text,
    glyphs: Glyphs,
) -> list[Line]:
    """The most probable tokens after token ``at``, a bar each; with a change how probable they are then, what rose and fell, and
    KL. ``following`` is the token that does follow, None after the last."""
    lines: list[Line] = []
    cells = min(max(width // 3, 8), TOKEN)
    most = float(prediction.top_probability[at].max(initial=0.0)) or 1.0
    for place, (token, share) in enumerate(
        zip(prediction.top[at].tolist(), prediction.top_probability[at].tolist(), strict=True)
    ):
        follows = token == following
        writer = Writer(glyphs).add(f" {place + 1:>2} ", "dim")
        writer.token(text(token), "trigger" if follows else "token", cells).add(f" {freq(share)}", "text")
        after = None if change is None else float(change.top_after[at, place])
        if after is not None:
            writer.add(f" {arrow(glyphs)} {freq(after)} ", "bright")
        room = max(width - writer.width - 2, 0)
        writer.add(" ").add(bar((share if after is None else after) / most, room, glyphs), "bar")
        lines.append(Line(clip(writer.parts, width, glyphs)))
    lines.append(_following(prediction, change, following, at, width, text, glyphs))
    if change is not None:
        parts = ((f" KL {freq(change.kl[at]).strip()} nats", "accent"), _mean_kl(change))
        lines.append(Line(clip(parts, width, glyphs)))
        for name, tokens, by, sign in (
            ("rose", change.rose[at], change.rose_by[at], "+"),
            ("fell", change.fell[at], change.fell_by[at], "-"),
        ):
            lines.append(_moved(name, tokens, by, sign, width, text, glyphs))
    return lines


def _mean_kl(change: Change) -> Part:
    return f", {freq(float(change.kl.mean())).strip()} on average over the text", "dim"


def _following(
    prediction: Prediction,
    change: Change | None,
    following: int | None,
    at: int,
    width: int,
    text: Text,
    glyphs: Glyphs,
) -> Line:
    writer = Writer(glyphs)
    if following is None:
        return writer.add(" nothing follows", "faint").line()
    writer.add(" next is ", "dim").token(text(following), "trigger").add(
        f" {freq(prediction.next_probability[at]).strip()}"
    )
    writer.add(f" rank {count(int(prediction.next_rank[at]))}", "dim")
    if change is not None:
        after = change.after
        writer.add(f" {arrow(glyphs)} {freq(after.next_probability[at]).strip()}", "bright")
        writer.add(f" rank {count(int(after.next_rank[at]))}", "dim")
    return Line(clip(writer.parts, width, glyphs))


def _moved(name: str, tokens: np.ndarray, by: np.ndarray, sign: str, width: int, text: Text, glyphs: Glyphs) -> Line:
    writer = Writer(glyphs).add(f" {name} ", "dim")
    pairs = [(token, share) for token, share in zip(tokens.tolist(), by.tolist(), strict=True) if share > 0]
    for token, share in pairs[:MOVED]:
        writer.token(text(token), "token").add(f" {sign}{freq(share).strip()}  ", "text")
    if not pairs:
        writer.add("nothing", "faint")
    return Line(clip(writer.parts, width, glyphs))


def without(taken: Sequence[Key], change: Change | None, at: int, busy: bool, glyphs: Glyphs) -> Line:
    """What is taken away, and how much that changes at token ``at``."""
    single = len(taken) == 1
    name = "L{}N{}".format(*taken[0]) if single else f"{len(taken):,} neurons"
    writer = Writer(glyphs).add(f" without {name}", "error")
    if change is not None:
        writer.add(f": KL {freq(change.kl[at]).strip()} here", "text").add(f"{_mean_kl(change)[0]}", "dim")
    elif busy:
        writer.add(f" {glyphs.ellipsis}", "dim")
    return writer.add(f"; X gives {'it' if single else 'them'} back", "dim").line()


def target(towards: Sequence[int], text: Text, glyphs: Glyphs) -> list[Part]:
    """The token, or the two, that direct effects are on."""
    writer = Writer(glyphs)
    for place, token in enumerate(towards):
        writer.add(" minus " if place else "", "dim").token(text(token), "token")
    return writer.parts


def sum_line(direct: DirectEffects, at: int, width: int, glyphs: Glyphs) -> Line:
    """What adds up to the logit at token ``at``."""
    neurons = sum(float(values[at].sum()) for values in direct.neurons.values())
    writer = Writer(glyphs).add(f" logit {direct.logits[at]:+.3g}", "bright")
    if direct.softcap is not None:
        writer.add(" before the softcap", "dim")
    parts = {
        "neurons": neurons,
        "attention": float(direct.attention[:, at].sum()),
        "embeddings": float(direct.embeddings[at]),
        "biases": float(direct.biases[at]),
    }
    writer.add(" = " + " ".join(f"{name} {value:+.3g}" for name, value in parts.items()), "dim")
    return Line(clip(writer.parts, width, glyphs))


def arrow(glyphs: Glyphs) -> str:
    """Between before and after."""
    return "->" if glyphs.ascii else "→"


def waiting(message: str) -> list[Line]:
    """A pane that has nothing to show yet."""
    return [BLANK, line((f" {message}", "dim"))]
