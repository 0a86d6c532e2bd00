"""The most similar and most opposed output rows of a layer, against a plain sort in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import reference as ref
import reference_forward as fwd
import torch
from exact import DEMO, load
from hypothesis import given, settings
from hypothesis import strategies as st

from ffnscope.core.statistics import similarity as module
from ffnscope.core.statistics.similarity import similar_rows
from ffnscope.store.format.schema import ABSENT, SIMILAR
from ffnscope.store.reader import Store


def cosines(rows: np.ndarray) -> np.ndarray:
    """[F, F] float64, NaN where a row is zero and for a row with itself."""
    rows = rows.astype(np.float64)
    lengths = np.sqrt((rows**2).sum(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (rows @ rows.T) / lengths / lengths[:, None]
    np.fill_diagonal(found, np.nan)
    return found


@given(
    F=st.integers(1, 90),
    d=st.integers(1, 6),
    seed=st.integers(0, 999),
    cells=st.integers(1, 20_000),
    zeros=st.integers(0, 3),
)
@settings(max_examples=80)
def test_against_a_plain_sort(F: int, d: int, seed: int, cells: int, zeros: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(F, d)).astype(np.float32)
    rows[rng.integers(0, F, zeros)] = 0
    before, module.BLOCK_CELLS = module.BLOCK_CELLS, cells
    try:
        found = similar_rows(torch.from_numpy(rows))
    finally:
        module.BLOCK_CELLS = before
    for own, row in enumerate(cosines(rows)):
        there = np.flatnonzero(~np.isnan(row))
        for name, sign in (("similar", -1), ("opposed", 1)):
            ids, values = found[name][own], found[f"{name}_cosine"][own]
            expected = np.sort(sign * row[there])[:SIMILAR] * sign
            kept = len(expected)
            assert (ids[kept:] == ABSENT).all() and np.isnan(values[kept:]).all()
            assert len(set(ids[:kept].tolist())) == kept and set(ids[:kept].tolist()) <= set(there.tolist())
            np.testing.assert_allclose(values[:kept], expected, atol=2e-6)
            np.testing.assert_allclose(row[ids[:kept].astype(np.int64)], values[:kept], atol=2e-6)
            assert (np.diff(sign * values[:kept]) >= 0).all()


@pytest.mark.parametrize("cells", [1, 300, 1 << 24])
def test_ties_go_to_the_lower_neuron(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_CELLS", cells)
    axes = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]], np.float32)
    which = np.random.default_rng(1).integers(0, 4, 150)
    found = similar_rows(torch.from_numpy(axes[which] * 3))
    values = axes @ axes.T
    for own in range(150):
        row = values[which[own]][which]
        others = [n for n in range(150) if n != own]
        assert found["similar"][own].tolist() == sorted(others, key=lambda n: (-row[n], n))[:SIMILAR]
        assert found["opposed"][own].tolist() == sorted(others, key=lambda n: (row[n], n))[:SIMILAR]
        assert (
            found["similar_cosine"][own].tolist() == [1.0] * 5 and found["opposed_cosine"][own].tolist() == [-1.0] * 5
        )


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_the_length_of_a_row_does_not_matter(size: float) -> None:
    rows = np.random.default_rng(2).normal(size=(40, 8)).astype(np.float32)
    sizes = np.where(np.arange(40) % 2, np.float32(size), np.float32(1))[:, None]
    plain, scaled = (similar_rows(torch.from_numpy(each)) for each in (rows, rows * sizes))
    assert np.array_equal(plain["similar"], scaled["similar"]) and np.array_equal(plain["opposed"], scaled["opposed"])
    np.testing.assert_allclose(plain["similar_cosine"], scaled["similar_cosine"], atol=1e-6)


def test_a_broken_row_is_no_ones() -> None:
    rows = np.random.default_rng(2).normal(size=(9, 4)).astype(np.float32)
    rows[3, 1], rows[5, 0] = np.nan, np.inf
    found = similar_rows(torch.from_numpy(rows))
    assert (found["similar"][[3, 5]] == ABSENT).all() and not np.isin([3, 5], found["similar"]).any()
    assert (
        not np.isin([3, 5], found["opposed"]).any() and np.isfinite(np.delete(found["similar_cosine"], [3, 5], 0)).all()
    )


def test_a_collected_store_holds_those_of_the_models_own_matrices(demo_store: Path) -> None:
    model = load(DEMO / "model")
    with Store.open(demo_store) as store:
        for layer in store.layers():
            found = cosines(fwd.output_rows(model, layer))
            for own, row in enumerate(found):
                neuron, row[own] = store.neuron(layer, own), -np.inf
                assert ref.is_top_k(neuron.similar, row, SIMILAR, 2e-6), (layer, own)
                row = np.where(np.isinf(row), np.inf, row)
                assert ref.is_top_k([(n, -x) for n, x in neuron.opposed], -row, SIMILAR, 2e-6), (layer, own)
