"""Documents of rows written as text: JSON lines, JSON, CSV and TSV."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from ffnscope.core.corpus.fields import TextField, field_names
from ffnscope.core.corpus.labels import FIELD as SPANS
from ffnscope.core.corpus.labels import LabelledText, read_spans
from ffnscope.core.corpus.text import (
    CHUNK_BYTES,
    ReadNotes,
    count_document,
    decode_line,
    kind_of_bytes,
    open_bytes,
    replace_invalid,
)
from ffnscope.store.errors import UserError

LONGEST_ROW = 1 << 28  # characters of a JSON value or a CSV field
_LONGEST_ESCAPE = 16  # characters: an escaped surrogate pair, and some more
_SPACE = re.compile(r"\s*")
_SPACE_OR_COMMA = re.compile(r"[\s,]*")
_DECODER = json.JSONDecoder()


class NotRowsError(UserError):
    """A JSON file that is one object without text: settings, or facts about other files."""


def jsonl_documents(path: Path, field: TextField, notes: ReadNotes) -> Iterator[str]:
    """The text of every line, one line in memory at a time; blank lines are passed over. A LabelledText where the line has
    a field "spans".

    Raises UserError with the file and the line number for a line that is no JSON object with that field, and for spans
    that are none of its text.
    """
    with open_bytes(path) as handle:
        for number, raw in enumerate(handle, 1):
            line, invalid = decode_line(raw)
            if number == 1:
                line = line.removeprefix("\ufeff")
            if not line.strip():
                continue
            where = f"{path}, line {number}"
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                reason = getattr(error, "msg", None) or type(error).__name__
                one_line = number == 1 and (line[0] == "[" or reason == "Extra data")
                hint = "; an array, or objects without line ends, are read from a file named .json" if one_line else ""
                kind = kind_of_bytes(raw) if number == 1 else None
                hint = hint if kind is None else f"; it is {kind}"
                raise UserError(
                    f"{where}: not JSON ({reason}); every line must be an object with a string field "
                    f"{field.name!r}{hint}"
                ) from error
            text = field.text_of(row, where)
            spans = read_spans(row.get(SPANS), None if field.is_chat(row) else text, where)
            for clean in count_document(text, invalid, notes, field.is_chat(row)):
                yield LabelledText.of(clean, spans) if spans else clean


def json_documents(path: Path, field: TextField, notes: ReadNotes) -> Iterator[str]:
    """The text of every row of a JSON file, one row in memory at a time: of an array of objects or strings, or of
    objects one after the other, as in JSON lines.

    Raises NotRowsError for a file that is one object without the field, UserError for what is not JSON, and for rows
    without the field.
    """
    with open_bytes(path) as handle:
        for number, (row, invalid, only) in enumerate(_JsonText(path, handle).values(), 1):
            if isinstance(row, str):
                yield from count_document(row, invalid, notes)
                continue
            if only and isinstance(row, dict) and not {field.name, field.name.split(".")[0]} & set(row):
                error = field.missing(f"{path}: one JSON object without a field {field.name!r}", field_names(row))
                raise NotRowsError(f"{error}, or give an array of objects or JSON lines")
            text = field.text_of(row, f"{path}, row {number}")
            yield from count_document(text, invalid, notes, field.is_chat(row))


class _JsonText:
    """The text of a JSON file, held from one value to the next."""

    def __init__(self, path: Path, handle: IO[bytes]):
        self._path, self._handle = path, handle
        # Invalid bytes are kept as lone surrogates until it is known which value they are in.
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._buffer, self._at, self._ended = "", 0, False
        self._fill()
        self._buffer = self._buffer.removeprefix("\ufeff")

    def values(self) -> Iterator[tuple[Any, bool, bool]]:
        """(value, whether invalid UTF-8 was replaced in it, whether it is all of the file) of an array's elements, or of
        the file's values one after the other. Raises UserError for what is not JSON."""
        if self._next() != "[":
            only = True
            while self._next():
                value, invalid = self._value()
                yield value, invalid, only and not self._next()
                only = False
            return
        self._at += 1
        while (character := self._next(_SPACE_OR_COMMA)) != "]":
            if not character:
                raise UserError(f"{self._path}: its JSON array does not end, is perhaps cut short; fetch it again")
            yield *self._value(), False
        self._at += 1
        if self._next():
            raise UserError(f"{self._path}: more text behind its JSON array; give one array, or JSON lines")

    def _fill(self) -> bool:
        """Read on; False at the end of the file."""
        # As much again as is there, so that a long value is decoded few times.
        raw = self._handle.read(max(CHUNK_BYTES, len(self._buffer) - self._at))
        self._ended = not raw
        self._buffer, self._at = self._buffer[self._at :] + self._decoder.decode(raw, final=self._ended), 0
        return not self._ended

    def _next(self, skipped: re.Pattern[str] = _SPACE) -> str:
        """The next character that is not skipped; "" at the end of the file."""
        while True:
            match = skipped.match(self._buffer, self._at)
            assert match is not None  # if with nothing
            self._at = match.end()
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._fill():
                return ""

    def _value(self) -> tuple[Any, bool]:
        while True:
            try:
                value, end = _DECODER.raw_decode(self._buffer, self._at)
                # A number may go on in the next chunk.
                if end < len(self._buffer) or self._ended or self._buffer[end - 1] in '"}]':
                    break
            except (ValueError, RecursionError) as error:
                if self._ended or self._is_broken(error):
                    reason = getattr(error, "msg", None) or type(error).__name__
                    raise UserError(
                        f"{self._path}: not JSON ({reason}); give an array of objects, or JSON lines"
                    ) from error
            self._fill()
        raw, self._at = self._buffer[self._at : end], end
        text, invalid = replace_invalid(raw)
        return (json.loads(text) if invalid else value), invalid

    def _is_broken(self, error: Exception) -> bool:
        """Whether more text would not mend the value: the decoder stopped before the end of what is read."""
        if not isinstance(error, json.JSONDecodeError) or len(self._buffer) - self._at > LONGEST_ROW:
            return True
        return not error.msg.startswith("Unterminated string") and error.pos < len(self._buffer) - _LONGEST_ESCAPE


def csv_documents(path: Path, field: TextField, notes: ReadNotes) -> Iterator[str]:
    """The column of every row below the header row; `.tsv` by tabs, else by commas. Quoting as Python's csv has it.

    Raises UserError with the line for rows that do not fit the header, for broken quoting, and without that column.
    """
    tabs = ".tsv" in (suffix.lower() for suffix in path.suffixes[-2:])
    csv.field_size_limit(LONGEST_ROW)
    with open_bytes(path) as handle:
        text = io.TextIOWrapper(handle, "utf-8-sig", errors="surrogateescape", newline="")
        rows = csv.reader(text, "excel-tab" if tabs else "excel", strict=True)
        try:
            header = next(rows, [])
            if header.count(field.name) > 1:
                raise UserError(f"{path}: several columns {field.name!r}; rename all but one")
            if field.name not in header:
                error = field.missing(f"{path}: no column {field.name!r} in its first row", header)
                alone = header[0] if len(header) == 1 else ""
                separator = ", or separate columns with commas" if ";" in alone else ""
                separator = ", or let its name end in .tsv" if "\t" in alone and not tabs else separator
                raise UserError(f"{error}{separator}")
            column = header.index(field.name)
            for row in rows:
                if not row:
                    continue
                if len(row) != len(header):
                    raise UserError(
                        f"{path}, line {rows.line_num}: {len(row)} columns, but the first row has {len(header)}; quote "
                        "text that holds separators, quotes or line ends"
                    )
                yield from count_document(*replace_invalid(row[column]), notes)
        except csv.Error as error:
            kind = "TSV" if tabs else "CSV"
            raise UserError(
                f"{path}, line {rows.line_num}: not {kind} ({error}); write it with Python's csv or pandas"
            ) from error
        finally:
            text.detach()
