"""Cause and effect: what a neuron adds to the logits, and what the model predicts without it (EFFECTS.md).

Three functions: ``ablate``, the loss without neurons over many windows of a store; ``direct_effects``, what each neuron adds to a
token's logit; ``next_tokens``, the next-token distribution with neurons taken away. The last two take a model:
``load_run_model(store.run)``.

- ablation over replay (the passes), hooks, means, triggers (where detectors stand on what they detect), windows, summary
  (means and intervals) and rows (CSV and JSON lines, and a file of them that is continued)
- causal: the paper's Section 4.4 by ablation, for a report
- attribution over norms, routed (the neurons of experts) and hooks; next_tokens
"""

from __future__ import annotations

from ffnscope.core.effects.ablation import ablate
from ffnscope.core.effects.attribution import DirectEffects, direct_effects
from ffnscope.core.effects.next_tokens import next_tokens
from ffnscope.core.effects.summary import Effect
from ffnscope.core.run.model import load_run_model

__all__ = ["DirectEffects", "Effect", "ablate", "direct_effects", "load_run_model", "next_tokens"]
