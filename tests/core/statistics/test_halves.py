"""Detectors found on the even windows, re-checked on the odd ones, against plain counting."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from reference import Domain, neuron_statistics

from ffnscope.core.statistics.counts import count_layer
from ffnscope.core.statistics.ngrams import halve, ngram_tables
from ffnscope.core.statistics.tables import CorpusTables
from ffnscope.store.definitions import SPLIT_FAILS as FAILS
from ffnscope.store.definitions import SPLIT_HOLDS as HOLDS
from ffnscope.store.definitions import SPLIT_TOO_RARE as TOO_RARE

T, V = 16, 12


class Bits:
    """Activation bits held in memory."""

    def __init__(self, active: np.ndarray):
        self.bits = np.packbits(active, axis=1, bitorder="little").transpose(2, 0, 1)
        self.neurons = len(self.bits)

    def block(self, first: int, last: int) -> np.ndarray:
        return np.ascontiguousarray(self.bits[first:last])


def expected(active: np.ndarray, tokens: np.ndarray, least: int) -> tuple[int, int]:
    even = neuron_statistics(
        active[::2], active[::2].astype(float), tokens[::2], [Domain("a", 0, len(tokens[::2]))], 0, least
    )
    order = even.detector_order
    if not order:
        return 0, TOO_RARE
    occurrences: Counter[tuple[int, ...]] = Counter()
    counts: Counter[tuple[int, ...]] = Counter()
    for window, fired in zip(tokens[1::2], active[1::2], strict=True):
        for end in range(order - 1, T):
            gram = tuple(window[end - order + 1 : end + 1].tolist())
            if 0 not in gram:
                occurrences[gram] += 1
                counts[gram] += int(fired[end])
    found = [tuple(gram) for gram, _, _ in even.detected]
    often = [gram for gram in found if occurrences[gram] >= least]
    if not often:
        return order, TOO_RARE
    total, on_them = sum(counts.values()), sum(counts[gram] for gram in found)
    good = all(100 * counts[gram] >= 95 * occurrences[gram] for gram in often)
    return order, HOLDS if good and total and 100 * on_them >= 95 * total else FAILS


@pytest.mark.parametrize("least", [1, 3])
@pytest.mark.parametrize("seed", range(6))
def test_halves_are_what_plain_counting_says(seed: int, least: int) -> None:
    rng = np.random.default_rng(seed)
    tokens = rng.integers(1, V, (31, T))
    tokens[:, 0] = 0
    tokens[1::2][tokens[1::2] == 10] = 11
    rules = [tokens == 3, (tokens == 4) | (tokens == 5), np.isin(tokens, (6, 7, 8)), tokens > 2]
    pairs = np.zeros_like(tokens, bool)
    pairs[:, 1:] = (tokens[:, :-1] == 2) & (tokens[:, 1:] == 9)
    rules += [pairs, tokens < 0]
    noisy = rules[0].copy()
    noisy[1::2] = rng.random(noisy[1::2].shape) < 0.3
    rare = (tokens == 3) & (np.arange(31)[:, None] % 2 == 0)
    some = [rng.random(tokens.shape) < share for share in (0.003, 0.01, 0.5)]
    active = np.stack([*rules, noisy, rare, tokens == 10, *some], axis=2)
    tables = CorpusTables(
        T, np.array([0, 31]), 1, ngram_tables(tokens, 0, V), np.packbits(tokens == 0, axis=1, bitorder="little")
    )
    counts = count_layer(0, Bits(active), tables, min_occurrences=least)
    found = list(zip(counts.split_order.tolist(), counts.split_held.tolist(), strict=True))
    assert found == [expected(active[:, :, neuron], tokens, least) for neuron in range(active.shape[2])]
    assert found[0] == (1, HOLDS)
    assert found[6][0] == found[7][0] == 1 and found[6][1] == found[7][1] == FAILS
    assert found[3] == found[5] == (0, 0)
    assert found[8] == (1, TOO_RARE)


def test_the_halves_together_are_the_whole() -> None:
    tables = ngram_tables(np.random.default_rng(0).integers(0, V, (7, T)), 0, V)
    halves = halve(tables)
    for table, even, odd in zip(tables, halves.even, halves.odd, strict=True):
        assert (even + odd == table.totals).all()


def test_report_split_shows_them(demo_store: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "ffnscope.tui",
        "report",
        str(demo_store),
        "--split",
        "--csv",
        str(tmp_path / "out"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "out" / "split_detectors.csv").read_text().splitlines()
    assert lines[0].split(",")[:6] == ["layer", "detector", "found", "held", "failed", "too_rare"]
    assert len(lines) > 1
