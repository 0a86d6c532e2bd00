"""The paper's figures as numbers, and what two stores differ in.

``layer_figures(store, layer)`` and ``model_figures(store)``; ``changes(before, after, layers)`` and
``recheck(found, other, layers)`` of two stores; ``wilson(successes, trials)``, the interval of a share.

A module for each: layers, changes, recheck, intervals; experts: how often the experts of a mixture are chosen.
"""

from ffnscope.store.figures.changes import Changes, DetectorChange, PositionChange, changes, equal_shape
from ffnscope.store.figures.intervals import interval, rank_correlation, rule_of_three, wilson
from ffnscope.store.figures.layers import (
    COVERING_BINS,
    COVERING_LABELS,
    DETECTORS,
    FEW,
    POSITIONAL,
    LayerFigures,
    ModelFigures,
    NgramFigures,
    layer_figures,
    model_figures,
)
from ffnscope.store.figures.recheck import Recheck, comparable, recheck

__all__ = [
    "COVERING_BINS",
    "COVERING_LABELS",
    "DETECTORS",
    "FEW",
    "POSITIONAL",
    "Changes",
    "DetectorChange",
    "LayerFigures",
    "ModelFigures",
    "NgramFigures",
    "PositionChange",
    "Recheck",
    "changes",
    "comparable",
    "equal_shape",
    "interval",
    "layer_figures",
    "model_figures",
    "rank_correlation",
    "recheck",
    "rule_of_three",
    "wilson",
]
