"""Neurons that fire by a known rule: the store says what the rule says, and the detectors found are the rules."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import reference as ref
from exact import compare, run, sources_of
from rule_model import Rule, default_rules, expected_active, rule_model
from tiny_models import BOS_ID

from ffnscope.store.reader import Store

V, T = 16, 16
RULES = [*default_rules(V, T), Rule(token=frozenset({14}))]


def windows(S: int, seed: int) -> np.ndarray:
    """Windows [S, T] with BOS first and, now and then, inside; rule tokens are frequent, and 14 opens windows only."""
    rng = np.random.default_rng(seed)
    p = np.full(V, 0.05)
    p[[0, 3, 4, 5, 14]] = [0.01, 0.2, 0.19, 0.1, 0.0]
    found = rng.choice(V, size=(S, T), p=p / p.sum())
    found[:, 1:4][rng.random((S, 3)) < 0.8] = 14
    found[:, 0] = BOS_ID
    return found


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[list[Rule]]]:
    """The rule model, and the rules of its two layers."""
    return rule_model(tmp_path_factory.mktemp("rules") / "model", V, T, RULES)


@pytest.fixture(scope="module")
def collected(
    model: tuple[Path, list[list[Rule]]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, np.ndarray]:
    """A store of two counted domains and a count-only one, in which tokens follow each other otherwise."""
    folder = tmp_path_factory.mktemp("collected")
    domains = {"one": windows(110, 1), "two": windows(70, 2), "other": 3 + (windows(40, 3) + 1) % 5}
    store = run(model[0], sources_of(folder, domains, ["other"]), folder / "run.ffn", bos_id=BOS_ID, batch_size=17)
    return store, np.concatenate(list(domains.values()))


def test_the_store_says_what_the_rules_say(
    model: tuple[Path, list[list[Rule]]], collected: tuple[Path, np.ndarray]
) -> None:
    folder, rules = model
    store, tokens = collected
    met = compare(store, folder, tokens, expected=lambda layer: expected_active(rules[layer], tokens))
    assert set(met.kinds) == {"dead", "token", "bigram", "trigram", "positional", "other"}
    assert met.positional_detectors > 0
    assert met.on_bos > 0


def triggers(rule: Rule) -> set[ref.Gram]:
    """The n-grams of a rule on one, two or three consecutive tokens."""
    places = [each for each in (rule.before, rule.previous, rule.token) if each is not None]
    return {gram for gram in product(*places) if BOS_ID not in gram}


def test_the_detectors_found_are_the_rules(
    model: tuple[Path, list[list[Rule]]], collected: tuple[Path, np.ndarray]
) -> None:
    counted = list(range(180))
    N = {n: ref.occurrences(collected[1], n, BOS_ID, counted) for n in (1, 2, 3)}
    orders = [1] * 4 + [0] + [2] * 3 + [3] * 2
    with Store.open(collected[0]) as store:
        for layer, rules in enumerate(model[1]):
            for rule, order in zip(RULES, orders, strict=False):
                neuron = store.neuron(layer, rules.index(rule))
                assert neuron.order == order
                found = {ngram.tokens for ngram in neuron.detected}
                if not order:
                    assert not found
                    continue
                assert found == {gram for gram in triggers(rule) if N[neuron.order][gram] >= 5}
                assert all(ngram.count == ngram.total == N[neuron.order][ngram.tokens] for ngram in neuron.detected)
                assert neuron.covered >= 0.95
                # The output rows of the first and third rules were made to lower and to raise their triggers.
                if rule in (RULES[0], RULES[2]):
                    assert neuron.suppresses_triggers == (rule is RULES[0])


def test_what_no_rule_fires_is_dead_and_bos_is_apart(
    model: tuple[Path, list[list[Rule]]], collected: tuple[Path, np.ndarray]
) -> None:
    store_path, tokens = collected
    with Store.open(store_path) as store:
        dead = store.neuron(0, 15)
        assert (dead.kind, dead.activations, dead.frequency, dead.max_activation) == ("dead", 0, 0.0, None)
        assert not dead.strongest and not dead.drawn and not dead.curve.any()
        always, no_bos, bos = store.neuron(0, 16), store.neuron(0, 18), store.neuron(0, 19)
        assert always.activations == tokens.size and always.frequency == 1.0
        assert always.bos_activations == bos.activations == bos.bos_activations == (tokens == BOS_ID).sum()
        assert no_bos.bos_activations == 0 and no_bos.activations == (tokens != BOS_ID).sum()
        assert bos.ngram_activations == (0, 0, 0) == (bos.unigrams_95, bos.bigrams_95, bos.trigrams_95)
        assert store.neuron(0, 10).position_mi == pytest.approx(np.log(2), abs=1e-6)


def test_a_neuron_alive_in_a_count_only_domain_alone(model: tuple[Path, list[list[Rule]]], tmp_path: Path) -> None:
    counted = windows(40, 4)
    counted[counted == 3] = 9
    other = windows(30, 5)
    store = run(
        model[0],
        sources_of(tmp_path, {"counted": counted, "other": other}, ["other"]),
        tmp_path / "run.ffn",
        bos_id=BOS_ID,
        batch_size=16,
    )
    with Store.open(store) as opened:
        neuron = opened.neuron(0, 0)
        assert neuron.activations == (other == 3).sum() > 0
        assert neuron.kind == "other"
        assert neuron.domain_frequencies[0][1] == 0.0 < neuron.domain_frequencies[1][1]
        assert neuron.ngram_activations == neuron.ngrams_distinct == (0, 0, 0)
        assert not neuron.curve.any() and neuron.position_mi == 0.0
        assert not neuron.strongest and not neuron.drawn and not any(neuron.top_ngrams)
        assert neuron.max_activation is not None
    compare(store, model[0], np.concatenate([counted, other]))


@pytest.mark.parametrize(("hits", "detects"), [(95, True), (94, False)])
def test_ninety_five_in_a_hundred_and_not_ninety_four(hits: int, detects: bool, tmp_path: Path) -> None:
    """A token that fires the neuron on 95 (94) of its 100 occurrences, by the token before it."""
    folder, _ = rule_model(tmp_path / "model", V, 4, [Rule(token=frozenset({7}), previous=frozenset({5, 6}))])
    tokens = np.full((100, 4), 9)
    tokens[:, 0] = BOS_ID
    tokens[:, 2] = 7
    tokens[:, 1] = np.where(np.arange(100) < hits, np.where(np.arange(100) % 2, 5, 6), 8)
    store = run(folder, sources_of(tmp_path, {"all": tokens}), tmp_path / "run.ffn", bos_id=BOS_ID, batch_size=30)
    with Store.open(store) as opened:
        neuron = opened.neuron(0, 0)
        assert neuron.activations == hits
        if detects:
            assert neuron.kind == "token"
            assert [(n.tokens, n.count, n.total) for n in neuron.detected] == [((7,), 95, 100)]
        else:
            assert neuron.kind == "bigram"
            assert {n.tokens for n in neuron.detected} == {(5, 7), (6, 7)}


@pytest.mark.parametrize(("others", "covers"), [(5, True), (6, False)])
def test_detected_tokens_account_for_95_percent(others: int, covers: bool, tmp_path: Path) -> None:
    """94 or 95 of a hundred activations on the token that is detected, the rest on one that seldom fires it."""
    rule = Rule(token=frozenset({7, 10}), previous=frozenset({5}))
    folder, _ = rule_model(tmp_path / "model", V, 4, [rule])
    tokens = np.full((200, 4), 9)
    tokens[:, 0] = BOS_ID
    tokens[: 100 - others, 1:3] = (5, 7)
    tokens[100 : 100 + others, 1:3] = (5, 10)
    tokens[100 + others :, 1:3] = (6, 10)
    store = run(folder, sources_of(tmp_path, {"all": tokens}), tmp_path / "run.ffn", bos_id=BOS_ID, batch_size=64)
    with Store.open(store) as opened:
        neuron = opened.neuron(0, 0)
        assert neuron.activations == 100
        assert (neuron.kind == "token") == covers
        assert neuron.unigrams_95 == (1 if covers else 2)


@pytest.mark.parametrize(("least", "found"), [(1, 2), (4, 2), (5, 1), (100, 1), (101, 0)])
def test_rare_tokens_are_not_detected(least: int, found: int, tmp_path: Path) -> None:
    folder, _ = rule_model(tmp_path / "model", V, 4, [Rule(token=frozenset({7, 10}))])
    tokens = np.full((104, 4), 9)
    tokens[:, 0] = BOS_ID
    tokens[:100, 2] = 7
    tokens[100:, 2] = 10
    store = run(
        folder,
        sources_of(tmp_path, {"all": tokens}),
        tmp_path / "run.ffn",
        bos_id=BOS_ID,
        min_occurrences=least,
    )
    with Store.open(store) as opened:
        assert len(opened.neuron(0, 0).detected) == found


@pytest.mark.parametrize(
    ("order", "kinds", "detects"),
    [(1, 5, True), (1, 6, False), (2, 21, True), (2, 22, False), (3, 52, True), (3, 53, False)],
)
def test_few_ngrams_of_each_order(order: int, kinds: int, detects: bool, tmp_path: Path) -> None:
    """So many n-grams, all alike frequent: 95% of 21 are 20, of 22 are 21, of 52 are 50, of 53 are 51. The shorter
    n-grams at their ends fire the neuron half of the time, and BOS before them leaves no longer ones."""
    ends = np.arange(10, 10 + kinds)
    contexts: list[list[int]] = {1: [[]], 2: [[7], [8]], 3: [[5, 7], [6, 7]]}[order]
    rule = Rule(
        token=frozenset(ends.tolist()),
        previous=frozenset({7}) if order > 1 else None,
        before=frozenset({5}) if order == 3 else None,
    )
    tokens = np.array([[BOS_ID, *context, end, 9] for context in contexts for end in ends.tolist() * 5])
    folder, _ = rule_model(tmp_path / "model", 70, tokens.shape[1], [rule])
    store = run(folder, sources_of(tmp_path, {"all": tokens}), tmp_path / "run.ffn", bos_id=BOS_ID)
    with Store.open(store) as opened:
        neuron = opened.neuron(0, 0)
        assert neuron.activations == kinds * 5
        assert neuron.order == (order if detects else 0)
        assert len(neuron.detected) == (kinds if detects else 0)
