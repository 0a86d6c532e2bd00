"""Documents to token ids, in batches, with the model's own tokenizer."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from ffnscope.core.corpus.labels import Span, labelled_tokens, shift
from ffnscope.core.corpus.text import Part
from ffnscope.core.model.token_texts import Vocabulary, build_vocabulary
from ffnscope.core.model.tokenizer import tokenizer_failures

_FIRST_BATCH = 1 << 16  # characters; small, so that a small --max-tokens reads little
_LARGEST_BATCH = 1 << 20
_FAILS = "the model's tokenizer cannot tokenise this text"
ANCHOR = "a"  # a letter put before a later part of a document
_LONGEST_WHOLE = 1 << 22  # characters of a document tokenised in one go where its words hang together
# In byte-level BPE ASCII letters only: others may be the last byte of a full stop, with a line's end behind it.
_LETTER_THEN_SPACE = re.compile(r"[A-Za-z][ĠĊĉč]|[^\W\d_][▁\s]")


_VOCABULARIES: WeakKeyDictionary[Any, Vocabulary] = WeakKeyDictionary()


class Encoded(NamedTuple):
    """The tokens of a part: ids [n] int64, whether they end their document, and (label, [m] int64: which of them hold a
    character of its span) for each labelled span."""

    ids: np.ndarray
    last: bool
    labels: tuple[tuple[str, np.ndarray], ...] = ()


def encode_parts(
    parts: Iterable[Part], tokenizer: Any, workers: int | None = None
) -> Iterator[tuple[np.ndarray, bool]]:
    """(token ids [n] int64, whether they end their document) of every part, in order: ``encode_labelled`` without labels."""
    for encoded in encode_labelled(parts, tokenizer, workers):
        yield encoded.ids, encoded.last


def encode_labelled(parts: Iterable[Part], tokenizer: Any, workers: int | None = None) -> Iterator[Encoded]:
    """The tokens of every part, in order; there may be none.

    No special tokens are added. A special token spelled out in the text (`</s>`) becomes that token, as it does
    wherever Hugging Face tokenizers encode text: it then counts as BOS if it is the model's BOS.

    Fast tokenizers spread a batch over threads by themselves; `workers=1` keeps them to one.
    """
    anchor = _anchor(tokenizer)
    if anchor is None or _spans_words(tokenizer):
        anchor, parts = None, _joined(parts)
    batch: list[Part] = []
    characters, limit, continues = 0, _FIRST_BATCH, False
    for part in parts:
        if continues and anchor is not None and part.text[0].isspace():
            part = Part(ANCHOR + part.text, part.last, anchor, shift(part.spans, len(ANCHOR)))
        continues = not part.last
        batch.append(part)
        characters += len(part.text)
        if characters >= limit:
            yield from _encode(batch, tokenizer, workers)
            batch, characters, limit = [], 0, min(2 * limit, _LARGEST_BATCH)
    if batch:
        yield from _encode(batch, tokenizer, workers)


def _spans_words(tokenizer: Any) -> bool:
    """Whether a token may reach from one word into the next: then documents cannot be cut between words.

    Such a vocabulary holds a letter with a space behind it, written as itself, as byte-level BPE or as SentencePiece does.
    """
    added = tokenizer.get_added_vocab()
    return any(_LETTER_THEN_SPACE.search(piece) for piece in tokenizer.get_vocab() if piece not in added)


def _joined(parts: Iterable[Part]) -> Iterator[Part]:
    """The same documents in parts as long as memory allows."""
    texts: list[str] = []
    spans: tuple[Span, ...] = ()
    characters = 0
    for part in parts:
        texts.append(part.text)
        spans += shift(part.spans, characters)
        characters += len(part.text)
        if part.last or characters >= _LONGEST_WHOLE:
            yield Part("".join(texts), part.last, spans=spans)
            texts, spans, characters = [], (), 0


def _anchor(tokenizer: Any) -> int | None:
    """How many tokens the letter ANCHOR is before white space; None where the tokens of a text are not those of its parts.

    SentencePiece and its like treat the start of a text as if a space stood before it. A document's later parts begin
    with white space in the middle of the document: behind a letter, whose tokens are then left out, they are tokenised
    as they are there.
    """
    spaces = (" ", "\n", "\t", "\r\n", "  ", "\n\n", " \n ")
    words = "the words"
    texts = [ANCHOR, words, *(text + space + words for space in spaces for text in (ANCHOR, words))]
    with tokenizer_failures(_FAILS):
        ids = tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]
    (alone, before), pairs = ids[:2], zip(ids[2::2], ids[3::2], strict=True)
    size = len(alone)
    same = all(anchored[:size] == alone and before + anchored[size:] == whole for anchored, whole in pairs)
    return size if same else None


def _encode(batch: list[Part], tokenizer: Any, workers: int | None) -> Iterator[Encoded]:
    texts = [part.text for part in batch]
    with _parallelism(workers), tokenizer_failures(_FAILS):
        # verbose=False: no warning that a document has more tokens than the model has positions; it is cut into windows
        ids = tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]
    for part, document in zip(batch, ids, strict=True):
        labels: tuple[tuple[str, np.ndarray], ...] = ()
        if part.spans:
            with tokenizer_failures(_FAILS):
                spans = labelled_tokens(part.text, document, part.spans, tokenizer, _encoded(tokenizer))
            labels = tuple((label, tokens[tokens >= part.anchored] - part.anchored) for label, tokens in spans)
        yield Encoded(np.array(document[part.anchored :], dtype=np.int64), part.last, labels)


def _encoded(tokenizer: Any) -> Callable[[int], bytes]:
    """The bytes that each token stands for, by id."""
    if tokenizer not in _VOCABULARIES:
        _VOCABULARIES[tokenizer] = build_vocabulary(tokenizer, max(tokenizer.get_vocab().values()) + 1)
    vocabulary = _VOCABULARIES[tokenizer]

    def encoded(token: int) -> bytes:
        text = vocabulary.texts[token]
        return text.encode("utf-8", "surrogatepass") if vocabulary.whole[token] else vocabulary.raw[token]

    return encoded


@contextmanager
def _parallelism(workers: int | None) -> Iterator[None]:
    name = "TOKENIZERS_PARALLELISM"
    if workers != 1:
        yield  # the library's own default: parallel, except after a fork, where its threads would hang
        return
    before = os.environ.get(name)
    os.environ[name] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
