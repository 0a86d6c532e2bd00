"""The tokens' texts, read from the store a chunk at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from ffnscope.store.errors import UserError
from ffnscope.store.format.encoding import DamagedValueError
from ffnscope.store.format.keys import INDEX_KEY
from ffnscope.store.format.limits import check_chunk, check_raw_chunk

CHUNK = 2048  # tokens a stored chunk
TEXT_PARTS = (b"ends", b"whole", b"bytes")  # ends of the keys of a chunk
RAW_PARTS = (b"raw_ends", b"raw")  # the same of the bytes of tokens that are not text by themselves


class Vocabulary:
    """Token id -> text. Chunks are read when first asked for.

    ``read(key)`` gives an array of the database ``vocabulary``, None where it isn't there, and raises DamagedValueError;
    ``damage(what)`` is the error to raise. ``raw``: the store holds the bytes of tokens that are not text by themselves.
    """

    def __init__(
        self,
        read: Callable[[bytes], np.ndarray | None],
        damage: Callable[[str], UserError],
        size: int,
        raw: bool = False,
    ):
        self._read, self._damage = read, damage
        self._has_raw = raw
        self._chunks: dict[int, tuple[list[str], np.ndarray]] = {}
        self._raw: dict[int, list[bytes]] = {}
        self.size = size

    def text(self, token: int) -> str:
        """What the token is written as: its text, or the tokenizer's own piece where it is not text by itself.

        A token outside the vocabulary is written as ``<id>``.
        """
        if not 0 <= token < self.size:
            return f"<{token}>"
        texts, _ = self._chunk(token // CHUNK)
        return texts[token % CHUNK]

    def texts(self, tokens: tuple[int, ...] | list[int]) -> list[str]:
        """The texts of several tokens."""
        return [self.text(token) for token in tokens]

    def running(self, tokens: Sequence[int], alone: int | None = None) -> list[str]:
        """The texts of tokens that follow each other; the one at place ``alone`` is written by itself, as `text` does.

        A character whose bytes are spread over several tokens is put together at the last of them, and the others are
        empty. What is no UTF-8 text stays as `text` writes it; so does all of this in a store without the bytes of
        tokens (see `encoded`).
        """
        texts = [self.text(token) for token in tokens]
        first = 0  # of the tokens whose bytes are no text yet
        pending = b""
        for index, token in enumerate(tokens):
            if not self._has_raw or index == alone or self.whole(token):
                first, pending = index + 1, b""
                continue
            encoded = self.encoded(token)
            joined, missing = _decoded(pending + encoded)
            if joined is None and not missing and pending:
                first, pending = index, b""
                joined, missing = _decoded(encoded)
            if joined is not None:
                texts[first : index + 1] = [""] * (index - first) + [joined]
            if missing:
                pending += encoded
            else:
                first, pending = index + 1, b""
        return texts

    def whole(self, token: int) -> bool:
        """Whether the token is valid UTF-8 text by itself."""
        return 0 <= token < self.size and bool(self._chunk(token // CHUNK)[1][token % CHUNK])

    def encoded(self, token: int) -> bytes:
        """The bytes that the token stands for in a text: its text in UTF-8, or those that are not text by themselves.

        Only stores that keep activation bits know the latter. Raises UserError where they are damaged.
        """
        if not 0 <= token < self.size or not self._has_raw or self.whole(token):
            return self.text(token).encode("utf-8", "surrogatepass")
        index = token // CHUNK
        if index not in self._raw:
            ends, joined = self._arrays(index, RAW_PARTS, check_raw_chunk)
            self._raw[index] = _parts(ends, joined)
        return self._raw[index][token % CHUNK]

    def all_texts(self) -> list[str]:
        """Every token's text, by id."""
        return [text for index in range(-(-self.size // CHUNK)) for text in self._chunk(index)[0]]

    def _chunk(self, index: int) -> tuple[list[str], np.ndarray]:
        if index not in self._chunks:
            ends, whole, joined = self._arrays(index, TEXT_PARTS, check_chunk)
            self._chunks[index] = [part.decode("utf-8", "surrogatepass") for part in _parts(ends, joined)], whole
        return self._chunks[index]

    def _arrays(self, index: int, parts: Sequence[bytes], check: Callable[..., None]) -> list[np.ndarray]:
        """The arrays of a chunk, checked. Raises UserError where they are damaged."""
        try:
            arrays = [self._read(INDEX_KEY.pack(index) + part) for part in parts]
            present = [array for array in arrays if array is not None]
            if len(present) < len(arrays):
                raise DamagedValueError("are missing")
            check(*present, min(CHUNK, self.size - index * CHUNK))
        except DamagedValueError as error:
            raise self._damage(f"texts of the tokens from {index * CHUNK} on: {error}") from error
        return present


def _decoded(encoded: bytes) -> tuple[str | None, bool]:
    """The text of some bytes, None where they are none; and whether they are only cut short."""
    try:
        return encoded.decode(), False
    except UnicodeDecodeError as error:
        return None, error.reason == "unexpected end of data"


def _parts(ends: np.ndarray, joined: np.ndarray) -> list[bytes]:
    whole = joined.tobytes()
    return [whole[start:end] for start, end in pairwise([0, *ends.tolist()])]


def pack_raw(raw: Sequence[bytes]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Tokens' bytes as stored: a chunk is (ends [n] uint32, bytes [m] uint8)."""
    chunks = []
    for start in range(0, len(raw), CHUNK):
        part = raw[start : start + CHUNK]
        ends = np.cumsum([len(piece) for piece in part]).astype(np.uint32)
        chunks.append((ends, np.frombuffer(b"".join(part), np.uint8)))
    return chunks


def pack_chunks(texts: tuple[str, ...], whole: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The vocabulary as stored: a chunk is (ends [n] uint32, whole [n] uint8, UTF-8 bytes [m] uint8)."""
    chunks = []
    for start in range(0, len(texts), CHUNK):
        encoded = [text.encode("utf-8", "surrogatepass") for text in texts[start : start + CHUNK]]
        ends = np.cumsum([len(text) for text in encoded]).astype(np.uint32)
        joined = np.frombuffer(b"".join(encoded), np.uint8)
        chunks.append((ends, whole[start : start + CHUNK].astype(np.uint8), joined))
    return chunks
