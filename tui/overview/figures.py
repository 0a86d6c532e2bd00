"""Which figures of the catalogue the overview shows, and in what order: Figure 2 last, beside its numbers."""

from __future__ import annotations

from ffnscope.tui.reports.catalogue import COVERING as _COVERING
from ffnscope.tui.reports.catalogue import FIGURES as _FIGURES

FIGURES = (*(figure for figure in _FIGURES if figure.name and figure not in _COVERING), *_COVERING)
COVERING = tuple(number for number, figure in enumerate(FIGURES) if figure in _COVERING)
COMPARED = tuple(number for number, figure in enumerate(FIGURES) if figure.value)
RANGES = next(number for number, figure in enumerate(FIGURES) if figure.ranges)
