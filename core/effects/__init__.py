"""Cause and effect: what a neuron adds to the logits, and what the model predicts without it (EFFECTS.md).

- ablation.ablate: the loss with neurons taken away minus the loss as it is, over many windows
- windows: which windows are tested. watch, replay: the passes. triggers: where detectors fire on what they detect
- summary: the numbers of one ablation, with intervals. rows: as CSV and JSON lines, and a file of them continued
"""

from __future__ import annotations

from ffnscope.core.effects.ablation import ablate
from ffnscope.core.effects.summary import Effect

__all__ = ["Effect", "ablate"]
