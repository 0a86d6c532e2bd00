"""The data of one neuron's page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ffnscope.store.records import Neuron
from ffnscope.tui.drawing.glyphs import Glyphs
from ffnscope.tui.drawing.lines import Writer


@dataclass(frozen=True)
class ContextText:
    """One activated position with the tokens around it, as texts."""

    left: tuple[str, ...]
    token: str
    right: tuple[str, ...]
    activation: float  # NaN where not kept
    window: int
    position: int
    domain: str
    drawn: bool  # drawn at random, not one of the strongest


@dataclass(frozen=True)
class PageData:
    """All that a neuron's page shows; `text` gives a token's text."""

    neuron: Neuron
    text: Callable[[int], str]
    glyphs: Glyphs
    windows: int  # S of the position curve
    contexts: tuple[ContextText, ...] = ()
    marked: bool = False
    note: str = ""
    domains: tuple[str, ...] = ()  # counted, a row of the curve each
    order: int = 1  # of the trigger n-grams shown
    concepts: tuple[str, ...] = ()  # that descriptions are made of, by their numbers
    _curve: list[np.ndarray] = field(default_factory=list, repr=False, compare=False)

    @property
    def name(self) -> str:
        """`L2N412`."""
        return f"L{self.neuron.layer}N{self.neuron.neuron}"

    @property
    def frequencies(self) -> np.ndarray:
        """[T] float64: f(p), the share of windows in which it is activated at each position."""
        return self.neuron.curve.sum(axis=0) / max(self.windows, 1)

    def ngram(self, tokens: tuple[int, ...], style: str = "text", width: int | None = None) -> Writer:
        """An n-gram's tokens as parts."""
        if width is not None:
            return Writer(self.glyphs).token("".join(map(self.text, tokens)), style, width, dim=False)
        out = Writer(self.glyphs)
        for token in tokens:
            out.token(self.text(token), style)
        return out
