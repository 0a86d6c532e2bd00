"""Promoted and suppressed tokens, and the projections of what is detected."""

from __future__ import annotations

import numpy as np
import pytest
import reference as ref
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ffnscope.core.statistics import projection as module
from ffnscope.core.statistics.projection import project

NOTHING = {"neurons": np.zeros(0, np.uint32), "tokens": np.zeros(0, np.int64)}


def quantised(rng: np.random.Generator, shape: tuple[int, int], levels: int) -> np.ndarray:
    """Small multiples of a quarter: products are exact, and many tie."""
    return rng.integers(-levels, levels + 1, shape).astype(np.float32) / 4


@given(
    F=st.integers(1, 7),
    V=st.integers(1, 40),
    d=st.integers(1, 5),
    levels=st.integers(0, 4),
    top_k=st.integers(1, 60),
    seed=st.integers(0, 999),
    cells=st.integers(1, 200),
)
@settings(max_examples=150)
def test_lists_are_exact_with_ties_by_lower_token(
    F: int, V: int, d: int, levels: int, top_k: int, seed: int, cells: int
) -> None:
    rng = np.random.default_rng(seed)
    rows, E = quantised(rng, (F, d), levels), quantised(rng, (V, d), levels)
    before, module.BLOCK_CELLS = module.BLOCK_CELLS, cells
    try:
        found = project(torch.from_numpy(rows), torch.from_numpy(E), top_k, **NOTHING)
    finally:
        module.BLOCK_CELLS = before
    for neuron, row in enumerate(ref.projection(E, rows)):
        for name, expected in (("promoted", ref.top_k(row, top_k)), ("suppressed", ref.bottom_k(row, top_k))):
            listed = zip(found[name][neuron].tolist(), found[f"{name}_projection"][neuron].tolist(), strict=True)
            assert list(listed) == expected
    assert found["promoted"].shape == (F, min(top_k, V))
    assert np.isnan(found["trigger_projection"]).all()


@pytest.mark.parametrize("cells", [1, 90, 1 << 25])
def test_triggers_of_every_block(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_CELLS", cells)
    rng = np.random.default_rng(3)
    rows, E = quantised(rng, (9, 4), 8), quantised(rng, (30, 4), 8)
    neurons = np.array([0, 0, 0, 2, 5, 5, 8], np.uint32)
    tokens = np.array([3, 29, 3, 0, 7, 8, 11], np.int64)
    found = project(torch.from_numpy(rows), torch.from_numpy(E), 5, neurons=neurons, tokens=tokens)
    whole = ref.projection(E, rows)
    assert found["detected_projection"].tolist() == [whole[n, t] for n, t in zip(neurons, tokens, strict=True)]
    assert found["detected_rank"].tolist() == [
        int((whole[n] < whole[n, t]).sum()) for n, t in zip(neurons, tokens, strict=True)
    ]
    for neuron in range(9):
        own = tokens[neurons == neuron]
        mean = found["trigger_projection"][neuron]
        assert np.isnan(mean) if not len(own) else mean == pytest.approx(whole[neuron, own].mean(), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_products_of_half_weights_are_made_in_float32(dtype: torch.dtype) -> None:
    rng = np.random.default_rng(5)
    rows = torch.from_numpy(rng.normal(size=(6, 32)).astype(np.float32)).to(dtype)
    E = torch.from_numpy(rng.normal(size=(50, 32)).astype(np.float32)).to(dtype)
    found = project(rows, E, 50, **NOTHING)
    whole = ref.projection(E.float().numpy(), rows.float().numpy())
    for neuron in range(6):
        listed = dict(zip(found["promoted"][neuron].tolist(), found["promoted_projection"][neuron], strict=True))
        np.testing.assert_allclose([listed[t] for t in range(50)], whole[neuron], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cells", [1, 400, 1 << 25])
@pytest.mark.parametrize("F", [1, 2, 3, 5, 7])
def test_equal_columns_tie_in_models_of_few_neurons(F: int, cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_CELLS", cells)
    rng = np.random.default_rng(F)
    for d, V in ((8, 97), (17, 130), (64, 100)):
        rows, E = rng.normal(size=(F, d)).astype(np.float32), rng.normal(size=(V, d)).astype(np.float32)
        same = [0, 32, 48, V - 2, V - 1]
        E[same] = 9 * rows[0]
        found = project(torch.from_numpy(rows), torch.from_numpy(E), 5, **NOTHING)
        assert found["promoted"][0].tolist() == same and len(set(found["promoted_projection"][0].tolist())) == 1
