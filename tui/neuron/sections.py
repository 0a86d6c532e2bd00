"""The sections of a neuron's page: trigger n-grams, promoted and suppressed tokens, contexts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.cells import cell_len

from ffnscope.store.definitions import ORDERS
from ffnscope.tui.drawing.glyphs import Glyphs
from ffnscope.tui.drawing.lines import Line, Part, Writer, clip, filled, line, rule
from ffnscope.tui.drawing.numbers import count, freq, signed
from ffnscope.tui.drawing.text import bar, spans
from ffnscope.tui.neuron.data import ContextText, PageData


def triggers(page: PageData, width: int, rows: int) -> list[Line]:
    """A rule with the three orders, then the most frequent n-grams with count, P(active | n-gram) and its bar."""
    title: list[Part] = [("triggers ", "dim")]
    for order in (1, 2, 3):
        on = order == page.order
        word = f"[{ORDERS[order]}]" if on and page.glyphs.ascii else ORDERS[order]
        title += [(" ", "rule"), (word, "accent" if on else "faint")]
    distinct = page.neuron.ngrams_distinct[page.order - 1]
    out = [
        rule(
            title,
            width,
            page.glyphs,
            f"{count(distinct)} different, count, P(active|it)" if width >= 66 else "count  P",
        )
    ]
    ngrams = page.neuron.top_ngrams[page.order - 1]
    if not ngrams:
        missing = (
            "never activated" if not page.neuron.activations else f"never activated where a {_name(page.order)} can end"
        )
        out.append(line((" " + missing, "dim")))
    detected = {ngram.tokens for ngram in page.neuron.detected} if page.neuron.order == page.order else set()
    bars = max(min(width - 41, 36), 6)
    words = width - bars - 18
    for ngram in ngrams[:rows]:
        own = ngram.tokens in detected
        row = Writer(page.glyphs).add(" ")
        row.parts += page.ngram(ngram.tokens, "token" if own else "text", words).parts
        row.add(f" {count(ngram.count, compact=True):>7}  ").add(
            freq(ngram.probability) + " ", "bright" if own else "text"
        )
        out.append(row.add(bar(ngram.probability, bars, page.glyphs), "bar").line())
    return filled(out, rows + 1)


def projections(page: PageData, width: int, rows: int) -> list[Line]:
    """Promoted and suppressed tokens side by side, the neuron's own triggers highlighted and marked."""
    half = (width - 1) // 2
    own = {ngram.tokens[-1] for ngram in page.neuron.detected}
    left, right = (
        rule([("promoted", "dim")], half, page.glyphs),
        rule([("suppressed", "dim")], width - half, page.glyphs),
    )
    out = [Line(left.parts + right.parts)]
    lists = (page.neuron.promoted, page.neuron.suppressed)
    most = max((abs(value) for entries in lists for _, value in entries if math.isfinite(value)), default=0.0) or 1.0
    for row in range(min(rows, max(map(len, lists)))):
        drawn_row = Writer(page.glyphs)
        for side, tokens in enumerate(lists):
            if row < len(tokens):
                token, value = tokens[row]
                _projection(
                    drawn_row, page, token, value, abs(value) / most, half if not side else width - half, token in own
                )
            if not side:
                drawn_row.to(half)
        out.append(drawn_row.line())
    return filled(out, rows + 1)


def _projection(out: Writer, page: PageData, token: int, value: float, share: float, width: int, own: bool) -> None:
    bars = max(min(width - 21, 14), 3)
    out.add(page.glyphs.trigger if own else " ", "trigger")
    out.token(page.text(token), "trigger" if own else "text", width - bars - 9, dim=False)
    out.add(f" {signed(value)} ", "trigger" if own else "text").add(bar(share, bars, page.glyphs) + " ", "bar")


def contexts(page: PageData, width: int, rows: int) -> list[Line]:
    """The strongest contexts, then the drawn ones, each with its token in the same column."""
    strongest = [context for context in page.contexts if not context.drawn]
    order = "strongest, then drawn at random"
    if page.neuron.threshold is not None:
        # Both signs, where there is no room for all: the negative ones never hide behind the positive.
        order = "strongest above 0, below 0, then drawn at random"
        above = [context for context in strongest if context.activation > 0]
        below = strongest[len(above) :]
        room = max(rows - len(below), (rows + 1) // 2)
        strongest = [*above[:room], *below[: rows - min(len(above), room)]]
    out = [rule([("contexts", "dim")], width, page.glyphs, order)]
    if not page.contexts:
        return filled([*out, line((" none", "dim"))], rows + 1)
    shown = [*strongest, *(context for context in page.contexts if context.drawn)]
    for context in shown[:rows]:
        out.append(context_line(context, width, page.glyphs))
    return filled(out, rows + 1)


def context_line(context: ContextText, width: int, glyphs: Glyphs, ground: str = "") -> Line:
    """One context around its token, which stands bright at a fixed column."""
    value = "drawn" if context.drawn else "" if math.isnan(context.activation) else f"{context.activation:5.3g}"
    out = Writer(glyphs).add(f"{value:>6} ", "text")
    left = (width - out.width) * 2 // 5
    plain = "text"
    out.parts += (before := _tail(context.left, left, glyphs, plain))
    out.width += sum(cell_len(text) for text, _ in before)
    out.token(context.token, "token")
    room = width - out.width
    after = [
        (text, "dim" if stand else plain) for text, stand in spans("".join(context.right)[: room * 2], glyphs, False)
    ]
    out.parts += clip(after, room, glyphs) if room > 0 else ()
    return Line(clip(out.parts, width, glyphs), ground)


def _tail(tokens: Sequence[str], width: int, glyphs: Glyphs, plain: str) -> list[Part]:
    """The last `width` cells of a text, right-aligned."""
    parts = [(text, "dim" if stand else plain) for text, stand in spans("".join(tokens)[-width * 2 :], glyphs, False)]
    out: list[Part] = []
    room = width
    for text, style in reversed(parts):
        kept = ""
        for char in reversed(text):
            cells = cell_len(char)
            if cells > room:
                break
            kept, room = char + kept, room - cells
        else:
            out.append((text, style))
            continue
        out.append((kept, style))
        break
    return [(" " * room, plain), *reversed(out)]


def _name(order: int) -> str:
    return ("unigram", "bigram", "trigram")[order - 1]
