"""Recording: bits, sums, maxima and the strongest activations, against numpy on the same arrays."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tiny_models as tm
import torch
from exact import run, sources_of
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from ffnscope.core.activations.recorder import Recorder, pack_bits
from ffnscope.core.activations.threshold_recorder import ThresholdRecorder
from ffnscope.core.activations.thresholds import ThresholdWindows
from ffnscope.store.activation_rule import ActivationRule
from ffnscope.store.errors import UserError
from ffnscope.store.format.schema import CONTEXTS


class Identity(nn.Module):
    """An activation function that passes its input on."""


@given(
    B=st.integers(1, 4),
    T=st.integers(1, 33),
    F=st.integers(1, 33),
    share=st.sampled_from([0.0, 0.3, 0.9, 1.0]),
    seed=st.integers(0, 999),
    transposed=st.booleans(),
)
@settings(max_examples=150)
def test_bits_are_packed_as_numpy_packs_them(B: int, T: int, F: int, share: float, seed: int, transposed: bool) -> None:
    active = np.random.default_rng(seed).random((B, T, F)) < share
    given_ = torch.from_numpy(active)
    if transposed:
        given_ = given_.transpose(1, 2).contiguous().transpose(1, 2)
    packed = pack_bits(given_).numpy()
    assert packed.shape == (B, F, -(-T // 8))
    assert np.array_equal(packed, np.packbits(active.transpose(0, 2, 1), axis=2, bitorder="little"))
    assert np.array_equal(given_.numpy(), active), "the input is left as it was"


def record(
    batches: list[np.ndarray],
    counted: int,
    module: nn.Module,
    outputs: list[np.ndarray] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Recorder:
    """A recorder that has seen batches of inputs [B, T, F], flattened as OPT's are, of which the first ``counted``
    windows may give contexts."""
    recorder, first = Recorder(3, batches[0].shape[2]), 0
    for index, batch in enumerate(batches):
        B, T, F = batch.shape
        recorder.expect(first, B, T, max(0, min(first + B, counted) - first))
        after = np.maximum(batch, 0) if outputs is None else outputs[index]
        given_, made = (torch.from_numpy(each).to(dtype).reshape(B * T, F) for each in (batch, after))
        recorder(module, (given_,), made)
        first += B
    return recorder


@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=5),
    T=st.integers(1, 12),
    F=st.integers(1, 5),
    levels=st.integers(0, 5),
    counted=st.integers(0, 20),
    relu=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    seed=st.integers(0, 999),
)
@settings(max_examples=300)
def test_the_strongest_are_exact_with_ties_by_lower_place(
    sizes: list[int], T: int, F: int, levels: int, counted: int, relu: bool, dtype: torch.dtype, seed: int
) -> None:
    """float32 on a CPU is recorded by compiled code, everything else by torch."""
    rng = np.random.default_rng(seed)
    batches = [rng.integers(-2, levels + 1, (size, T, F)).astype(np.float32) / 2 for size in sizes]
    recorder = record(batches, counted, nn.ReLU() if relu else Identity(), dtype=dtype)
    whole = np.concatenate(batches)[:counted].reshape(-1, F)
    for neuron in range(F):
        order = sorted(np.flatnonzero(whole[:, neuron] > 0), key=lambda place: (-whole[place, neuron], place))
        expected = [int(place) for place in order][:CONTEXTS]
        places = recorder.places[neuron]
        assert places[places >= 0].tolist() == expected
        assert recorder.values[neuron][: len(expected)].tolist() == [whole[place, neuron] for place in expected]
        assert (places[len(expected) :] == -1).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_only_activated_positions_are_summed(dtype: torch.dtype) -> None:
    """GELU gives a value where the input is negative or 0, which is no activation."""
    rng = np.random.default_rng(0)
    before = torch.from_numpy(rng.normal(size=(3, 13, 6)).astype(np.float32)).to(dtype)
    before[0, 0], before[1, :, 5] = 0.0, -1.0
    after = nn.functional.gelu(before) + (before == 0)
    recorder = Recorder(0, 6)
    recorder.expect(0, 3, 13, 3)
    recorder(nn.GELU(), (before,), after)
    assert recorder.batch is not None
    active, values = before > 0, after.float()
    bits = np.unpackbits(recorder.batch.bits.numpy(), axis=2, bitorder="little", count=13)
    assert np.array_equal(bits.transpose(0, 2, 1), active.numpy())
    np.testing.assert_allclose(recorder.batch.sums, (values * active).sum(1), rtol=1e-6)
    assert torch.equal(recorder.batch.maxima, (values * active).amax(1))
    assert recorder.batch.sums.dtype == recorder.batch.maxima.dtype == torch.float32


@given(
    B=st.integers(1, 3),
    T=st.integers(1, 33),
    F=st.integers(1, 20) | st.integers(250, 600),
    hands=st.booleans(),
    seed=st.integers(0, 999),
)
@settings(max_examples=60)
def test_compiled_and_torch_record_the_same(B: int, T: int, F: int, hands: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    before = torch.from_numpy(rng.integers(-4, 9, (B, T, F)).astype(np.float32) / 4)
    after = before * 2  # exact in either type
    recorders = []
    with ThreadPoolExecutor(2) as pool:
        for dtype in (torch.float32, torch.bfloat16):
            recorder = Recorder(0, F)
            recorder.hands = pool if hands else None
            recorder.expect(5, B, T, B)
            recorder(nn.SiLU(), (before.to(dtype),), after.to(dtype))
            recorders.append(recorder)
    one, other = recorders
    assert one.batch is not None and other.batch is not None
    assert torch.equal(one.batch.bits, other.batch.bits)
    assert torch.equal(one.batch.sums, other.batch.sums)
    assert torch.equal(one.batch.maxima, other.batch.maxima)
    assert np.array_equal(one.values, other.values) and np.array_equal(one.places, other.places)


def test_more_candidates_than_one_chunk() -> None:
    """Ascending values make every window of every neuron a candidate."""
    S, T, F = 40, 2, 700
    whole = np.arange(1, S * T * F + 1, dtype=np.float32).reshape(S, T, F)
    recorder = record([whole[:30], whole[30:]], S, nn.ReLU())
    last = np.arange(S * T - 1, S * T - 1 - CONTEXTS, -1)
    assert (recorder.places == last).all()
    assert np.array_equal(recorder.values, whole.reshape(-1, F)[last].T)


@pytest.mark.parametrize("module", [nn.ReLU(), nn.SiLU()])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_shows_in_the_sum(module: nn.Module, value: float) -> None:
    before = np.full((2, 5, 3), -1.0, np.float32)
    before[1, 2, 1] = value
    with torch.no_grad():
        after = module(torch.from_numpy(before)).numpy()
    recorder = record([before], 2, module, [after])
    assert recorder.batch is not None
    assert (~np.isfinite(recorder.batch.sums.numpy())).tolist() == [[False] * 3, [False, True, False]]


@pytest.mark.parametrize("layer", [0, 2])
@pytest.mark.parametrize("family", ["opt", "llama"])
def test_a_weight_that_is_not_a_number_ends_the_run(family: str, layer: int, tmp_path: Path) -> None:
    model = tm.tiny(family, tmp_path)
    weights = load_file(model / "model.safetensors")
    name = next(
        each for each in weights if f"layers.{layer}." in each and each.endswith(("fc1.weight", "gate_proj.weight"))
    )
    weights[name][3, 2] = torch.nan
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    windows = tm.random_windows(np.random.default_rng(0), 9, 8, tm.VOCAB, 0)
    with pytest.raises(
        UserError, match=rf"layer {layer}: activations of 1 of its neurons are not finite in float32; its weights"
    ) as caught:
        run(model, sources_of(tmp_path, {"all": windows}), tmp_path / "run.ffn", bos_id=0, batch_size=4)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["layers.2.fc2.weight", "embed_tokens.weight"])
def test_a_projection_that_is_not_a_number_ends_the_run(name: str, tmp_path: Path) -> None:
    """Nothing runs behind the last layer's second matrix, and a token that does not occur enters no layer."""
    model = tm.tiny("opt", tmp_path)
    weights = load_file(model / "model.safetensors")
    weights[next(each for each in weights if each.endswith(name))][-1, 2] = torch.inf
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    windows = tm.random_windows(np.random.default_rng(0), 9, 8, tm.VOCAB - 1, 0)
    with pytest.raises(UserError, match=r"layer \d: projections .* not finite"):
        run(model, sources_of(tmp_path, {"all": windows}), tmp_path / "run.ffn", bos_id=0, batch_size=4)


def test_an_overflow_in_half_precision_ends_the_run(tmp_path: Path) -> None:
    model = tm.tiny("opt", tmp_path)
    weights = load_file(model / "model.safetensors")
    weights["model.decoder.layers.1.fc1.bias"][5] = 1e6
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    sources = sources_of(tmp_path, {"all": tm.random_windows(np.random.default_rng(0), 9, 8, tm.VOCAB, 0)})
    with pytest.raises(
        UserError, match=r"layer 1: activations of 1 .* not finite in float16; run it with --dtype float32"
    ):
        run(model, sources, tmp_path / "half.ffn", bos_id=0, dtype="float16")
    run(model, sources, tmp_path / "whole.ffn", bos_id=0)


def test_an_activation_of_another_shape_is_refused() -> None:
    recorder = Recorder(4, 6)
    recorder.expect(0, 2, 5, 2)
    with pytest.raises(UserError, match=r"layer 4: .*not 6 neurons at 2 x 5 positions"):
        recorder(nn.ReLU(), (torch.zeros(2, 5, 7),), torch.zeros(2, 5, 7))


def test_an_activation_function_that_several_layers_share_is_refused() -> None:
    recorder = Recorder(4, 6)
    recorder.expect(0, 2, 5, 2)
    recorder(nn.ReLU(), (torch.ones(2, 5, 6),), torch.ones(2, 5, 6))
    with pytest.raises(UserError, match=r"layer 4: .*more than once"):
        recorder(nn.ReLU(), (torch.ones(2, 5, 6),), torch.ones(2, 5, 6))


@given(cut=st.integers(0, 9), counted=st.integers(0, 9), levels=st.integers(0, 4), seed=st.integers(0, 999))
@settings(max_examples=60)
def test_recorders_of_several_processes_are_one(cut: int, counted: int, levels: int, seed: int) -> None:
    whole = np.random.default_rng(seed).integers(-1, levels + 1, (9, 7, 3)).astype(np.float32)
    alone = record([whole], counted, nn.ReLU())
    parts = []
    for first, last in ((0, cut), (cut, 9)):
        part = Recorder(3, 3)
        if first < last:
            part.expect(first, last - first, 7, max(0, min(last, counted) - first))
            inputs = torch.from_numpy(whole[first:last])
            part(nn.ReLU(), (inputs,), inputs.relu())
        parts.append((part.values, part.places))
    merged = Recorder(3, 3)
    merged.merge(parts)
    assert np.array_equal(merged.places, alone.places)
    assert np.array_equal(merged.values, alone.values)


def test_values_that_cannot_be_compared_with_thresholds_are_refused() -> None:
    recorder, values = ThresholdRecorder(3, 5), torch.ones(2, 4, 5)
    recorder.expect(0, 2, 4, 2)
    with pytest.raises(UserError, match="layer 3: its second FFN matrix runs apart from its activation function"):
        recorder.record_values(Identity(), (values,))
    recorder(Identity(), (values,), values)
    with pytest.raises(UserError, match=r"layer 3: its second FFN matrix saw \(2, 3, 5\), not 5 neurons at 2 x 4"):
        recorder.record_values(Identity(), (values[:, :3],))
    recorder.record_values(Identity(), (values,))
    with pytest.raises(UserError, match="runs apart from its activation function"):
        recorder.record_values(Identity(), (values,))


def test_thresholds_need_a_position_but_those_of_bos() -> None:
    rule, tokens = ActivationRule.parse("share:0.1"), np.full((3, 4), 7)
    with pytest.raises(UserError, match=r"--activated share:0\.1: thresholds need a position whose token is not BOS"):
        ThresholdWindows.choose(rule, tokens, [3], 7)
    tokens[1, 2] = 8
    found = ThresholdWindows.choose(rule, tokens, [3], 7)
    assert found is not None and found.positions == found.rank == 1
