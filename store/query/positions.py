"""The query language: text -> a set of kept positions, all terms of which must hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import regex

from ffnscope.store.bits.kept import KeptBits
from ffnscope.store.errors import UserError
from ffnscope.store.escaping import unescape
from ffnscope.store.query.pattern import Pattern
from ffnscope.store.query.position_terms import (
    Activated,
    Concepts,
    Domains,
    Labels,
    Places,
    PositionTerm,
    TermError,
    Text,
    Token,
    Without,
)

TERMS = {
    "text": "text:/REGEX/",
    "ends": "ends:/REGEX/",
    "token": "token:school",
    "prev": "prev:school",
    "domain": "domain:NAME",
    "position": "position:0-15,100",
    "label": "label:NAME",
    "concept": "concept:NAME",
    "neuron": "neuron:L2N10",
}
"""Every term's name and an example of it."""
KNOWN = f"{', '.join(TERMS.values())}; - before a term negates it, | separates alternatives"
_NEURON = re.compile(r"L(\d{1,9})N(\d{1,9})", re.IGNORECASE | re.ASCII)
_RANGE = re.compile(r"(\d{0,9})(-?)(\d{0,9})", re.ASCII)
_LARGEST = 1 << 31
_LONGEST = 10_000  # characters of a regular expression


class QueryError(UserError):
    """A query that can't be answered; ``position`` is the bad term's place in the text, from 1."""

    def __init__(self, term: str, position: int, problem: str):
        super().__init__(f"query term {term!r} at position {position}: {problem}")
        self.position = position


@dataclass(frozen=True)
class Value:
    """One alternative of a term: a text, whether ``=`` stood before it, or a regular expression with its flags."""

    text: str
    exact: bool = False
    flags: str | None = None  # None where it is not a regular expression


@dataclass(frozen=True)
class TypedTerm:
    """A term as typed: its text, its place (from 1), and what it was read as."""

    text: str
    position: int
    term: PositionTerm = field(repr=False)


@dataclass(frozen=True)
class Query:
    """Terms that must all hold; no terms hold at every kept position."""

    text: str
    terms: tuple[TypedTerm, ...] = field(default=(), repr=False)

    def members(self, kept: KeptBits, proceed: Callable[[], None] = lambda: None) -> np.ndarray:
        """[P] bool: the kept positions where every term holds. ``proceed`` is called now and then; what it raises ends the
        search. Raises QueryError for a term that this store can't answer, and UserError where the store is damaged."""
        members = np.ones(kept.positions, np.bool_)
        for typed in self.terms:
            try:
                members &= typed.term.members(kept, proceed)
            except TermError as error:
                raise QueryError(typed.text, typed.position, str(error)) from None
        return members


def parse_query(text: str, domains: Sequence[str] = ()) -> Query:
    """Read a query. ``domains``: the names of the store's counted domains. Raises QueryError (a UserError) naming the term,
    its position and what is known."""
    terms, at = [], 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        reader = _TermReader(text, at, domains)
        terms.append(reader.read())
        at = reader.at
    return Query(text.strip(), tuple(terms))


class _TermReader:
    """Reads one term, from ``at`` on."""

    def __init__(self, text: str, at: int, domains: Sequence[str]):
        self.text, self.start, self.at, self.domains = text, at, at, domains

    def read(self) -> TypedTerm:
        negated = self.text.startswith("-", self.at)
        self.at += negated
        colon = self.at
        while colon < len(self.text) and (self.text[colon].isalpha() or self.text[colon] == "_"):
            colon += 1
        key = self.text[self.at : colon].lower()
        if not self.text.startswith(":", colon):
            self._skip()
            if negated and self.at == self.start + 1:
                raise self._bad("- negates the term that follows it")
            example = f"; {key} needs a value, as in {TERMS[key]}" if key in TERMS else ""
            raise self._bad(f"known are {KNOWN}{example}")
        self.at = colon + 1
        values = self._values()
        if key not in TERMS:
            raise self._bad(f"no term {key!r}; known are {KNOWN}")
        term = self._term(key, values)
        return TypedTerm(self.text[self.start : self.at], self.start + 1, Without(term) if negated else term)

    def _bad(self, problem: str) -> QueryError:
        return QueryError(self.text[self.start : self.at], self.start + 1, problem)

    def _skip(self) -> None:
        while self.at < len(self.text) and not self.text[self.at].isspace():
            self.at += 1

    # Values

    def _values(self) -> list[Value]:
        values = [self._value()]
        while self.text.startswith("|", self.at):
            self.at += 1
            values.append(self._value())
        return values

    def _value(self) -> Value:
        if self.text.startswith("/", self.at):
            return self._regex()
        exact = self.text.startswith("=", self.at)
        self.at += exact
        pieces: list[str] = []
        while self.at < len(self.text) and self.text[self.at] != "|" and not self.text[self.at].isspace():
            if self.text[self.at] == '"':
                pieces.append(unescape(self._enclosed('"', 'the quote " has no end')))
            else:
                pieces.append(self.text[self.at])
                self.at += 1
        return Value("".join(pieces), exact)

    def _regex(self) -> Value:
        source = self._enclosed(
            "/", 'the regular expression has no end: / (a / inside it is written \\/, a text in "")'
        )
        first = self.at
        while self.at < len(self.text) and self.text[self.at] != "|" and not self.text[self.at].isspace():
            self.at += 1
        flags = self.text[first : self.at]
        if flags not in ("", "i"):
            raise self._bad(f"only i (case ignored) may follow a regular expression, not {flags!r}")
        return Value(source, flags=flags)

    def _enclosed(self, mark: str, problem: str) -> str:
        """What stands between two marks; a mark after a backslash does not count."""
        end = self.at + 1
        while end < len(self.text) and self.text[end] != mark:
            end += 2 if self.text[end] == "\\" else 1
        if end >= len(self.text):
            self.at = len(self.text)
            raise self._bad(problem)
        inner = self.text[self.at + 1 : end]
        self.at = end + 1
        return inner

    # Terms

    def _term(self, key: str, values: list[Value]) -> PositionTerm:
        if key in ("text", "ends"):
            return Text(tuple(self._compiled(key, value) for value in values), last_only=key == "ends")
        if key in ("token", "prev"):
            return Token(tuple(self._pattern(key, value) for value in values), back=int(key == "prev"))
        texts = tuple(self._plain(key, value) for value in values)
        if key == "domain":
            return Domains(tuple(self._domain(text) for text in texts))
        if key == "position":
            return Places(tuple(self._range(part) for text in texts for part in text.split(",")))
        if key == "neuron":
            return Activated(tuple(self._neuron(part) for text in texts for part in text.split(",")))
        return Labels(texts) if key == "label" else Concepts(texts)

    def _plain(self, key: str, value: Value) -> str:
        if value.flags is not None or not value.text:
            raise self._bad(f"{key}: needs a value, as in {TERMS[key]}")
        return value.text

    def _pattern(self, key: str, value: Value) -> Pattern | regex.Pattern[str]:
        if value.flags is not None:
            return self._compiled(key, value)
        if not value.text:
            raise self._bad(f'{key}: needs a text, as in {key}:school, {key}:=" school" or {key}:/REGEX/')
        return Pattern(value.text, value.exact)

    def _compiled(self, key: str, value: Value) -> regex.Pattern[str]:
        if value.flags is None or not value.text:
            raise self._bad(f"{key}: needs a regular expression between slashes, as in {key}:/school/")
        if len(value.text) > _LONGEST:
            raise self._bad(f"a regular expression of {len(value.text):,} characters; {_LONGEST:,} are the most")
        try:
            return regex.compile(value.text, regex.IGNORECASE if value.flags else 0)
        except regex.error as error:
            raise self._bad(f"not a regular expression ({error})") from None
        except (RecursionError, MemoryError, OverflowError, ValueError, KeyError, IndexError, TypeError) as error:
            raise self._bad(f"not a regular expression that can be searched for ({type(error).__name__})") from None

    def _domain(self, name: str) -> str:
        if name in self.domains:
            return name
        matches = [known for known in self.domains if known.lower() == name.lower()]
        if len(matches) != 1:
            raise self._bad(f"no domain {name!r} whose windows are counted; there are {', '.join(self.domains)}")
        return matches[0]

    def _range(self, text: str) -> tuple[int, int]:
        match = _RANGE.fullmatch(text)
        if match is None or not (match[1] or match[3]):
            raise self._bad(f"{text!r} is not a range of positions, as in {TERMS['position']}")
        low = int(match[1] or 0)
        high = (int(match[3]) if match[3] else _LARGEST) if match[2] else low
        if low > high:
            raise self._bad(f"{text!r} ends before it begins")
        return low, high

    def _neuron(self, text: str) -> tuple[int, int]:
        match = _NEURON.fullmatch(text)
        if match is None:
            raise self._bad(f"{text!r} is not a neuron, as in {TERMS['neuron']}")
        return int(match[1]), int(match[2])
