"""The search in promoted and suppressed tokens, against a plain look at every neuron."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from synthetic import make_store

from ffnscope.store.query import projection_index as module
from ffnscope.store.query.projection_index import TOP, ProjectionIndex
from ffnscope.store.reader import Store


@pytest.fixture(scope="module", params=[20, 4], ids=["longer lists", "shorter lists"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """3 layers of 70 neurons."""
    path = make_store(
        tmp_path_factory.mktemp("pushed") / "s.ffn", layers=3, neurons=70, hostile=True, top_k=request.param
    )
    with Store.open(path) as opened:
        yield opened


def plain(store: Store, name: str, text: str) -> list[tuple[float, int, int, int, int]]:
    """(key, layer, neuron, rank, token) of the strongest matching token of every neuron, strongest first."""
    found = []
    for neuron in store.iterate():
        for rank, (token, value) in enumerate(getattr(neuron, name)[:TOP]):
            own = store.vocabulary.text(token)
            if own == text[1:-1] if text.startswith('"') else text.casefold() in own.casefold():
                found.append((-value if name == "promoted" else value, neuron.layer, neuron.neuron, rank, token))
                break
    return sorted(found)


@pytest.mark.parametrize("name", ["promoted", "suppressed"])
@pytest.mark.parametrize("text", ["e", " s", "ab", "[", "qqqq", "E", "exact"])
def test_against_every_neuron(store: Store, name: str, text: str) -> None:
    index = ProjectionIndex(store, name)
    assert index.search(text, 10) == [] and index.layers == ()
    assert list(index.refresh()) == [(1, 3), (2, 3), (3, 3)] and list(index.refresh()) == []
    if text == "exact":
        text = '"' + store.vocabulary.text(getattr(store.neuron(1, 5), name)[2][0]).replace('"', "") + '"'
    expected = plain(store, name, text)
    hits = index.search(text, 10_000)
    sign = -1 if name == "promoted" else 1
    assert [(sign * hit.projection, hit.layer, hit.neuron, hit.rank, hit.token) for hit in hits] == expected
    assert [(hit.layer, hit.neuron) for hit in index.search(text, 7)] == [each[1:3] for each in expected[:7]]
    for hit in hits[:20]:
        neuron = store.neuron(hit.layer, hit.neuron)
        assert hit.kind == neuron.kind
        assert list(hit.texts) == [store.vocabulary.text(token) for token, _ in getattr(neuron, name)[:TOP]]


@pytest.mark.parametrize("name", ["promoted", "suppressed"])
@pytest.mark.parametrize("many", [1, 5, 60])
def test_the_strongest_entries_hold_enough_or_all_are_looked_at(
    store: Store, name: str, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MANY", many)
    index = ProjectionIndex(store, name)
    list(index.refresh())
    for text in ("e", " s", "a"):
        expected = plain(store, name, text)
        for limit in (1, 4, 30, 1000):
            hits = index.search(text, limit)
            assert [(hit.layer, hit.neuron, hit.rank) for hit in hits] == [each[1:4] for each in expected[:limit]]


def test_an_empty_text_finds_nothing(store: Store) -> None:
    index = ProjectionIndex(store, "promoted")
    list(index.refresh())
    assert index.search("", 5) == [] and index.search('""', 5) == []
