"""The search for descriptions, against trying every formula with plain numpy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ffnscope.core.statistics import concept_kernel as kernel
from ffnscope.core.statistics import concepts as module
from ffnscope.core.statistics.bits import words
from ffnscope.core.statistics.concepts import Describer, concept_sets
from ffnscope.store.concepts.rules import concept_names, concept_positions
from ffnscope.store.concepts.text_positions import TextPositions

PIECES = ["</s>", "\n", " 7", "12", " (", ")", " the", " The", "ab", "'s", " =", " #", '"', " one", ",", " x"]
DOMAINS = ("a", "b")


class Corpus:
    """Random windows, their concepts' positions, and the halves of the kept ones."""

    def __init__(self, seed: int, windows: int = 24, length: int = 40):
        rng = np.random.default_rng(seed)
        self.tokens = rng.integers(0, len(PIECES), (windows, length))
        self.kept = np.sort(rng.choice(windows, windows * 3 // 4, replace=False))
        self.domain_of = (self.kept >= windows // 2).astype(int)
        at = TextPositions(self.tokens[self.kept], 0, PIECES.__getitem__)
        self.real = at.real
        self.positions = concept_positions(at, self.domain_of, DOMAINS)
        self.halves = [self.kept % 2 == half for half in (0, 1)]
        self.sets = concept_sets(
            self.kept,
            self.tokens[self.kept],
            0,
            text_of=PIECES.__getitem__,
            whole=lambda token: True,
            domain_of=self.domain_of,
            domains=DOMAINS,
        )

    def holds(self, formula: np.ndarray) -> np.ndarray:
        literals = [self.positions[abs(x) - 1] ^ (x < 0) for x in formula[1:].tolist() if x]
        if formula[0] == kernel.ALL:
            where = np.logical_and.reduce(literals)
        elif formula[0] == kernel.ANY:
            where = np.logical_or.reduce(literals)
        else:
            where = (literals[0] | literals[1]) & literals[2]
        return where & self.real

    def figures(self, formula: np.ndarray, active: np.ndarray, half: int) -> tuple[float, float, float]:
        where, fires = self.holds(formula)[self.halves[half]], (active[self.kept] & self.real)[self.halves[half]]
        hits = int((where & fires).sum())
        return hits / fires.sum(), hits / max(where.sum(), 1), 2 * hits / (where.sum() + fires.sum())

    def describe(self, active: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        formulas, figures = np.zeros((len(active), 2, 4), np.int16), np.zeros((len(active), 2, 3))
        bits = words(np.packbits(active, axis=2, bitorder="little"))
        Describer(*self.sets).describe(bits, formulas, figures)
        return formulas, figures


def short_formulas(concepts: int) -> list[tuple[int, int, int, int]]:
    """Every formula of one and two concepts, in the order in which ties are decided."""
    out = [(kernel.ALL, sign * (x + 1), 0, 0) for x in range(concepts) for sign in (1, -1)]
    for x, y in itertools.combinations(range(1, concepts + 1), 2):
        out += [(kernel.ALL, a, b, 0) for a, b in ((x, y), (x, -y), (-x, y), (-x, -y))] + [(kernel.ANY, x, y, 0)]
    return out


@pytest.mark.parametrize("seed", range(3))
def test_no_formula_of_two_concepts_is_better(seed: int) -> None:
    corpus = Corpus(seed)
    rng = np.random.default_rng(seed + 100)
    active = np.zeros((6, *corpus.tokens.shape), bool)
    sizes = corpus.positions.sum(axis=(1, 2))
    large, small = (np.flatnonzero(chosen) for chosen in (sizes > corpus.real.size / 4, sizes < corpus.real.size / 10))
    active[:, corpus.kept] = corpus.positions[np.concatenate([rng.choice(large, 2), rng.choice(small, 4)])]
    active &= rng.random(active.shape) < 0.9
    active |= rng.random(active.shape) < 0.03
    formulas, figures = corpus.describe(active)
    rare = active[:, corpus.kept[corpus.kept % 2 == 0]].mean(axis=(1, 2)) * kernel.FREQUENT < 1
    described = formulas[:, 0, 1] != 0
    assert (described & rare).any() and (described & ~rare).any(), "they are searched in different ways"
    every = short_formulas(len(corpus.positions))
    for neuron in np.flatnonzero(formulas[:, 0, 1]):
        f1 = np.array([corpus.figures(np.array(each), active[neuron], 0)[2] for each in every])
        best = formulas[neuron, 0]
        reached = corpus.figures(best, active[neuron], 0)[2]
        if best[3] == 0:
            assert tuple(best) == every[int(f1.argmax())], "of equals the first in the list"
        else:
            assert reached > f1.max()
        other = [i for i, each in enumerate(every) if not {abs(x) for x in each[1:] if x} & {abs(x) for x in best[1:]}]
        assert tuple(formulas[neuron, 1]) == every[other[int(f1[other].argmax())]]
        for which in (0, 1):
            expected = corpus.figures(formulas[neuron, which], active[neuron], 1)
            assert figures[neuron, which] == pytest.approx(expected, nan_ok=True)


def test_a_planted_formula_of_three_is_found() -> None:
    corpus = Corpus(7, windows=60)
    names = concept_names(DOMAINS)
    index = {name: names.index(name) + 1 for name in ("digit", "comma", "domain:a")}
    planted = np.array([kernel.ANY_AND, index["digit"], index["comma"], index["domain:a"]])
    active = np.zeros((1, *corpus.tokens.shape), bool)
    active[0, corpus.kept] = corpus.holds(planted)
    formulas, figures = corpus.describe(active)
    assert np.array_equal(corpus.holds(formulas[0, 0]), corpus.holds(planted))
    assert figures[0, 0].tolist() == [1, 1, 1]


@pytest.mark.parametrize("density", [0.03, 0.2, 0.5, 0.9])
def test_noise_has_no_description(density: float) -> None:
    corpus = Corpus(11, windows=80)
    active = np.random.default_rng(3).random((60, *corpus.tokens.shape)) < density
    formulas, figures = corpus.describe(active)
    assert not formulas.any() and np.isnan(figures).all()


def test_few_activations_in_a_half_are_not_described() -> None:
    corpus = Corpus(5)
    active = np.zeros((1, *corpus.tokens.shape), bool)
    active[0, corpus.kept] = corpus.positions[0]
    assert corpus.describe(active)[0].any()
    odd = corpus.kept[corpus.kept % 2 == 1]
    active[0, odd] &= np.cumsum(active[0, odd]).reshape(active[0, odd].shape) < module.kernel.LEAST_ACTIVATIONS
    assert not corpus.describe(active)[0].any()
