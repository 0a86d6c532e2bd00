"""The text of kept windows, and which tokens hold which of its characters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import regex

    from ffnscope.store.vocabulary import Vocabulary

SECONDS = 5.0  # that a regular expression may take in one window


class SlowRegexError(Exception):
    """A regular expression took longer than SECONDS in one window."""


class WindowTexts:
    """Texts of windows of token ids [K, T]: the tokens' bytes joined and decoded as UTF-8; what is not UTF-8 becomes U+FFFD.

    ``texts``: one per window. ``first`` and ``end`` [K, T] int32: a token holds the characters first .. end - 1 of its
    window's text, those of which it has at least one byte; none, where the two are equal.
    """

    def __init__(self, tokens: np.ndarray, bos_id: int | None, vocabulary: Vocabulary):
        used = np.unique(tokens).tolist()
        table = {token: b"" if token == bos_id else vocabulary.encoded(token) for token in used}
        lengths = np.zeros(max(used, default=0) + 1, np.int64)
        lengths[used] = [len(table[token]) for token in used]
        self.texts: list[str] = []
        self.first = np.empty(tokens.shape, np.int32)
        self.end = np.empty(tokens.shape, np.int32)
        for window, ids in enumerate(tokens):
            text, before = decode(b"".join([table[token] for token in ids.tolist()]))
            ends = np.cumsum(lengths[ids])
            starts = ends - lengths[ids]
            self.texts.append(text)
            # A token without bytes stands after the characters before it.
            self.end[window] = before[ends]
            self.first[window] = np.where(ends > starts, before[np.minimum(starts + 1, ends)] - 1, before[ends])
        sizes = [len(text) for text in self.texts]
        self._bases = np.cumsum([0, *sizes[:-1]]).astype(np.int64)

    def matches(
        self, pattern: regex.Pattern[str], last_only: bool = False, proceed: Callable[[], None] = lambda: None
    ) -> np.ndarray:
        """[K, T] bool: the tokens that hold any character (``last_only``: the last one) of a match in their window.

        ``proceed`` is called before every window; what it raises ends the search. Other threads run meanwhile, and Ctrl-C
        ends it at once. Raises SlowRegexError.
        """
        spans: list[tuple[int, int]] = []
        for base, text in zip(self._bases.tolist(), self.texts, strict=True):
            proceed()
            try:
                matches = [match.span() for match in pattern.finditer(text, timeout=SECONDS, concurrent=True)]
            except TimeoutError as error:
                raise SlowRegexError from error
            spans += [(base + start, base + end) for start, end in matches]
        return self.holding(spans, last_only)

    def holding(self, spans: Iterable[tuple[int, int]], last_only: bool = False) -> np.ndarray:
        """[K, T] bool: the tokens that hold a character of spans (start, end) in the joined texts of all windows."""
        bounds = np.array(list(spans), np.int64).reshape(-1, 2)
        bounds = bounds[bounds[:, 0] < bounds[:, 1]]
        start, end = bounds[:, 1] - 1 if last_only else bounds[:, 0], bounds[:, 1]
        first, stop = ((array + self._bases[:, None]).ravel() for array in (self.first, self.end))
        marks = np.zeros(first.size + 1, np.int64)
        low, high = np.searchsorted(stop, start, "right"), np.searchsorted(first, end, "left")
        np.add.at(marks, low, 1)
        np.add.at(marks, np.maximum(low, high), -1)
        return (np.cumsum(marks[:-1]) > 0).reshape(self.first.shape) & (self.end > self.first)


def decode(joined: bytes) -> tuple[str, np.ndarray]:
    """A text of UTF-8, bytes that are not UTF-8 as U+FFFD, as ``bytes.decode`` does it; and [bytes + 1] int64: in how many of its
    characters the bytes before each place have a part."""
    broken: list[tuple[int, int]] = []
    try:
        text = joined.decode("utf-8")
    except UnicodeDecodeError:
        text, broken = _replaced(joined)
    begins = (np.frombuffer(joined, np.uint8) & 0xC0) != 0x80
    for start, end in broken:
        begins[start] = True
        begins[start + 1 : end] = False
    return text, np.concatenate([[0], np.cumsum(begins)])


def _replaced(joined: bytes) -> tuple[str, list[tuple[int, int]]]:
    """The text, and the span of bytes of every U+FFFD in it that stands for bytes that are not UTF-8."""
    parts: list[str] = []
    broken: list[tuple[int, int]] = []
    at = 0
    while at < len(joined):
        try:
            parts.append(joined[at:].decode("utf-8"))
            break
        except UnicodeDecodeError as error:
            parts += [joined[at : at + error.start].decode("utf-8"), "\ufffd"]
            broken.append((at + error.start, at + error.end))
            at += error.end
    return "".join(parts), broken
