"""The text of windows, and which tokens hold which characters, against a naive reading character by character."""

from __future__ import annotations

import re

import numpy as np
import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from ffnscope.store.bits import window_text
from ffnscope.store.bits.window_text import SlowRegexError, WindowTexts, decode

PIECES = [b"", b"a", b"b", b" the", b"1", b"99", b"\n", b"\xc3", b"\xa9", b"\xe6\xbc", b"\xa2", b"\xff", "é".encode()]
PIECES += ["漢".encode(), "👍".encode(), "👍".encode()[:3], "👍".encode()[3:], b"\xed\xa0\x80", b"x y", b"ab"]
BOS = 0
windows_of = st.integers(1, 12).flatmap(
    lambda size: st.lists(
        st.lists(st.integers(0, len(PIECES) - 1), min_size=size, max_size=size), min_size=1, max_size=3
    )
)


class Words:
    """A vocabulary of PIECES."""

    def encoded(self, token):
        return PIECES[token]


def naive(ids):
    """The text of a window, and the set of characters that each token holds."""
    joined = b"".join(PIECES[token] for token in ids if token != BOS)
    owner = [index for index, token in enumerate(ids) if token != BOS for _ in PIECES[token]]
    text, held, at = "", [set() for _ in ids], 0
    while at < len(joined):
        for size in (1, 2, 3, 4):
            try:
                char = joined[at : at + size].decode()
                break
            except UnicodeDecodeError:
                char = ""
        if not char:
            # As many bytes as bytes.decode takes for one replacement character.
            left = joined[at:]
            size = next(n for n in range(1, 5) if n >= len(left) or len(left[: n + 1].decode(errors="replace")) > 1)
            char = "\ufffd"
        for byte in range(at, min(at + size, len(joined))):
            held[owner[byte]].add(len(text))
        text, at = text + char, at + size
    return text, held


@given(windows_of)
def test_texts_and_characters(windows):
    found = WindowTexts(np.array(windows, np.uint32), BOS, Words())
    for index, ids in enumerate(windows):
        text, held = naive(ids)
        joined = b"".join(PIECES[token] for token in ids if token != BOS)
        assert found.texts[index] == joined.decode("utf-8", "replace") == text
        spans = zip(found.first[index].tolist(), found.end[index].tolist(), strict=True)
        assert [set(range(first, end)) for first, end in spans] == held


@pytest.mark.parametrize("pattern", ["a", "a+b?", "the|é", r"\d+", r"\s", ".", "", "b*", "漢|\ufffd", r"(?<=a)b", "$"])
@given(windows=windows_of, last=st.booleans())
def test_matches_are_those_of_the_text(pattern, windows, last):
    found = WindowTexts(np.array(windows, np.uint32), BOS, Words()).matches(regex.compile(pattern), last)
    for index, ids in enumerate(windows):
        text, held = naive(ids)
        marked = set()
        for match in re.finditer(pattern, text):
            start, end = match.span()
            marked |= set(range(start, end)[-1:] if last else range(start, end))
        assert found[index].tolist() == [bool(chars & marked) for chars in held]


@given(st.binary(max_size=40))
def test_any_bytes_decode_as_python_does(joined):
    text, before = decode(joined)
    assert text == joined.decode("utf-8", "replace")
    assert before[0] == 0 and before[-1] == len(text) and len(before) == len(joined) + 1


def test_a_regular_expression_that_never_ends_is_left(monkeypatch):
    monkeypatch.setattr(window_text, "SECONDS", 0.1)
    tokens = np.full((1, 60), PIECES.index(b"a"), np.uint32)
    tokens[0, -1] = PIECES.index(b"b")
    with pytest.raises(SlowRegexError):
        WindowTexts(tokens, BOS, Words()).matches(regex.compile(r"(a|aa)+$"))
