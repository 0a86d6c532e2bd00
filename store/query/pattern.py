"""Which tokens and n-grams a searched text means: part of the text with case ignored, the whole text exactly, or a match of
a regular expression."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from threading import Lock
from weakref import WeakKeyDictionary

import numpy as np

from ffnscope.store.errors import UserError
from ffnscope.store.format.schema import ABSENT
from ffnscope.store.vocabulary import Vocabulary

_FOLDED: WeakKeyDictionary[Vocabulary, tuple[list[str], list[str]]] = WeakKeyDictionary()
_MATCHED: WeakKeyDictionary[Vocabulary, dict[Pattern, np.ndarray]] = WeakKeyDictionary()
_MATCHING = Lock()
_REMEMBERED = 16  # patterns
REGEX = re.compile(
    r"/((?:[^/\\]|\\.)+)/(i?)", re.DOTALL
)  # as it is typed: what is matched, and whether case is ignored
SECONDS = 2.0  # that a regular expression may take over all tokens
_LONGEST = 1000  # characters of one


@dataclass(frozen=True)
class Pattern:
    """A text to look for. ``exact``: the whole text, its case kept; ``regex``: a regular expression that has a match in
    it (``regex`` package), with ``ignore_case``."""

    text: str
    exact: bool = False
    regex: bool = False
    ignore_case: bool = False

    def matches(self, text: str) -> bool:
        """Whether the pattern fits one text. Raises UserError for a regular expression that takes too long."""
        if self.regex:
            return self.fitting([text])[0]
        return text == self.text if self.exact else self.text.casefold() in text.casefold()

    def fitting(self, texts: Iterable[str]) -> list[bool]:
        """Which of the texts a regular expression has a match in. Raises UserError where that takes too long."""
        search, until = self._search(), time.monotonic() + SECONDS
        matches = []
        try:
            for index, text in enumerate(texts):
                matches.append(search(text) is not None)
                if index % 256 == 0 and time.monotonic() > until:
                    raise TimeoutError
        except TimeoutError:
            raise UserError(
                f"the regular expression {self.text!r} takes more than {SECONDS:g} s; repetitions inside repetitions, as in "
                "(a+)+, do that"
            ) from None
        except (MemoryError, RecursionError) as error:
            raise UserError(f"the regular expression {self.text!r} is too large") from error
        return matches

    def _search(self) -> Callable[[str], object]:
        # Only who searches for one waits for the package.
        import regex

        return partial(regex.compile(self.text, regex.IGNORECASE if self.ignore_case else 0).search, timeout=SECONDS)


def parse_regex(typed: str) -> Pattern | None:
    """The pattern of ``/REGEX/`` or ``/REGEX/i``; None where a text is not typed so. Raises UserError for a regular
    expression that is none."""
    match = REGEX.fullmatch(typed)
    if match is None:
        return None
    if len(typed) > _LONGEST:
        raise UserError(f"a regular expression of {len(typed):,} characters; at most {_LONGEST:,} are read")
    import regex

    pattern = Pattern(match[1], regex=True, ignore_case=bool(match[2]))
    try:
        pattern._search()
    except (regex.error, OverflowError, RecursionError, MemoryError, ValueError) as error:
        raise UserError(f"{typed!r} is not a regular expression: {error}") from None
    return pattern


def matching_tokens(vocabulary: Vocabulary, pattern: Pattern) -> np.ndarray:
    """[V + 1] bool: the tokens that a pattern fits; the last item, for tokens that are absent, is False."""
    # A filter asks for the same texts in every layer, and several threads may.
    with _MATCHING:
        matches = _MATCHED.setdefault(vocabulary, {}).get(pattern)
    if matches is None:
        exact, folded = _texts(vocabulary)
        matches = np.zeros(len(exact) + 1, np.bool_)
        if pattern.regex:
            matches[:-1] = pattern.fitting(exact)
        elif pattern.exact:
            matches[:-1] = [text == pattern.text for text in exact]
        else:
            part = pattern.text.casefold()
            matches[:-1] = [part in text for text in folded]
        matches.flags.writeable = False
        with _MATCHING:
            masks = _MATCHED[vocabulary]
            while len(masks) >= _REMEMBERED:
                del masks[next(iter(masks))]
            masks[pattern] = matches
    return matches


def matching_ngrams(vocabulary: Vocabulary, pattern: Pattern, ngrams: np.ndarray) -> np.ndarray:
    """[M] bool for n-grams [M, 3] (ABSENT after the last token): those with a token that the pattern fits, or whose
    tokens joined it fits."""
    tokens = matching_tokens(vocabulary, pattern)
    size = len(tokens) - 1
    matches = tokens[np.minimum(ngrams, size)].any(axis=1)
    open_rows = np.flatnonzero(~matches & (ngrams[:, 1] != ABSENT))
    if len(open_rows) and len(pattern.text) > 1:
        kept = pattern.exact or pattern.regex
        texts = _texts(vocabulary)[0 if kept else 1]
        part = pattern.text if kept else pattern.text.casefold()
        rows, at = np.unique(ngrams[open_rows], axis=0, return_inverse=True)
        joined = ["".join(texts[token] for token in row if token < size) for row in rows.tolist()]
        if pattern.regex:
            fits = np.array(pattern.fitting(joined))
        else:
            fits = np.array([part == text if pattern.exact else part in text for text in joined])
        matches[open_rows] = fits[at.ravel()]
    return matches


def _texts(vocabulary: Vocabulary) -> tuple[list[str], list[str]]:
    if vocabulary not in _FOLDED:
        exact = vocabulary.all_texts()
        _FOLDED[vocabulary] = exact, [text.casefold() for text in exact]
    return _FOLDED[vocabulary]
