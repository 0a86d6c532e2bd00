"""A vocabulary and a corpus without a tokenizer: word-like tokens, repeated phrases, hostile texts on request."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

BOS = 0
FIRST_WORD = 3  # the ids before it are special
WORDS = [
    " school",
    "school",
    " School",
    " schools",
    " the",
    " teacher",
    " teachers",
    " of",
    " and",
    " percent",
    " to",
    "\n",
    ",",
    ".",
    " return",
    "return",
    " def",
    "(",
    "):",
    " in",
    " children",
    " government",
    " New",
    " York",
    " United",
    " States",
    " is",
    " that",
    " was",
    " for",
    "\n\n",
    "    ",
    " =",
    " import",
    " self",
    " class",
    " 0",
    " 1",
    " river",
    " music",
    " city",
    " year",
    " said",
    " he",
    " she",
    " they",
    " which",
    " water",
    " number",
    " function",
    " value",
    '"',
    "-",
    " law",
    " war",
    " church",
]
HOSTILE = (
    "[/]",
    "[red]x",
    "\x1b[31mred",
    "\x1b]0;title\x07",
    "\x1b[2J",
    "\n",
    "\r\n",
    "\t",
    "\x00",
    "\x07",
    "\x9b1m",
    "漢字",
    "\U0001f600",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\u05e9\u05dc\u05d5\u05dd",
    "\u202eevil",
    "e\u0301\u0302\u0303\u0304",
    "\u200b",
    "<script>alert(1)</script>",
    "=cmd|'/C calc'!A0",
    "a,b",
    'say "hi"',
    "\ud83d",
    "\\",
    "  ",
    "@SUM(1+1)*cmd",
    "</td>&amp;",
    "\u2028line",
    "\ufeffbom",
    "x" * 200,
)
_SYLLABLES = (
    "ba",
    "ce",
    "di",
    "fo",
    "gu",
    "ha",
    "je",
    "ki",
    "lo",
    "mu",
    "na",
    "pe",
    "ri",
    "so",
    "tu",
    "va",
    "we",
    "zo",
)


@dataclass(frozen=True)
class Text:
    """Windows [S, T] int64 of all domains in order, the tokens' texts, whether each is valid UTF-8 by itself."""

    windows: np.ndarray
    texts: tuple[str, ...]
    whole: np.ndarray


def make_texts(vocabulary: int, hostile: bool) -> tuple[tuple[str, ...], np.ndarray]:
    """The texts of ``vocabulary`` tokens, all different, and [V] bool: valid UTF-8 by themselves."""
    texts = ["</s>", "<pad>", "<unk>"]
    for word, odd in zip_longest(WORDS, HOSTILE if hostile else ()):
        texts += [text for text in (word, odd) if text is not None]
    seen = set(texts)
    texts = list(dict.fromkeys(texts))
    whole = [True] * len(texts)
    number = 0
    while len(texts) < vocabulary:
        if number % 50 == 7:
            piece = f"Ġâ{chr(0x100 + number // 50 % 64)}{number // 3200 or ''}"
            if piece not in seen:
                seen.add(piece)
                texts.append(piece)
                whole.append(False)
        word, rest = "", number
        while True:
            rest, digit = divmod(rest, len(_SYLLABLES))
            word += _SYLLABLES[digit]
            if not rest:
                break
        word = (" " if number % 3 else "") + (word.title() if number % 5 == 0 else word)
        if word not in seen:
            seen.add(word)
            texts.append(word)
            whole.append(True)
        number += 1
    return tuple(texts[:vocabulary]), np.array(whole[:vocabulary])


def make_text(
    rng: np.random.Generator, vocabulary: int, seq_len: int, domain_windows: tuple[int, ...], hostile: bool
) -> Text:
    """A corpus whose tokens follow Zipf's law a domain and in which phrases of 2 and 3 tokens come back."""
    texts, whole = make_texts(vocabulary, hostile)
    words = np.arange(FIRST_WORD, vocabulary)
    zipf = 1 / (np.arange(len(words)) + 4.0)
    limit = min(len(words), 400)
    # No frequent single word: a phrase detector would then be a token detector or cover too little.
    phrases = [rng.choice(words[limit // 8 : limit], size, replace=False) for size in rng.integers(2, 4, 40)]
    units = [*words[:, None], *phrases]
    parts = []
    for windows in domain_windows:
        weights = zipf * rng.lognormal(0, 0.7, len(words))
        share = np.concatenate([0.75 * weights / weights.sum(), rng.dirichlet(np.ones(len(phrases))) * 0.25])
        need = windows * (seq_len - 1)
        drawn = np.concatenate([units[u] for u in rng.choice(len(units), need, p=share / share.sum())] or [words[:0]])
        part = np.full((windows, seq_len), BOS, np.int64)
        part[:, 1:] = drawn[:need].reshape(windows, seq_len - 1)
        parts.append(part)
    return Text(np.concatenate(parts), texts, whole)
