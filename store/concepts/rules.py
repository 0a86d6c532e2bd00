"""Concepts: named sets of positions that the text to the left decides, from token ids and token texts alone.

The list with each rule in a sentence is core/CONCEPTS.md; ``ask 'concept:NAME'`` and the descriptions of neurons use
the same sets. A rule sees a token and what stands before it in its document; it never sees a later token.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ffnscope.store.concepts.text_positions import CLOSING, OPENING, TextPositions
from ffnscope.store.concepts.word_lists import (
    ENDINGS,
    FUNCTION_WORDS,
    KEYWORDS,
    MONTHS_AND_DAYS,
    NUMBER_WORDS,
    PRONOUNS,
)

QUOTES = '"“”„«»'
OPERATORS = "=+*<>%&|^~"
LATE_IN_LINE = 60  # characters before a token on its line
NEAR = 16  # tokens: "recently", and the length of a window's beginning


@dataclass(frozen=True)
class Concept:
    """A named set of positions: its rule in a sentence, and the positions [K, T] bool that satisfy it."""

    name: str
    group: str
    rule: str
    positions: Callable[[TextPositions], np.ndarray]


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
        & (at.last(at.newline) >= 0).reshape(at.tokens.shape)
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
    _token("mixed_case", "Holds a capital letter right after a lower-case one.", _mixed),
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
        lambda at: at.of_token(~at.whole) & at.real,
    ),
    _token("function_word", "Is an English function word (the, of, and, ...).", _listed(FUNCTION_WORDS)),
    _token("pronoun", "Is an English pronoun (he, their, ...).", _listed(PRONOUNS)),
    _token("number_word", "Is an English number word (one, second, hundred, ...).", _listed(NUMBER_WORDS)),
    _token("month_or_day", "Is the English name of a month or weekday.", _listed(MONTHS_AND_DAYS)),
    _token("keyword", "Is a keyword of a programming language (def, return, if, ...).", _listed(KEYWORDS)),
    Concept(
        "continues_word",
        "token",
        "Begins with a letter or digit, right after another letter or digit.",
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
        "Begins with a letter, right after a full stop, as in a.b.",
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
        "Begins with a digit, right after a digit, or after a digit and a point or comma.",
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
        "The token stood in this window before, after the same token.",
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

    Of a corpus with one domain, the domain says nothing and is not a concept.
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
