"""What the prompt screen shows: the neurons that fire at a token, and one neuron along the text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ffnscope.store.definitions import ORDERS, POSITION_STRENGTHS, POSITION_TYPES
from ffnscope.store.format.schema import ABSENT
from ffnscope.store.reader import Store
from ffnscope.store.vocabulary import Vocabulary
from ffnscope.tui.drawing.glyphs import Glyphs
from ffnscope.tui.drawing.lines import Line, Part, Writer, clip, line, wrap
from ffnscope.tui.drawing.numbers import count, percent
from ffnscope.tui.drawing.text import bar
from ffnscope.tui.state.neuron_list import Key, name_of

if TYPE_CHECKING:
    from ffnscope.core.prompt import PromptResult

OTHERS = 3  # neurons per layer that are neither detector nor positional
MOSTLY = 6
_COLUMNS = (
    *("order", "position_type", "position_strength", "detected_neuron", "detected_tokens", "detected_count"),
    *("max_activation", "top_unigrams"),
)
NAME = 12  # cells of a neuron's name
VALUE = 8


@dataclass(frozen=True)
class Firing:
    """A neuron of the list: what it is, and its activation at the token."""

    layer: int
    neuron: int
    order: int
    position: str  # `oscillatory strong`, or nothing
    ngrams: tuple[tuple[int, ...], ...]  # detected, most frequent first
    value: float  # 0 where it is not activated
    expected: bool  # the tokens here are one of its n-grams
    share: float  # of its largest activation in the store, infinite where it is dead there
    mostly: tuple[int, ...] = ()  # tokens it is activated at most, of a neuron that is neither detector nor positional
    pinned: bool = False
    effect: float | None = None  # its direct effect, where these are listed

    @property
    def key(self) -> Key:
        """(layer, neuron)."""
        return self.layer, self.neuron


class Labels:
    """What the store says about its neurons; a layer is read when it is first needed."""

    def __init__(self, store: Store):
        self._store = store
        self._layers: dict[int, dict[str, np.ndarray]] = {}

    def _columns(self, layer: int) -> dict[str, np.ndarray]:
        if layer not in self._layers:
            columns = {name: self._store.column(layer, name) for name in _COLUMNS}
            if self._store.has("threshold"):
                # Values are then a, of either sign; and no neuron is dead.
                ends = (self._store.column(layer, f"{name}_value")[:, :1] for name in ("strongest", "negative"))
                largest = np.abs(np.nan_to_num(np.concatenate(list(ends), axis=1))).max(axis=1)
                columns["max_activation"] = np.where(np.isnan(columns["max_activation"]), np.nan, largest)
            self._layers[layer] = columns
        return self._layers[layer]

    def read(self, layers: Sequence[int]) -> None:
        """Read layers now: in a thread, so that drawing need not wait for it. Raises UserError."""
        for layer in layers:
            self._columns(layer)

    def labelled(self, layer: int) -> np.ndarray:
        """[N] the detectors and positional neurons of a layer."""
        columns = self._columns(layer)
        return np.flatnonzero((columns["order"] > 0) | (columns["position_type"] > 0))

    def detectors(self, layer: int) -> np.ndarray:
        """[N] the detectors of a layer."""
        return np.flatnonzero(self._columns(layer)["order"] > 0)

    def firing(self, layer: int, neuron: int, result: PromptResult, at: int, pinned: bool = False) -> Firing:
        """One neuron at one token."""
        columns = self._columns(layer)
        order = int(columns["order"][neuron])
        first, last = np.searchsorted(columns["detected_neuron"], [neuron, neuron + 1]) if order else (0, 0)
        by_count = np.argsort(-columns["detected_count"][first:last].astype(np.int64), kind="stable")
        rows = columns["detected_tokens"][first:last, :order][by_count].tolist() if order else []
        ngrams = tuple(tuple(token for token in row if token != ABSENT) for row in rows)
        word = POSITION_TYPES[int(columns["position_type"][neuron])]
        strength = POSITION_STRENGTHS[int(columns["position_strength"][neuron])]
        here = tuple(result.tokens[max(at - order + 1, 0) : at + 1].tolist()) if order else ()
        value = float(result.values[layer][at, neuron]) if layer in result.values else 0.0
        largest = float(columns["max_activation"][neuron])
        share = abs(value) / largest if largest > 0 else math.inf if value and math.isnan(largest) else 0.0
        top = columns["top_unigrams"][neuron, :MOSTLY, 0].tolist() if not order and not word else []
        mostly = tuple(token for token in top if token != ABSENT)
        words = f"{word} {strength}".strip()
        return Firing(layer, neuron, order, words, ngrams, value, here in ngrams, share, mostly, pinned)

    def firings(self, result: PromptResult, at: int, layers: Sequence[int]) -> list[Firing]:
        """The detectors and positional neurons activated at token ``at``, by layer, those that detect it first; then the
        OTHERS of the layer's other neurons that come nearest to their largest activation in the store, dead ones first."""
        out: list[Firing] = []
        for layer in layers:
            labelled = self.labelled(layer)
            firing = labelled[result.active[layer][at, labelled]].tolist()
            entries = [self.firing(layer, neuron, result, at) for neuron in firing]
            out += sorted(
                entries, key=lambda entry: (not entry.expected, not entry.order, -abs(entry.value), entry.neuron)
            )
            largest = self._columns(layer)["max_activation"]
            rest = np.abs(result.values[layer][at]) / np.where(largest > 0, largest, np.inf)
            rest[np.isnan(largest) & result.active[layer][at]] = np.inf
            rest[labelled] = 0
            strongest = np.argsort(-rest, kind="stable")[:OTHERS]
            out += [self.firing(layer, int(n), result, at) for n in strongest if rest[n] > 0]
        return out


@dataclass
class PromptView:
    """Draws a result."""

    result: PromptResult
    vocabulary: Vocabulary
    glyphs: Glyphs

    def text(self, token: int) -> str:
        """A token's text."""
        return self.vocabulary.text(token)

    def tokens(self, at: int, width: int, height: int, marked: Sequence[bool]) -> list[Line]:
        """The text wrapped, its token ``at`` in view and bright; ``marked`` tokens are those that a detector fires at."""
        parts: list[Part] = []
        fires = False
        for number, text in enumerate(self.vocabulary.running(self.result.tokens.tolist(), at)):
            out = Writer(self.glyphs)
            fires |= bool(marked[number])
            if number == at:
                parts += [(part, "here") for part, _ in out.token(text).parts]
            elif text:
                parts += out.prose(text, "token" if fires else "text").parts
            fires &= not text  # the beginning of a character: it is marked where it is whole
        # The last part keeps the bright ground of a token at the end from filling the line.
        lines = [Line(((" ", "text"), *row, (" ", "text"))) for row in wrap(parts, width - 2)]
        here = next((i for i, line_ in enumerate(lines) if any(style == "here" for _, style in line_.parts)), 0)
        top = max(0, min(here - height // 2, len(lines) - height))
        return lines[top : top + height]

    def text_lines(self, width: int) -> int:
        """How many lines the text takes."""
        return len(self.tokens(0, width, len(self.result.tokens), [False] * len(self.result.tokens)))

    def firing(self, firing: Firing, width: int, cursor: bool, marked: bool = False, taken: bool = False) -> Line:
        """A row of the list; ``taken``: the neuron is taken away."""
        writer = Writer(self.glyphs).add(self.glyphs.cursor if cursor else " ", "accent")
        writer.add(f"{name_of(firing.key):<{NAME - 1}}", "error" if taken else "bright" if cursor else "text")
        writer.add(self.glyphs.times if taken else self.glyphs.mark if marked else " ", "error" if taken else "mark")
        on = firing.value != 0
        if firing.effect is not None:
            writer.add(f"{firing.effect:>+{VALUE}.3g} ", "position" if firing.effect > 0 else "trigger")
        else:
            writer.add(f"{firing.value:>{VALUE}.3g} " if on else f"{'-':>{VALUE}} ", "text" if on else "faint")
        writer.add(f"{ORDERS[firing.order]:<8}" if firing.order else "", "dim")
        if firing.expected:
            writer.add(self.glyphs.trigger + " ", "trigger")
        for ngram in firing.ngrams:
            if writer.width >= width:
                break
            for token in ngram:
                writer.token(self.text(token), "token" if firing.expected else "text")
            writer.add(" ")
        writer.add(firing.position + " ", "position")
        if math.isinf(firing.share):
            writer.add("dead in the store", "faint")
        elif not firing.order and not firing.position:
            writer.add(f"{percent(firing.share):>5} of its maximum, mostly at ", "faint")
            for token in firing.mostly:
                writer.token(self.text(token), "dim").add(" ")
        return Line(clip(writer.parts, width, self.glyphs), "cursor" if cursor else "")

    def along(self, key: Key, at: int, width: int, height: int) -> list[Line]:
        """One neuron's activation at every token, a bar each, token ``at`` in view."""
        layer, neuron = key
        if layer not in self.result.values:
            return [line((f" layer {layer} was not run", "dim"))]
        values, active = self.result.values[layer][:, neuron], self.result.active[layer][:, neuron]
        most = float(np.abs(values).max(initial=0.0)) or 1.0
        names = min(max(width // 3, 8), 24)
        top = max(0, min(at - height // 2, len(values) - height))
        out = []
        for number in range(top, min(top + height, len(values))):
            here = number == at
            row = Writer(self.glyphs).add(self.glyphs.cursor if here else " ", "accent")
            token = int(self.result.tokens[number])
            row.token(self.text(token), "bright" if here else "text", names).add(" ")
            room = max(width - row.width - VALUE - 2, 0)
            if active[number]:
                row.add(bar(abs(float(values[number])) / most, room, self.glyphs), "bar")
                row.add(f"{float(values[number]):>{VALUE}.3g}", "bright" if here else "text")
            else:
                row.add(" " * room + "-".rjust(VALUE), "faint")
            out.append(row.line("cursor" if here else ""))
        return out

    def count_line(self, at: int, firings: Sequence[Firing]) -> Line:
        """How many neurons fire at a token."""
        total = sum(int(np.count_nonzero(firing[at])) for firing in self.result.active.values())
        size = sum(firing.shape[1] for firing in self.result.active.values())
        token = int(self.result.tokens[at])
        out = (
            Writer(self.glyphs)
            .add(f" token {at} ", "accent")
            .token(self.text(token), "bright")
            .add(f" id {token} ", "dim")
        )
        detectors = sum(1 for firing in firings if firing.order and not firing.pinned)
        positional = sum(1 for firing in firings if firing.position and not firing.pinned)
        out.add(f" {count(total)} of {count(size)} neurons fire", "text")
        detecting = f"{count(detectors)} detector{'' if detectors == 1 else 's'}"
        return out.add(f": {detecting}, {count(positional)} positional", "dim").line()
