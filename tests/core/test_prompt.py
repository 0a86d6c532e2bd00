"""A prompt: a store's model on a text, against Hugging Face's own forward pass."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import reference_forward as fwd
import tiny_models as tm
import torch
from exact import run
from prompt_store import collect, collect_rules

from ffnscope.core.corpus.sources import DomainSource
from ffnscope.core.model.experts import RoutedRows
from ffnscope.core.prompt import PromptModel, _keepers
from ffnscope.core.run.model import load_run_model, open_run_model
from ffnscope.store.errors import UserError
from ffnscope.store.reader import Store


@pytest.fixture(scope="module")
def rules(tmp_path_factory):
    return collect_rules(tmp_path_factory.mktemp("rules"))


def load(path):
    with Store.open(path) as store:
        return PromptModel.load(store.run)


@pytest.mark.parametrize("family", ["opt", "opt350", "gpt2", "llama", "gemma3", "gptj"])
def test_activations_are_those_of_the_ordinary_forward_pass(family, tmp_path):
    folder = tm.tiny(family, tmp_path, tokenizer=True)
    model = load(collect(folder, tmp_path / "data", 16))
    result = model.run("the school of music and water and the word5")
    ids = result.tokens
    assert ids[0] == tm.BOS_ID and len(ids) == 10 and not result.left_out
    reference = fwd.forward_all(fwd.load_model(folder), ids[None])
    assert result.layers == tuple(range(len(reference)))
    for layer, (before, after) in enumerate(reference):
        assert result.active[layer].dtype == bool and result.values[layer].dtype == np.float32
        np.testing.assert_array_equal(result.active[layer], before[0] > 0)
        np.testing.assert_allclose(result.values[layer], np.where(before[0] > 0, after[0], 0), rtol=1e-5, atol=1e-6)


def test_a_window_of_the_corpus_gives_the_activations_in_the_store(rules):
    path, _ = rules
    with Store.open(path) as store:
        model = PromptModel.load(store.run)
        window = store.window(3)
        result = model.run(" ".join(store.vocabulary.texts(window[1:].tolist())))
        np.testing.assert_array_equal(result.tokens, window)
        checked = 0
        for layer in store.layers():
            for neuron in store.iterate(layer):
                for context in (*neuron.strongest, *neuron.drawn):
                    if context.window == 3:
                        assert result.active[layer][context.position, neuron.neuron]
                        checked += 1
        assert checked


def test_neurons_fire_where_their_rules_say(rules):
    path, expected = rules
    result = load(path).run("the of and to in is was for that on the of")
    for layer, of_layer in enumerate(expected):
        for neuron, rule in enumerate(of_layer):
            fires = rule.fires(result.tokens[None])[0]
            np.testing.assert_array_equal(result.active[layer][:, neuron], fires, err_msg=f"L{layer}N{neuron}")


def test_only_the_collected_layers_are_run(tmp_path):
    folder = tm.tiny("opt", tmp_path, tokenizer=True)
    result = load(collect(folder, tmp_path / "data", 16, layers="1")).run("the school")
    assert result.layers == (1,)


def test_a_text_longer_than_the_window_is_said(rules):
    model = load(rules[0])
    result = model.run(" ".join(["the"] * 40))
    assert len(result.tokens) == 16 and result.left_out == 25
    fitting = model.run(" ".join(["the"] * 15))
    assert len(fitting.tokens) == 16 and fitting.left_out == 0
    np.testing.assert_array_equal(fitting.active[0], result.active[0])


def test_windows_without_bos_get_none(tmp_path):
    folder = tm.tiny("opt", tmp_path)
    tm.tiny_tokenizer(folder, vocab=tm.words(61), bos=False, eos=False)
    result = load(collect(folder, tmp_path / "data", 8)).run(" ".join(["the"] * 9))
    assert len(result.tokens) == 8 and result.left_out == 1 and tm.BOS_ID not in result.tokens


def test_an_empty_text_is_refused(rules):
    with pytest.raises(UserError, match="no tokens"):
        load(rules[0]).run("   ")


def test_a_model_that_is_not_here_is_said(rules, tmp_path):
    with Store.open(rules[0]) as store:
        run = store.run
    gone = replace(run, settings=run.settings | {"model_path": str(tmp_path / "gone")})
    with pytest.raises(UserError, match="not on this machine"):
        PromptModel.load(gone)
    # A hub id is looked for in the cache only: this test would hang or fail on a machine without network otherwise.
    with pytest.raises(UserError, match="not on this machine"):
        PromptModel.load(replace(run, settings=run.settings | {"model_path": "nobody/nothing-of-the-kind"}))
    with pytest.raises(UserError, match="does not record"):
        PromptModel.load(replace(run, settings={}))


def test_another_model_in_its_place_is_refused(tmp_path):
    folder = tm.tiny("opt", tmp_path, tokenizer=True)
    path = collect(folder, tmp_path / "data", 16)
    other = tm.tiny("opt", tmp_path / "other", seed=1, tokenizer=True)
    with Store.open(path) as store:
        run = replace(store.run, settings=store.run.settings | {"model_path": str(other)})
    with pytest.raises(UserError, match="not the model that this store was collected from"):
        PromptModel.load(run)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "own.Model"}}))
    with Store.open(path) as store, pytest.raises(UserError, match="has custom code, which is not run here"):
        open_run_model(store.run)


def test_a_store_that_says_another_shape_than_its_model_is_refused(rules):
    with Store.open(rules[0]) as store:
        run = store.run
    wrong = replace(run, model=replace(run.model, layers=run.model.layers + 1))
    with pytest.raises(UserError, match="unlike the store"):
        load_run_model(wrong)


def test_a_model_without_a_tokenizer_is_refused(tmp_path):
    folder = tm.tiny("opt", tmp_path)
    np.save(tmp_path / "w.npy", np.arange(48).reshape(6, 8) % tm.VOCAB)
    path = run(folder, (DomainSource("w", tmp_path / "w.npy"),), tmp_path / "s.ffn")
    with pytest.raises(UserError, match="no tokenizer"):
        load(path)


def test_two_texts_at_once_get_numbers_of_their_own(rules):
    model = load(rules[0])
    texts = ["the of and to in is", "was for that on the of", "to in", "and is was for"] * 4
    alone = [model.run(text) for text in texts]
    with ThreadPoolExecutor(4) as pool:
        for one, other in zip(pool.map(model.run, texts), alone, strict=True):
            np.testing.assert_array_equal(one.tokens, other.tokens)
            for layer in other.layers:
                np.testing.assert_array_equal(one.active[layer], other.active[layer])
                np.testing.assert_array_equal(one.values[layer], other.values[layer])


def test_a_text_that_nobody_waits_for_is_given_up_between_layers(rules):
    model = load(rules[0])
    whole = model.run("the of and")
    asked = iter((False, True))
    assert model.run("the of and", lambda: next(asked)) is None
    after = model.run("the of and")
    for layer in whole.layers:
        np.testing.assert_array_equal(after.active[layer], whole.active[layer])


def test_a_tokenizer_that_does_not_fit_the_model_is_said(rules):
    model = load(rules[0])
    small = replace(model.run_info.model, vocabulary=4)
    model.run_info = replace(model.run_info, model=small)
    with pytest.raises(UserError, match=r"token id \d+ is outside the model's vocabulary"):
        model.run("the of and to in is")


@pytest.mark.parametrize("small", [True, False])
def test_little_work_takes_one_thread_and_much_all(rules, small, monkeypatch):
    model, before = load(rules[0]), torch.get_num_threads()
    monkeypatch.setattr("ffnscope.core.prompt.SMALL_WORK", np.inf if small else 0)
    torch.set_num_threads(2)
    try:
        with model._alone(3):
            assert torch.get_num_threads() == (1 if small else 2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("thresholds", [None, torch.linspace(0, 2, 14)])
def test_routed_experts_fill_the_last_columns_of_their_tokens(thresholds):
    """Two neurons of a shared expert, then three experts of four."""
    rng = np.random.default_rng(0)
    active, values = np.zeros((5, 14), bool), np.zeros((5, 14), np.float32)
    before, after, a = (torch.from_numpy(rng.standard_normal((10, 4)).astype(np.float32)) for _ in range(3))
    tokens, experts = torch.arange(10) // 2, torch.tensor([0, 1, 2, 1, 0, 2, 1, 2, 0, 1])
    _keepers(active, values, thresholds)[1](RoutedRows(before, after, a, tokens, experts, 3))
    expected = np.zeros((5, 14), np.float32)
    for row in range(10):
        columns = slice(2 + 4 * experts[row], 6 + 4 * experts[row])
        on = before[row] > 0 if thresholds is None else a[row].abs() >= thresholds[columns]
        expected[tokens[row], columns] = torch.where(on, after[row] if thresholds is None else a[row], 0)
    assert np.array_equal(values, expected) and np.array_equal(active, expected != 0) and active.any()
