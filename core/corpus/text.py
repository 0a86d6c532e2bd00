"""Text of hostile origin as clean strings: decoding, what was repaired, and parts of documents too long for memory."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import itertools
import lzma
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

from ffnscope.store.errors import UserError

CHUNK_BYTES = 1 << 20
PART_CHARACTERS = 1 << 18  # longer documents are read and tokenised in parts
LONGEST_PART = 1 << 26  # a document without any place to cut is cut here anyway
JUNK_SHARE = 0.3  # of the first chunk's bytes
NAMES_SHOWN = 4
# What a file of another kind begins with. Text may begin with those that are letters and digits alone.
_KINDS_OF_BYTES = (
    (b"PK\x03\x04", "a zip archive; unpack it"),
    (b"\x1f\x8b", "compressed with gzip; let its name end in .txt.gz or .jsonl.gz"),
    (b"BZh", "compressed with bzip2; let its name end in .txt.bz2 or .jsonl.bz2"),
    (b"\xfd7zXZ", "compressed with xz; let its name end in .txt.xz or .jsonl.xz"),
    (b"\x28\xb5\x2f\xfd", "compressed with Zstandard; let its name end in .txt.zst or .jsonl.zst"),
    (b"PAR1", "Parquet; let its name end in .parquet"),
    (b"ARROW1", "Arrow; let its name end in .arrow"),
    (b"%PDF-", "a PDF; extract its text"),
    (b"Rar!\x1a", "a RAR archive; unpack it"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it"),
    (b"\x1f\x9d", "compressed with compress; unpack it"),
    (b"\x04\x22\x4d\x18", "compressed with LZ4; unpack it"),
    (b"\xd0\xcf\x11\xe0", "an Office document; save it as text"),
    (b"{\\rtf", "RTF; save it as text"),
    (b"Obj\x01", "Avro; convert it to JSON lines or Parquet"),
    (b"\xff\xfe", "UTF-16; convert it, as with iconv -f UTF-16 -t UTF-8"),
    (b"\xfe\xff", "UTF-16; convert it, as with iconv -f UTF-16 -t UTF-8"),
)

_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")
_SPACE_IN_WORDS = re.compile(r"[^\W\d_] (?=[^\W\d_])")
_LETTER_THEN_SPACE = re.compile(r"[^\W\d_]\s")
_BYTE_ORDER_MARK = "\ufeff"


class NotTextError(UserError):
    """A file whose bytes are not UTF-8 text."""


@dataclass
class ReadNotes:
    """How often a reader skipped or repaired something.

    skipped_files: binary, hidden or irregular files of a folder (a hidden folder or a linked folder counts as one).
    replaced_documents: documents in which invalid UTF-8 (or a lone surrogate) became U+FFFD.
    empty_documents: documents without a character, or null.
    chats: documents that the tokenizer's chat template wrote.
    left_out: names of a folder's files that are about its data: a data set's card, settings in JSON.
    """

    skipped_files: int = 0
    replaced_documents: int = 0
    empty_documents: int = 0
    chats: int = 0
    left_out: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """The counts that are not 0, in words; "" where there is nothing to report."""
        counts = (
            (self.skipped_files, "skipped file", "skipped files"),
            (self.replaced_documents, "document with invalid UTF-8 replaced", "documents with invalid UTF-8 replaced"),
            (self.empty_documents, "empty document", "empty documents"),
            (self.chats, "chat by the tokenizer's template", "chats by the tokenizer's template"),
        )
        parts = [f"{n:,} {one if n == 1 else many}" for n, one, many in counts if n]
        if self.left_out:
            more = len(self.left_out) - NAMES_SHOWN
            names = ", ".join(self.left_out[:NAMES_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
            parts.append(f"left out: {names}")
        return ", ".join(parts)


class Part(NamedTuple):
    """A document, or a piece of a long one; `last` ends the document. `text` is never empty; its first `anchored` tokens
    are not the document's. `spans`: (start, end, label) of its characters."""

    text: str
    last: bool
    anchored: int = 0
    spans: tuple[tuple[int, int, str], ...] = ()


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """The file's bytes, decompressed where its name ends in .gz, .bz2, .xz or .zst. Raises UserError where they cannot be
    read, or end before the compressed data does."""
    try:
        with _open(path) as handle:
            yield handle
    except (OSError, EOFError, zlib.error, lzma.LZMAError, _ZstdError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read ({reason}); check the file and its permissions") from error


def _open(path: Path) -> Any:
    suffix = path.suffix.lower()
    if suffix in (".zst", ".zstd"):
        return io.BufferedReader(_ZstdFile(path), CHUNK_BYTES)
    openers: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    return openers.get(suffix, Path.open)(path, "rb")


class _ZstdError(Exception):
    """Bytes that are no Zstandard data: that package is imported only where it is needed."""


class _ZstdFile(io.RawIOBase):
    """The frames of a Zstandard file, one after the other. The package's own reader ends without a word where a file is
    cut short."""

    def __init__(self, path: Path):
        import zstandard

        self._file = path.open("rb")
        self._error = zstandard.ZstdError
        # As large as `zstd --long=31` writes; memory is taken as far as a file asks for it.
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 31)
        self._frame: Any = None
        self._compressed = b""
        self._data = memoryview(b"")

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()

    def readinto(self, buffer: Any) -> int:
        while not self._data:
            self._compressed = self._compressed or self._file.read(1 << 17)
            if not self._compressed:
                if self._frame is not None:
                    raise EOFError("the compressed data ends too early")
                return 0
            self._frame = self._frame or self._decompressor.decompressobj()
            try:
                self._data = memoryview(self._frame.decompress(self._compressed))
            except self._error as error:
                raise _ZstdError(str(error)) from error
            self._compressed = b""
            if self._frame.eof:
                self._compressed, self._frame = self._frame.unused_data, None
        size = min(len(buffer), len(self._data))
        buffer[:size], self._data = self._data[:size], self._data[size:]
        return size


def text_file_parts(path: Path, notes: ReadNotes) -> Iterator[Part]:
    """A text file as one document, read a chunk at a time.

    A byte order mark is dropped; invalid UTF-8 becomes U+FFFD and is counted; line ends stay as they are.
    Raises NotTextError before the first part where the first chunk (1 MiB) begins as a PDF or an archive does, or holds
    NUL bytes or over 30% invalid bytes.
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
                if any(raw.startswith(start) for start, _ in _KINDS_OF_BYTES if not start.isalnum()):
                    raise NotTextError(f"{path}: is no UTF-8 text; {_way_out(raw)}")
                if b"\0" in raw:
                    raise NotTextError(f"{path}: holds NUL bytes, so is no UTF-8 text; {_way_out(raw)}")
                if invalid > JUNK_SHARE * len(raw):
                    raise NotTextError(f"{path}: is no UTF-8 text ({invalid:,} invalid bytes); {_way_out(raw)}")
                text = text.removeprefix(_BYTE_ORDER_MARK)
                first = False
            if invalid:
                text, _ = replace_invalid(text)
                notes.replaced_documents += not replaced
                replaced = True
            yield text
            if not raw:
                return


def kind_of_bytes(raw: bytes) -> str | None:
    """What a file that begins with these bytes is, and what to do with it; None where that is not known."""
    return next((kind for start, kind in _KINDS_OF_BYTES if raw.startswith(start)), None)


def _way_out(raw: bytes) -> str:
    kind = kind_of_bytes(raw)
    return "convert it or name another" if kind is None else f"it is {kind}"


def decode_line(raw: bytes) -> tuple[str, bool]:
    """(text, whether invalid UTF-8 was replaced)."""
    try:
        return raw.decode("utf-8"), False
    except UnicodeDecodeError:
        return raw.decode("utf-8", "replace"), True


def replace_invalid(text: str) -> tuple[str, bool]:
    """(text, whether invalid bytes, which decoding kept by surrogateescape, were replaced by U+FFFD)."""
    if text.isascii() or not _ESCAPED_BYTE.search(text):
        return text, False
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace"), True


def count_document(text: str | None, replaced: bool, notes: ReadNotes, chat: bool = False) -> Iterator[str]:
    """The document that a row is, clean; nothing where it is empty. `notes` counts it."""
    if not text:
        notes.empty_documents += 1
        return
    text, surrogates = without_surrogates(text)
    notes.replaced_documents += replaced or surrogates
    notes.chats += chat
    yield text


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
    buffer, start = "", 0
    for chunk in chunks:
        buffer, start = buffer[start:] + chunk, 0
        while len(buffer) - start > PART_CHARACTERS:
            cut = _cut_point(buffer, start)
            if cut is None:
                break
            yield Part(buffer[start:cut], False)
            start = cut
    if start < len(buffer):
        yield Part(buffer[start:], True)


def _cut_point(text: str, start: int) -> int | None:
    """Where to cut text[start:]: at a space between letters, else between a letter and other white space.

    Every tokenizer in use splits there anyway: the tokens of the whole are those of the parts, each behind a letter.
    """
    end = start + PART_CHARACTERS
    for reach, place in itertools.product((1 << 12, PART_CHARACTERS), (_SPACE_IN_WORDS, _LETTER_THEN_SPACE)):
        places = [match.start() for match in place.finditer(text, max(start, end - reach), end)]
        if places:
            return places[-1] + 1
    beyond = _LETTER_THEN_SPACE.search(text, end - 1, start + LONGEST_PART)
    if beyond is not None:
        return beyond.start() + 1
    return start + LONGEST_PART if len(text) - start > LONGEST_PART else None
