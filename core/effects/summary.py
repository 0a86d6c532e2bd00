"""The numbers of one ablation: means over positions, and 95% intervals over windows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Z_95 = 1.96  # standard errors on either side of a mean
CHANGED = 1e-6  # nats by which a loss must change to count as changed


@dataclass(frozen=True)
class Effect:
    """What taking neurons away does. Means are NaN where there is no position, limits where there are no two windows.

    ``delta_loss`` is in nats: loss without the neurons minus loss with them, above 0 for neurons that help.
    ``delta_loss_active``: the mean over the positions where one of them is activated. ``delta_trigger_logit``: the mean
    change of the logit of the token at k where a detector fires at k on one of its detected n-grams.
    """

    neurons: tuple[tuple[int, int], ...]  # (layer, neuron)
    together: bool  # a set, not one neuron
    mode: str  # zero or mean
    positions: int
    active_positions: int
    delta_loss: float
    delta_loss_low: float
    delta_loss_high: float
    delta_loss_active: float
    delta_loss_active_low: float
    delta_loss_active_high: float
    trigger_positions: int
    delta_trigger_logit: float
    delta_trigger_logit_low: float
    delta_trigger_logit_high: float
    changed: float  # share of positions whose loss changed by more than CHANGED

    @property
    def layer(self) -> int | None:
        """The layer of a single neuron."""
        return None if self.together else self.neurons[0][0]

    @property
    def neuron(self) -> int | None:
        """The number of a single neuron in its layer."""
        return None if self.together else self.neurons[0][1]


def summarise(
    neurons: tuple[tuple[int, int], ...],
    together: bool,
    mode: str,
    delta_loss: np.ndarray,
    delta_logit: np.ndarray,
    active: np.ndarray,
    triggered: np.ndarray,
) -> Effect:
    """The numbers of one ablation from changes of loss and of the own token's logit, float64 [M, T - 1], and where the
    neurons are activated and stand on what they detect, bool [M, T - 1]."""
    return Effect(
        neurons,
        together,
        mode,
        delta_loss.size,
        int(active.sum()),
        *mean_and_interval(delta_loss, np.ones(delta_loss.shape, np.bool_)),
        *mean_and_interval(delta_loss, active),
        int(triggered.sum()),
        *mean_and_interval(delta_logit, triggered),
        float((np.abs(delta_loss) > CHANGED).mean()),
    )


def mean_and_interval(values: np.ndarray, where: np.ndarray) -> tuple[float, float, float]:
    """Mean of ``values`` [M, n] over the positions of ``where`` [M, n], and 1.96 standard errors below and above it: those
    of the means of the windows that have such positions. NaN where there are none; limits NaN for fewer than two."""
    counts = where.sum(axis=1)
    if not counts.any():
        return math.nan, math.nan, math.nan
    sums = np.where(where, values, 0.0).sum(axis=1)
    mean = float(sums.sum() / counts.sum())
    means = sums[counts > 0] / counts[counts > 0]
    if len(means) < 2:
        return mean, math.nan, math.nan
    margin = Z_95 * float(means.std(ddof=1)) / math.sqrt(len(means))
    return mean, mean - margin, mean + margin
