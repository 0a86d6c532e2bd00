"""The models that tests are made with: rules fire as told, families are what the tables say, files hold the same."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference as ref
import reference_forward as fwd
import tiny_models as tm
import torch
from rule_model import default_rules, expected_active, rule_model
from transformers import AutoTokenizer

LN2 = math.log(2)


@pytest.mark.parametrize(("vocab", "seq_len", "bos_id"), [(16, 8, 0), (24, 32, None), (64, 24, 0)])
def test_rule_model_fires_by_its_rules(tmp_path: Path, vocab: int, seq_len: int, bos_id: int | None) -> None:
    rng = np.random.default_rng(1)
    folder, layers = rule_model(tmp_path / "rules", vocab, seq_len, default_rules(vocab, seq_len, bos_id))
    windows = np.concatenate(
        [tm.random_windows(rng, 30, seq_len, vocab, bos_id), rng.integers(3, 6, (10, seq_len), dtype=np.int64)]
    )
    model = fwd.load_model(folder)
    for rules, (pre, post) in zip(layers, fwd.forward_all(model, windows), strict=True):
        expected = expected_active(rules, windows)
        assert ((pre > 0) == expected).all()
        assert ((post > 0) == expected).all()
        assert pre[expected].min() > 0.45
        assert pre[~expected].max() < -0.25


def test_rule_model_kinds_and_suppression(tmp_path: Path) -> None:
    V, T, S = 16, 16, 400
    rules = default_rules(V, T)
    folder, _ = rule_model(tmp_path / "rules", V, T, rules)
    p = np.full(V, 0.05)
    p[[0, 3, 4, 5]] = [0.0, 0.15, 0.15, 0.1]
    windows = np.random.default_rng(2).choice(V, size=(S, T), p=p)
    windows[:, 0] = 0
    model = fwd.load_model(folder)
    pre, post = fwd.forward_neurons(model, windows, 0)
    neurons = ref.layer_statistics(pre > 0, post, windows, [("all", 0, S)], 0)
    kinds = [neuron.kind for neuron in neurons]
    assert kinds[:20] == (
        ["token"] * 4 + ["other"] + ["bigram"] * 3 + ["trigram"] * 2 + ["positional"] * 5 + ["dead"]
        + ["other"] * 2 + ["positional"] * 2
    )  # fmt: skip
    for neuron, rule in zip(neurons[:4], rules, strict=False):
        assert {gram for gram, _, _ in neuron.detected} == {(t,) for t in rule.token or ()}
    assert [gram for gram, _, _ in neurons[5].detected] == [(3, 4)]
    assert [gram for gram, _, _ in neurons[8].detected] == [(3, 4, 5)]
    assert neurons[10].position_mi == pytest.approx(LN2, abs=1e-12)
    assert (neurons[19].unigrams_95, neurons[19].bos_activations) == (0, S)

    project = ref.projection(fwd.unembedding(model)[0], fwd.output_rows(model, 0))
    signs = [ref.trigger_projection(project[i], neurons[i].detected) < 0 for i in range(4)]  # type: ignore[operator]
    assert signs == [True, True, False, True]


def last_parent(model: Any, layer: int) -> Any:
    """The module that holds the last FFN projection."""
    path = fwd.MODULES[model.config.model_type].last.rpartition(".")[0]
    return fwd.layer_modules(model)[layer].get_submodule(path)


@pytest.mark.parametrize("family", tm.FAMILIES)
def test_neurons_are_where_the_table_says(family: str, tmp_path: Path) -> None:
    model = fwd.load_model(tm.tiny(family, tmp_path))
    windows = tm.random_windows(np.random.default_rng(0), 6, 16, tm.VOCAB, 0)
    taken = {}
    names = fwd.MODULES[model.config.model_type]
    for layer, module in enumerate(fwd.layer_modules(model)):
        module.get_submodule(names.last).register_forward_hook(
            lambda _, inputs, output, layer=layer: taken.update({layer: (inputs[0].clone(), output.clone())})
        )
    neurons = fwd.forward_all(model, windows)
    for layer, (pre, post) in enumerate(neurons):
        into, out = (t.detach().numpy().reshape(6, 16, -1) for t in taken[layer])
        last = fwd.layer_modules(model)[layer].get_submodule(names.last)
        bias = 0.0 if last.bias is None else last.bias.detach().numpy()
        np.testing.assert_allclose(into @ fwd.output_rows(model, layer) + bias, out, atol=2e-4, rtol=1e-3)
        assert pre.shape == post.shape == into.shape
        children = {name for name, _ in last_parent(model, layer).named_children()}
        gated = bool(children & {"gate_proj", "gate_up_proj"})
        assert np.array_equal(into, post) != gated
        assert (pre[..., 0] == 0).all()
        frequency = (pre > 0).mean((0, 1))
        assert frequency[0] == 0
        assert len(np.unique(frequency)) > 4
    E, project_out = fwd.unembedding(model)
    assert E.shape == (tm.VOCAB, 12 if family == "opt350" else tm.WIDTH)
    assert (project_out is not None) == (family == "opt350")


def test_statistics_of_a_whole_model(tmp_path: Path) -> None:
    model = fwd.load_model(tm.tiny("opt350", tmp_path))
    windows = tm.random_windows(np.random.default_rng(0), 6, 16, tm.VOCAB, 0)
    layers, projections = fwd.model_statistics(model, windows, [("all", 0, 6)], 0)
    assert len(layers) == len(projections) == tm.LAYERS
    for layer, (neurons, project) in enumerate(zip(layers, projections, strict=True)):
        pre, _ = fwd.forward_neurons(model, windows, layer)
        assert [n.activations for n in neurons] == (pre > 0).sum((0, 1)).tolist()
        # The head applied to an output row that went through the output projection is the same number.
        with torch.no_grad():
            rows = torch.from_numpy(fwd.output_rows(model, layer))
            logits = model.lm_head(model.model.decoder.project_out(rows)).numpy()
        np.testing.assert_allclose(project, logits, atol=1e-4)


@pytest.mark.parametrize("family", ["opt", "opt350", "llama_tied", "gemma3"])
def test_the_same_seed_gives_the_same_model_in_every_file_format(family: str, tmp_path: Path) -> None:
    windows = tm.random_windows(np.random.default_rng(0), 4, 16, tm.VOCAB, 0)
    plain = fwd.forward_all(fwd.load_model(tm.tiny(family, tmp_path)), windows)
    formats: list[dict[str, Any]] = [{"shards": True}, {"bin": True}]
    for options in formats:
        other = fwd.forward_all(fwd.load_model(tm.tiny(family, tmp_path, **options)), windows)
        assert all(np.array_equal(a[0], b[0]) for a, b in zip(plain, other, strict=True))
    other_seed = fwd.forward_all(fwd.load_model(tm.tiny(family, tmp_path, seed=1)), windows)
    assert not np.array_equal(plain[0][0], other_seed[0][0])


@pytest.mark.parametrize("hostile", [True, "bytes"])
def test_hostile_pieces_are_tokens(hostile: bool | str, tmp_path: Path) -> None:
    tm.tiny_tokenizer(tmp_path, hostile=hostile)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    for piece in tm.HOSTILE:
        ids = tokenizer.encode(piece, add_special_tokens=False)
        assert len(ids) == 1
        assert tokenizer.decode(ids) == piece
    text = "".join(np.random.default_rng(0).choice(tm.HOSTILE, 200))
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text
    assert sum(tokenizer.decode([i]) != "\ufffd" for i in range(len(tokenizer))) < len(tokenizer) - 3
