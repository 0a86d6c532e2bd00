"""Labelled spans of documents: characters of a text, and the tokens that hold them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ffnscope.store.bits.window_text import decode
from ffnscope.store.errors import UserError

FIELD = "spans"  # of a JSON line
MOST_LABELS = 1000  # different ones of a corpus
_LONGEST = 100  # characters of a label
_WANTED = f'"{FIELD}" must be a list of [start, end, "label"], characters of the text, 0 <= start < end <= its length'

Span = tuple[int, int, str]
"""First character, the one behind the last, label."""


class LabelledText(str):
    """A document with the spans that are labelled in it."""

    spans: tuple[Span, ...]

    @classmethod
    def of(cls, text: str, spans: Sequence[Span]) -> LabelledText:
        """The text with its spans."""
        labelled = cls(text)
        labelled.spans = tuple(spans)
        return labelled


def read_spans(value: object, text: object, where: str) -> tuple[Span, ...]:
    """The spans of a row's field, checked. Raises UserError, naming the place, where they are none of its text."""
    if value is None:
        return ()
    if not isinstance(text, str):
        raise UserError(f"{where}: {FIELD!r} beside a text that is not a string; {_WANTED}")
    if not isinstance(value, list):
        raise UserError(f"{where}: {FIELD!r} is not a list; {_WANTED}, or rename the field")
    return tuple(_span(span, len(text), where) for span in value)


def _span(value: Any, length: int, where: str) -> Span:
    if not isinstance(value, list) or len(value) != 3 or type(value[0]) is not int or type(value[1]) is not int:
        raise UserError(f"{where}: {FIELD!r} holds {str(value)[:60]!r}; {_WANTED}, or rename the field")
    start, end, label = value
    if not 0 <= start < end <= length:
        raise UserError(f"{where}: span {start} to {end} is not in its text of {length:,} characters; {_WANTED}")
    if not isinstance(label, str) or not 0 < len(label) <= _LONGEST or not label.isprintable():
        raise UserError(
            f"{where}: {str(label)[:60]!r} is not a label: a printable text of at most {_LONGEST} characters"
        )
    return start, end, label


def clip(spans: Iterable[Span], start: int, end: int) -> tuple[Span, ...]:
    """The spans' parts within characters start .. end - 1, counted from there."""
    return tuple((max(a, start) - start, min(b, end) - start, label) for a, b, label in spans if a < end and b > start)


def shift(spans: Iterable[Span], by: int) -> tuple[Span, ...]:
    """The spans in a text with so many more characters in front."""
    return tuple((start + by, end + by, label) for start, end, label in spans)


def labelled_tokens(
    text: str, ids: Sequence[int], spans: Iterable[Span], tokenizer: Any, encoded: Callable[[int], bytes]
) -> tuple[tuple[str, np.ndarray], ...]:
    """(label, [n] int64: the tokens that hold any of its characters) for each span.

    ``encoded`` gives a token's bytes. Where all of them together are not the text's (white space that the tokenizer drops,
    a normaliser), the tokenizer's own offsets decide. Raises UserError where it has none.
    """
    first, end = _by_bytes(text, [encoded(token) for token in ids]) or _by_offsets(text, ids, tokenizer)
    return tuple((label, np.flatnonzero((first < b) & (end > a) & (end > first))) for a, b, label in spans)


def _by_bytes(text: str, pieces: list[bytes]) -> tuple[np.ndarray, np.ndarray] | None:
    """First character of each token and the one behind its last; None where the tokens are not the text's bytes."""
    joined, own = b"".join(pieces), text.encode("utf-8", "surrogatepass")
    # SentencePiece and its like put a space in front.
    before = 1 if joined == b" " + own else 0
    if not before and joined != own:
        return None
    characters = decode(joined)[1]
    ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
    starts = np.concatenate([[0], ends[:-1]]) if len(ends) else ends
    first = np.where(ends > starts, characters[np.minimum(starts + 1, ends)] - 1, characters[ends])
    return first - before, characters[ends] - before


def _by_offsets(text: str, ids: Sequence[int], tokenizer: Any) -> tuple[np.ndarray, np.ndarray]:
    if not getattr(tokenizer, "is_fast", False):
        raise UserError(
            f"the model's tokenizer does not say which characters its tokens hold, so {FIELD!r} cannot be used; leave the "
            "field out"
        )
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    offsets = np.array(encoding["offset_mapping"], np.int64).reshape(-1, 2)
    if list(encoding["input_ids"]) != list(ids):
        raise UserError(f"the model's tokenizer gives other tokens for the same text, so {FIELD!r} cannot be used")
    return offsets[:, 0], offsets[:, 1]


class JoinedLabels:
    """Where labelled tokens stand in the joined documents of a domain."""

    def __init__(self) -> None:
        self._places: dict[str, list[np.ndarray]] = {}

    def add(self, base: int, labels: Iterable[tuple[str, np.ndarray]]) -> None:
        """Tokens [n] of ids that begin at ``base``, by label. Raises UserError for too many labels."""
        for label, tokens in labels:
            self._places.setdefault(label, []).append(base + tokens)
            if len(self._places) > MOST_LABELS:
                raise UserError(f"{FIELD!r} with more than {MOST_LABELS:,} different labels; use fewer")

    def in_windows(self, windows: int, seq_len: int, piece: int) -> dict[str, np.ndarray]:
        """[n] int64, ascending, by label: positions window * T + p of the windows that the joined tokens were cut into,
        ``piece`` tokens at the end of each."""
        labels = {}
        for label, parts in sorted(self._places.items()):
            joined = np.unique(np.concatenate(parts))
            places = joined // piece * seq_len + seq_len - piece + joined % piece
            labels[label] = places[places < windows * seq_len]
        return labels
