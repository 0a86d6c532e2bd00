"""A neuron's page: a dashboard that fits the pane, every section at a fixed place, and the whole lists below it."""

from __future__ import annotations

import math
from collections.abc import Callable

from ffnscope.tui.drawing.lines import Line, Part, Writer, clip, filled, line, rule, wrap, wrapped
from ffnscope.tui.drawing.numbers import freq
from ffnscope.tui.neuron import sections
from ffnscope.tui.neuron.data import PageData
from ffnscope.tui.neuron.sentences import page_sentences

Plot = Callable[..., list[str]]


def scale(highest: float) -> float:
    """The top of the position plot's axis: 1 for what comes near it, else the next of 5, 2, 1 x 10^-k."""
    if highest <= 0 or highest > 0.5:
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest))
    return next(power * step for step in (1, 2, 5, 10) if power * step >= highest * 0.999)


def page_lines(page: PageData, width: int, height: int, plot: Plot | None) -> list[Line]:
    """The whole page: the first `height` lines are the dashboard, all lists in full follow.

    `plot` draws a curve as curves.curve does; None while it is being loaded.
    """
    inner = width - 1
    sizes = _sizes(inner, height)
    out = _facts(page, inner, sizes[0])
    out += sections.triggers(page, inner, sizes[1])
    out += sections.projections(page, inner, sizes[2])
    if sizes[3]:
        out += position(page, inner, sizes[3], plot)
    if sizes[4]:
        out += sections.contexts(page, inner, sizes[4])
    return filled(out, height) + _facts_in_full(page, inner, sizes[0]) + _appendix(page, inner)


def _sizes(width: int, height: int) -> tuple[int, int, int, int, int]:
    """Lines of facts, triggers, projections, plot and contexts (the rules not counted) that fill `height`."""
    facts = 5 if width >= 72 and height < 30 else 8 if height >= 36 else 6
    room = height - facts - 3
    if room < 9:
        return facts, max(room // 2, 1), max(room - room // 2, 1), 0, 0
    if height < 30:
        plot = max(room * 3 // 10, 4)
        triggers = (room - plot + 1) // 2
        return facts, triggers, room - plot - triggers, plot, 0
    room -= 1
    contexts = max(room // 6, 3)
    triggers = min((room - contexts) // 3, 20)
    plot = min(room - contexts - 2 * triggers, 12)
    return facts, triggers, triggers, plot, room - 2 * triggers - plot


def _facts(page: PageData, width: int, rows: int) -> list[Line]:
    sentences = page_sentences(page)
    while len(sentences) > rows and len(sentences) > 2:
        # A low and wide pane has room for two short sentences in a line, and none for another line.
        sentences = [*sentences[:-2], [*sentences[-2], (f" {page.glyphs.dot} ", "text"), *sentences[-1]]]
    out: list[Line] = []
    spare = rows - len(sentences)
    for parts in sentences:
        lines = wrap(parts, width - 2)
        shown = lines[: 1 + spare]
        spare -= len(shown) - 1
        if len(shown) < len(lines):
            shown[-1] = tuple(part for facts in lines[len(shown) - 1 :] for part in facts)
        out += [Line(clip(((" ", "text"), *facts), width, page.glyphs)) for facts in shown]
    return filled(out, rows)


def _facts_in_full(page: PageData, width: int, rows: int) -> list[Line]:
    """The facts again, where the dashboard had no room for all of them."""
    lines = [wrapped for parts in page_sentences(page) for wrapped in wrap(parts, width - 2)]
    if len(lines) <= rows:
        return []
    return [rule([("facts", "dim")], width, page.glyphs), *(Line(((" ", "text"), *parts)) for parts in lines)]


def position(page: PageData, width: int, rows: int, plot: Plot | None) -> list[Line]:
    """The activation frequency by position under a rule that says the type in words."""
    neuron = page.neuron
    title: list[Part] = [("activation by position ", "dim"), (f"MI {freq(neuron.position_mi).strip()}", "text")]
    if neuron.position_type:
        title.append((f" {neuron.position_type} {neuron.position_strength}", "position"))
    out = [rule(title, width, page.glyphs)]
    if not neuron.activations:
        out.append(line((" never activated", "dim")))
    elif plot is not None:
        values = page.frequencies
        plot_lines = plot(values, width, rows, ascii=page.glyphs.ascii, y_max=scale(float(values.max(initial=0.0))))
        out += [line((text, "position" if neuron.position_type else "text")) for text in plot_lines]
    return filled(out, rows + 1)


def _appendix(page: PageData, width: int) -> list[Line]:
    """Everything in full: the note, the trigger n-grams, the lists, the contexts."""
    out: list[Line] = []
    if page.note:
        out.append(rule([("note", "dim")], width, page.glyphs))
        out += wrapped(page.note, "text", width + 1, page.glyphs)
    most = max(len(page.neuron.promoted), len(page.neuron.suppressed))
    out += sections.triggers(page, width, max(len(page.neuron.top_ngrams[page.order - 1]), 1))
    out += sections.projections(page, width, most)
    return out + sections.contexts(page, width, max(len(page.contexts), 1))


def title(page: PageData) -> list[Part]:
    """The pane's title: name, mark, note."""
    parts: list[Part] = [(page.name, "accent")]
    if page.marked:
        parts.append((f" {page.glyphs.mark}", "mark"))
    if page.note:
        parts.append((" note: ", "dim"))
        parts += Writer(page.glyphs).prose(page.note).parts
    return parts


def peek_lines(page: PageData, width: int, height: int, plot: Plot | None) -> list[Line]:
    """The neuron under the cursor in a few lines below the list, where there is no room for its page."""
    sentences = page_sentences(page)
    out = [rule(title(page), width, page.glyphs)]
    out += [Line(clip(((" ", "text"), *parts), width, page.glyphs)) for parts in sentences[:2]]
    pushed: list[Part] = [(" promotes ", "dim")]
    own = {ngram.tokens[-1] for ngram in page.neuron.detected}
    half = width // 2
    for word, projections in (("", page.neuron.promoted), ("suppresses ", page.neuron.suppressed)):
        if word:
            used = Line(clip(pushed, half - 2, page.glyphs))
            pushed = [*used.parts, (" " * (half - used.width), "text"), (word, "dim")]
        for token, _ in projections[:8]:
            pushed += page.ngram((token,), "trigger" if token in own else "text").parts
            pushed.append((" ", "text"))
    out.append(Line(clip(pushed, width, page.glyphs)))
    rest = height - len(out)
    if rest >= 2 and plot is not None and page.neuron.activations:
        values = page.frequencies
        top = scale(float(values.max(initial=0.0)))
        plot_lines = plot(values, width - 1, rest, ascii=page.glyphs.ascii, y_max=top)
        out += [line((" " + text, "position" if page.neuron.position_type else "text")) for text in plot_lines]
    return filled(out, height)
