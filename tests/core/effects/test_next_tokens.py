"""Next-token distributions in short, and how they change."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import reference_forward as fwd
import tiny_models as tm
import torch

from ffnscope.core.effects.next_tokens import compare, few_logits, final_states, next_tokens, predict
from ffnscope.core.model.layered import LayeredModel


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    made = LayeredModel(fwd.load_model(tm.tiny("opt", tmp_path_factory.mktemp("next"))), "opt", torch.device("cpu"))
    made.prepare(torch.zeros(1, 2, dtype=torch.int64))
    return made


@pytest.fixture(scope="module")
def tokens():
    return tm.random_windows(np.random.default_rng(5), 1, 24, tm.VOCAB, 0)[0]


def test_a_prediction_is_the_distribution_in_short(model, tokens):
    shares = np.exp(next_tokens(model, tokens).astype(np.float64))
    found = predict(model, final_states(model, tokens), tokens)
    assert found.top.shape == found.top_probability.shape == (24, 10)
    for k in range(24):
        order = np.argsort(-shares[k], kind="stable")
        np.testing.assert_allclose(found.top_probability[k], shares[k][order[:10]], rtol=1e-4)
        np.testing.assert_allclose(shares[k][found.top[k]], found.top_probability[k], rtol=1e-4)
        assert found.entropy[k] == pytest.approx(-(shares[k] * np.log(shares[k])).sum(), rel=1e-4)
        if k < 23:
            assert found.next_probability[k] == pytest.approx(shares[k, tokens[k + 1]], rel=1e-4)
            assert found.next_rank[k] == (shares[k] > shares[k, tokens[k + 1]]).sum() + 1
    assert np.isnan(found.next_probability[23]) and found.next_rank[23] == 0


def test_a_change_is_what_differs(model, tokens):
    taken = [(1, 7), (0, 4)]
    before, after = (np.exp(next_tokens(model, tokens, each).astype(np.float64)) for each in ((), taken))
    states = final_states(model, tokens), final_states(model, tokens, taken)
    found = compare(model, *states, tokens, taken)
    assert found.taken == ((0, 4), (1, 7))
    np.testing.assert_allclose(found.kl, (before * np.log(before / after)).sum(1), atol=1e-5)
    assert found.kl.max() > 1e-3
    rows = np.arange(24)[:, None]
    np.testing.assert_allclose(found.top_after, after[rows, found.before.top], rtol=1e-4)
    moved = after - before
    np.testing.assert_allclose(found.rose_by, (-np.sort(-moved, axis=1)[:, :10]).clip(min=0), atol=1e-6)
    np.testing.assert_allclose(found.fell_by, -np.sort(moved, axis=1)[:, :10].clip(max=0), atol=1e-6)
    np.testing.assert_allclose(moved[rows, found.rose].clip(min=0), found.rose_by, atol=1e-6)
    np.testing.assert_allclose(found.after.top_probability, -np.sort(-after, axis=1)[:, :10], rtol=1e-4)


def test_taking_nothing_or_the_dead_away_changes_nothing(model, tokens):
    states = final_states(model, tokens)
    for taken in ([], [(0, 0), (2, 0)]):
        found = compare(model, states, final_states(model, tokens, taken), tokens, taken)
        assert (found.kl == 0).all() and (found.rose_by == 0).all() and (found.fell_by == 0).all()


def test_what_nobody_waits_for_ends(model, tokens):
    ran = []
    handle = model.layer(1).register_forward_hook(lambda *_: ran.append(1))
    final_states(model, tokens, unwanted=lambda: True)
    handle.remove()
    assert not ran


def test_what_is_known_already_is_not_computed_again(model, tokens, monkeypatch):
    entering: dict[int, torch.Tensor] = {}
    before = final_states(model, tokens, entering=entering)
    assert sorted(entering) == [0, 1, 2]
    ran = []
    handles = [model.layer(i).register_forward_hook(lambda *_, i=i: ran.append(i)) for i in range(3)]
    after = final_states(model, tokens, [(1, 7), (2, 3)], entering=entering)
    for handle in handles:
        handle.remove()
    assert ran == [1, 2]
    assert torch.equal(after, final_states(model, tokens, [(1, 7), (2, 3)]))
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules[few_logits.__module__], "KEPT_LOGITS", 1)
        assert few_logits(model, before) is None
    logits = few_logits(model, before)
    found = compare(model, before, after, tokens, [(1, 7)], logits)
    plain = compare(model, before, after, tokens, [(1, 7)])
    np.testing.assert_array_equal(found.kl, plain.kl)
    np.testing.assert_array_equal(predict(model, before, tokens, logits).top, predict(model, before, tokens).top)
