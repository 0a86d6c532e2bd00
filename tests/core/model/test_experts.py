"""Where the experts of a layer are, what their gates are given, and which kinds are refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import transformers as hf
from tiny_experts import CHOSEN, EXPERTS, KINDS, SIZE, WIDTH, randomise
from torch import nn

from ffnscope.core.effects.replay import zero_when_off
from ffnscope.core.model.experts import Mixture, RoutedRows, find_layer_ffns, find_mixture, listen
from ffnscope.core.model.layered import LayeredModel
from ffnscope.core.model.shape import _values_met
from ffnscope.store.errors import UserError


def layer_of(kind: str, **overrides: Any) -> Any:
    """The first decoder layer with experts of a random model."""
    config, model, settings, _ = KINDS[kind]
    made = getattr(hf, model)(getattr(hf, config)(**(settings | overrides)))
    randomise(made)
    return next(layer for layer in made.model.layers if hasattr(layer.mlp, "experts"))


class Layer(nn.Module):
    """A layer whose experts have no gate, as Nemotron-H's."""

    def __init__(self) -> None:
        super().__init__()
        from transformers.models.nemotron_h.modeling_nemotron_h import NemotronHMoE

        config = hf.NemotronHConfig(
            hidden_size=WIDTH, n_routed_experts=EXPERTS, num_experts_per_tok=CHOSEN, moe_intermediate_size=SIZE,
            moe_shared_expert_intermediate_size=7, n_group=1, topk_group=1,
        )  # fmt: skip
        self.mlp = NemotronHMoE(config)
        randomise(self)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.mlp(hidden)


def found(layer: nn.Module) -> Mixture:
    mixture = find_mixture(layer, WIDTH, "m")
    assert mixture is not None
    return mixture


@pytest.mark.parametrize("kind", ["mixtral", "without a gate"])
def test_rows_are_those_of_the_experts_own_matrices(kind: str) -> None:
    layer = Layer() if kind == "without a gate" else layer_of(kind)
    experts, mixture = layer.mlp.experts, found(layer)
    assert (mixture.experts.count, mixture.experts.neurons, mixture.experts.chosen) == (EXPERTS, SIZE, CHOSEN)
    assert mixture.gated == mixture.experts.gated == (kind == "mixtral") and (mixture.shared is None) == mixture.gated
    hidden, seen, inputs = torch.randn(1, 9, WIDTH), [], []
    experts.register_forward_pre_hook(lambda _, given: inputs.append(given))
    plain = layer.mlp(hidden)
    handle = listen(layer, mixture.experts, seen.append)
    assert torch.equal(layer.mlp(hidden), plain)
    if mixture.gated:
        experts._apply_gate(torch.zeros(3, 2 * SIZE))  # no forward pass: nothing to see
    handle.remove()
    assert torch.equal(layer.mlp(hidden), plain)
    (rows,) = seen
    assert sorted(zip(rows.tokens.tolist(), rows.experts.tolist(), strict=True)) == sorted(
        (token, expert) for token, chosen in enumerate(inputs[0][1].tolist()) for expert in chosen
    )
    for row, (token, expert) in enumerate(zip(rows.tokens, rows.experts, strict=True)):
        if mixture.gated:
            before, other = (experts.gate_up_proj[expert] @ hidden[0, token]).chunk(2)
            after = torch.nn.functional.silu(before)
            values = after * other
        else:
            before = experts.up_proj[expert] @ hidden[0, token]
            values = after = before.relu().square()
        for name, expected in (("before", before), ("after", after), ("values", values)):
            torch.testing.assert_close(getattr(rows, name)[row], expected, rtol=1e-5, atol=1e-5)


def test_attention_with_an_activation_function_is_no_ffn() -> None:
    layer = layer_of("mixtral")
    layer.self_attn.act_fn = nn.SiLU()
    assert found(layer) == found(layer_of("mixtral"))


@pytest.mark.parametrize(
    ("kind", "sizes", "neurons"),
    [
        ("qwen2_moe", {"shared_expert_intermediate_size": WIDTH}, WIDTH),
        ("deepseek_v3", {"moe_intermediate_size": WIDTH // 2, "n_shared_experts": 2}, WIDTH),
        ("deepseek_v3", {"moe_intermediate_size": WIDTH // 4, "n_shared_experts": 2}, WIDTH // 2),
    ],
)
def test_shared_experts_may_be_as_wide_as_the_residual_stream(kind: str, sizes: dict[str, int], neurons: int) -> None:
    shared = found(layer_of(kind, **sizes)).shared
    assert shared is not None and shared.neurons == neurons and shared.second.endswith("down_proj")


def test_there_may_be_as_many_experts_as_values_in_the_residual_stream() -> None:
    config = hf.PhimoeConfig(
        vocab_size=20, hidden_size=WIDTH, intermediate_size=SIZE, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, num_local_experts=WIDTH,
    )  # fmt: skip
    assert found(hf.PhimoeForCausalLM(config).model.layers[0]).experts.count == WIDTH


def two_groups(layer: Any) -> None:
    layer.more = copy.deepcopy(layer.mlp.experts)


def two_shared(layer: Any) -> None:
    layer.mlp.another = copy.deepcopy(layer.mlp.shared_expert)


def another_projection(layer: Any) -> None:
    layer.mlp.another = nn.Linear(3, WIDTH)


def no_number(layer: Any) -> None:
    for module in layer.mlp.modules():
        for name in ("top_k", "num_experts_per_tok"):
            vars(module).pop(name, None)


def activation_twice(layer: Any) -> None:
    experts = layer.mlp.experts
    experts._apply_gate = lambda product: experts.act_fn(experts.act_fn(product.chunk(2, -1)[0]))


def activation_unseen(layer: Any) -> None:
    del layer.mlp.experts.act_fn
    layer.mlp.experts._apply_gate = lambda product: product.chunk(2, -1)[0].tanh()


def other_weights(layer: Any) -> None:
    layer.mlp.experts.down_proj = nn.Parameter(torch.zeros(EXPERTS, WIDTH + 1, SIZE))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (two_groups, r"several groups of experts \(mlp.experts, more\)"),
        (two_shared, r"more than one FFN beside the experts \(mlp.shared_expert.down_proj, mlp.another.down_proj\)"),
        (another_projection, "a projection mlp.another beside the experts"),
        (no_number, "how many experts a token is routed to was not found"),
        (activation_twice, r"the activation function of its experts \(Qwen2MoeExperts\) cannot be seen"),
        (activation_unseen, r"the activation function of its experts \(Qwen2MoeExperts\) cannot be seen"),
        (other_weights, r"second matrices of its experts are \(4, 17, 12\) torch.float32, which is not a row of 16"),
    ],
)
def test_experts_that_cannot_be_recorded_exactly_are_refused(change: Callable[[Any], None], says: str) -> None:
    layer = layer_of("qwen2_moe")
    change(layer)
    with pytest.raises(UserError, match=f"^m: .*{says}"):
        find_mixture(layer, WIDTH, "m")


def test_a_configuration_of_experts_with_layers_that_have_none_is_refused() -> None:
    config = hf.LlamaConfig(
        vocab_size=8, hidden_size=8, intermediate_size=12, num_hidden_layers=1, num_attention_heads=1
    )
    layers = hf.LlamaForCausalLM(config).model.layers
    assert [ffn.neurons for ffn in find_layer_ffns(layers, 8, "m", False)] == [12]
    with pytest.raises(UserError, match="m: is a mixture of experts of a kind that ffnscope cannot record exactly"):
        find_layer_ffns(layers, 8, "m", True)


def test_rows_that_are_not_the_choices_end_the_run() -> None:
    layer = layer_of("mixtral")
    experts = found(layer).experts
    layer.mlp.experts.unused = nn.SiLU()
    for wrong, error, says in (
        (replace(experts, chosen=3), UserError, r"MixtralExperts: its experts saw \(10, 12\) for \(5, 2\) choices"),
        (replace(experts, activation="unused"), RuntimeError, "activation function was not called"),
    ):
        handle = listen(layer, wrong, lambda rows: pytest.fail(f"saw {type(rows)}"))
        with pytest.raises(error, match=says):
            layer.mlp(torch.randn(1, 5, WIDTH))
        handle.remove()
    rows: list[RoutedRows] = []
    listen(layer, experts, rows.append)
    layer.mlp(torch.randn(1, 5, WIDTH))
    assert rows[0].values.shape == (10, SIZE)


def test_a_token_meets_the_values_of_the_experts_that_it_is_routed_to() -> None:
    layer, mixture = layer_of("qwen2_moe"), found(layer_of("qwen2_moe"))
    one = 3 * WIDTH * SIZE
    every = sum(parameter.numel() for parameter in layer.parameters())
    assert _values_met(layer, mixture) == every - (EXPERTS - CHOSEN) * one


def test_a_layer_of_experts_has_no_dense_ffn() -> None:
    config, model, settings, _ = KINDS["mixtral"]
    layered = LayeredModel(getattr(hf, model)(getattr(hf, config)(**settings)), "m", torch.device("cpu"))
    assert not zero_when_off(layered)
    with pytest.raises(UserError, match="m: layer 1 is a mixture of experts, which has no FFN of all neurons"):
        layered.dense_ffn(1)
