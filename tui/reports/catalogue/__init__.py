"""Every figure, once: FIGURES, in the order of the paper.

The overview, `report`, `compare` and the CSV files loop over it; a new figure is one more entry.

sparsity: Figures 1 and 2. detectors: Figures 3 to 5. positions: Figures 8 and 9. Ours: explained, descriptions, experts, causal.
"""

from __future__ import annotations

from ffnscope.tui.reports.catalogue.descriptions import DESCRIPTIONS
from ffnscope.tui.reports.catalogue.detectors import (
    DETECTED,
    DETECTOR_COUNTS,
    EXAMPLE_DETECTORS,
    NEW_TOKENS,
    SUPPRESSED,
)
from ffnscope.tui.reports.catalogue.explained import EXPLAINED
from ffnscope.tui.reports.catalogue.positions import POSITION_RANGES, POSITIONAL_NEURONS
from ffnscope.tui.reports.catalogue.sparsity import COVERING, DEAD, FREQUENCY
from ffnscope.tui.reports.figures import Figure

__all__ = ["COVERING", "FIGURES"]

FIGURES: tuple[Figure, ...] = (
    *(DEAD, FREQUENCY, *COVERING),
    *(DETECTOR_COUNTS, DETECTED, NEW_TOKENS, SUPPRESSED, EXAMPLE_DETECTORS),
    *(POSITIONAL_NEURONS, POSITION_RANGES),
    EXPLAINED,
    DESCRIPTIONS,
)
