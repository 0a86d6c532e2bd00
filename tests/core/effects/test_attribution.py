"""Direct effects: they sum to the logit in every family, and are what the definition says."""

from __future__ import annotations

import hooked
import numpy as np
import pytest
import reference_forward as fwd
import tiny_experts
import tiny_models as tm
import torch
from torch import nn

from ffnscope.core.effects import direct_effects, next_tokens
from ffnscope.core.effects.attribution import linearise
from ffnscope.core.effects.norms import FixedScale
from ffnscope.core.model.experts import Mixture
from ffnscope.core.model.layered import LayeredModel
from ffnscope.store.errors import UserError


def open_model(plain):
    model = LayeredModel(plain, "tiny", torch.device("cpu"))
    model.prepare(torch.zeros(1, 2, dtype=torch.int64))
    return model


@pytest.fixture(scope="module")
def window():
    return tm.random_windows(np.random.default_rng(3), 1, 20, tm.VOCAB, 0)[0]


@pytest.mark.parametrize("family", tm.FAMILIES)
def test_everything_sums_to_the_logit(family, tmp_path, window):
    plain = fwd.load_model(tm.tiny(family, tmp_path))
    logits = hooked.logits(plain, window[None])[0].numpy()
    model = open_model(plain)
    for towards, against in ((7, None), (7, 9), (window, None)):
        effects = direct_effects(model, window, towards, against)
        cap = effects.softcap
        assert (cap is not None) == (family == "gemma2")
        own = logits if cap is None else cap * np.arctanh(logits / cap)
        rows = np.arange(len(window))
        wanted = own[rows, towards] - (0 if against is None else own[rows, against])
        parts = [
            *(each.sum(1) for each in effects.neurons.values()),
            *effects.attention,
            effects.embeddings,
            effects.biases,
        ]
        np.testing.assert_allclose(np.sum(parts, axis=0), wanted, atol=2e-5)
        np.testing.assert_allclose(effects.logits, wanted, atol=2e-5)
        assert [each.shape for each in effects.neurons.values()] == [
            (20, tm.NEURONS)
        ] * model.count or family == "bloom"
        assert effects.attention.shape == (model.count, 20)
    # The hooks are gone.
    np.testing.assert_allclose(hooked.logits(plain, window[None])[0].numpy(), logits, atol=1e-6)


@pytest.mark.parametrize("family", ["opt", "gpt2", "llama", "gptj"])
def test_a_direct_effect_is_what_the_definition_says(family, tmp_path, window):
    plain = fwd.load_model(tm.tiny(family, tmp_path))
    values = hooked.neuron_values(plain, window[None])
    effects = direct_effects(open_model(plain), window, 7)
    norm = {
        "opt": "model.decoder.final_layer_norm",
        "gpt2": "transformer.ln_f",
        "llama": "model.norm",
        "gptj": "transformer.ln_f",
    }
    module = plain.get_submodule(norm[family])
    seen = []
    module.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0].detach().double().numpy()[0]))
    hooked.logits(plain, window[None])
    (hidden,) = seen
    gain, E = module.weight.detach().double().numpy(), fwd.unembedding(plain)[0].astype(np.float64)
    for layer in range(tm.LAYERS):
        rows = fwd.output_rows(plain, layer).astype(np.float64)
        if family == "llama":
            scale = np.sqrt((hidden**2).mean(1) + module.variance_epsilon)
        else:
            rows -= rows.mean(1, keepdims=True)
            scale = np.sqrt(hidden.var(1) + module.eps)
        wanted = values[layer][0] * ((rows * gain) @ E[7]) / scale[:, None]
        np.testing.assert_allclose(effects.neurons[layer], wanted, atol=1e-5)


@pytest.mark.parametrize("kind", tiny_experts.KINDS)
def test_neurons_of_experts(kind, tmp_path, window):
    """They sum to the logit with all else, and are a times the router's weight times w_i, through the final norm."""
    plain = fwd.load_model(tiny_experts.tiny_experts(kind, tmp_path))
    logits = hooked.logits(plain, window[None])[0].numpy()
    values, weights, gates, seen = tiny_experts.expert_values(plain, window[None]), {}, {}, []
    handles = [
        plain.model.norm.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0].double().numpy()[0]))
    ]
    for layer, module in enumerate(plain.model.layers):
        if tiny_experts.is_stacked(plain):  # the router's score is part of a
            continue
        if hasattr(module.mlp, "experts"):
            handles.append(
                module.mlp.experts.register_forward_pre_hook(
                    lambda _, inputs, at=layer: weights.update({at: inputs[1:3]})
                )
            )
        if hasattr(module.mlp, "shared_expert_gate"):
            handles.append(
                module.mlp.shared_expert_gate.register_forward_hook(
                    lambda *given, at=layer: gates.update({at: given[2]})
                )
            )
    hooked.logits(plain, window[None])
    for handle in handles:
        handle.remove()
    (hidden,), gain, E = (
        seen,
        plain.model.norm.weight.detach().double().numpy(),
        fwd.unembedding(plain)[0].astype(float),
    )
    norm = plain.model.norm
    scale = np.sqrt((hidden**2).mean(1) + (norm.eps if hasattr(norm, "eps") else norm.variance_epsilon))
    model = open_model(plain)
    effects = direct_effects(model, window, 7)
    parts = [
        *(each.sum(1) for each in effects.neurons.values()),
        *effects.attention,
        effects.embeddings,
        effects.biases,
    ]
    np.testing.assert_allclose(np.sum(parts, axis=0), logits[:, 7], atol=1e-4)
    np.testing.assert_allclose(effects.logits, logits[:, 7], atol=1e-4)
    assert (np.abs(effects.biases).max() > 0.01) == (kind == "gpt_oss")
    for layer in range(model.count):
        rows = fwd.output_rows(plain, layer).astype(float)
        factors = np.ones((len(window), len(rows)))
        if layer in weights:
            index, own = (tensor.reshape(len(window), -1) for tensor in weights[layer])
            by_expert = np.zeros((len(window), tiny_experts.EXPERTS))
            np.put_along_axis(by_expert, index.numpy(), own.double().numpy(), axis=1)
            first = len(rows) - tiny_experts.EXPERTS * tiny_experts.SIZE
            factors[:, first:] = np.repeat(by_expert, tiny_experts.SIZE, axis=1)
            if layer in gates:
                factors[:, :first] = torch.sigmoid(gates[layer]).reshape(len(window), 1).numpy()
        wanted = values[layer][0] * factors * ((rows * gain) @ E[7]) / scale[:, None]
        assert (wanted == 0).any() == isinstance(model.ffns[layer], Mixture)
        np.testing.assert_allclose(effects.neurons[layer], wanted, atol=2e-5, rtol=1e-4)
    # Windows at once, and some neurons alone.
    windows = tm.random_windows(np.random.default_rng(4), 3, 12, tm.VOCAB, 0)
    line, some = linearise(model, windows, windows), torch.tensor([15, 3, 17])
    for row in range(3):
        alone = direct_effects(model, windows[row], windows[row])
        for layer in range(model.count):
            np.testing.assert_allclose(line.neurons(layer)[row].numpy(), alone.neurons[layer], atol=1e-5)
            np.testing.assert_allclose(line.neurons(layer, some)[row].numpy(), alone.neurons[layer][:, some], atol=1e-5)


def test_experts_that_add_something_else_are_refused(tmp_path, window):
    plain = fwd.load_model(tiny_experts.tiny_experts("mixtral", tmp_path))
    model = open_model(plain)
    plain.model.layers[1].mlp.experts.register_forward_hook(lambda *given: given[2] + 1)
    with pytest.raises(UserError, match="are not the sum of its neurons"):
        direct_effects(model, window, 7)


def test_windows_at_once_and_some_neurons_alone(tmp_path):
    model = open_model(fwd.load_model(tm.tiny("opt", tmp_path)))
    windows = tm.random_windows(np.random.default_rng(4), 3, 12, tm.VOCAB, 0)
    line = linearise(model, windows, windows)
    for row in range(3):
        alone = direct_effects(model, windows[row], windows[row])
        for layer in range(tm.LAYERS):
            np.testing.assert_allclose(line.neurons(layer)[row].numpy(), alone.neurons[layer], atol=1e-6)
            some = line.neurons(layer, torch.tensor([5, 2]))[row].numpy()
            np.testing.assert_allclose(some, alone.neurons[layer][:, [5, 2]], atol=1e-6)


def test_a_scaled_logit_is_summed_scaled(tmp_path, window):
    plain = fwd.load_model(tm.tiny("llama", tmp_path))

    class Scaled(type(plain)):
        def forward(self, *args, **named):
            output = super().forward(*args, **named)
            output.logits = output.logits / 8
            return output

    plain.__class__ = Scaled
    effects = direct_effects(open_model(plain), window, 7)
    np.testing.assert_allclose(effects.logits, hooked.logits(plain, window[None])[0, :, 7].numpy(), atol=1e-5)


def test_what_is_no_sum_is_refused(tmp_path, window):
    plain = fwd.load_model(tm.tiny("llama", tmp_path))

    class Odd(type(plain)):
        def forward(self, *args, **named):
            output = super().forward(*args, **named)
            output.logits = output.logits**3
            return output

    other = fwd.load_model(tm.tiny("llama", tmp_path))
    plain.__class__ = Odd
    with pytest.raises(UserError, match="changes its logits in a way of its own"):
        direct_effects(open_model(plain), window, 7)
    # A layer that squashes the residual stream.
    other.model.layers[1].register_forward_hook(lambda *given: torch.tanh(given[2]))
    with pytest.raises(UserError, match="are not the sum of its neurons"):
        direct_effects(open_model(other), window, 7)


@pytest.mark.parametrize(("tokens", "towards"), [([1, 64], 3), ([1, 2], 64), ([1, 2], -1)])
def test_ids_out_of_range_are_refused(tokens, towards, tmp_path):
    model = open_model(fwd.load_model(tm.tiny("opt", tmp_path)))
    with pytest.raises(UserError, match="outside the model's vocabulary"):
        direct_effects(model, np.array(tokens), towards)


@pytest.mark.parametrize("width", [8, 7])
@pytest.mark.parametrize("kind", [nn.LayerNorm, nn.RMSNorm])
def test_norms_are_affine_at_a_fixed_scale(kind, width):
    torch.manual_seed(0)
    norm = kind(width)
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    hidden = (3 * torch.randn(5, width) + 1).requires_grad_()
    output = norm(hidden)
    found = FixedScale(norm, width, hidden)(hidden, output.detach())
    assert found is not None
    affine, bias = found
    torch.testing.assert_close(affine, output)
    # Affine: the value is the gradient times the input, and the bias.
    direction = torch.randn(width)
    gradient = torch.autograd.grad((affine @ direction).sum(), hidden)[0]
    torch.testing.assert_close((gradient * hidden).sum(1) + bias @ direction, affine @ direction, atol=1e-5, rtol=1e-4)
    assert FixedScale(norm, width, hidden)(hidden, torch.tanh(output.detach())) is None


@pytest.mark.parametrize("family", ["opt", "llama", "gemma2"])
def test_the_next_token_with_neurons_taken_away(family, tmp_path, window):
    plain = fwd.load_model(tm.tiny(family, tmp_path))
    model = open_model(plain)
    for taken in ((), ((0, 3), (2, 5), (2, 7))):
        wanted = hooked.logits(plain, window[None], dict.fromkeys(taken, 0.0))[0].log_softmax(-1)
        found = next_tokens(model, window, taken)
        assert found.shape == (20, tm.VOCAB) and found.dtype == np.float32
        np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5)
    if family == "opt":  # neuron 0 never fires
        assert (next_tokens(model, window, [(0, 0), (1, 0)]) == next_tokens(model, window)).all()
    with pytest.raises(UserError, match="L9N0"):
        next_tokens(model, window, [(9, 0)])
    with pytest.raises(UserError, match="token ids"):
        next_tokens(model, np.array([0, 64]))
