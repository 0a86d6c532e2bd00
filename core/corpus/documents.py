"""Documents from files and folders, streamed; and windows that are already tokens."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ffnscope.core.corpus.fields import TextField
from ffnscope.core.corpus.formats import ARROW, CSV, JSON, JSON_LINES, PARQUET, TEXT, TSV, describe_formats, format_of
from ffnscope.core.corpus.labels import LabelledText, clip
from ffnscope.core.corpus.row_files import NotRowsError, csv_documents, json_documents, jsonl_documents
from ffnscope.core.corpus.tables import (
    arrow_documents,
    dataset_documents,
    is_saved_dataset,
    parquet_documents,
    refuse_dataset_dict,
)
from ffnscope.core.corpus.text import NotTextError, Part, ReadNotes, cut_parts, text_file_parts
from ffnscope.core.git_lfs import refuse_pointer
from ffnscope.store.errors import UserError

_ROWS = {
    JSON_LINES: jsonl_documents, JSON: json_documents, CSV: csv_documents, TSV: csv_documents,
    PARQUET: parquet_documents, ARROW: arrow_documents,
}  # fmt: skip
_CARDS = ("readme", "license", "licence")  # beside tables they are about the data
_INFOS = ("dataset_infos.json", "dataset_info.json", "dataset_dict.json")


def iter_documents(path: Path, notes: ReadNotes | None = None, field: TextField | None = None) -> Iterator[str]:
    """The documents of a corpus, in order.

    A file is one document, except those with rows, by their name: JSON lines, JSON, CSV, TSV, Parquet and Arrow, where
    every row's `field` is one. Names may end in .gz, .bz2, .xz or .zst. A folder is all its files, recursively, sorted
    by relative path; hidden and binary files are passed over, and beside files with rows a README and the like. A
    folder written by Hugging Face's `save_to_disk` is a table too. Text is UTF-8, used exactly, but for a leading byte
    order mark (dropped) and invalid bytes (U+FFFD); empty documents are left out. What was left out or replaced is
    counted in `notes`, as far as read.

    Nothing is read before the first document is asked for, and no more than asked for afterwards (a chunk of 1 MiB of a
    text file, 64 rows of a table).

    Raises UserError for a missing path, a named file that is binary, and rows without that field.
    """
    pieces: list[str] = []
    for part in iter_parts(path, notes, field):
        pieces.append(part.text)
        if part.last:
            yield "".join(pieces)
            pieces.clear()


def iter_parts(path: Path, notes: ReadNotes | None = None, field: TextField | None = None) -> Iterator[Part]:
    """The same documents, those longer than about a quarter of a million characters in several parts."""
    notes = ReadNotes() if notes is None else notes
    field = field or TextField()
    if not path.is_dir():
        yield from _file_parts(path, field, notes)
    elif is_saved_dataset(path):
        yield from _whole(dataset_documents(path, field, notes))
    else:
        listed = corpus_files(path)
        notes.skipped_files = listed.skipped
        notes.left_out = [file.relative_to(path).as_posix() for file in listed.left_out]
        for file in listed.files:
            try:
                yield from _file_parts(file, field, notes)
            except NotTextError:
                notes.skipped_files += 1
            except NotRowsError:
                notes.left_out.append(file.relative_to(path).as_posix())


def describe(path: Path, field: str) -> str:
    """How the corpus at `path` is read, in words. Raises UserError as `corpus_files`."""
    if path.name.lower().endswith(".npy"):
        require_file(path)
        return "windows of token ids"
    files = corpus_files(path).files
    return f"a saved dataset, column {field}" if is_saved_dataset(path) else describe_formats(files, field)


def _file_parts(path: Path, field: TextField, notes: ReadNotes) -> Iterator[Part]:
    require_file(path)
    format = format_of(path)
    if format is None:
        # a compressed file of an unknown kind is not unpacked: a .tar.gz would count as text
        raise NotTextError(
            f"{path}: cannot be read as text; let the name say what it is: .txt, .jsonl, .json, .csv or .tsv (with .gz, "
            ".bz2, .xz or .zst behind it where it is compressed), .parquet or .arrow"
        )
    if format is TEXT:
        return text_file_parts(path, notes)
    return _whole(_ROWS[format](path, field, notes))


def _whole(documents: Iterator[str]) -> Iterator[Part]:
    for text in documents:
        spans, at = text.spans if isinstance(text, LabelledText) else (), 0
        for part in cut_parts([text]):
            yield part._replace(spans=clip(spans, at, at + len(part.text))) if spans else part
            at += len(part.text)


def require_file(path: Path) -> None:
    """Raise UserError where there is no regular file at `path`, or a Git LFS pointer in its place."""
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; check the path after NAME=")
    if not path.is_file():
        raise UserError(f"{path}: not a regular file; write its content to a file first")
    refuse_pointer(path)


class CorpusFiles(NamedTuple):
    """The files of a corpus: those that are read, in order; how many hidden or irregular ones are passed over; and
    those that are about the data."""

    files: list[Path]
    skipped: int = 0
    left_out: Sequence[Path] = ()


def corpus_files(path: Path) -> CorpusFiles:
    """The files that a corpus is read from.

    Linked folders are not followed: they can lead in circles. Raises UserError for a missing path, for Git LFS pointers,
    for a folder that cannot be listed, and for one that has saved datasets inside, whose files would pass for documents.
    """
    if not path.is_dir():
        require_file(path)
        return CorpusFiles([path])
    refuse_dataset_dict(path)
    whole_dataset = is_saved_dataset(path)
    files, skipped = [], 0
    for folder, folders, names in os.walk(path, onerror=_refuse_folder):
        here = Path(folder)
        if here != path and not whole_dataset and is_saved_dataset(here):
            raise UserError(f"{here}: is a saved dataset inside {path}; give it as a domain of its own, NAME={here}")
        kept = [name for name in folders if not name.startswith(".") and not (here / name).is_symlink()]
        skipped += len(folders) - len(kept)
        folders[:] = kept
        for name in names:
            file = here / name
            if name.startswith(".") or not file.is_file():
                skipped += 1
            else:
                refuse_pointer(file)
                files.append(file)
    files.sort(key=lambda file: file.relative_to(path).as_posix())
    about = [] if whole_dataset else _about_the_data(path, files)
    return CorpusFiles([file for file in files if file not in about], skipped, about)


def _about_the_data(path: Path, files: list[Path]) -> list[Path]:
    """Of a folder's files a data set's card, licence and facts, where there are files with rows beside them."""
    about = [file for file in files if (file.parent == path and file.stem.lower() in _CARDS) or file.name in _INFOS]
    formats = [format_of(file) for file in files if file not in about]
    # A source tree has JSON files too, and its README is text like the rest.
    tables = any(format in _ROWS and format is not JSON for format in formats)
    return about if tables or (formats and all(format is JSON for format in formats)) else []


def _refuse_folder(error: OSError) -> None:
    raise UserError(f"{error.filename}: cannot be listed ({error.strerror}); check its permissions") from error
