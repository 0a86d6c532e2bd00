"""Positional neurons (paper, section 5): what activation tells of position, and the curve's shape.

The curve of a neuron is f(p) = counts[p] / windows, the share of the windows in which it is activated at position p.
The paper names its types (Figure 7) in words only; the rules that decide them here are these.

**Interval.** A run of positions counts as an interval at an extreme (0 or 1) only when
it is at least `shortest_interval(T)` = max(3, T // 128) long: activated on exactly n of T positions, a neuron has an
information above 0.05 nats from n = T / 107 on, so a shorter run could not make it positional by itself, and the single
BOS position never is an interval. It must also hold enough observations (positions x windows) to say anything:
- *exact*: every count is 0 (or every count is S), over at least 3 / TOLERANCE observations. By the rule of three, the
  frequency behind such a run lies within TOLERANCE of the extreme with 95% confidence.
- *close*: the mean over the run lies within TOLERANCE of the extreme, over at least 10 / TOLERANCE observations.
With few windows that asks for long runs; never for more than an eighth of the positions. Below some 30 windows the data
themselves hardly tell 0.02 from 0, so weak may read as strong.

**Oscillatory.** The curve is smoothed just enough for its sampling noise; it is high in the upper third of its own
range, low in the lower third, and undecided between, and a high or low stretch counts from `shortest_interval(T)`
positions on (hysteresis: what stays in the middle third switches nothing). Two full periods are two rises and two
falls. Three switches suffice where the window's ends cut the outer stretches (high, low, high, low), provided that
the period, from one switch to the next of its direction, fits twice into the window, or a tenth more: noise and
smoothing move a switch. Two guards:
- neighbouring positions of a window share their text, so a topic makes a curve wander further than independent draws
  would: the range must be 5 standard errors of a single position;
- high against low must account for half of the curve's variance (of a sine's, 81%): a ragged curve is not a wave.
High and low are relative to the curve's own range, so a wave that stays in the middle is oscillatory, and weak.

**Both, one, other.** By the extremes at which a curve that does not oscillate has an interval, exact or close.

**Strong.** At each extreme that decides the type, at least half of the positions in intervals lie in exact ones (the
rest being the shoulders of a slope); for oscillatory, at both extremes, and each stretch that the window's ends do not
cut has an exact interval. For other: the scatter of a position around the mean of its two neighbours, less what
sampling adds, is at most a tenth of the curve's variance ("thin" against "thick" in the paper).

Activated and not activated are treated alike, in integers where a tie could part them: f and 1 - f have the same type
and strength. Position 0, where BOS stands, takes part in intervals only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ffnscope.store.definitions import POSITION_STRENGTHS, POSITION_TYPES, POSITIONAL_NATS

TOLERANCE = 0.05
EXACT_OBSERVATIONS = 3 / TOLERANCE
CLOSE_OBSERVATIONS = 10 / TOLERANCE
EXACT_SHARE = 0.5
GAP_ERRORS = 3.0
RANGE_ERRORS = 5.0
TWO_PERIODS_SLACK = 1.1
EXPLAINED_SHARE = 0.5
THIN_SHARE = 0.1

_TYPE = {word: code for code, word in enumerate(POSITION_TYPES)}
_STRENGTH = {word: code for code, word in enumerate(POSITION_STRENGTHS)}
_BLOCK_CELLS = 1 << 18


def mutual_information(counts: np.ndarray, n_windows: int) -> np.ndarray:
    """Mutual information of "activated" and position, in nats (paper 5.1): `position_mi` of the definitions.

    counts: integer [F, T], activated windows at each position. Returns float64 [F], never negative, 0 for dead
    neurons. Positions with f(p) = 0 or 1 count in full (0 ln 0 = 0). Raises ValueError for
    counts outside 0 .. n_windows.
    """
    counts = _checked(counts, n_windows)
    neurons, positions = counts.shape
    result = np.zeros(neurons)
    step = max(1, _BLOCK_CELLS // positions)
    for start in range(0, neurons, step):
        on = counts[start : start + step].astype(np.float64)
        total = on.sum(axis=1, keepdims=True)
        cells = float(n_windows) * positions
        result[start : start + step] = _divergence(on, total, positions)
        result[start : start + step] += _divergence(n_windows - on, cells - total, positions)
    result /= float(n_windows) * positions
    return np.maximum(result, 0.0)


def mi_bias(counts: np.ndarray, n_windows: int) -> np.ndarray:
    """Miller-Madow bias of `mutual_information`, in nats: m / (2*S*T), m = positions with 0 < f(p) < 1.

    counts: integer [F, T]. Returns float64 [F]. Raises ValueError for counts outside 0 .. n_windows.
    """
    counts = _checked(counts, n_windows)
    mixed = np.count_nonzero((counts > 0) & (counts < n_windows), axis=1)
    return mixed / (2.0 * n_windows * counts.shape[1])


def is_positional(mi: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """bool [F]: the information less its bias is above 0.05 nats (paper 5.1; the bias is ours). Both float [F]."""
    return (np.asarray(mi) - np.asarray(bias)) > POSITIONAL_NATS


def classify(counts: np.ndarray, n_windows: int) -> tuple[np.ndarray, np.ndarray]:
    """Types and strengths of positional neurons (paper 5.2), as codes of POSITION_TYPES and POSITION_STRENGTHS.

    counts: integer [F, T] or [T]. Returns two uint8 arrays, [F], or of no dimension for one curve. Takes for granted
    that the neurons are positional and never answers 0 ("does not apply"). Raises ValueError for counts outside
    0 .. n_windows.
    """
    curves = _checked(np.atleast_2d(counts), n_windows)
    codes = np.array([_classify_curve(curve, n_windows) for curve in curves], dtype=np.uint8).reshape(-1, 2)
    shape = np.shape(counts)[:-1]
    return codes[:, 0].reshape(shape), codes[:, 1].reshape(shape)


def active_ranges(counts: np.ndarray, n_windows: int) -> list[tuple[int, int]]:
    """Ranges (first, one past the last) of positions where the neuron is on (paper Figure 9), in order.

    On is the high state of the oscillation rule, from the point that best parts high from low. counts: integer [T].
    Empty for a curve without both high and low stretches. Raises ValueError for counts outside 0 .. n_windows.
    """
    curve = _checked(np.atleast_2d(counts), n_windows)[0]
    stretches = _stretches(curve, n_windows)
    if len(stretches) < 2:
        return []
    return [(stretch.start, stretch.stop) for stretch in stretches if stretch.high]


def shortest_interval(positions: int) -> int:
    """The fewest positions that make an interval: an indicator of fewer would not be positional."""
    return max(3, positions // 128)


@dataclass(frozen=True)
class _Stretch:
    high: bool
    start: int
    stop: int


def _checked(counts: np.ndarray, n_windows: int) -> np.ndarray:
    counts = np.asarray(counts)
    if counts.ndim != 2 or counts.shape[1] == 0 or not np.issubdtype(counts.dtype, np.integer):
        raise ValueError(f"counts must be integers [neurons, positions], got {counts.dtype} {counts.shape}")
    if n_windows < 1 or (counts.size and (counts.min() < 0 or counts.max() > n_windows)):
        raise ValueError(f"counts must lie in 0 .. n_windows = {n_windows}")
    return counts if counts.dtype == np.int64 else counts.astype(np.int64)


def _divergence(part: np.ndarray, total: np.ndarray, positions: int) -> np.ndarray:
    """Sum over positions of part * ln(part / mean part); exactly 0 for a flat curve."""
    ratio = np.divide(part * positions, total, out=np.ones_like(part), where=part > 0)
    return (part * np.log(ratio, out=ratio)).sum(axis=1)


def _classify_curve(curve: np.ndarray, windows: int) -> tuple[int, int]:
    extremes = [_Extreme.of(curve, windows), _Extreme.of(windows - curve, windows)]
    stretches = _stretches(curve, windows)
    if _oscillates(stretches, curve, windows):
        # The complement's extreme is where the curve is 1: a high stretch answers to it.
        strong = all(extreme.strong for extreme in extremes) and all(
            extremes[stretch.high].exact[stretch.start : stretch.stop].any() for stretch in stretches[1:-1]
        )
        return _TYPE["oscillatory"], _STRENGTH["strong" if strong else "weak"]
    reached = [extreme for extreme in extremes if extreme.near.any()]
    if not reached:
        return _TYPE["other"], _STRENGTH["strong" if _is_thin(curve, windows) else "weak"]
    strong = all(extreme.strong for extreme in reached)
    return _TYPE["both" if len(reached) == 2 else "one"], _STRENGTH["strong" if strong else "weak"]


@dataclass(frozen=True)
class _Extreme:
    """Where a curve has intervals at 0: `exact` and `near` (exact or close), bool [T]."""

    exact: np.ndarray
    near: np.ndarray

    @property
    def strong(self) -> bool:
        return bool(self.exact.any()) and self.exact.sum() >= EXACT_SHARE * self.near.sum()

    @staticmethod
    def of(curve: np.ndarray, windows: int) -> _Extreme:
        positions = len(curve)
        exact = _runs_of(curve == 0, _interval_length(EXACT_OBSERVATIONS, positions, windows))
        length = _interval_length(CLOSE_OBSERVATIONS, positions, windows)
        if length > positions:
            return _Extreme(exact, exact)
        quiet = _window_sums(curve, length) <= TOLERANCE * windows * length
        return _Extreme(exact, exact | _cover(np.flatnonzero(quiet), length, positions))


def _interval_length(observations: float, positions: int, windows: int) -> int:
    shortest = shortest_interval(positions)
    return max(shortest, min(int(np.ceil(observations / windows)), positions // 8))


def _runs_of(flags: np.ndarray, length: int) -> np.ndarray:
    """bool [T]: the positions of `flags` that lie in runs of at least `length`."""
    if length > len(flags):
        return np.zeros(len(flags), dtype=bool)
    return _cover(np.flatnonzero(_window_sums(flags, length) == length), length, len(flags))


def _sums_before(values: np.ndarray) -> np.ndarray:
    """int64 [len(values) + 1]: the sum of all values before each."""
    return np.concatenate(([0], np.cumsum(values, dtype=np.int64)))


def _window_sums(values: np.ndarray, length: int) -> np.ndarray:
    """int64 [len(values) - length + 1]: the sum of each `length` neighbours."""
    sums = _sums_before(values)
    return sums[length:] - sums[:-length]


def _cover(starts: np.ndarray, length: int, positions: int) -> np.ndarray:
    """bool [positions]: true on every starts[i] .. starts[i] + length - 1."""
    edges = np.zeros(positions + 1, dtype=np.int64)
    edges[starts] += 1
    edges[starts + length] -= 1
    return np.cumsum(edges[:-1]) > 0


class _Smoothed:
    """Sums of `values` int64 [N] over neighbours, mirrored at the ends; `reach` (N or less) to either side at most."""

    def __init__(self, values: np.ndarray, reach: int):
        self._before = _sums_before(np.concatenate((values[:reach][::-1], values, values[: -reach - 1 : -1])))
        self._reach, self._size = reach, len(values)

    def sums(self, width: int) -> np.ndarray:
        """int64 [N]: the sum of the `width` (odd) positions around each."""
        first, last = self._reach - width // 2, self._reach + width // 2 + 1
        return self._before[last : last + self._size] - self._before[first : first + self._size]


def _stretches(curve: np.ndarray, windows: int) -> list[_Stretch]:
    """The high and low stretches of a curve int64 [T] in turn, together all positions; empty where noise hides them."""
    positions = len(curve)
    shortest = shortest_interval(positions)
    # BOS alone would stretch the range and, mirrored, the first stretch.
    inner = curve[1:]
    if len(inner) < 2 * shortest or windows < 2:
        return []
    # Over n_windows - 1 (not n_windows: few windows show too little of it), the variance of a position's count.
    scatter = inner * (windows - inner)
    smoothed, scattered = (_Smoothed(values, positions // 8) for values in (inner, scatter))
    width = 1
    while width == 1 or width <= positions // 8:
        sums = smoothed.sums(width)
        ordered = np.partition(sums, (shortest - 1, len(sums) - shortest))
        # Levels that at least an interval's positions reach, so that no single outlier sets the range.
        low, high = int(ordered[shortest - 1]), int(ordered[-shortest])
        variance = int(scattered.sums(width).max()) / (windows - 1)
        if high > low and (high - low) / 3 >= GAP_ERRORS * np.sqrt(variance):
            return _hysteresis(inner, sums, low, high, shortest, width)
        width = 2 * width + 1
    return []


def _hysteresis(inner: np.ndarray, sums: np.ndarray, low: int, high: int, shortest: int, width: int) -> list[_Stretch]:
    is_high = _runs_of(3 * (sums - low) >= 2 * (high - low), shortest)
    is_low = _runs_of(3 * (high - sums) >= 2 * (high - low), shortest)
    state = is_high.astype(np.int8) - is_low.astype(np.int8)
    decided = np.flatnonzero(state)
    turns = np.flatnonzero(np.diff(state[decided]))
    # Parts high from low where the curve itself, not its smoothed copy, passes the half of its range.
    lean = 2 * width * inner - (low + high)
    bounds = [0]
    for turn in turns:
        before, after = decided[turn], decided[turn + 1]
        passed = np.cumsum(lean[before + 1 : after]) * -state[before]
        best = 0 if not len(passed) or passed.min(initial=0) >= 0 else int(passed.argmin()) + 1
        bounds.append(int(before) + 1 + best + 1)
    bounds.append(len(inner) + 1)
    first = len(decided) > 0 and state[decided[0]] > 0
    return [_Stretch(bool(first) ^ (i % 2 == 1), bounds[i], bounds[i + 1]) for i in range(len(bounds) - 1)]


def _oscillates(stretches: list[_Stretch], curve: np.ndarray, windows: int) -> bool:
    switches = [stretch.start for stretch in stretches[1:]]
    if len(switches) < 3:
        return False
    if len(switches) == 3 and 2 * (switches[2] - switches[0]) > TWO_PERIODS_SLACK * len(curve):
        return False
    inner = curve[1:]
    shortest = shortest_interval(len(curve))
    ordered = np.sort(inner)
    reach = int(ordered[-shortest] - ordered[shortest - 1])
    error = np.sqrt(int((inner * (windows - inner)).sum()) / (len(inner) * (windows - 1)))
    return reach >= RANGE_ERRORS * error and _explained(stretches, inner, error**2) >= EXPLAINED_SHARE


def _explained(stretches: list[_Stretch], inner: np.ndarray, noise: float) -> float:
    """The share of a curve's variance, less sampling's, that the means of its high and low stretches account for."""
    high = np.zeros(len(inner) + 1, dtype=bool)
    for stretch in stretches:
        high[stretch.start : stretch.stop] = stretch.high
    high = high[1:]
    share = float(high.mean())
    between = share * (1 - share) * float(inner[high].mean() - inner[~high].mean()) ** 2
    return between / max(float(inner.var()) - noise, between)


def _is_thin(curve: np.ndarray, windows: int) -> bool:
    inner = curve[1:].astype(np.float64)
    if len(inner) < 3 or windows < 2:
        return False
    noise = (inner * (windows - inner)).mean() / (windows - 1)
    # Around the mean of two neighbours, independent scatter shows one and a half times.
    scatter = np.square(inner[1:-1] - (inner[:-2] + inner[2:]) / 2).mean() / 1.5
    return bool(scatter - noise <= THIN_SHARE * (inner.var() - noise))
