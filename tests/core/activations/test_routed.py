"""Routed experts, recorded by the compiled kernel and by torch, written and read back: bits, sums, maxima, strongest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ffnscope.core.activations.routed import RoutedRecorder
from ffnscope.core.activations.routed_scratch import RoutedScratch
from ffnscope.core.model.experts import Experts, RoutedRows
from ffnscope.store.format.schema import CONTEXTS


def routed_rows(rng: np.random.Generator, windows: int, length: int, experts: Experts) -> RoutedRows:
    """Random activations; some experts are chosen often, the last one never."""
    weights = 2.0 ** -np.arange(experts.count)
    weights[-1] = 0
    chosen = [
        rng.choice(experts.count, experts.chosen, replace=False, p=weights / weights.sum())
        for _ in range(windows * length)
    ]
    index = torch.from_numpy(np.stack(chosen))
    order = torch.from_numpy(rng.permutation(index.numel()))
    before = torch.from_numpy(rng.standard_normal((index.numel(), experts.neurons)).astype(np.float32))
    before[before.abs() < 0.1] = 0  # not activated, and ties
    after = torch.where(before > 0, (before * 4).round() / 4, before / 10)
    return RoutedRows(before, after, after, order // experts.chosen, index.flatten()[order], experts.count)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("size", "length"), [(5, 7), (16, 24), (13, 40)])
def test_what_is_written_is_what_was_seen(dtype: torch.dtype, size: int, length: int, tmp_path: Path) -> None:
    experts = Experts("mlp.experts", 6, size, 2, True, "act_fn")
    rng, batch, batches = np.random.default_rng(size), 3, 4
    windows, counted = batch * batches, batch * batches - 2
    recorder, scratch = RoutedRecorder(0, experts), RoutedScratch(tmp_path, 0, windows, experts, length)
    on = np.zeros((windows, length, experts.count, size), bool)
    values = np.zeros((windows, length, experts.count, size))
    for first in range(0, windows, batch):
        rows = routed_rows(rng, batch, length, experts)
        recorder.expect(first, batch, length, min(batch, counted - first))
        before, after = rows.before.to(dtype), rows.after.to(dtype)
        recorder(RoutedRows(before, after, after, rows.tokens, rows.experts, rows.count))
        assert recorder.batch is not None
        scratch.write(first, recorder.batch)
        token, expert = rows.tokens.numpy(), rows.experts.numpy()
        at = first + token // length, token % length, expert
        on[at] = rows.before.numpy() > 0
        values[at] = np.where(on[at], rows.after.numpy(), 0)
    on, values = on.reshape(windows, length, -1), values.reshape(windows, length, -1)
    expected = np.packbits(on, axis=1, bitorder="little").transpose(2, 0, 1)
    neurons = experts.count * size
    for first, last in ((0, neurons), (1, 2), (size - 1, 2 * size + 1), (neurons - size, neurons), (3, neurons - 1)):
        assert np.array_equal(scratch.block(first, last), expected[first:last])
        assert np.array_equal(scratch.window(2, first, last), expected[first:last, 2])
    np.testing.assert_allclose(scratch.sums(), values.sum(axis=(0, 1)), rtol=1e-6)
    assert np.array_equal(scratch.maxima(), values.max(axis=(0, 1)).astype(np.float32))
    assert scratch.counts.sum() == windows * length * 2 and not scratch.counts[:, -1].any()
    for neuron in range(neurons):
        own = values[:counted, :, neuron].ravel()
        places = sorted(np.flatnonzero(own), key=lambda place: (-own[place], place))[:CONTEXTS]
        assert recorder.strongest.places[neuron, : len(places)].tolist() == places
        assert (recorder.strongest.places[neuron, len(places) :] == -1).all()
        assert recorder.strongest.values[neuron, : len(places)].tolist() == own[places].tolist()
    scratch.remove()
    assert not any(tmp_path.iterdir())
