"""Windows cut from token ids, against a naive reference."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffnscope.core.corpus.windows import WindowCutter
from ffnscope.store.errors import UserError


def cut_windows(
    document_ids: Iterable[Sequence[int]], seq_len: int, bos_id: int | None, max_tokens: int | None = None
) -> tuple[np.ndarray, int]:
    """(windows `[S, T]` int32, dropped tokens) of documents given as ids."""
    cutter = WindowCutter(seq_len, bos_id, max_tokens)
    for ids in document_ids:
        cutter.add(np.asarray(ids, dtype=np.int64))
        if cutter.full:
            break
    return cutter.finish()


def reference(documents: list[list[int]], seq_len: int, bos: int | None) -> tuple[list[list[int]], int]:
    """core/DEFINITIONS.md, "Data", word by word."""
    joined: list[int] = []
    for number, document in enumerate(filter(None, documents)):
        joined += [bos] * (number > 0 and bos is not None) + document
    piece = seq_len if bos is None else seq_len - 1
    pieces = [joined[start : start + piece] for start in range(0, len(joined), piece)]
    left = len(pieces.pop()) if pieces and len(pieces[-1]) < piece else 0
    return [([] if bos is None else [bos]) + ids for ids in pieces], left


documents_of_ids = st.lists(st.lists(st.integers(0, 9), max_size=12), max_size=8)


@settings(max_examples=300)
@given(documents_of_ids, st.integers(2, 9), st.sampled_from([None, 2]), st.sampled_from([0, 1, 5, 1 << 16]))
def test_windows_are_the_references(documents, seq_len: int, bos: int | None, flush: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ffnscope.core.corpus.windows._FLUSH_TOKENS", flush)
        windows, dropped = cut_windows(documents, seq_len, bos, None)
    expected, left = reference(documents, seq_len, bos)
    assert windows.dtype == np.int32
    assert windows.flags.c_contiguous
    assert windows.shape == (len(expected), seq_len)
    assert windows.tolist() == expected
    assert dropped == left


@settings(max_examples=300)
@given(documents_of_ids, st.integers(2, 9), st.sampled_from([None, 2]), st.integers(2, 40))
def test_max_tokens_takes_a_prefix_and_reads_no_further(documents, seq_len: int, bos: int | None, most: int) -> None:
    taken = 0

    def reading() -> Iterator[list[int]]:
        nonlocal taken
        for document in documents:
            taken += 1
            yield document

    if most < seq_len:
        with pytest.raises(UserError, match="--max-tokens"):
            cut_windows(reading(), seq_len, bos, most)
        return
    windows, dropped = cut_windows(reading(), seq_len, bos, most)
    everything, left = reference(documents, seq_len, bos)
    assert windows.tolist() == everything[: most // seq_len]
    full = len(windows) == most // seq_len
    assert dropped == (0 if full else left)
    needed = next(
        (n for n in range(len(documents) + 1) if len(reference(documents[:n], seq_len, bos)[0]) >= most // seq_len),
        len(documents),
    )
    assert taken == needed


def test_endless_documents_end() -> None:
    windows, dropped = cut_windows(itertools.repeat([5, 6, 7]), 4, 0, 400_000)
    assert windows.shape == (100_000, 4)
    assert windows[:2].tolist() == [[0, 5, 6, 7], [0, 0, 5, 6]]
    assert dropped == 0


@pytest.mark.parametrize(("seq_len", "bos"), [(1, 0), (0, None), (-3, 0)])
def test_windows_without_room_are_refused(seq_len: int, bos: int | None) -> None:
    with pytest.raises(UserError, match="--seq-len"):
        cut_windows([[1]], seq_len, bos, None)
    assert cut_windows([[1, 2]], 1, None)[0].tolist() == [[1], [2]]
