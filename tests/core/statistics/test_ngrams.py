"""N-gram ids against looking at every position."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import gram_at, occurrences

from ffnscope.core.statistics.ngrams import NONE, ngram_tables


@given(
    S=st.integers(0, 6),
    T=st.integers(1, 11),
    V=st.integers(1, 5),
    bos=st.booleans(),
    seed=st.integers(0, 999),
    dtype=st.sampled_from([np.int32, np.int64, np.uint16]),
)
@settings(max_examples=150)
def test_every_position_has_its_ngram(S: int, T: int, V: int, bos: bool, seed: int, dtype: type) -> None:
    rng = np.random.default_rng(seed)
    tokens, bos_id = rng.integers(0, V, (S, T)).astype(dtype), int(rng.integers(0, V)) if bos else None
    for n, table in enumerate(ngram_tables(tokens, bos_id, V), start=1):
        assert table.order == n and table.ids.shape == (S, T)
        grams = [tuple(row) for row in table.tokens.tolist()]
        assert grams == sorted(set(grams)), "ids follow the tokens' order"
        for window in range(S):
            for position in range(T):
                ngram = table.ids[window, position]
                expected = gram_at(tokens, window, position, n, bos_id)
                assert (None if ngram == NONE else grams[ngram]) == expected
        N = occurrences(tokens, n, bos_id, range(S))
        assert {gram: int(total) for gram, total in zip(grams, table.totals, strict=True) if total} == dict(N)


def test_ids_of_large_vocabularies_do_not_overflow() -> None:
    V = 250_000
    tokens = np.array([[V - 1, V - 2, V - 3, V - 1, V - 2, V - 3], [0, 1, 2, V - 1, V - 2, V - 3]])
    _, bigrams, trigrams = ngram_tables(tokens, None, V)
    assert bigrams.tokens[bigrams.ids[0, 1]].tolist() == [V - 1, V - 2]
    assert trigrams.tokens[trigrams.ids[0, 2]].tolist() == [V - 1, V - 2, V - 3]
    assert trigrams.totals[trigrams.ids[0, 2]] == 3
    assert trigrams.ids[1, 2] == 0


@pytest.mark.parametrize("bos_id", [None, 0])
def test_no_ngram_reaches_over_a_window_or_bos(bos_id: int | None) -> None:
    tokens = np.array([[1, 2, 0, 1, 2], [1, 2, 3, 0, 1]])
    _, bigrams, trigrams = ngram_tables(tokens, bos_id, 4)
    there = bigrams.ids != NONE
    assert there.tolist() == (
        [[False, True, True, True, True], [False, True, True, True, True]]
        if bos_id is None
        else [[False, True, False, False, True], [False, True, True, False, False]]
    )
    assert (trigrams.ids != NONE).sum() == (6 if bos_id is None else 1)
