"""The token index finds the detectors that reading every neuron finds, strongest first, also while layers land."""

from __future__ import annotations

import sys
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import make_store
from synthetic_text import HOSTILE

from ffnscope.store.query.detector_index import TokenIndex, parse_search
from ffnscope.store.query.pattern import Pattern, matching_tokens
from ffnscope.store.reader import Store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = make_store(tmp_path_factory.mktemp("search") / "s.ffn", layers=3, neurons=160, hostile=True)
    with Store.open(path) as opened:
        opened.list = list(opened.iterate())
        yield opened


@pytest.fixture(scope="module")
def index(store):
    return TokenIndex(store)


def brute(store, fits):
    found = []
    for neuron in store.list:
        texts = {ngram: store.vocabulary.texts(ngram.tokens) for ngram in neuron.detected}
        hits = [n for n in neuron.detected if any(map(fits, texts[n])) or fits("".join(texts[n]))]
        if hits:
            whole = neuron.ngram_activations[neuron.order - 1]
            found.append((-sum(n.count for n in hits) / whole, -neuron.activations, neuron.layer, neuron.neuron, hits))
    return sorted(found, key=lambda each: each[:4])


def check(store, index, text, fits):
    expected = brute(store, fits)
    hits = index.search(text)
    assert [(h.layer, h.neuron) for h in hits] == [each[2:4] for each in expected]
    assert index.count(text) == len(expected)
    for hit, (matched, activations, layer, number, ngrams) in zip(hits, expected, strict=True):
        neuron = store.neuron(layer, number)
        assert [(n.tokens, n.count, n.total) for n in hit.tokens] == [(n.tokens, n.count, n.total) for n in ngrams]
        assert hit.matched == pytest.approx(-matched) and hit.activations == -activations
        assert hit.covered == pytest.approx(neuron.covered) and hit.order == neuron.order
        assert hit.detected == tuple("".join(store.vocabulary.texts(n.tokens)) for n in neuron.detected)
    return expected


@pytest.mark.parametrize(
    "text", ["school", " SCHOOL", "e", "[/]", "\x1b[31m", "\n", "<script>", '"', "ſchool", "l s", "a b"]
)
def test_part_of_a_token_finds_its_detectors(store, index, text):
    check(store, index, text, lambda token: text.casefold() in token.casefold())


@pytest.mark.parametrize(
    ("text", "token"), [('"school"', "school"), ('" School"', " School"), ('"\\n"', "\n"), ('","', ",")]
)
def test_quotes_find_the_whole_token(store, index, text, token):
    check(store, index, text, lambda each: each == token)


def test_the_store_holds_something_to_find(store, index):
    assert index.count("e") > 20 and 0 < index.count('" school"') < index.count("school")
    assert any(len(hit.tokens) < len(hit.detected) for hit in index.search("e"))
    assert sum(index.count(f'"{text}"') > 0 for text in HOSTILE if '"' not in text and "\\" not in text) > 5


def test_a_text_that_spans_the_tokens_of_an_ngram(store, index):
    hits = [hit for hit in index.search("e") if hit.order > 1]
    assert hits
    tokens = store.vocabulary.texts(hits[0].tokens[0].tokens)
    across = tokens[0][-1] + tokens[1][0]
    found = check(store, index, across, lambda token: across.casefold() in token.casefold())
    assert (hits[0].layer, hits[0].neuron) in [each[2:4] for each in found]


@given(st.text(alphabet='abcdefgst [/]\x1b漢"\\ş', max_size=3))
@settings(max_examples=60)
def test_any_text_can_be_searched(store, index, text):
    pattern = parse_search(text)
    if pattern.text:
        check(store, index, text, pattern.matches)
    else:
        assert index.search(text) == []


def test_a_limit_keeps_the_strongest(index):
    assert index.search("e", limit=5) == index.search("e")[:5]


@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_limit_is_of_the_detectors_of_an_order(index, order):
    every = [hit for hit in index.search("e") if hit.order == order]
    assert every and index.search("e", order=order) == every
    for limit in (0, 1, 3):
        assert index.search("e", limit, order) == every[:limit]
    assert index.search("", order=order) == []


def test_a_search_while_layers_land_finds_those_before_or_after(store):
    index = TokenIndex(store)
    landed = index._read[2]
    after = index.search("e")
    before = [hit for hit in after if hit.layer < 2]
    ended = threading.Event()
    failed: list[BaseException] = []

    def land() -> None:
        try:
            while not ended.is_set():
                index._read.pop(2)
                index._build()
                index._read[2] = landed
                index._build()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=land)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread.start()
    try:
        for _ in range(100):
            assert index.search("e") in (before, after) and index.count("e") in (len(before), len(after))
    finally:
        ended.set()
        thread.join()
        sys.setswitchinterval(interval)
    assert not failed and len(before) < len(after)


def test_one_quote_is_a_text_and_two_are_exact():
    assert parse_search('"') == Pattern('"') and parse_search('"a') == Pattern('"a') and parse_search('""').exact
    assert parse_search('"a\\"') == Pattern('"a\\"')
    assert parse_search('" a "') == Pattern(" a ", exact=True)


def test_tokens_that_are_absent_never_match(store):
    found = matching_tokens(store.vocabulary, Pattern(""))
    assert found[:-1].all() and not found[-1]


def test_layers_that_land_later_are_found(tmp_path):
    path = make_store(tmp_path / "s.ffn", layers=4, neurons=64, complete=False)
    with Store.open(path) as store:
        index = TokenIndex(store)
        assert index.layers == (0, 1) and not index.refresh()
        index._read.pop(1)
        index._build()
        before = index.count("e")
        assert index.refresh() and index.layers == (0, 1) and index.count("e") > before


def test_a_store_without_layers_has_no_detectors(tmp_path):
    path = make_store(tmp_path / "s.ffn", layers=2, neurons=16, complete=False, written=0)
    with Store.open(path) as store:
        assert TokenIndex(store).search("e") == [] and TokenIndex(store).detectors == 0
