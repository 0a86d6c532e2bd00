"""The neurons that come closest to detecting a token, against a plain look at every neuron."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from synthetic import make_store

from ffnscope.store import Store
from ffnscope.store import open as open_store
from ffnscope.store.errors import UserError
from ffnscope.store.query.detector_index import TokenIndex, parse_search
from ffnscope.store.query.trigger_index import TriggerIndex


@pytest.fixture(scope="module", params=[True, False], ids=["format 2", "without token sets"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    path = make_store(tmp_path_factory.mktemp("near") / "s.ffn", neurons=120, hostile=True, explained=request.param)
    with open_store(path) as opened:
        yield opened


def expected(store: Store, text: str) -> list[tuple[float, int, int, int]]:
    """(-f1, layer, neuron, token) of every neuron with a fitting token, best first."""
    pattern, totals, found = parse_search(text), store.unigram_totals(), []
    for neuron in store.iterate():
        scores = {}
        for token in neuron.token_set:
            if pattern.matches(store.vocabulary.text(token)):
                scores[token] = 0.0
        for ngram in neuron.top_ngrams[0]:
            (token,) = ngram.tokens
            if pattern.matches(store.vocabulary.text(token)):
                whole = int(totals[token]) + neuron.ngram_activations[0]
                scores[token] = 2 * ngram.count / whole
        if scores:
            best = max(scores.values())
            found.append((-best, neuron.layer, neuron.neuron, next(t for t in reversed(scores) if scores[t] == best)))
    return sorted(found)


@pytest.mark.parametrize("text", ["a", "e", '" the"', "the", "/^.a/", "/^ ?THE$/i", "/\\d|[)]/", "no such text"])
def test_the_closest_come_first(store: Store, text: str) -> None:
    index = TriggerIndex(store)
    index.refresh()
    assert index.layers == store.layers()
    rows = expected(store, text)
    assert index.search("", 3) == TriggerIndex(store).search(text, 3) == []
    for limit in (3, 10_000):
        hits = index.search(text, limit)
        assert [(-(hit.f1 or 0.0), hit.layer, hit.neuron) for hit in hits] == [row[:3] for row in rows[:limit]]
    for hit in index.search(text, 20):
        assert parse_search(text).matches(hit.text) and hit.text == store.vocabulary.text(hit.token)
        neuron = store.neuron(hit.layer, hit.neuron)
        assert (hit.kind, hit.activations) == (neuron.kind, neuron.activations)
        assert hit.in_set == (hit.token in neuron.token_set)
        counts = {ngram.tokens[0]: ngram for ngram in neuron.top_ngrams[0]}
        if hit.token in counts:
            ngram = counts[hit.token]
            assert hit.probability == ngram.probability and hit.share == ngram.count / neuron.ngram_activations[0]
        else:
            assert hit.probability is hit.share is hit.f1 is None and hit.in_set


def test_detectors_that_are_listed_are_left_out(store: Store) -> None:
    known = {(hit.layer, hit.neuron) for hit in TokenIndex(store).search("a")}
    index = TriggerIndex(store)
    index.refresh()
    found = {(hit.layer, hit.neuron) for hit in index.search("a", 10_000)}
    assert known & found
    assert {(hit.layer, hit.neuron) for hit in index.search("a", 10_000, known)} == found - known


@pytest.mark.parametrize("text", ["/(/", "/[/i", "/" + "a" * 2000 + "/"])
def test_a_bad_regular_expression_is_refused(store: Store, text: str) -> None:
    with pytest.raises(UserError, match="regular expression"):
        TokenIndex(store).search(text)


def test_a_regular_expression_that_never_ends_is_given_up(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ffnscope.store.query.pattern.SECONDS", 0.01)
    with pytest.raises(UserError, match="takes more than"):
        parse_search("/^(a|aa)+$/").fitting(["a" * 60 + "b"])

    def slowly() -> Iterator[str]:  # each text in time, all of them not
        time.sleep(0.03)
        yield "a"

    with pytest.raises(UserError, match="takes more than"):
        parse_search("/a/").fitting(slowly())


@pytest.mark.parametrize(
    ("term", "plain"),
    [
        ("detects:/^.?the$/i", "detects:/^.?the$/i"),
        ("detects:/a|e/", "detects:/[ae]/"),
        ("promotes:/a b|e/|school", "promotes:/e|a b/i|school"),
        ("suppresses:/./", "kind:alive|dead"),
        ("-promotes:/a/", "-promotes:/(a)/"),
    ],
)
def test_a_filter_takes_regular_expressions(store: Store, term: str, plain: str) -> None:
    assert {tuple(row) for row in store.select(term)} <= {tuple(row) for row in store.select(plain)}


def test_a_filter_with_a_regular_expression_is_what_matching_says(store: Store) -> None:
    for way, name in (("promotes", "promoted"), ("suppresses", "suppressed")):
        for text in ("/^[ab]/", "/ E/i", "/[aeiou]{2}|x/"):
            pattern = parse_search(text)
            own = [
                (neuron.layer, neuron.neuron)
                for neuron in store.iterate()
                if any(pattern.matches(store.vocabulary.text(token)) for token, _ in getattr(neuron, name))
            ]
            assert [tuple(row) for row in store.select(f"{way}:{text}")] == own
    with pytest.raises(UserError, match=r"filter term 'detects:/\(/' at position 12: .* is not a regular expression"):
        store.select("kind:token detects:/(/")
    # A slash that is not closed is text as before.
    assert len(store.select("detects:/usr")) == 0 and len(store.select('detects:"/a/"')) == 0
