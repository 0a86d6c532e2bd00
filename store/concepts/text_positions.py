"""Windows of token ids with what stands before each token: its line, brackets, repetition."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np

OPENING, CLOSING = "([{", ")]}"


class TextPositions:
    """Windows of token ids with what the rules need to know of every position; arrays are [K, T] and made when used.

    ``tokens`` [K, T] are the windows' token ids; ``text_of`` gives a token's text, ``whole`` whether the token is
    text by itself (a token that holds part of a character is not). Documents are separated by ``bos_id``.
    """

    def __init__(
        self,
        tokens: np.ndarray,
        bos_id: int | None,
        text_of: Callable[[int], str],
        whole: Callable[[int], bool] = lambda token: True,
    ):
        self.tokens = np.asarray(tokens)
        self.used, index = np.unique(self.tokens, return_inverse=True)
        self._index = index.reshape(self.tokens.shape)
        self.whole = np.array([token != bos_id and whole(int(token)) for token in self.used], bool)
        self.texts = [text_of(int(token)) if known else "" for token, known in zip(self.used, self.whole, strict=True)]
        self.real = (
            np.ones(self.tokens.shape, bool) if bos_id is None else self.tokens != bos_id
        )  # positions with a token that is not BOS

    def where(self, rule: Callable[[str], bool]) -> np.ndarray:
        """Positions whose token's text satisfies ``rule``: [K, T] bool. The space before a word is part of the text."""
        return self.of_token(np.array([bool(rule(text)) for text in self.texts], bool)) & self.real

    def before(self, positions: np.ndarray) -> np.ndarray:
        """Positions whose token before, in the same document and window, is one of ``positions``."""
        out = np.zeros_like(positions)
        out[:, 1:] = positions[:, :-1]
        return out & self.real

    def sum_on_line(self, amount: Callable[[str], int]) -> np.ndarray:
        """``amount`` of all text that stands before the token on its line, summed: [K, T] int64."""
        return self._sum_since(amount, _after_newline, self.newline)

    def sum_in_chunk(self, amount: Callable[[str], int]) -> np.ndarray:
        """``amount`` of all text that stands before the token without white space between, summed: [K, T] int64."""
        return self._sum_since(amount, _after_white_space, self._white_space)

    @cached_property
    def depth(self) -> np.ndarray:
        """Brackets open before the token in its document and window; closing more than were open closes all. [K, T]."""
        change = self.of_token(self._amounts(_bracket_change)).ravel()
        total = np.cumsum(change)
        at_start = total[self._start] - change[self._start]
        inside = total - at_start
        # Later documents lie lower than all earlier ones, so that a running minimum stays in its document.
        drop = 2 * (np.abs(inside).max(initial=0) + 1)
        numbers = np.cumsum(self._begins)
        lowest = np.minimum.accumulate(inside - numbers * drop) + numbers * drop
        after = inside - np.minimum(lowest, 0)
        before = np.where(self._begins, 0, np.roll(after, 1))
        return before.reshape(self.tokens.shape)

    @cached_property
    def has_left(self) -> np.ndarray:
        """Positions whose token has a token before it in its document and window."""
        return self.before(self.real)

    @cached_property
    def indented(self) -> np.ndarray:
        """Positions on a line that begins with white space, the line's beginning being in the window."""
        flat = np.arange(self.tokens.size)
        newline = self.last(self.newline)
        begins_white = self.of_token(np.array([text[:1].isspace() and text[:1] != "\n" for text in self.texts])).ravel()
        tails = [_after_newline(text) for text in self.texts]
        tail_any = self.of_token(np.array([bool(tail) for tail in tails])).ravel()
        tail_white = self.of_token(np.array([tail[:1].isspace() for tail in tails])).ravel()
        at = np.maximum(newline, 0)
        first = np.minimum(at + 1, flat)
        white = np.where(tail_any[at], tail_white[at], begins_white[first])
        return (white & (newline >= 0)).reshape(self.tokens.shape) & self.real

    @cached_property
    def distance(self) -> np.ndarray:
        """Tokens since the same token stood in this window; 0 where it did not. [K, T] int64."""
        return _distances(self._index, len(self.used), self.real)

    @cached_property
    def bigram_distance(self) -> np.ndarray:
        """Tokens since the same bigram stood in this window; 0 where it did not."""
        pairs = np.zeros(self._index.shape, np.int64)
        pairs[:, 1:] = self._index[:, :-1] * len(self.used) + self._index[:, 1:]
        distinct, index = np.unique(pairs, return_inverse=True)
        return _distances(index.reshape(pairs.shape), len(distinct), self.has_left)

    @cached_property
    def same_as_before(self) -> np.ndarray:
        """Positions whose token is the token before."""
        same = np.zeros(self.tokens.shape, bool)
        same[:, 1:] = self.tokens[:, 1:] == self.tokens[:, :-1]
        return same & self.real

    def of_token(self, values: np.ndarray) -> np.ndarray:
        """``values`` [number of different tokens], one of each of ``texts``, at every position: [K, T]."""
        return values[self._index]

    def _amounts(self, amount: Callable[[str], int]) -> np.ndarray:
        return np.array([amount(text) for text in self.texts], np.int64)

    @cached_property
    def newline(self) -> np.ndarray:
        """Positions whose token holds a newline. Flat: [K * T]."""
        return self.of_token(np.array(["\n" in text for text in self.texts], bool)).ravel()

    @cached_property
    def _white_space(self) -> np.ndarray:
        return self.of_token(np.array([any(map(str.isspace, text)) for text in self.texts], bool)).ravel()

    @cached_property
    def _begins(self) -> np.ndarray:
        """Where a document begins in a window: the window's first position, and every BOS. Flat."""
        begins = ~self.real
        begins[:, 0] = True
        return begins.ravel()

    @cached_property
    def _start(self) -> np.ndarray:
        """Of each position, the flat index at which its document begins in its window."""
        return np.maximum.accumulate(np.where(self._begins, np.arange(self.tokens.size), 0))

    def last(self, marked: np.ndarray) -> np.ndarray:
        """Of each position, the flat index of the last marked token before it in its document; -1 where none is."""
        flat = np.arange(self.tokens.size)
        last = np.maximum.accumulate(np.where(marked, flat, -1))
        before = np.concatenate([[-1], last[:-1]])
        return np.where((before < self._start) | self._begins, -1, before)

    def _sum_since(self, amount: Callable[[str], int], rest: Callable[[str], str], marked: np.ndarray) -> np.ndarray:
        whole = self.of_token(self._amounts(amount)).ravel()
        tail = self.of_token(np.array([amount(rest(text)) for text in self.texts], np.int64)).ravel()
        until = np.cumsum(whole) - whole  # before each position
        last = self.last(marked)
        begun = until - until[self._start]
        since = until - (until + whole)[np.maximum(last, 0)] + tail[np.maximum(last, 0)]
        return np.where(last >= 0, since, begun).reshape(self.tokens.shape)


def _after_newline(text: str) -> str:
    return text[text.rfind("\n") + 1 :] if "\n" in text else text


def _after_white_space(text: str) -> str:
    return "" if text[-1:].isspace() else (text.split()[-1:] or [""])[0]


def _bracket_change(text: str) -> int:
    return sum(text.count(sign) for sign in OPENING) - sum(text.count(sign) for sign in CLOSING)


def _distances(ids: np.ndarray, count: int, counted: np.ndarray) -> np.ndarray:
    windows, length = ids.shape
    keys = (np.arange(windows)[:, None] * count + ids).ravel()
    order = np.argsort(keys, kind="stable")
    order = order[counted.ravel()[order]]
    again = keys[order[1:]] == keys[order[:-1]]
    out = np.zeros(windows * length, np.int64)
    out[order[1:][again]] = (order[1:] - order[:-1])[again]
    return out.reshape(windows, length)
