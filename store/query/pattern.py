"""Which tokens and n-grams a searched text means: part of the text with case ignored, or the whole text exactly."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from weakref import WeakKeyDictionary

import numpy as np

from ffnscope.store.format.schema import ABSENT
from ffnscope.store.vocabulary import Vocabulary

_FOLDED: WeakKeyDictionary[Vocabulary, tuple[list[str], list[str]]] = WeakKeyDictionary()
_MATCHED: WeakKeyDictionary[Vocabulary, dict[Pattern, np.ndarray]] = WeakKeyDictionary()
_MATCHING = Lock()
_REMEMBERED = 16  # patterns


@dataclass(frozen=True)
class Pattern:
    """A text to look for; ``exact``: the whole text, its case kept."""

    text: str
    exact: bool = False

    def matches(self, text: str) -> bool:
        """Whether the pattern fits one text."""
        return text == self.text if self.exact else self.text.casefold() in text.casefold()


def matching_tokens(vocabulary: Vocabulary, pattern: Pattern) -> np.ndarray:
    """[V + 1] bool: the tokens that a pattern fits; the last item, for tokens that are absent, is False."""
    # A filter asks for the same texts in every layer, and several threads may.
    with _MATCHING:
        found = _MATCHED.setdefault(vocabulary, {}).get(pattern)
    if found is None:
        exact, folded = _texts(vocabulary)
        found = np.zeros(len(exact) + 1, np.bool_)
        if pattern.exact:
            found[:-1] = [text == pattern.text for text in exact]
        else:
            part = pattern.text.casefold()
            found[:-1] = [part in text for text in folded]
        found.flags.writeable = False
        with _MATCHING:
            known = _MATCHED[vocabulary]
            while len(known) >= _REMEMBERED:
                del known[next(iter(known))]
            known[pattern] = found
    return found


def matching_ngrams(vocabulary: Vocabulary, pattern: Pattern, ngrams: np.ndarray) -> np.ndarray:
    """[M] bool for n-grams [M, 3] (ABSENT behind the last token): those with a token that the pattern fits, or whose
    tokens joined it fits."""
    tokens = matching_tokens(vocabulary, pattern)
    size = len(tokens) - 1
    found = tokens[np.minimum(ngrams, size)].any(axis=1)
    open_rows = np.flatnonzero(~found & (ngrams[:, 1] != ABSENT))
    if len(open_rows) and len(pattern.text) > 1:
        texts = _texts(vocabulary)[0 if pattern.exact else 1]
        part = pattern.text if pattern.exact else pattern.text.casefold()
        rows, at = np.unique(ngrams[open_rows], axis=0, return_inverse=True)
        joined = ("".join(texts[token] for token in row if token < size) for row in rows.tolist())
        fits = np.array([part == text if pattern.exact else part in text for text in joined])
        found[open_rows] = fits[at.ravel()]
    return found


def _texts(vocabulary: Vocabulary) -> tuple[list[str], list[str]]:
    if vocabulary not in _FOLDED:
        exact = vocabulary.all_texts()
        _FOLDED[vocabulary] = exact, [text.casefold() for text in exact]
    return _FOLDED[vocabulary]
