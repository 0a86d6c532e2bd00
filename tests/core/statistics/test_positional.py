"""Positional neurons: the information against the plain reference, and the types on curves drawn by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from reference import position_bias, position_information

from ffnscope.core.statistics.positional import active_ranges, classify, is_positional, mi_bias, mutual_information
from ffnscope.store.definitions import POSITION_STRENGTHS, POSITION_TYPES


def label(counts: np.ndarray, windows: int) -> str:
    kind, strength = classify(counts, windows)
    return f"{POSITION_TYPES[kind]} {POSITION_STRENGTHS[strength]}"


def draw(curve: np.ndarray, windows: int, noisy: bool, seed: int = 0) -> np.ndarray:
    """Counts [T] of a curve f [T]: rounded, or drawn from `windows` independent windows a position."""
    if noisy:
        return np.random.default_rng(seed).binomial(windows, curve)
    return np.rint(curve * windows).astype(np.int64)


def clipped_sine(T: int, periods: float, phase: float = 0.0, gain: float = 1.5) -> np.ndarray:
    return np.clip(0.5 + gain * np.sin(2 * np.pi * periods * np.arange(T) / T + phase), 0, 1)


def wave(T: int, periods: float, middle: float, amplitude: float, phase: float = 0.0) -> np.ndarray:
    return middle + amplitude * np.sin(2 * np.pi * periods * np.arange(T) / T + phase)


def ragged(T: int, slope: float = 0.0) -> np.ndarray:
    """Position decides, but a position says nothing of the next: the "thick" graph of the paper."""
    scatter = np.random.default_rng(7).uniform(-0.35, 0.35, T)
    return np.clip(0.5 + scatter + slope * (np.arange(T) / T - 0.5), 0.1, 0.9)


def drawn_curves(T: int) -> dict[str, tuple[str, np.ndarray]]:
    x = np.arange(T) / T
    spread = 0.02 + 0.96 * (x < 0.5)
    return {
        "sine clipped to an indicator": ("oscillatory strong", clipped_sine(T, 3)),
        "the same, moved by a quarter": ("oscillatory strong", clipped_sine(T, 3, np.pi / 2)),
        "two periods": ("oscillatory strong", clipped_sine(T, 2)),
        "two periods from a crest": ("oscillatory strong", clipped_sine(T, 2, np.pi / 2)),
        "square wave": ("oscillatory strong", (clipped_sine(T, 4, 0.3) > 0.5) * 1.0),
        "wave near the extremes": ("oscillatory weak", 0.03 + 0.94 * clipped_sine(T, 3)),
        "wave that reaches 0 only": ("oscillatory weak", np.clip(wave(T, 4, 0, 0.9), 0, 1)),
        "wave in the middle": ("oscillatory weak", wave(T, 3, 0.5, 0.3)),
        "less than": ("both strong", (x < 0.3) * 1.0),
        "greater than": ("both strong", (x >= 0.75) * 1.0),
        "one middle range": ("both strong", ((x > 0.25) & (x < 0.5)) * 1.0),
        "slope between 0 and 1": ("both strong", np.clip(2 * x - 0.5, 0, 1)),
        "one and a half periods": ("both strong", clipped_sine(T, 1.5)),
        "one and a half from a crest": ("both strong", clipped_sine(T, 1.5, np.pi / 2)),
        "near-indicator": ("both weak", spread),
        "0, then nearly 1": ("both weak", np.where(x < 0.5, 0, 0.97)),
        "ramp up from 0": ("one strong", np.clip(1.2 * (x - 0.4), 0, 0.7)),
        "ramp down to 0": ("one strong", np.where(x < 0.3, 0.6 * (1 - x / 0.3), 0)),
        "rarely, then often": ("one weak", np.where(x < 0.5, 0.03, 0.6)),
        "slope in the middle": ("other strong", 0.15 + 0.7 * x),
        "one wave in the middle": ("other strong", wave(T, 1, 0.5, 0.35)),
        "ragged": ("other weak", ragged(T)),
        "ragged slope": ("other weak", ragged(T, 0.4)),
    }


NAMES = list(drawn_curves(64))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("T", [64, 128, 512, 2048])
@pytest.mark.parametrize("windows", [100, 1_000, 10_000])
@pytest.mark.parametrize("noisy", [False, True])
def test_drawn_curves(name: str, T: int, windows: int, noisy: bool) -> None:
    expected, curve = drawn_curves(T)[name]
    counts = draw(curve, windows, noisy)
    assert is_positional(mutual_information(counts[None], windows), mi_bias(counts[None], windows))[0]
    assert label(counts, windows) == expected
    assert label(windows - counts, windows) == expected


@pytest.mark.parametrize("name", [n for n in NAMES if drawn_curves(64)[n][0].endswith(("y strong", "h strong"))])
@pytest.mark.parametrize("windows", [3, 10, 30])
def test_indicators_need_few_windows(name: str, windows: int) -> None:
    expected, curve = drawn_curves(512)[name]
    assert label(draw(curve, windows, noisy=True), windows) == expected


@pytest.mark.parametrize("T", [8, 16, 32])
def test_steps_in_short_windows(T: int) -> None:
    step = np.where(np.arange(T) < T // 2, 50, 0)
    assert label(step, 50) == "both strong"
    assert label(step[::-1], 50) == "both strong"
    assert active_ranges(step, 50) == [(0, T // 2)]


def test_first_positions_only() -> None:
    for T, first in ((64, 5), (512, 5), (2048, 20)):
        counts = np.where(np.arange(T) < first, 1_000, 0)
        assert is_positional(mutual_information(counts[None], 1_000), mi_bias(counts[None], 1_000))[0]
        assert label(counts, 1_000) == "both strong"
        assert active_ranges(counts, 1_000) == [(0, first)]


def test_bos_alone_is_no_interval() -> None:
    counts = np.full(16, 0)
    counts[0] = 100
    assert label(counts, 100) == "one strong"
    assert active_ranges(counts, 100) == []


@pytest.mark.parametrize("bos", [0, 1_000])
@pytest.mark.parametrize("name", NAMES)
def test_bos_does_not_change_the_type(name: str, bos: int) -> None:
    expected, curve = drawn_curves(512)[name]
    counts = draw(curve, 1_000, noisy=True)
    counts[0] = bos
    assert label(counts, 1_000) == expected


@pytest.mark.parametrize("name", [n for n in NAMES if not n.startswith("ragged")])
def test_mirror(name: str) -> None:
    expected, curve = drawn_curves(512)[name]
    assert label(draw(curve, 1_000, noisy=True)[::-1], 1_000) == expected


@pytest.mark.parametrize("phase", np.linspace(0, 2 * np.pi, 12, endpoint=False))
@pytest.mark.parametrize("periods", [2.5, 4, 10])
def test_oscillation_at_any_phase(phase: float, periods: float) -> None:
    counts = draw(clipped_sine(2048, periods, phase), 1_000, noisy=True)
    assert label(counts, 1_000) == "oscillatory strong"
    counts = draw(wave(2048, periods, 0.4, 0.3, phase), 200, noisy=True)
    assert label(counts, 200) == "oscillatory weak"


def test_one_blurred_crest_makes_an_oscillation_weak() -> None:
    curve = (clipped_sine(512, 4) > 0.5) * 1.0
    curve[128:192] *= 0.9
    assert label(draw(curve, 1_000, noisy=False), 1_000) == "oscillatory weak"


def test_blips_in_a_range_are_not_exactly_zero() -> None:
    for rare in (0.0005, 0.001, 0.002):
        curve = np.where(np.arange(512) < 256, rare, 0.7)
        assert label(draw(curve, 1_000, noisy=True), 1_000) == "one weak"


@pytest.mark.parametrize("name", ["slope in the middle", "one wave in the middle"])
@pytest.mark.parametrize("windows", [3, 10, 20])
def test_chance_runs_are_no_intervals(name: str, windows: int) -> None:
    """With few windows, a curve that stays between 0.15 and 0.85 shows runs of exact 0 and 1 by chance."""
    curve = drawn_curves(512)[name][1]
    for seed in range(10):
        assert label(draw(curve, windows, noisy=True, seed=seed), windows).startswith("other")


@pytest.mark.parametrize("T", [64, 512])
def test_ragged_curves_are_no_waves(T: int) -> None:
    for seed in range(20):
        curve = np.clip(0.5 + 0.35 * np.random.default_rng(seed).standard_normal(T), 0.1, 0.9)
        assert label(draw(curve, 1_000, noisy=True), 1_000) == "other weak"


@pytest.mark.parametrize("windows", [10, 1_000])
@pytest.mark.parametrize("frequency", [0.01, 0.5])
def test_noise_has_no_active_ranges(windows: int, frequency: float) -> None:
    counts = np.random.default_rng(5).binomial(windows, frequency, (50, 512))
    assert [ranges for ranges in (active_ranges(curve, windows) for curve in counts) if ranges] == []


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([8, 16, 64, 257, 1024]),
    st.sampled_from([1, 2, 3, 10, 50, 1_000]),
    st.floats(0.0, 1.0),
)
@settings(max_examples=200)
def test_noise_alone_never_oscillates(seed: int, T: int, windows: int, frequency: float) -> None:
    counts = np.random.default_rng(seed).binomial(windows, frequency, T)
    assert not label(counts, windows).startswith("oscillatory")


@pytest.mark.parametrize("windows", [3, 10, 30])
@pytest.mark.parametrize("stay", [0.8, 0.95, 0.99])
def test_wandering_topics_are_not_strongly_oscillatory(windows: int, stay: float) -> None:
    """Windows that switch a neuron on and off for stretches of text: the curve wanders, tied to no position."""
    rng = np.random.default_rng(3)
    neurons = 100
    state = rng.random((neurons, windows)) < 0.5
    counts = np.empty((neurons, 512), dtype=np.int64)
    for position in range(512):
        counts[:, position] = state.sum(axis=1)
        state ^= (rng.random(state.shape) > stay) & (rng.random(state.shape) < 0.5)
    kinds, strengths = classify(counts, windows)
    positional = is_positional(mutual_information(counts, windows), mi_bias(counts, windows))
    oscillatory = kinds == POSITION_TYPES.index("oscillatory")
    assert not (oscillatory & (strengths == POSITION_STRENGTHS.index("strong"))).any()
    assert (oscillatory & positional).mean() <= 0.05


def test_ranges_of_an_indicator_are_exact() -> None:
    """Figure 9: the ranges that a strong oscillatory neuron indicates."""
    ranges = [(0, 100), (300, 500), (777, 900), (1400, 2048)]
    counts = np.zeros(2048, dtype=np.int64)
    for start, stop in ranges:
        counts[start:stop] = 50
    assert label(counts, 50) == "oscillatory strong"
    assert active_ranges(counts, 50) == ranges


def test_ranges_of_a_noisy_wave_are_near() -> None:
    counts = draw(wave(1000, 2, 0.5, 0.4), 100, noisy=True)
    (a, b), (c, d) = active_ranges(counts, 100)
    assert np.abs(np.array([a, b, c, d]) - [0, 250, 500, 750]).max() <= 25


curves = st.integers(1, 40).flatmap(
    lambda windows: st.tuples(
        st.just(windows),
        hnp.arrays(np.int32, st.tuples(st.integers(0, 4), st.integers(1, 70)), elements=st.integers(0, windows)),
    )
)


@given(curves)
def test_information_agrees_with_the_reference(drawn: tuple[int, np.ndarray]) -> None:
    windows, counts = drawn
    mi, bias = mutual_information(counts, windows), mi_bias(counts, windows)
    assert mi.dtype == bias.dtype == np.float64 and mi.shape == bias.shape == (len(counts),)
    for row, got, got_bias in zip(counts.tolist(), mi, bias, strict=True):
        assert got == pytest.approx(position_information(row, windows), rel=1e-9, abs=1e-13)
        assert got_bias == position_bias(row, windows)
    assert (mi >= 0).all() and (mi <= math.log(2) + 1e-12).all()


@given(curves, st.randoms(use_true_random=False))
def test_invariances(drawn: tuple[int, np.ndarray], random) -> None:  # type: ignore[no-untyped-def]
    windows, counts = drawn
    order = list(range(counts.shape[1]))
    random.shuffle(order)
    mi = mutual_information(counts, windows)
    np.testing.assert_allclose(mutual_information(windows - counts, windows), mi, rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(mutual_information(counts[:, order], windows), mi, rtol=1e-9, atol=1e-13)
    kinds, strengths = classify(counts, windows)
    again = classify(windows - counts, windows)
    assert kinds.tolist() == again[0].tolist() and strengths.tolist() == again[1].tolist()
    assert kinds.dtype == strengths.dtype == np.uint8
    assert ((kinds >= 1) & (kinds <= 4)).all() and ((strengths >= 1) & (strengths <= 2)).all()
    for curve in counts:
        ranges = active_ranges(curve, windows)
        flat = [edge for pair in ranges for edge in pair]
        assert flat == sorted(set(flat)) and (not flat or (flat[0] >= 0 and flat[-1] <= len(curve)))


def test_known_information() -> None:
    half = np.repeat([9, 0], 256)[None]
    assert mutual_information(half, 9)[0] == pytest.approx(math.log(2), abs=1e-15)
    assert mutual_information(np.zeros((1, 8), dtype=np.uint16), 9)[0] == 0.0
    assert mutual_information(np.full((1, 8), 9, dtype=np.uint16), 9)[0] == 0.0
    for flat in (1, 3, 7):
        assert mutual_information(np.full((1, 511), flat), 9)[0] == 0.0


def test_blocks_do_not_show() -> None:
    counts = np.random.default_rng(1).integers(0, 65_000, (700, 2048), dtype=np.uint16)
    whole = mutual_information(counts, 65_000)
    assert whole.tolist() == [mutual_information(counts[i : i + 1], 65_000)[0] for i in range(700)]


def test_the_bias_keeps_flat_neurons_out() -> None:
    counts = np.random.default_rng(2).binomial(10, 0.5, (200, 512))
    mi, bias = mutual_information(counts, 10), mi_bias(counts, 10)
    assert (mi > 0.05).any()
    assert not is_positional(mi, bias).any()


@pytest.mark.parametrize("bad", [np.zeros((2, 3)), np.full((2, 3), 11), np.full((2, 3), -1), np.zeros((2, 0), int)])
def test_impossible_counts_are_refused(bad: np.ndarray) -> None:
    for function in (mutual_information, mi_bias, classify):
        with pytest.raises(ValueError, match="counts"):
            function(bad, 10)


def test_one_curve_or_many() -> None:
    counts = np.stack([draw(curve, 100, noisy=False) for _, curve in drawn_curves(64).values()])
    kinds, strengths = classify(counts, 100)
    for curve, kind, strength in zip(counts, kinds, strengths, strict=True):
        assert classify(curve, 100) == (kind, strength)
