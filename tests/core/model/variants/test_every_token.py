"""Experts that all run for every token: found by what they multiply, heard where tokens are routed to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models as tm
import torch
import transformers as hf
from exact import run, sources_of
from tiny_experts import CHOSEN, EXPERTS, KINDS, SIZE, WIDTH, randomise
from torch import nn

from ffnscope.core.model.experts import RoutedRows, find_mixture, listen
from ffnscope.core.model.variants.every_token import runs_for_every_token
from ffnscope.core.model.variants.expert_kernels import describe_implementation, implementation
from ffnscope.store.errors import UserError
from ffnscope.store.reader import Store


def layer_of(kind: str = "llama4_text") -> Any:
    """The second decoder layer of a random model, which has experts."""
    config, model, settings, _ = KINDS[kind]
    made = getattr(hf, model)(getattr(hf, config)(**settings))
    randomise(made)
    return made.model.layers[1].eval()


def test_rows_are_those_of_routed_tokens_and_may_be_changed() -> None:
    layer = layer_of()
    home, mixture = layer.feed_forward, find_mixture(layer, WIDTH, "m")
    assert mixture is not None and mixture.shared is not None and mixture.experts.router == "feed_forward.router"
    hidden, seen = torch.randn(9, WIDTH), []
    with torch.no_grad():
        plain, _ = home(hidden)
        scores, _ = home.router(hidden)
        listener = listen(layer, mixture.experts, seen.append)
        assert torch.equal(home(hidden)[0], plain), "the module computes as before"
        listener.remove()
        (rows,) = seen
        assert len(rows.tokens) == 9 * CHOSEN and rows.count == EXPERTS
        for row, (token, expert) in enumerate(zip(rows.tokens.tolist(), rows.experts.tolist(), strict=True)):
            assert scores[token, expert] > 0
            product = (hidden[token] * scores[token, expert]) @ home.experts.gate_up_proj[expert]
            torch.testing.assert_close(rows.before[row], product[:SIZE])
            torch.testing.assert_close(rows.after[row], home.experts.act_fn(product[:SIZE]))
            torch.testing.assert_close(rows.values[row], rows.after[row] * product[SIZE:])

        def silence(rows: RoutedRows) -> None:
            rows.values[rows.experts == 2] = 0

        listener = listen(layer, mixture.experts, silence)
        without = home(hidden)[0]
        listener.remove()
        home.experts.down_proj[2] = 0
        assert torch.equal(without, home(hidden)[0]) and not torch.equal(without, plain)


def test_the_language_model_of_a_wrapper(tmp_path: Path) -> None:
    text = KINDS["llama4_text"].settings | {"interleave_moe_layer_step": 1}
    vision = {
        "hidden_size": 16, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28,
        "patch_size": 14, "projector_input_dim": 16, "projector_output_dim": 16, "vision_output_dim": 16,
    }  # fmt: skip
    plain = hf.Llama4ForConditionalGeneration(hf.Llama4Config(text_config=text, vision_config=vision)).eval()
    randomise(plain)
    plain.save_pretrained(tmp_path / "model")
    tokens = tm.random_windows(np.random.default_rng(0), 6, 16, tm.VOCAB, tm.BOS_ID)
    sources = sources_of(tmp_path, {"all": tokens})
    store = run(tmp_path / "model", sources, tmp_path / "run.ffn", bos_id=tm.BOS_ID, batch_size=6)
    gates: dict[tuple[int, str], torch.Tensor] = {}
    layers = plain.language_model.model.layers
    for index, layer in enumerate(layers):
        home = layer.feed_forward
        for name, activation in (("shared", home.shared_expert.activation_fn), ("routed", home.experts.act_fn)):
            activation.register_forward_hook(lambda _, inputs, out, key=(index, name): gates.update({key: inputs[0]}))
        home.router.register_forward_hook(lambda _, inputs, out, key=(index, "scores"): gates.update({key: out[0]}))
    with torch.no_grad():
        # The wrapper's own forward pass fails on text alone in some versions of transformers.
        plain.language_model(input_ids=torch.from_numpy(tokens.astype(np.int64)), use_cache=False)
    with Store.open(store) as opened:
        assert opened.run.model.experts_implementation == "bmm"
        for index in range(len(layers)):
            shared = (gates[index, "shared"].reshape(-1, SIZE) > 0).sum(0)
            routed = ((gates[index, "routed"] > 0) & (gates[index, "scores"] > 0).T[:, :, None]).sum(1)
            counts = opened.column(index, "activations")
            assert counts.tolist() == [*shared.tolist(), *routed.flatten().tolist()] and counts.any()


def test_tokens_that_reach_experts_unrouted_are_refused() -> None:
    layer = layer_of()
    mixture = find_mixture(layer, WIDTH, "m")
    assert mixture is not None
    listener = listen(layer, mixture.experts, lambda rows: None)
    with torch.no_grad():
        layer.feed_forward.router(torch.randn(3, WIDTH))
        for given in (torch.ones(EXPERTS * 3, WIDTH), torch.ones(EXPERTS * 2, WIDTH)):
            with pytest.raises(
                UserError, match="Llama4TextExperts: its experts are given tokens that are not routed to"
            ):
                layer.feed_forward.experts(given)
    listener.remove()


def test_what_is_not_of_this_kind() -> None:
    assert runs_for_every_token(layer_of().feed_forward.experts)
    assert not runs_for_every_token(layer_of("mixtral").mlp.experts)
    assert not runs_for_every_token(nn.Linear(3, 3))
    for name, weight in (
        ("gate_up_proj", torch.zeros(EXPERTS, WIDTH, SIZE)),  # another number of neurons than the second matrices
        ("down_proj", torch.zeros(EXPERTS, SIZE, WIDTH + 1)),
        ("down_proj", torch.zeros(SIZE, WIDTH)),
    ):
        experts = layer_of().feed_forward.experts
        setattr(experts, name, nn.Parameter(weight))
        assert not runs_for_every_token(experts), name
    experts = layer_of().feed_forward.experts
    experts.forward = lambda hidden: hidden @ experts.down_proj[0].T
    assert not runs_for_every_token(experts)
    layer = layer_of()
    layer.feed_forward.chooser = layer.feed_forward.router
    del layer.feed_forward.router
    with pytest.raises(UserError, match=r"^m: the router of its experts was not found"):
        find_mixture(layer, WIDTH, "m")


def test_how_they_are_computed_is_said() -> None:
    chosen = implementation(layer_of().feed_forward.experts)
    assert chosen == "bmm"
    assert describe_implementation(chosen, None).startswith("its experts all run for every token")
