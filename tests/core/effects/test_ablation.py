"""`ablate` over a store: every number of a row against the definitions, computed plainly."""

from __future__ import annotations

import math
import os
from dataclasses import replace

import hooked
import numpy as np
import pytest
import reference_forward as fwd
import tiny_models as tm
import torch
from exact import run, sources_of
from synthetic import make_store
from tiny_experts import tiny_experts

import ffnscope.store
from ffnscope.core.effects import ablate
from ffnscope.core.effects.ablation import Experiment
from ffnscope.core.effects.causal import _direct, causal_effects, token_detectors
from ffnscope.core.effects.rows import COLUMNS, ORIGIN, EffectFile, Origin, header, line
from ffnscope.core.effects.triggers import Triggers
from ffnscope.core.effects.windows import chosen_windows, kept_windows, window_of_text, windows_of_files
from ffnscope.core.model.layered import LayeredModel
from ffnscope.core.run.model import load_run_model
from ffnscope.store.errors import UserError

V, T, S, BOS = 24, 16, 60, 0


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store of a model whose neurons fire by rules, its windows, and the model."""
    folder = tmp_path_factory.mktemp("ablation")
    model, _ = tm.rule_model(folder / "model", V, T, tm.default_rules(V, T))
    often = np.full(V, 0.02)
    often[[3, 4, 5]] = 0.25, 0.2, 0.13  # so that trigrams of them occur
    windows = np.random.default_rng(7).choice(V, (S, T), p=often / often.sum()).astype(np.int64)
    windows[:, 0] = BOS
    path = run(model, sources_of(folder, {"data": windows}), folder / "s.ffn", keep="40", bos_id=BOS, min_occurrences=2)
    kept = windows[np.arange(40) * S // 40]
    return path, kept, fwd.load_model(model)


def expected(plain, kept, tokens, keys, mode, detected):
    """A row's numbers by the definitions, from plain hooked runs."""
    chosen = min(len(kept), math.ceil(tokens / T))
    tested = kept[[i * len(kept) // chosen for i in range(chosen)]]
    values = hooked.neuron_values(plain, kept)
    inputs = fwd.forward_all(plain, kept)
    routed = {(layer, n): (kept != BOS) & ~np.isneginf(inputs[layer][0][..., n]) for layer, n in keys}
    means = {key: values[key[0]][..., key[1]][routed[key]].mean() if routed[key].any() else 0.0 for key in keys}
    before = hooked.logits(plain, tested)
    after = hooked.logits(plain, tested, means if mode == "mean" else dict.fromkeys(keys, 0.0))
    delta = hooked.losses(after, tested) - hooked.losses(before, tested)
    own = np.take_along_axis((after - before).numpy(), tested[..., None], 2)[:, :-1, 0]
    pre = fwd.forward_all(plain, tested)
    each_active = {(layer, n): pre[layer][0][:, :-1, n] > 0 for layer, n in keys}
    active = np.any(list(each_active.values()), axis=0)
    triggered = np.zeros_like(active)
    for key in keys:
        for w in range(chosen):
            for k in range(T - 1):
                grams = {tuple(tested[w, k - n + 1 : k + 1].tolist()) for n in (1, 2, 3) if k - n + 1 >= 0}
                triggered[w, k] |= bool(each_active[key][w, k] and grams & detected[key])
    windows_means = delta.mean(axis=1)
    margin = 1.96 * windows_means.std(ddof=1) / math.sqrt(chosen)
    return {
        "positions": delta.size,
        "active_positions": int(active.sum()),
        "delta_loss": delta.mean(),
        "delta_loss_low": delta.mean() - margin,
        "delta_loss_high": delta.mean() + margin,
        "delta_loss_active": delta[active].mean() if active.any() else math.nan,
        "trigger_positions": int(triggered.sum()),
        "delta_trigger_logit": own[triggered].mean() if triggered.any() else math.nan,
        "changed": (np.abs(delta) > 1e-6).mean(),
    }


def check(effect, wanted):
    for name, value in wanted.items():
        # A loss near the border of 1e-6 may fall on either side of it.
        slack = 0.03 if name == "changed" else 1e-5
        assert getattr(effect, name) == pytest.approx(value, abs=slack, nan_ok=True), (effect.neurons, name)


@pytest.mark.parametrize("mode", ["zero", "mean"])
def test_every_number_is_that_of_the_definitions(made, mode):
    path, kept, plain = made
    with ffnscope.store.open(path) as store:
        every = [(0, n) for n in range(store.run.model.neurons)]
        kinds = store.table(0, ["kind"])["kind"].tolist()
        assert {"token", "bigram", "trigram", "dead", "positional"} <= set(kinds)
        keys = [next(key for key in every if kinds[key[1]] == kind) for kind in dict.fromkeys(kinds)]
        detected = {key: {ngram.tokens for ngram in store.neuron(*key).detected} for key in keys}
        found = list(ablate(store, keys[::-1], mode=mode, tokens=300))
        assert [effect.neurons for effect in found] == [(key,) for key in sorted(keys)]
        for effect in found:
            check(effect, expected(plain, kept, 300, effect.neurons, mode, detected))
        dead = next(effect for effect in found if kinds[effect.neuron] == "dead")
        assert (dead.delta_loss, dead.delta_loss_low, dead.changed, dead.active_positions) == (0, 0, 0, 0)
        (all_of_them,) = ablate(store, keys, mode=mode, together=True)
        check(all_of_them, expected(plain, kept, 65_536, tuple(sorted(keys)), mode, detected))
        assert all_of_them.layer is None and all_of_them.neuron is None


def test_tested_windows_are_spread_evenly():
    assert chosen_windows(40, 16, 300).tolist() == [i * 40 // 19 for i in range(19)]
    assert chosen_windows(5, 16, 10_000).tolist() == [0, 1, 2, 3, 4]
    assert chosen_windows(5, 16, 1).tolist() == [0]


def test_intervals_need_two_windows(made):
    with ffnscope.store.open(made[0]) as store:
        (effect,) = ablate(store, [(0, 0)], tokens=T)
        assert effect.positions == T - 1 and math.isnan(effect.delta_loss_low) and not math.isnan(effect.delta_loss)


@pytest.mark.parametrize(
    ("neurons", "options", "says"),
    [
        ([(7, 0)], {}, "no layer 7"),
        ([(0, 10_000)], {}, "no neuron 10000"),
        ([(0, -1)], {}, "no neuron -1"),
        ([], {}, "no neurons"),
        ([(0, 0)], {"mode": "one"}, "known are zero, mean"),
        ([(0, 0)], {"batch_size": 0}, "must be at least 1"),
    ],
)
def test_what_cannot_be_taken_away(made, neurons, options, says):
    with ffnscope.store.open(made[0]) as store, pytest.raises(UserError, match=says):
        list(ablate(store, neurons, **options))


def test_thresholds_say_where_a_neuron_is_activated(tmp_path):
    model = tm.tiny("llama", tmp_path)
    windows = tm.random_windows(np.random.default_rng(4), 24, T, tm.VOCAB, BOS)
    path = run(
        model, sources_of(tmp_path, {"data": windows}), tmp_path / "s.ffn", keep="8", bos_id=BOS, activated="share:0.1"
    )
    with ffnscope.store.open(path) as store:
        tested = store.kept.tokens.astype(np.int64)
        values = hooked.neuron_values(fwd.load_model(model), tested)
        for effect in ablate(store, [(0, 3), (2, 7)]):
            (layer, neuron) = effect.neurons[0]
            threshold = store.column(layer, "threshold")[neuron]
            active = np.abs(values[layer][:, :-1, neuron]) >= threshold
            assert 0 < effect.active_positions < active.size
            assert abs(effect.active_positions - int(active.sum())) <= 1  # rounding at the threshold itself


@pytest.mark.parametrize(("kind", "mode"), [("qwen2_moe", "zero"), ("gpt_oss", "mean"), ("llama4_text", "mean")])
def test_neurons_of_experts(kind, mode, tmp_path):
    """Of a shared expert, of a dense layer, and of routed experts, one at a time and together."""
    model = tiny_experts(kind, tmp_path)
    windows = tm.random_windows(np.random.default_rng(4), 12, T, tm.VOCAB, BOS)
    path = run(model, sources_of(tmp_path, {"data": windows}), tmp_path / "s.ffn", keep="8", bos_id=BOS)
    plain, kept = fwd.load_model(model), windows[np.arange(8) * 12 // 8]
    with ffnscope.store.open(path) as store:
        keys = [(0, 3), (0, store.neurons(0) - 5), (1, 7), (1, store.neurons(1) - 9), (2, store.neurons(2) // 2)]
        detected = {key: {ngram.tokens for ngram in store.neuron(*key).detected} for key in keys}
        for effect in ablate(store, keys, mode=mode, batch_size=3):
            check(effect, expected(plain, kept, 65_536, effect.neurons, mode, detected))
        (all_of_them,) = ablate(store, keys, mode=mode, together=True, batch_size=3)
        assert all_of_them.changed > 0.3
        check(all_of_them, expected(plain, kept, 65_536, tuple(keys), mode, detected))


def test_a_model_with_fewer_neurons_than_the_store_is_refused(made, tmp_path):
    small = LayeredModel(fwd.load_model(tm.tiny("opt", tmp_path, ffn_dim=8)), "small", torch.device("cpu"))
    with ffnscope.store.open(made[0]) as store, pytest.raises(UserError, match="L0N9: layer 0 has neurons 0 to 7"):
        list(ablate(store, [(0, 9)], model=small))


def test_text_that_cannot_be_tested_is_refused(made, tmp_path):
    (tmp_path / "a.txt").write_text("some text")
    tokenizer = tm.tiny_tokenizer(tmp_path / "tokenizer", vocab=tm.words(61))
    ((last, _),) = [(word, token) for word, token in tokenizer.get_vocab().items() if token == len(tokenizer) - 1]
    with ffnscope.store.open(made[0]) as store:
        for work, says in (
            (lambda: windows_of_files(store, tmp_path / "a.txt", None), "a.txt: the model has no tokenizer; give .npy"),
            (lambda: window_of_text(store, "some text", None), "--text: the model has no tokenizer"),
            (lambda: window_of_text(store, last, tokenizer), "--text: token id 63 is outside the model's vocabulary"),
            (lambda: window_of_text(store, "", tokenizer), "--text: has no two tokens"),
        ):
            with pytest.raises(UserError, match=says):
                work()
        one = replace(store.run, corpus=replace(store.run.corpus, seq_len=1, bos_id=None))
        np.save(tmp_path / "w.npy", np.ones((4, 1), np.int64))
        store.run = one
        with pytest.raises(UserError, match="windows of one token leave no next token to predict"):
            windows_of_files(store, tmp_path / "w.npy", None)


def test_a_store_without_layers_has_nothing_to_take_away(tmp_path):
    with ffnscope.store.open(make_store(tmp_path / "s.ffn", neurons=16, complete=False, written=0)) as store:
        assert Triggers(store).ngrams(1, 0).shape == (0, 1)
        with pytest.raises(UserError, match="no layer is finished yet, so there is no neuron to take away"):
            causal_effects(store, None, None)


def test_direct_effects_of_detectors_do_not_depend_on_the_batches(made):
    """Of one window at a time, some have no detected token."""
    with ffnscope.store.open(made[0]) as store:
        model, windows = load_run_model(store.run), kept_windows(store)
        keys = token_detectors(store)[0]
        masks = {key: Experiment(store, model, windows, [key]).triggered(key).any(axis=1) for key in keys}
        singles = [min(keys, key=lambda key: int(masks[key].sum()))]
        assert not masks[singles[0]].all()
        detectors = {0: singles, 1: []}
        found = [_direct(Experiment(store, model, windows, singles, "zero", size), detectors)[0] for size in (1, 40)]
    assert found[0].keys() == found[1].keys() == set(singles)
    for key in singles:
        assert found[0][key] == pytest.approx(found[1][key], abs=1e-5)


def test_rows_are_appended_to_a_pipe_too(tmp_path, made):
    os.mkfifo(tmp_path / "pipe")
    reading = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with ffnscope.store.open(made[0]) as store:
        (effect,) = ablate(store, [(0, 3)], tokens=T)
        origin = Origin.of(store, kept_windows(store, T))
    with EffectFile(tmp_path / "pipe", "csv", "zero", origin) as file:
        file.append(effect)
    assert os.read(reading, 1 << 16).decode() == header("csv", (*COLUMNS, *ORIGIN)) + line(effect, "csv", origin=origin)
    os.close(reading)
