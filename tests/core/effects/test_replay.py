"""Neurons taken away by replay, against a plain hooked run of the whole model."""

from __future__ import annotations

import hooked
import numpy as np
import pytest
import reference_forward as fwd
import tiny_models as tm
import torch

from ffnscope.core.effects.means import mean_values
from ffnscope.core.effects.replay import Replay, readouts, zero_when_off
from ffnscope.core.model.layered import LayeredModel
from ffnscope.store.errors import UserError

CPU = torch.device("cpu")
NEURONS = {0: np.array([0, 3, 7]), 1: np.array([2, 5]), 2: np.array([11, 20])}
KEYS = [(layer, int(neuron)) for layer, each in NEURONS.items() for neuron in each]


def open_tiny(folder, windows, batch_size=4, neurons=NEURONS):
    model = LayeredModel(fwd.load_model(folder), folder.name, CPU)
    model.prepare(torch.zeros(1, 2, dtype=torch.int64))
    replay = Replay(model, windows, batch_size)
    replay.run(neurons, {}, min(neurons))
    return model, replay


def zeros(keys):
    return {
        layer: (torch.tensor(own), torch.zeros(len(own)))
        for layer in sorted({layer for layer, _ in keys})
        if (own := [neuron for at, neuron in keys if at == layer])
    }


@pytest.fixture(scope="module")
def windows():
    return tm.random_windows(np.random.default_rng(3), 6, 20, tm.VOCAB, 0)


@pytest.mark.parametrize("family", tm.FAMILIES)
def test_replay_is_the_hooked_run_of_the_whole_model(family, tmp_path, windows):
    folder = tm.tiny(family, tmp_path)
    plain = fwd.load_model(folder)
    _, replay = open_tiny(folder, windows)
    before = hooked.logits(plain, windows)
    at = torch.from_numpy(windows)[..., None]
    np.testing.assert_allclose(replay.loss, hooked.losses(before, windows), atol=1e-5)
    np.testing.assert_allclose(replay.own_logit, before.gather(2, at)[:, :-1, 0].numpy(), atol=1e-5)
    for keys in [[key] for key in KEYS] + [KEYS[1::2]]:
        after = hooked.logits(plain, windows, dict.fromkeys(keys, 0.0))
        delta_loss, delta_logit = replay_changes(folder, windows, replay, keys)
        np.testing.assert_allclose(
            delta_loss, hooked.losses(after, windows) - hooked.losses(before, windows), atol=1e-5
        )
        np.testing.assert_allclose(delta_logit, (after - before).gather(2, at)[:, :-1, 0].numpy(), atol=1e-5)


def replay_changes(folder, windows, replay, keys):
    if min(keys)[0] < replay._layer:  # a set of lower layers: begin again
        _, replay = open_tiny(folder, windows)
    return replay.changes(zeros(keys), replay.first_change(keys))


@pytest.mark.parametrize("family", ["opt", "llama"])
def test_where_neurons_are_activated(family, tmp_path, windows):
    folder = tm.tiny(family, tmp_path)
    _, replay = open_tiny(folder, windows)
    neurons = fwd.forward_all(fwd.load_model(folder), windows)
    values = hooked.neuron_values(fwd.load_model(folder), windows)
    for layer, neuron in KEYS:
        assert (replay.active([(layer, neuron)]) == (neurons[layer][0][:, :-1, neuron] > 0)).all()
        some = values[layer][..., neuron] != 0
        first = np.where(some.any(1), some.argmax(1), windows.shape[1])
        assert (replay.first_change([(layer, neuron)]) == first).all()
    union = np.any([neurons[layer][0][:, :-1, neuron] > 0 for layer, neuron in KEYS], axis=0)
    assert (replay.active(KEYS) == union).all()


def test_a_relu_neuron_that_never_fires_changes_nothing_and_computes_nothing(tmp_path, windows):
    model, replay = open_tiny(tm.tiny("opt", tmp_path), windows)
    ran = []
    model.layer(2).register_forward_hook(lambda *_: ran.append(1))
    for delta in replay.changes(zeros([(0, 0)]), replay.first_change([(0, 0)])):
        assert (delta == 0).all()
    assert not ran
    # And where it is computed all the same, nothing differs, bit for bit.
    delta_loss, delta_logit = replay.changes(zeros([(0, 0)]), np.zeros(len(windows), np.int32))
    assert ran and (delta_loss == 0).all() and (delta_logit == 0).all()


def test_before_a_neuron_first_fires_nothing_changes(tmp_path, windows):
    folder = tm.tiny("opt", tmp_path)
    _, replay = open_tiny(folder, windows, neurons={0: np.arange(tm.NEURONS)})
    rare = [n for n in range(tm.NEURONS) if ((at := replay.first_change([(0, n)])) > 1).any() and at.min() < 19]
    assert rare
    for neuron in rare:
        first = replay.first_change([(0, neuron)])
        delta_loss, _ = replay.changes(zeros([(0, neuron)]), first)
        for window, position in enumerate(first):
            assert (delta_loss[window, :position] == 0).all()
            assert position >= windows.shape[1] - 1 or delta_loss[window, position] != 0


@pytest.mark.parametrize("family", ["opt", "llama", "gemma2"])
def test_the_batch_size_changes_results_by_rounding_only(family, tmp_path, windows):
    folder = tm.tiny(family, tmp_path)
    found = []
    for batch_size in (1, 4, 6):
        _, replay = open_tiny(folder, windows, batch_size)
        found.append(replay.changes(zeros([(1, 2)]), replay.first_change([(1, 2)])))
    for delta_loss, delta_logit in found[1:]:
        np.testing.assert_allclose(delta_loss, found[0][0], atol=1e-5)
        np.testing.assert_allclose(delta_logit, found[0][1], atol=1e-5)


@pytest.mark.parametrize("family", ["opt", "llama"])
def test_means_are_over_the_positions_without_bos(family, tmp_path, windows):
    folder = tm.tiny(family, tmp_path)
    model, _ = open_tiny(folder, windows)
    values = hooked.neuron_values(fwd.load_model(folder), windows)
    means = mean_values(model, windows, 0, NEURONS, 4)
    for layer, neurons in NEURONS.items():
        np.testing.assert_allclose(means[layer], values[layer][windows != 0][:, neurons].mean(0), atol=1e-6)


@pytest.mark.parametrize(("family", "activation", "expected"), [
    ("opt", None, True), ("gpt2", None, False), ("llama", None, False), ("llama", "relu", True), ("nemotron", None, True),
])  # fmt: skip
def test_which_activation_functions_are_zero_when_off(family, activation, expected, tmp_path, windows):
    model, _ = open_tiny(tm.tiny(family, tmp_path, activation=activation), windows)
    assert zero_when_off(model) == expected


@pytest.mark.parametrize("family", ["opt350", "gemma2", "phi"])
def test_readouts_are_the_models_own_logits_in_any_parts(family, tmp_path, windows, monkeypatch):
    from ffnscope.core.effects import replay as module

    model, _ = open_tiny(tm.tiny(family, tmp_path), windows)
    tokens = torch.from_numpy(windows)
    with torch.inference_mode():
        hidden, calls = model.frame(tokens, model.count - 1)
        for layer in range(model.count):
            hidden = model.run_layer(layer, hidden, calls[layer])
        expected = model.model(input_ids=tokens).logits.reshape(-1, tm.VOCAB)
        for most in (1, 7 * tm.VOCAB, 1 << 20):
            monkeypatch.setitem(module.LOGITS_AT_ONCE, "cpu", most)
            parts = list(readouts(model, hidden.reshape(-1, model.width), windows.shape[1]))
            found = torch.cat([logits for _, logits in parts])
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
            assert [at for at, _ in parts] == np.cumsum([0, *(len(logits) for _, logits in parts)])[:-1].tolist()


def test_a_replay_goes_forward_only_and_refuses_what_is_not_finite(tmp_path, windows):
    model, replay = open_tiny(tm.tiny("opt", tmp_path), windows)
    replay.advance(2)
    with pytest.raises(ValueError, match="the hidden states kept enter layer 2, above 1"):
        replay.advance(1)
    with torch.no_grad():
        model.unembedding()[5] = torch.inf
    with pytest.raises(UserError, match="its predictions are not finite on these windows"):
        Replay(model, windows, 4).run({}, {}, 0)
