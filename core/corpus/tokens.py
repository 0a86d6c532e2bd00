"""Documents to token ids, in batches, with the model's own tokenizer."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ffnscope.core.corpus.text import Part
from ffnscope.core.model.tokenizer import tokenizer_failures

_FIRST_BATCH = 1 << 16  # characters; small, so that a small --max-tokens reads little
_LARGEST_BATCH = 1 << 20
_FAILS = "the model's tokenizer cannot tokenise this text"
ANCHOR = "a"  # a letter put before a later part of a document
_LONGEST_WHOLE = 1 << 22  # characters of a document tokenised in one go where its words hang together
# In byte-level BPE ASCII letters only: others may be the last byte of a full stop, with a line's end behind it.
_LETTER_THEN_SPACE = re.compile(r"[A-Za-z][ĠĊĉč]|[^\W\d_][▁\s]")


def encode_parts(
    parts: Iterable[Part], tokenizer: Any, workers: int | None = None
) -> Iterator[tuple[np.ndarray, bool]]:
    """(token ids [n] int64, whether they end their document) of every part, in order; n may be 0.

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
            part = Part(ANCHOR + part.text, part.last, anchor)
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
    held: list[str] = []
    characters = 0
    for part in parts:
        held.append(part.text)
        characters += len(part.text)
        if part.last or characters >= _LONGEST_WHOLE:
            yield Part("".join(held), part.last)
            held, characters = [], 0


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


def _encode(batch: list[Part], tokenizer: Any, workers: int | None) -> Iterator[tuple[np.ndarray, bool]]:
    texts = [part.text for part in batch]
    with _parallelism(workers), tokenizer_failures(_FAILS):
        # verbose=False: no warning that a document has more tokens than the model has positions; it is cut into windows
        ids = tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]
    for part, document in zip(batch, ids, strict=True):
        yield np.array(document[part.anchored :], dtype=np.int64), part.last


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
