"""Text of hostile origin as clean strings: decoding, what was mended, and parts of documents too long to hold."""

from __future__ import annotations

import codecs
import gzip
import itertools
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

from ffnscope.store.errors import UserError

CHUNK_BYTES = 1 << 20
PART_CHARACTERS = 1 << 18  # longer documents are handed on, and tokenised, in parts
LONGEST_PART = 1 << 26  # a document without any place to cut is cut here all the same
JUNK_SHARE = 0.3  # of the first chunk's bytes

_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")
_SPACE_IN_WORDS = re.compile(r"[^\W\d_] (?=[^\W\d_])")
_LETTER_THEN_SPACE = re.compile(r"[^\W\d_]\s")
_BYTE_ORDER_MARK = "\ufeff"


class NotTextError(UserError):
    """A file whose bytes are no UTF-8 text."""


@dataclass
class ReadNotes:
    """What a reader passed over or mended, counted so that it can be reported.

    skipped_files: binary, hidden or irregular files of a folder (a hidden folder or a linked folder counts as one).
    replaced_documents: documents in which invalid UTF-8 (or a lone surrogate) became U+FFFD.
    empty_documents: documents without a character, or null.
    """

    skipped_files: int = 0
    replaced_documents: int = 0
    empty_documents: int = 0

    def summary(self) -> str:
        """The counts that are not 0, in words; "" where there is nothing to report."""
        counts = (
            (self.skipped_files, "skipped file", "skipped files"),
            (self.replaced_documents, "document with invalid UTF-8 replaced", "documents with invalid UTF-8 replaced"),
            (self.empty_documents, "empty document", "empty documents"),
        )
        return ", ".join(f"{n:,} {one if n == 1 else many}" for n, one, many in counts if n)


class Part(NamedTuple):
    """A document, or a piece of a long one; `last` ends the document. `text` is never empty; its first `anchored` tokens
    are not the document's."""

    text: str
    last: bool
    anchored: int = 0


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """The file's bytes, unpacked where its name ends in .gz. Raises UserError where they cannot be read."""
    try:
        with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as handle:
            yield handle  # type: ignore[misc]
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read ({reason}); check the file and its permissions") from error


def text_file_parts(path: Path, notes: ReadNotes) -> Iterator[Part]:
    """A text file as one document, read a chunk at a time.

    A byte order mark is dropped; invalid UTF-8 becomes U+FFFD and is counted; line ends stay as they are.
    Raises NotTextError before the first part where the first chunk (1 MiB) holds NUL bytes or over 30% invalid bytes.
    """
    empty = True
    for part in cut_parts(_decoded_chunks(path, notes)):
        empty = False
        yield part
    if empty:
        notes.empty_documents += 1


def _decoded_chunks(path: Path, notes: ReadNotes) -> Iterator[str]:
    # surrogateescape shows which bytes are invalid; only chunks that have some pay for a second decoding
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    first, replaced = True, False
    with open_bytes(path) as handle:
        while True:
            raw = handle.read(CHUNK_BYTES)
            text = decoder.decode(raw, final=not raw)
            invalid = 0 if text.isascii() else len(_ESCAPED_BYTE.findall(text))
            if first:
                if b"\0" in raw:
                    raise NotTextError(f"{path}: holds NUL bytes, so is no UTF-8 text; convert it or name another")
                if invalid > JUNK_SHARE * len(raw):
                    raise NotTextError(
                        f"{path}: is no UTF-8 text ({invalid:,} invalid bytes); convert it or name another"
                    )
                text = text.removeprefix(_BYTE_ORDER_MARK)
                first = False
            if invalid:
                text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
                notes.replaced_documents += not replaced
                replaced = True
            yield text
            if not raw:
                return


def decode_line(raw: bytes) -> tuple[str, bool]:
    """(text, whether invalid UTF-8 was replaced)."""
    try:
        return raw.decode("utf-8"), False
    except UnicodeDecodeError:
        return raw.decode("utf-8", "replace"), True


def without_surrogates(text: str) -> tuple[str, bool]:
    """(text that can be encoded, whether lone surrogates, as JSON can spell them, were replaced by U+FFFD)."""
    if text.isascii():
        return text, False
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"), True
    return text, False


def cut_parts(chunks: Iterable[str]) -> Iterator[Part]:
    """One document, given as consecutive pieces, as parts of about PART_CHARACTERS that together are the document.

    A tokeniser needs some 500 bytes of memory a token, so a file of gigabytes cannot be tokenised in one go.
    """
    held, start = "", 0
    for chunk in chunks:
        held, start = held[start:] + chunk, 0
        while len(held) - start > PART_CHARACTERS:
            cut = _cut_point(held, start)
            if cut is None:
                break
            yield Part(held[start:cut], False)
            start = cut
    if start < len(held):
        yield Part(held[start:], True)


def _cut_point(text: str, start: int) -> int | None:
    """Where to cut text[start:]: at a space between letters, else between a letter and other white space.

    Every tokenizer in use splits there anyway: the tokens of the whole are those of the parts, each behind a letter.
    """
    end = start + PART_CHARACTERS
    for reach, place in itertools.product((1 << 12, PART_CHARACTERS), (_SPACE_IN_WORDS, _LETTER_THEN_SPACE)):
        found = [match.start() for match in place.finditer(text, max(start, end - reach), end)]
        if found:
            return found[-1] + 1
    beyond = _LETTER_THEN_SPACE.search(text, end - 1, start + LONGEST_PART)
    if beyond is not None:
        return beyond.start() + 1
    return start + LONGEST_PART if len(text) - start > LONGEST_PART else None
