"""When a neuron counts as activated at a position: the rule of a run (core/DEFINITIONS.md)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from ffnscope.store.errors import UserError

POSITIVE = "positive"
_SHARE = "share:"
_MOST = Fraction(1, 5)
THRESHOLD_WINDOWS = 256  # at most: the windows that thresholds are fixed on


@dataclass(frozen=True)
class ActivationRule:
    """``share`` is None where the input of the activation function must be above 0; else the share Q, as it was written,
    of positions that reach a neuron's own threshold."""

    share: str | None = None

    @classmethod
    def parse(cls, text: str) -> ActivationRule:
        """The rule that ``positive`` or ``share:Q`` names. Raises UserError."""
        word = text.strip().lower()
        if word == POSITIVE:
            return cls()
        digits = word.removeprefix(_SHARE)
        try:
            share = Fraction(digits) if word.startswith(_SHARE) and "/" not in digits else Fraction(0)
        except (ValueError, ZeroDivisionError):
            share = Fraction(0)
        if not 0 < share <= _MOST:
            raise UserError(
                f"--activated {text}: give positive, or share:Q with Q above 0 and at most 0.2, as in share:0.01"
            )
        return cls(repr(float(share)))

    def __str__(self) -> str:
        return POSITIVE if self.share is None else _SHARE + self.share

    @property
    def has_thresholds(self) -> bool:
        """Whether every neuron has a threshold of its own."""
        return self.share is not None

    @property
    def percent(self) -> str:
        """The share in percent, as in ``1%``."""
        return f"{float(100 * Fraction(self.share or '0')):g}%"

    def rank(self, positions: int) -> int:
        """The threshold is the value of this rank, from 1 for the largest, among ``positions`` values: ceil(Q * n)."""
        return math.ceil(Fraction(self.share or "0") * positions)

    @property
    def short(self) -> str:
        """The rule in a few words, where a line has no room for a sentence."""
        return "input > 0" if self.share is None else f"top {self.percent} of |a|"

    @property
    def sentence(self) -> str:
        """What activated means, as a clause."""
        if self.share is None:
            return "activated means an input above 0"
        return f"activated means |a| at or above the neuron's own threshold, which {self.percent} of positions reach ({self})"
