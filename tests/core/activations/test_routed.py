"""Routed experts, recorded by the compiled kernel and by torch, written and read back: bits, sums, maxima, strongest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ffnscope.core.activations.forward import RecordedLayer, _made
from ffnscope.core.activations.mixture import MixtureRecord, MixtureRecorder, MixtureScratch
from ffnscope.core.activations.recorder import BatchRecord, pack_bits
from ffnscope.core.activations.routed import RoutedRecorder, _whole_rows
from ffnscope.core.activations.routed_scratch import RoutedScratch
from ffnscope.core.model.experts import Experts, Mixture, RoutedRows
from ffnscope.core.model.ffn import Ffn
from ffnscope.store.errors import UserError
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


def test_experts_that_run_twice_or_on_other_rows_are_refused() -> None:
    experts = Experts("mlp.experts", 6, 5, 2, True, "act_fn")
    recorder, rows = RoutedRecorder(4, experts), routed_rows(np.random.default_rng(0), 2, 7, experts)
    recorder.expect(0, 2, 8, 2)
    with pytest.raises(UserError, match=r"layer 4: its experts saw 28 rows of 2 x 8 positions, not 2 each"):
        recorder(rows)
    recorder.expect(0, 2, 7, 2)
    recorder(rows)
    with pytest.raises(UserError, match="layer 4: its experts run more than once per forward pass"):
        recorder(rows)


@pytest.mark.parametrize(
    ("shape", "strides", "offset", "first"),
    [
        ((4, 3), (6, 1), 0, 0),  # the first half of a product's columns
        ((4, 3), (6, 1), 3, 3),  # the second half
        ((4, 6), (6, 1), 6, 0),  # rows from the second on
        # A copy is made of a single row, of every other column, beyond the end of a row, and where the last is not whole.
        ((1, 3), (6, 1), 3, 0),
        ((4, 3), (6, 2), 0, 0),
        ((4, 3), (6, 1), 4, 0),
        ((2, 3), (6, 1), 25, 0),
    ],
)
def test_whole_rows_hold_the_columns(shape: tuple[int, int], strides: tuple[int, int], offset: int, first: int) -> None:
    tensor = torch.arange(34.0).as_strided(shape, strides, offset)
    whole, found = _whole_rows(tensor)
    assert found == first and whole.is_contiguous()
    assert torch.equal(whole[:, found : found + shape[1]], tensor)


def test_a_block_of_neurons_lies_in_shared_experts_in_routed_ones_or_in_both(tmp_path: Path) -> None:
    experts = Experts("mlp.experts", 6, 5, 2, True, "act_fn")
    mixture = Mixture(Ffn("mlp.shared.act", "mlp.shared.down", 4, True), experts)
    rng, rows = np.random.default_rng(0), routed_rows(np.random.default_rng(1), 3, 7, experts)
    recorder, scratch = RoutedRecorder(0, experts), MixtureScratch(tmp_path, 0, 3, mixture, 7)
    recorder.expect(0, 3, 7, 3)
    recorder(rows)
    shared = torch.from_numpy(rng.random((3, 7, 4)) < 0.5)
    assert recorder.batch is not None
    nothing = torch.zeros(3, 4)
    scratch.write(0, MixtureRecord(BatchRecord(pack_bits(shared), nothing, nothing), recorder.batch))
    on = np.zeros((3, 7, 34), bool)
    on[..., :4] = shared.numpy()
    token, expert = rows.tokens.numpy(), rows.experts.numpy()
    on[..., 4:].reshape(21, 6, 5)[token, expert] = rows.before.numpy() > 0
    expected = np.packbits(on, axis=1, bitorder="little").transpose(2, 0, 1)
    for first, last in ((0, 34), (1, 3), (2, 9), (4, 34), (11, 30)):
        assert np.array_equal(scratch.block(first, last), expected[first:last])
        assert np.array_equal(scratch.window(1, first, last), expected[first:last, 1])


def test_a_layer_whose_activation_function_was_not_called_is_an_error(tmp_path: Path) -> None:
    mixture = Mixture(None, Experts("mlp.experts", 6, 5, 2, True, "act_fn"))
    layer = RecordedLayer(7, MixtureScratch(tmp_path, 7, 3, mixture, 7), MixtureRecorder(7, mixture))
    with pytest.raises(RuntimeError, match="layer 7 ran without its activation function being called"):
        _made([layer], None)
