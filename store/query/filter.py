"""The filter language: text -> terms that must all hold."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from ffnscope.store.definitions import KINDS, POSITION_STRENGTHS, POSITION_TYPES
from ffnscope.store.errors import UserError
from ffnscope.store.escaping import quoted_parts
from ffnscope.store.query import columns
from ffnscope.store.query.filter_terms import (
    Between,
    Compare,
    Described,
    Detects,
    Lists,
    Not,
    OneOf,
    Own,
    Position,
    Scope,
    Term,
)
from ffnscope.store.query.pattern import REGEX, Pattern, parse_regex
from ffnscope.store.reader import Store

GROUPS = {"detector": ("token", "bigram", "trigram"), "alive": tuple(kind for kind in KINDS if kind != "dead")}
POSITIONS = (*POSITION_TYPES[1:], *reversed(POSITION_STRENGTHS[1:]), "any", "none")
TEXTS = ("detects", "promotes", "suppresses", "token_set", "concept")
_LISTS = {"promotes": "promoted", "suppresses": "suppressed", "token_set": "token_set"}
FLAGS = ("marked", "noted")
_SIGNS = re.compile("<=|>=|!=|<|>|=")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:_\d+)*\.?\d*|\.\d+)(?:e[+-]?\d+)?", re.IGNORECASE)
_UNITS = {"": 1, "k": 1000, "m": 1_000_000, "%": 0.01}
_LARGEST = 2**63 - 1
_LONGEST = 400  # characters of a number, more than any of the columns' can have


class FilterError(UserError):
    """A filter that cannot be read; ``position`` is the bad term's place in the text, from 1."""

    def __init__(self, term: str, position: int, problem: str):
        super().__init__(f"filter term {term!r} at position {position}: {problem}")
        self.position = position


@dataclass(frozen=True)
class Filter:
    """Terms that must all hold; no terms hold for every neuron (and make the filter falsy)."""

    text: str = ""
    terms: tuple[Term, ...] = field(default=(), repr=False)

    def __bool__(self) -> bool:
        return bool(self.terms)

    def mask(
        self,
        store: Store,
        layer: int,
        marks: Collection[tuple[int, int]] = (),
        notes: Collection[tuple[int, int]] = (),
    ) -> np.ndarray:
        """[F] bool: the neurons of one layer that every term holds for. ``marks`` and ``notes``: (layer, neuron)
        of the marked and the noted. Raises UserError where the layer is not in the store."""
        scope = Scope(store, layer, marks, notes)
        mask = np.ones(store.neurons(layer), np.bool_)
        for term in self.terms:
            mask &= term.mask(scope)
            if not mask.any():
                break
        return mask

    def layers(self, layers: Sequence[int]) -> tuple[int, ...]:
        """Those of ``layers`` in which the filter can hold for a neuron."""
        numbers = np.asarray(layers, np.int64)
        mask = np.ones(len(numbers), np.bool_)
        for term in self.terms:
            part = term.layers(numbers)
            if part is not None:
                mask &= part
        return tuple(numbers[mask].tolist())


def parse_filter(text: str, domains: Sequence[str] = ()) -> Filter:
    """Read a filter. ``domains`` are the store's, for ``freq:NAME``. Raises FilterError (a UserError) naming the
    term, its position and what is known."""
    return Filter(text.strip(), tuple(_term(word, domains) for word in split(text)))


@dataclass(frozen=True)
class Word:
    """One term as typed, its place in the text (from 1), and which of its characters stand in quotes.

    ``plain`` is the text with every character inside quotes, and the quotes, as NUL: what the syntax is read from.
    Regular expressions are NUL too.
    """

    text: str
    position: int
    plain: str

    def bad(self, problem: str) -> FilterError:
        """The error for this term."""
        return FilterError(self.text, self.position, problem)


def split(text: str) -> list[Word]:
    """The terms of a filter: separated by white space outside quotes. Raises FilterError for a quote without end."""
    words: list[Word] = []
    start, plain, quoted, at = 0, "", False, 0
    while at <= len(text):
        char = text[at] if at < len(text) else " "
        if quoted and at < len(text):
            if char == "\\" and at + 1 < len(text):
                plain += "\0"
                at += 1
            quoted = char != '"'
            plain += "\0"
        elif quoted:
            raise FilterError(text[start:], start + 1, 'the quote " is not closed')
        elif char.isspace():
            if plain:
                words.append(Word(text[start:at], start + 1, plain))
            start, plain = at + 1, ""
        elif char == "/" and (end := _regex_end(text, at, plain)):
            plain += "\0" * (end - at)
            at = end - 1
        else:
            quoted = char == '"'
            plain += "\0" if quoted or char == "\0" else char
        at += 1
    return words


def _regex_end(text: str, at: int, plain: str) -> int:
    """Where a regular expression ends that begins at a place of the text, after ``plain`` of its term; 0 for none."""
    head, colon, _ = plain.lstrip("-").partition(":")
    if not colon or plain[-1] not in ":|" or head.lower() not in TEXTS:
        return 0
    match = REGEX.match(text, at)
    if match is None or (match.end() < len(text) and not (text[match.end()].isspace() or text[match.end()] == "|")):
        return 0
    return match.end()


def _term(word: Word, domains: Sequence[str]) -> Term:
    if word.plain.startswith("-"):
        if len(word.text) == 1 or word.text[1] == "-":
            raise word.bad("- negates the term that follows it without a space")
        return Not(_positive(Word(word.text[1:], word.position, word.plain[1:]), word, domains))
    return _positive(word, word, domains)


def _positive(word: Word, whole: Word, domains: Sequence[str]) -> Term:
    if word.plain.lower() in FLAGS:
        return Own(word.plain.lower() == "noted")
    head, colon, _ = word.plain.partition(":")
    key = head.lower()
    if colon and not _SIGNS.search(head):
        value = len(head) + 1
        if key in TEXTS:
            patterns = _patterns(word, value, whole, key)
            if key == "concept":
                return Described(patterns)
            if key == "detects":
                return Detects(patterns)
            return Lists(_LISTS[key], patterns)
        if key == "pos":
            return Position(_words(word, value, whole, POSITIONS, "positions"))
        column = columns.find(key, domains)
        if column is not None and column != "frequency":
            return _column(column, word, value, whole)
    sign = _SIGNS.search(word.plain)
    if sign is None:
        column = columns.find(key, domains)
        if column is not None:
            example = columns.words(column)[-1:] or ("5" if columns.is_whole(column) else "0.05",)
            mark = ":" if columns.words(column) else "<"
            raise whole.bad(f"{column} needs a value, without a space before it, as in {key}{mark}{example[0]}")
        raise whole.bad(f"known are {_known(domains)}")
    name = _value(word, 0, sign.start())
    column = columns.find(name, domains)
    if column is None:
        raise whole.bad(f"no column {name!r}; known are {columns.known(domains)}")
    if columns.words(column):
        if sign[0] not in ("=", "!="):
            raise whole.bad(f"{column} is compared with a word, as in {column}:{columns.words(column)[-1]}")
        term = _column(column, word, sign.end(), whole)
        return Not(term) if sign[0] == "!=" else term
    parts = [_value(word, *span) for span in _alternatives(word, sign.end())]
    return Compare(column, sign[0], tuple(_number(part, column, sign[0], whole) for part in parts))


def _column(column: str, word: Word, value: int, whole: Word) -> Term:
    words = columns.words(column)
    if words:
        groups = GROUPS if column == "kind" else {}
        values = (*(name for name in words if name), *groups)
        named = _words(word, value, whole, values, f"values of {column}")
        codes = {words.index(choice) for name in named for choice in groups.get(name, (name,))}
        return OneOf(column, tuple(sorted(codes)))
    if not columns.is_whole(column):
        raise whole.bad(f"{column} is compared with a number, as in {column}>0.1")
    parts = [part for span in _alternatives(word, value) for part in _value(word, *span).split(",")]
    return Between(column, tuple(_range(part, column, whole) for part in parts))


def _words(word: Word, value: int, whole: Word, known: Sequence[str], what: str) -> tuple[str, ...]:
    named = [_value(word, *span).lower() for span in _alternatives(word, value)]
    for name in named:
        if name not in known:
            raise whole.bad(f"no {name!r} among the {what}: {', '.join(known)}")
    return tuple(named)


def _patterns(word: Word, value: int, whole: Word, key: str) -> tuple[Pattern, ...]:
    patterns = []
    for start, end in _alternatives(word, value):
        if word.plain.startswith("\0", start) and word.text.startswith("/", start):
            try:
                patterns.append(parse_regex(word.text[start:end]) or Pattern(word.text[start:end]))
            except UserError as error:
                raise whole.bad(str(error)) from None
            continue
        exact = word.plain[start:end].startswith("=")
        text = _value(word, start + exact, end)
        if not text:
            raise whole.bad(f'{key}: needs a text, as in {key}:school or {key}:=" school"')
        patterns.append(Pattern(text, exact))
    return tuple(patterns)


def _alternatives(word: Word, start: int) -> list[tuple[int, int]]:
    """The spans between the ``|`` outside quotes."""
    spans = []
    for part in word.plain[start:].split("|"):
        spans.append((start, start + len(part)))
        start += len(part) + 1
    return spans


def _value(word: Word, start: int, end: int) -> str:
    """A part of the word as meant: quotes taken off, escapes inside them resolved."""
    pieces, at = [], start
    for run in re.finditer("\0+|[^\0]+", word.plain[start:end]):
        piece = word.text[at : at + len(run[0])]
        at += len(piece)
        pieces.append(quoted_parts(piece) if run[0][0] == "\0" else piece)
    return "".join(pieces)


def _number(text: str, column: str, sign: str, whole: Word) -> float | int:
    _check_length(text, whole)
    lower = text.lower()
    unit = lower[-1:] if lower[-1:] in ("k", "m", "%") else ""
    digits = lower[: len(lower) - len(unit)]
    if not _NUMBER.fullmatch(digits) or not digits.isascii():
        raise whole.bad(f"{text!r} is not a number, as in {column}{sign}{5 if columns.is_whole(column) else 0.05}")
    if unit != "%" and digits.lstrip("+-").replace("_", "").isdigit():
        exact = int(digits) * int(_UNITS[unit])
        if abs(exact) <= _LARGEST:
            return exact
    number = float(f"{digits}e-2") if unit == "%" and "e" not in digits else float(digits) * _UNITS[unit]
    if not math.isfinite(number):
        raise whole.bad(f"{text!r} is too large")
    return number


def _range(text: str, column: str, whole: Word) -> tuple[int, int]:
    _check_length(text, whole)
    match = re.fullmatch(r"(\d*)(-?)(\d*)", text, re.ASCII)
    if not match or not (match[1] or match[3]):
        raise whole.bad(f"{text!r} is not a range of {column}, as in {column}:0-5,8")
    low = int(match[1]) if match[1] else 0
    high = (int(match[3]) if match[3] else _LARGEST) if match[2] else low
    if low > high:
        raise whole.bad(f"{text!r} ends before it begins")
    return min(low, _LARGEST), min(high, _LARGEST)


def _check_length(text: str, whole: Word) -> None:
    if len(text) > _LONGEST:
        raise whole.bad(f"a number of {len(text):,} characters")


def _known(domains: Sequence[str]) -> str:
    keys = ["kind:", "pos:", *(f"{key}:" for key in TEXTS), *FLAGS]
    return f"{', '.join(keys)}, and the columns {columns.known(domains)}"
