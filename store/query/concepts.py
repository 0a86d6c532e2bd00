"""Concepts: named sets of positions that the text to the left decides, from token ids and token texts alone.

The list with each rule in a sentence is core/CONCEPTS.md; ``ask 'concept:NAME'`` and the descriptions of neurons use
the same sets. A rule sees a token and what stands before it in its document; it never sees a later token.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from ffnscope.store.query.word_lists import ENDINGS, FUNCTION_WORDS, KEYWORDS, MONTHS_AND_DAYS, NUMBER_WORDS, PRONOUNS

OPENING, CLOSING = "([{", ")]}"
QUOTES = '"“”„«»'
OPERATORS = "=+*<>%&|^~"
LATE_IN_LINE = 60  # characters before a token on its line
NEAR = 16  # tokens: "recently", and the length of a window's beginning


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
        self._whole = np.array([token != bos_id and whole(int(token)) for token in self.used], bool)
        self.texts = [text_of(int(token)) if known else "" for token, known in zip(self.used, self._whole, strict=True)]
        self.real = (
            np.ones(self.tokens.shape, bool) if bos_id is None else self.tokens != bos_id
        )  # positions with a token that is not BOS

    def where(self, rule: Callable[[str], bool]) -> np.ndarray:
        """Positions whose token's text satisfies ``rule``: [K, T] bool. The space before a word is part of the text."""
        return self._of_token(np.array([bool(rule(text)) for text in self.texts], bool)) & self.real

    def before(self, positions: np.ndarray) -> np.ndarray:
        """Positions whose token before, in the same document and window, is one of ``positions``."""
        out = np.zeros_like(positions)
        out[:, 1:] = positions[:, :-1]
        return out & self.real

    def sum_on_line(self, amount: Callable[[str], int]) -> np.ndarray:
        """``amount`` of all text that stands before the token on its line, summed: [K, T] int64."""
        return self._sum_since(amount, _after_newline, self._newline)

    def sum_in_chunk(self, amount: Callable[[str], int]) -> np.ndarray:
        """``amount`` of all text that stands before the token without white space between, summed: [K, T] int64."""
        return self._sum_since(amount, _after_white_space, self._white_space)

    @cached_property
    def depth(self) -> np.ndarray:
        """Brackets open before the token in its document and window; closing more than were open closes all. [K, T]."""
        change = self._of_token(self._amounts(_bracket_change)).ravel()
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
        newline = self._last(self._newline)
        begins_white = self._of_token(
            np.array([text[:1].isspace() and text[:1] != "\n" for text in self.texts])
        ).ravel()
        tails = [_after_newline(text) for text in self.texts]
        tail_any = self._of_token(np.array([bool(tail) for tail in tails])).ravel()
        tail_white = self._of_token(np.array([tail[:1].isspace() for tail in tails])).ravel()
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
        found, index = np.unique(pairs, return_inverse=True)
        return _distances(index.reshape(pairs.shape), len(found), self.has_left)

    @cached_property
    def same_as_before(self) -> np.ndarray:
        """Positions whose token is the token before."""
        same = np.zeros(self.tokens.shape, bool)
        same[:, 1:] = self.tokens[:, 1:] == self.tokens[:, :-1]
        return same & self.real

    def _of_token(self, values: np.ndarray) -> np.ndarray:
        return values[self._index]

    def _amounts(self, amount: Callable[[str], int]) -> np.ndarray:
        return np.array([amount(text) for text in self.texts], np.int64)

    @cached_property
    def _newline(self) -> np.ndarray:
        return self._of_token(np.array(["\n" in text for text in self.texts], bool)).ravel()

    @cached_property
    def _white_space(self) -> np.ndarray:
        return self._of_token(np.array([any(map(str.isspace, text)) for text in self.texts], bool)).ravel()

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

    def _last(self, marked: np.ndarray) -> np.ndarray:
        """Of each position, the flat index of the last marked token before it in its document; -1 where none is."""
        flat = np.arange(self.tokens.size)
        last = np.maximum.accumulate(np.where(marked, flat, -1))
        before = np.concatenate([[-1], last[:-1]])
        return np.where((before < self._start) | self._begins, -1, before)

    def _sum_since(self, amount: Callable[[str], int], rest: Callable[[str], str], marked: np.ndarray) -> np.ndarray:
        whole = self._of_token(self._amounts(amount)).ravel()
        tail = self._of_token(np.array([amount(rest(text)) for text in self.texts], np.int64)).ravel()
        until = np.cumsum(whole) - whole  # before each position
        last = self._last(marked)
        begun = until - until[self._start]
        since = until - (until + whole)[np.maximum(last, 0)] + tail[np.maximum(last, 0)]
        return np.where(last >= 0, since, begun).reshape(self.tokens.shape)


@dataclass(frozen=True)
class Concept:
    """A named set of positions: its rule in a sentence, and the positions [K, T] bool that satisfy it."""

    name: str
    group: str
    rule: str
    positions: Callable[[TextPositions], np.ndarray]


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


def _word(text: str) -> str:
    return text.strip()


def _all(text: str, test: Callable[[str], bool]) -> bool:
    word = _word(text)
    return bool(word) and all(test(sign) for sign in word)


def _letters(text: str) -> bool:
    return _word(text).isalpha()


def _is_punctuation(sign: str) -> bool:
    return unicodedata.category(sign).startswith("P")


def _ends_sentence(text: str) -> bool:
    return _word(text).rstrip(CLOSING + QUOTES + "'’").endswith((".", "!", "?"))


def _listed(words: frozenset[str]) -> Callable[[str], bool]:
    return lambda text: _word(text).lower() in words


def _has(signs: str) -> Callable[[str], bool]:
    return lambda text: any(sign in text for sign in signs)


def _ends(signs: str) -> Callable[[str], bool]:
    return lambda text: bool(text) and text[-1] in signs


def _capitalised(text: str) -> bool:
    word = _word(text)
    return len(word) > 1 and word[0].isupper() and word[1:].isalpha() and word[1:].islower()


def _mixed(text: str) -> bool:
    return any(a.islower() and b.isupper() for a, b in pairwise(text))


def _continues(at: TextPositions) -> np.ndarray:
    return at.where(lambda text: text[:1].isalnum()) & at.before(at.where(lambda text: text[-1:].isalnum()))


def _in_number(at: TextPositions) -> np.ndarray:
    ends_in_digit = at.where(lambda text: text[-1:].isdigit())
    point = at.where(lambda text: text in (".", ",")) & at.before(ends_in_digit)
    return at.where(lambda text: text[:1].isdigit()) & (at.before(ends_in_digit) | at.before(point))


def _indentation(at: TextPositions) -> np.ndarray:
    blank = at.sum_on_line(lambda text: len(text.strip())) == 0
    return (
        at.where(lambda text: text.isspace() and "\n" not in text)
        & blank
        & (at._last(at._newline) >= 0).reshape(at.tokens.shape)
    )


def _first_word(at: TextPositions) -> np.ndarray:
    blank = at.sum_on_line(lambda text: len(text.strip())) == 0
    return at.where(lambda text: bool(text.strip())) & blank


def _position(first: float, last: float) -> Callable[[TextPositions], np.ndarray]:
    """Positions p with first <= p < last, in the window."""

    def positions(at: TextPositions) -> np.ndarray:
        places = np.arange(at.tokens.shape[1])
        return at.real & ((places >= first) & (places < last))[None, :]

    return positions


def _eighth(number: int) -> Callable[[TextPositions], np.ndarray]:
    def positions(at: TextPositions) -> np.ndarray:
        length = at.tokens.shape[1]
        return at.real & (np.arange(length) * 8 // length == number)[None, :]

    return positions


def _token(name: str, rule: str, test: Callable[[str], bool]) -> Concept:
    return Concept(name, "token", rule, lambda at: at.where(test))


def _previous(name: str, rule: str, test: Callable[[str], bool]) -> Concept:
    return Concept(name, "token before", rule, lambda at: at.before(at.where(test)))


CONCEPTS: tuple[Concept, ...] = (
    _token("digit", "Holds digits only.", lambda text: _all(text, str.isdigit)),
    _token(
        "with_digit",
        "Holds a digit and something else.",
        lambda text: any(map(str.isdigit, text)) and not _all(text, str.isdigit),
    ),
    _token("lower_case", "Holds lower-case letters only.", lambda text: _letters(text) and _word(text).islower()),
    _token("capitalised", "Begins with a capital letter, and goes on in lower-case letters only.", _capitalised),
    _token(
        "all_capitals",
        "Holds capital letters only, two or more.",
        lambda text: _letters(text) and _word(text).isupper() and len(_word(text)) > 1,
    ),
    _token("mixed_case", "Holds a capital letter right behind a lower-case one.", _mixed),
    _token("one_letter", "Is one letter.", lambda text: _letters(text) and len(_word(text)) == 1),
    _token("one_character", "Is one character.", lambda text: len(_word(text)) == 1),
    _token("long_word", "Holds letters only, eight or more.", lambda text: _letters(text) and len(_word(text)) > 7),
    _token("punctuation", "Holds punctuation only.", lambda text: _all(text, _is_punctuation)),
    _token("comma", "Holds a comma.", _has(",")),
    _token("full_stop", "Holds a full stop.", _has(".")),
    _token("question_or_exclamation", "Holds a question or exclamation mark.", _has("?!")),
    _token("colon", "Holds a colon or semicolon.", _has(":;")),
    _token("dash", "Holds a hyphen or dash.", _has("-–—")),
    _token("slash", "Holds a slash or backslash.", _has("/\\")),
    _token("bracket_open", "Holds an opening bracket: ( [ or {.", _has(OPENING)),
    _token("bracket_close", "Holds a closing bracket: ) ] or }.", _has(CLOSING)),
    _token("quote", 'Holds a double quotation mark: " “ ” „ « or ».', _has(QUOTES)),
    _token("apostrophe", "Holds an apostrophe.", _has("'’")),
    _token("operator", "Holds one of = + * < > % & | ^ ~.", _has(OPERATORS)),
    _token("underscore", "Holds an underscore.", _has("_")),
    _token("white_space", "Holds white space only, and no newline.", lambda text: text.isspace() and "\n" not in text),
    _token("newline", "Holds a newline.", _has("\n")),
    _token(
        "begins_with_space", "Begins with a space and goes on.", lambda text: text[:1] == " " and bool(text.strip())
    ),
    _token("not_ascii", "Holds a character that is not ASCII.", lambda text: not text.isascii()),
    Concept(
        "part_of_character",
        "token",
        "Is not text by itself: it holds part of a character.",
        lambda at: at._of_token(~at._whole) & at.real,
    ),
    _token("function_word", "Is an English function word (the, of, and, ...).", _listed(FUNCTION_WORDS)),
    _token("pronoun", "Is an English pronoun (he, their, ...).", _listed(PRONOUNS)),
    _token("number_word", "Is an English number word (one, second, hundred, ...).", _listed(NUMBER_WORDS)),
    _token("month_or_day", "Is the English name of a month or weekday.", _listed(MONTHS_AND_DAYS)),
    _token("keyword", "Is a keyword of a programming language (def, return, if, ...).", _listed(KEYWORDS)),
    Concept(
        "continues_word",
        "token",
        "Begins with a letter or digit, right behind another letter or digit.",
        _continues,
    ),
    Concept(
        "ending",
        "token",
        "Continues a word with a common English ending (s, ed, ing, ly, ...).",
        lambda at: _continues(at) & at.where(lambda text: text.lower() in ENDINGS),
    ),
    _previous("after_digit", "The token before ends with a digit.", lambda text: text[-1:].isdigit()),
    _previous(
        "after_punctuation", "The token before holds punctuation only.", lambda text: _all(text, _is_punctuation)
    ),
    _previous("after_comma", "The token before ends with a comma.", _ends(",")),
    Concept(
        "sentence_start",
        "token before",
        "The token before ends with . ! or ?, and this one begins with white space.",
        lambda at: at.where(lambda text: text[:1].isspace()) & at.before(at.where(_ends_sentence)),
    ),
    Concept(
        "member",
        "token before",
        "Begins with a letter, right behind a full stop, as in a.b.",
        lambda at: at.where(lambda text: text[:1].isalpha()) & at.before(at.where(_ends("."))),
    ),
    _previous("after_capitalised", "The token before is capitalised.", _capitalised),
    _previous("after_function_word", "The token before is an English function word.", _listed(FUNCTION_WORDS)),
    _previous("after_opening_bracket", "The token before ends with an opening bracket.", _ends(OPENING)),
    _previous("after_quote", "The token before ends with a double quotation mark.", _ends(QUOTES)),
    _previous("after_equals", "The token before ends with an equals sign.", _ends("=")),
    _previous(
        "after_white_space",
        "The token before holds white space only, and no newline.",
        lambda text: text.isspace() and "\n" not in text,
    ),
    Concept("same_as_before", "token before", "Is the same token as the one before.", lambda at: at.same_as_before),
    Concept(
        "document_start",
        "token before",
        "Has no token before it: the first of a document or window.",
        lambda at: at.real & ~at.has_left,
    ),
    Concept(
        "line_start",
        "line",
        "The token before ends with a newline.",
        lambda at: at.before(at.where(_ends("\n"))),
    ),
    Concept(
        "paragraph_start",
        "line",
        "Two newlines end right before it.",
        lambda at: (
            at.before(at.where(lambda text: text.endswith("\n\n")))
            | (at.before(at.where(lambda text: text == "\n")) & at.before(at.before(at.where(_ends("\n")))))
        ),
    ),
    Concept("indentation", "line", "White space that begins a line.", _indentation),
    Concept("indented_line", "line", "Stands on a line that begins with white space.", lambda at: at.indented),
    Concept("first_word_of_line", "line", "The first token of its line that is more than white space.", _first_word),
    Concept(
        "late_in_line",
        "line",
        f"More than {LATE_IN_LINE} characters stand before it on its line.",
        lambda at: at.real & (at.sum_on_line(len) > LATE_IN_LINE),
    ),
    Concept(
        "comment",
        "line",
        "A token that holds # or // stands before it on its line.",
        lambda at: at.real & (at.sum_on_line(lambda text: int("#" in text or "//" in text)) > 0),
    ),
    Concept(
        "in_quotes",
        "enclosure",
        'An odd number of " stands before it on its line.',
        lambda at: at.real & (at.sum_on_line(lambda text: text.count('"')) % 2 == 1),
    ),
    Concept(
        "in_brackets",
        "enclosure",
        "A bracket was opened before it and not closed.",
        lambda at: at.real & (at.depth > 0),
    ),
    Concept("in_nested_brackets", "enclosure", "Two or more brackets are open.", lambda at: at.real & (at.depth > 1)),
    Concept(
        "in_number",
        "enclosure",
        "Begins with a digit, right behind a digit, or behind a digit and a point or comma.",
        _in_number,
    ),
    Concept(
        "in_address",
        "enclosure",
        "A token that holds //, www or @ stands before it with no white space between.",
        lambda at: (
            at.where(lambda text: not text[:1].isspace())
            & (at.sum_in_chunk(lambda text: int("//" in text or "www" in text or "@" in text)) > 0)
        ),
    ),
    Concept("seen_before", "repetition", "The token stood in this window before.", lambda at: at.distance > 0),
    Concept(
        "seen_recently",
        "repetition",
        f"The token stood among the {NEAR} before it.",
        lambda at: (at.distance > 0) & (at.distance <= NEAR),
    ),
    Concept(
        "bigram_seen_before",
        "repetition",
        "The token stood in this window before, behind the same token.",
        lambda at: at.bigram_distance > 0,
    ),
    Concept("first_16", "position", f"Among the first {NEAR} positions of the window.", _position(0, NEAR)),
    *(
        Concept(f"eighth_{number + 1}", "position", f"In eighth {number + 1} of the window.", _eighth(number))
        for number in range(8)
    ),
)
BY_NAME: dict[str, Concept] = {concept.name: concept for concept in CONCEPTS}


def concept_names(domains: Sequence[str]) -> tuple[str, ...]:
    """The concepts of a store in their order: those of the list, then one for each counted domain, ``domain:NAME``.

    Of a corpus with one domain, the domain says nothing and is no concept.
    """
    own = tuple(f"domain:{name}" for name in domains) if len(domains) > 1 else ()
    return tuple(BY_NAME) + own


def concept_positions(at: TextPositions, domain_of: np.ndarray, domains: Sequence[str]) -> np.ndarray:
    """Every concept's positions: [C, K, T] bool, in the order of ``concept_names``.

    ``domain_of`` [K] is the index of each window's domain among ``domains``.
    """
    sets = [concept.positions(at) for concept in CONCEPTS]
    if len(domains) > 1:
        sets += [at.real & (domain_of == index)[:, None] for index in range(len(domains))]
    return np.stack(sets)
