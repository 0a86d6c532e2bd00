"""The list of a layer's neurons as lines; only the rows in view are made."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ffnscope.store.query import columns
from ffnscope.tui.drawing.glyphs import Glyphs
from ffnscope.tui.drawing.lines import BLANK, Line, Writer, line
from ffnscope.tui.drawing.numbers import count, freq, signed
from ffnscope.tui.drawing.scroll import scroll
from ffnscope.tui.drawing.text import fit, visible
from ffnscope.tui.state.neuron_list import NeuronList


def _whole(cells: int) -> Callable[[float], str]:
    """A whole number in at most `cells` cells, rounded where its digits do not fit: a number that is cut reads as another."""

    def cell(value: float) -> str:
        n = int(value)
        forms = [count(n), *([str(n)] if n < 1_000_000 else []), count(n, compact=True), _short(n, 2), _short(n, 1)]
        return next((text for text in forms if len(text) <= cells), forms[-1])

    return cell


def _short(n: int, digits: int) -> str:
    rounded = int(float(f"{n:.{digits}g}"))
    power = min((len(str(rounded)) - 1) // 3, 5)
    return f"{rounded / 1000**power:g}{('', *'kMGTP')[power]}"


def _real(cells: int) -> Callable[[float], str]:
    """A number in at most `cells` cells with 3 digits, or as many as fit; all digits of a large one where they fit."""

    def cell(value: float) -> str:
        if not math.isfinite(value):
            return f"{value:g}"
        forms = [f"{value:.0f}"] if abs(value) >= 999 else []
        for digits in (3, 2, 1):
            mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
            plain = f"{value:.{digits}g}"
            forms += [plain] * ("e" not in plain) + [f"{float(mantissa):g}e{int(exponent)}"]
        return next((text for text in forms if len(text) <= cells), forms[-1])

    return cell


def _signed(value: float) -> str:
    text = signed(value)
    return text if len(text) <= 5 else _real(5)(value)


@dataclass(frozen=True)
class TableColumn:
    """A column of numbers as drawn: its name in columns.py, header, cells, key in the sort picker."""

    name: str
    title: str
    width: int
    cell: Callable[[float], str]
    key: str = ""


_NUMBERS = (
    TableColumn("activations", "acts", 7, _whole(7), "a"),
    TableColumn("frequency", "freq", 5, freq, "f"),
    TableColumn("unigrams_95", "uni", 5, _whole(5), "u"),
    TableColumn("position_mi", "mi", 5, freq, "m"),
    TableColumn("bigrams_95", "bi", 6, _whole(6), "b"),
    TableColumn("trigrams_95", "tri", 6, _whole(6), "t"),
    TableColumn("detected", "det", 4, _whole(4), "d"),
    TableColumn("covered", "cov", 5, freq, "c"),
    TableColumn("trigger_projection", "proj", 5, _signed, "p"),
    TableColumn("max_activation", "max", 6, _real(6), "x"),
    TableColumn("mean_activation", "mean", 6, _real(6), "e"),
    TableColumn("bos_activations", "bos", 7, _whole(7), "o"),
    TableColumn("position_bias", "bias", 5, freq, "i"),
    TableColumn("token_explained", "tok", 5, _signed, "h"),
    TableColumn("bigram_explained", "big", 5, _signed, "j"),
    TableColumn("trigram_explained", "trg", 5, _signed, "l"),
    TableColumn("position_explained", "pos", 5, _signed, "q"),
    TableColumn("token_f1", "f1", 5, freq, "v"),
    TableColumn("token_set_size", "set", 5, _whole(5), "w"),
)
_OTHER_KEYS = {"neuron": "n", "kind": "k", "order": "r", "position_type": "y", "position_strength": "g"}
_DIGITS = "1234567890"  # keys of the first domains
DETECTS_LEAST = 18


def number_columns(domains: tuple[str, ...]) -> tuple[TableColumn, ...]:
    """Every column of numbers, the domains' frequencies last."""
    own = (
        TableColumn(columns.DOMAIN_PREFIX + name, name[:6], max(5, min(len(name), 6)), freq, _DIGITS[i : i + 1])
        for i, name in enumerate(domains)
    )
    return (*_NUMBERS, *own)


def sort_choices(domains: tuple[str, ...]) -> list[tuple[str, str, str]]:
    """(key, column name, meaning) of every column one can sort by, in the table's order."""
    out = [(_OTHER_KEYS[name], name, columns.COLUMNS[name].meaning) for name in ("neuron", "kind")]
    for column in number_columns(domains):
        known = columns.COLUMNS.get(column.name)
        meaning = known.meaning if known else f"frequency in {column.name.removeprefix(columns.DOMAIN_PREFIX)}"
        out.append((column.key, column.name, meaning))
    out += [(_OTHER_KEYS[n], n, columns.COLUMNS[n].meaning) for n in ("order", "position_type", "position_strength")]
    return out


class NeuronTable:
    """Draws the rows of a NeuronList. `offset` is how many columns of numbers are scrolled away."""

    def __init__(self, neurons: NeuronList, text: Callable[[int], str], glyphs: Glyphs, empty: Callable[[], str]):
        """`text` gives a token's text, `empty` the reason why no row is shown."""
        self.neurons = neurons
        self.text = text
        self.glyphs = glyphs
        self.top = 0
        self.step = 0
        self.offset = 0
        self.height = 1
        self.empty = empty
        self.focused = True
        self._cache: dict[tuple[int, str], Line] = {}
        self._cached_for: tuple[object, ...] = ()

    def forget(self) -> None:
        """Draw every row again: a mark or note has changed."""
        self._cache.clear()

    def shift(self, by: int) -> bool:
        """Scroll the columns of numbers; whether it did."""
        last = len(number_columns(self.neurons.domains)) - 1
        before, self.offset = self.offset, max(0, min(self.offset + by, last))
        return self.offset != before

    def visible_columns(self, width: int) -> list[TableColumn]:
        """The columns of numbers that fit beside number, kind and detects; the sort column always does."""
        every = number_columns(self.neurons.domains)
        shown = list(every[self.offset :])
        by_sort = [column for column in every if column.name == self.neurons.sort]
        room = width - 2 - self._digits - 12 - max(DETECTS_LEAST, width * 3 // 8)
        out: list[TableColumn] = []
        for column in [*by_sort, *(column for column in shown if column not in by_sort)]:
            if column.width + 1 > room:
                break
            out.append(column)
            room -= column.width + 1
        order = [column.name for column in every]
        return sorted(out, key=lambda column: order.index(column.name)) if not self.offset else out

    @property
    def _digits(self) -> int:
        return max(len(str(max(self.neurons.total - 1, 0))), 3)

    def lines(self, width: int, height: int) -> list[Line]:
        """The header and the rows in view."""
        self.height = max(height - 1, 1)
        neurons = self.neurons
        shown = self.visible_columns(width)
        stamp = (neurons.layer, width, tuple(shown), id(neurons.rows))
        if stamp != self._cached_for or len(self._cache) > 4096:
            self._cache.clear()
            self._cached_for = stamp
        self.top = scroll(self.top, neurons.cursor, len(neurons.rows), self.height, self.step)
        out = [self._header(width, shown)]
        if not len(neurons.rows):
            return [*out, BLANK, line(("  " + self.empty(), "dim"))]
        for row in range(self.top, min(self.top + self.height, len(neurons.rows))):
            ground = "" if row != neurons.cursor else "cursor" if self.focused else "cursor-off"
            neuron = int(neurons.rows[row])
            cached = self._cache.get((neuron, ground))
            if cached is None:
                cached = self._cache[neuron, ground] = self._row(neuron, width, shown, ground)
            out.append(cached)
        return out

    def _header(self, width: int, shown: list[TableColumn]) -> Line:
        out = Writer(self.glyphs).add("  ")
        arrow = ("v" if self.glyphs.ascii else "▾") if self.neurons.descending else ("^" if self.glyphs.ascii else "▴")

        def title(name: str, text: str, cells: int, align: str) -> None:
            sorted_by = name == self.neurons.sort
            text = visible(text, self.glyphs, spaces=False) + (arrow if sorted_by else "")
            out.add(fit(text, cells, align, self.glyphs), "accent" if sorted_by else "dim")

        title("neuron", "n", self._digits, "right")
        out.add(" ")
        title("kind", "kind", 10, "left")
        for column in shown:
            # The arrow may stand in the gap to the left, so that the header's last letter stays over the last digit.
            title(column.name, column.title, column.width + 1, "right")
        out.add(" ")
        more = "" if not self.offset else f" {'<' if self.glyphs.ascii else '‹'}{self.offset}"
        return (
            out.add("detects", "dim").add(" (or mostly at)" if width >= 60 else "", "faint").add(more, "faint").line()
        )

    def _row(self, neuron: int, width: int, shown: list[TableColumn], ground: str) -> Line:
        neurons, glyphs = self.neurons, self.glyphs
        kind = neurons.kind(neuron)
        plain = "faint" if kind == "dead" else "bright" if ground else "text"
        out = Writer(glyphs)
        out.add(glyphs.cursor if ground else " ", "accent")
        marked = (neurons.layer, neuron) in neurons.marks
        out.add(glyphs.mark if marked else " ", "mark" if marked else plain)
        numbers = f"{neuron:>{self._digits}} {kind:<10}"
        for column in shown:
            value = float(neurons.column(column.name)[neuron])
            text = "-" if np.isnan(value) else column.cell(value)
            numbers += " " + fit(text, column.width, "right", glyphs)
        out.add(numbers + " ", plain)
        self._detects(out, neuron, kind, width - out.width, plain)
        return out.line(ground)

    def _detects(self, out: Writer, neuron: int, kind: str, room: int, plain: str) -> None:
        position = self.neurons.position_text(neuron)
        ngrams = self.neurons.detected(neuron)
        if not ngrams and not position and kind != "dead":
            mostly = " ".join(visible(self.text(token), self.glyphs) for token in self.neurons.mostly_at(neuron))
            described = self.neurons.description(neuron)
            if described:
                formula, f1 = described
                mostly = f"{freq(f1).strip()} {visible(formula, self.glyphs, False)} {self.glyphs.dot} {mostly}"
            out.add(fit(mostly, room, glyphs=self.glyphs), "faint" if plain == "text" else "dim")
        for index, ngram in enumerate(ngrams):
            if room <= 0:
                return
            part = Writer(self.glyphs)
            for token in ngram:
                part.token(self.text(token), "token")
            if index and part.width > room:
                out.add(self.glyphs.ellipsis[: max(room, 0)], "dim")
                return
            if part.width > room:
                part = Writer(self.glyphs).token("".join(map(self.text, ngram)), "token", room)
            for text, style in part.parts:
                out.add(text, style)
            out.add(" ", plain)
            room -= part.width + 1
        if position and room >= 4:
            out.add(fit(position, min(len(position), room), glyphs=self.glyphs), "position")
