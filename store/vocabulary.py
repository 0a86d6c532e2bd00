"""The tokens' texts, read from the store a chunk at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

CHUNK = 2048  # tokens a stored chunk


class Vocabulary:
    """Token id -> text. Chunks are read when first asked for."""

    def __init__(self, read_chunk: Callable[[int], tuple[np.ndarray, np.ndarray, bytes]], size: int):
        self._read_chunk = read_chunk
        self._chunks: dict[int, tuple[list[str], np.ndarray]] = {}
        self.size = size

    def text(self, token: int) -> str:
        """What the token is written as: its text, or the tokenizer's own piece where it is no text by itself.

        A token outside the vocabulary is written as ``<id>``.
        """
        if not 0 <= token < self.size:
            return f"<{token}>"
        texts, _ = self._chunk(token // CHUNK)
        return texts[token % CHUNK]

    def texts(self, tokens: tuple[int, ...] | list[int]) -> list[str]:
        """The texts of several tokens."""
        return [self.text(token) for token in tokens]

    def whole(self, token: int) -> bool:
        """Whether the token is valid UTF-8 text by itself."""
        return 0 <= token < self.size and bool(self._chunk(token // CHUNK)[1][token % CHUNK])

    def all_texts(self) -> list[str]:
        """Every token's text, by id."""
        return [text for index in range(-(-self.size // CHUNK)) for text in self._chunk(index)[0]]

    def _chunk(self, index: int) -> tuple[list[str], np.ndarray]:
        if index not in self._chunks:
            ends, whole, joined = self._read_chunk(index)
            starts = [0, *ends[:-1].tolist()]
            texts = [
                joined[start:end].decode("utf-8", "surrogatepass")
                for start, end in zip(starts, ends.tolist(), strict=True)
            ]
            self._chunks[index] = (texts, whole)
        return self._chunks[index]


def pack_chunks(texts: tuple[str, ...], whole: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The vocabulary as stored: a chunk is (ends [n] uint32, whole [n] uint8, UTF-8 bytes [m] uint8)."""
    chunks = []
    for start in range(0, len(texts), CHUNK):
        encoded = [text.encode("utf-8", "surrogatepass") for text in texts[start : start + CHUNK]]
        ends = np.cumsum([len(text) for text in encoded]).astype(np.uint32)
        joined = np.frombuffer(b"".join(encoded), np.uint8)
        chunks.append((ends, whole[start : start + CHUNK].astype(np.uint8), joined))
    return chunks
