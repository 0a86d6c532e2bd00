"""The bits that a run keeps are those of the model's own forward pass, however the run was cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import exact
import numpy as np
import pytest
import tiny_models as tm
from exact import run, sources_of
from rule_model import default_rules, expected_active, rule_model
from same_store import differing

from ffnscope.core.corpus.sources import DomainSource
from ffnscope.store.errors import UserError
from ffnscope.store.format import kept_bits as layout
from ffnscope.store.notebook import NotebookStore as Store
from ffnscope.store.verify.check import verify

T = 24
SIZES = {"one": 9, "two": 5, "more": 3}
OPTIONS: dict[str, Any] = {"bos_id": tm.BOS_ID, "batch_size": 4, "min_occurrences": 2}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[tuple[DomainSource, ...], np.ndarray]:
    """Two counted domains and a count-only one, BOS inside windows too; and all tokens."""
    rng = np.random.default_rng(3)
    domains = {name: tm.random_windows(rng, size, T, tm.VOCAB, tm.BOS_ID) for name, size in SIZES.items()}
    return sources_of(tmp_path_factory.mktemp("data"), domains, ["more"]), np.concatenate(list(domains.values()))


def kept_of(tokens: np.ndarray, windows: list[int]) -> np.ndarray:
    """[S, T] bool: the kept positions."""
    places = np.zeros(tokens.shape, bool)
    places[windows] = tokens[windows] != tm.BOS_ID
    return places


def check(store: Store, tokens: np.ndarray, windows: list[int], active: list[np.ndarray]) -> None:
    """Compare every neuron's kept positions, and one ranking, with ``active`` [S, T, F] of every layer."""
    places = kept_of(tokens, windows)
    assert store.kept.windows.tolist() == windows and store.kept.positions == places.sum()
    assert list(verify(store)) == []
    for layer in store.layers():
        for neuron in range(store.neurons(layer)):
            assert np.array_equal(store.kept.neuron(layer, neuron), active[layer][places][:, neuron])
    token = int(np.bincount(tokens[places]).argmax())
    answer = store.ask(f'token:="{store.vocabulary.text(token)}"')
    members = tokens[places] == token
    odd = np.nonzero(places)[0] % 2 == 1
    assert answer.matches == members.sum() and answer.corpus_positions == tokens.size
    for row in range(len(answer)):
        own = active[int(answer["layer"][row])][places][:, int(answer["neuron"][row])]
        assert answer["hits"][row] == (own & members).sum() and answer["activations"][row] == own.sum()
        assert answer["f1"][row] == 2 * (own & members).sum() / (own.sum() + members.sum())
        both = own[odd].sum() + members[odd].sum()
        assert not both or answer["f1_odd"][row] == 2 * (own & members)[odd].sum() / both
    moved = np.zeros_like(places)
    for i, window in enumerate(windows):
        to = windows[(i + len(windows) // 2) % len(windows)]
        moved[to] = (tokens[window] == token) & places[window] & places[to]
    level = [
        2 * (layer[places] & moved[places][:, None]).sum(axis=0) / (layer[places].sum(axis=0) + moved.sum())
        for layer in active
    ]
    assert answer.chance == pytest.approx(np.concatenate(level).max())


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_bits_are_those_of_the_forward_pass(
    family: str, corpus: tuple[tuple[DomainSource, ...], np.ndarray], tmp_path: Path
) -> None:
    sources, tokens = corpus
    model = tm.tiny(family, tmp_path)
    path = run(model, sources, tmp_path / "run.ffn", keep="7", **OPTIONS)
    outcome = exact.activations(exact.load(model), tokens, OPTIONS["batch_size"])
    with Store.open(path) as store:
        # 7 of 14, of which each domain has one first: 1 + 5 * 8 // 12 = 4 of 9, and 3 of 5.
        check(store, tokens, [0, 2, 4, 6, 9, 10, 12], [before > 0 for before, _ in outcome])


def test_bits_are_those_of_the_rules(corpus: tuple[tuple[DomainSource, ...], np.ndarray], tmp_path: Path) -> None:
    V, S = 16, 11
    model, rules = rule_model(tmp_path / "model", V, T, default_rules(V, T) * 23)
    tokens = tm.random_windows(np.random.default_rng(0), S, T, V, tm.BOS_ID)
    path = run(model, sources_of(tmp_path / "data", {"a": tokens}), tmp_path / "run.ffn", keep="all", **OPTIONS)
    with Store.open(path) as store:
        assert store.run.model.neurons > layout.BLOCK
        check(store, tokens, list(range(S)), [expected_active(layer, tokens) for layer in rules])


def test_however_it_is_cut(
    corpus: tuple[tuple[DomainSource, ...], np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources, _ = corpus
    model = tm.tiny("llama", tmp_path)
    whole = run(model, sources, tmp_path / "whole.ffn", **OPTIONS)
    grouped = run(model, sources, tmp_path / "grouped.ffn", group_layers=1, **OPTIONS)
    assert differing(whole, grouped) == []
    # Many tiles, each in a transaction of its own, and one thread.
    monkeypatch.setattr("ffnscope.store.writer.BITS_BATCH", 1)
    monkeypatch.setattr("ffnscope.core.run.prepare.count_threads", lambda *_: 1)
    assert differing(whole, run(model, sources, tmp_path / "single.ffn", **OPTIONS)) == []
    with Store.open(whole) as store:
        active = [np.stack([store.kept.neuron(layer, i) for i in range(tm.NEURONS)]) for layer in store.layers()]
        asked = store.ask("position:3-9").columns
    monkeypatch.setattr(layout, "TILE", 37)
    with Store.open(run(model, sources, tmp_path / "tiles.ffn", **OPTIONS)) as store:
        assert list(verify(store)) == []
        for layer in store.layers():
            assert np.array_equal(active[layer], [store.kept.neuron(layer, i) for i in range(tm.NEURONS)])
        for name, column in store.ask("position:3-9").columns.items():
            np.testing.assert_array_equal(column, asked[name])


def test_how_many_are_kept(corpus: tuple[tuple[DomainSource, ...], np.ndarray], tmp_path: Path) -> None:
    sources, _ = corpus
    model = tm.tiny("llama", tmp_path)
    window = T * tm.LAYERS * 8  # bytes: 24 neurons are one word
    for name, options, keep in (
        ("all", {"keep": "all"}, 14),
        ("many", {"keep": "1000"}, 14),
        ("none", {"keep": "0"}, 0),
        ("default", {}, 14),
        ("small", {"keep_gb": 13.9 * window / 1e9}, 0),
    ):
        said: list[Any] = []
        path = run(model, sources, tmp_path / f"{name}.ffn", said.append, **options, **OPTIONS)
        with Store.open(path) as store:
            assert store.run.settings.get("keep", 0) == keep
            assert list(verify(store)) == []
            if not keep:
                with pytest.raises(UserError, match="keeps no activation bits"):
                    store.ask("token:a")
        lines = [line for line in said if isinstance(line, str) and "activation bits" in line]
        assert len(lines) == 1 and (f"{keep} of 14 windows" in lines[0] or not keep)


def test_a_store_is_gone_on_with_as_it_was_begun(
    corpus: tuple[tuple[DomainSource, ...], np.ndarray], tmp_path: Path
) -> None:
    sources, _ = corpus
    model = tm.tiny("llama", tmp_path)
    run(model, sources, tmp_path / "run.ffn", keep="5", **OPTIONS)
    with pytest.raises(UserError, match=r"--keep \(5\)"):
        run(model, sources, tmp_path / "run.ffn", resume=True, keep="6", **OPTIONS)
    for keep in ("5", None):
        run(model, sources, tmp_path / "run.ffn", resume=True, keep=keep, **OPTIONS)
    run(model, sources, tmp_path / "none.ffn", keep="0", **OPTIONS)
    run(model, sources, tmp_path / "none.ffn", resume=True, **OPTIONS)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"keep": "some"}, "--keep some: give all, 0"),
        ({"keep": "-3"}, "--keep -3"),
        ({"keep_gb": 0.0}, "--keep-gb 0"),
        ({"keep_gb": float("nan")}, "--keep-gb nan"),
    ],
)
def test_bad_options(options: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=says):
        run(tmp_path, (), tmp_path / "run.ffn", **options)


def test_bits_that_do_not_fit_the_disk(
    corpus: tuple[tuple[DomainSource, ...], np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ffnscope.core.collect.check_room", lambda store, size: _no_room(store, size))
    with pytest.raises(UserError, match="no room"):
        run(tm.tiny("llama", tmp_path), corpus[0], tmp_path / "run.ffn", **OPTIONS)
    assert not (tmp_path / "run.ffn" / "data.mdb").exists()


def _no_room(store: Path, size: int) -> None:
    assert size == 14 * T * tm.LAYERS * 8
    raise UserError("no room")
