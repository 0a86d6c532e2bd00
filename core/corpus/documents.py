"""Documents from files and folders, streamed; and windows that are already tokens."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ffnscope.core.corpus.tables import (
    dataset_documents,
    is_saved_dataset,
    jsonl_documents,
    parquet_documents,
    refuse_dataset_dict,
)
from ffnscope.core.corpus.text import NotTextError, Part, ReadNotes, cut_parts, text_file_parts
from ffnscope.store.errors import UserError


def iter_documents(path: Path, notes: ReadNotes | None = None) -> Iterator[str]:
    """The documents of a corpus, in order, whole.

    A file is one document, except `.jsonl` (`.jsonl.gz`), field `text`, and `.parquet`, column `text`: one a row. A
    folder is all its files, recursively, sorted by relative path; hidden and binary files are passed over. A folder
    written by Hugging Face's `save_to_disk`: column `text`. Text is UTF-8, used exactly, but for a leading byte order
    mark (dropped) and invalid bytes (U+FFFD); empty documents are left out. What was left out or replaced is counted in
    `notes`, as far as read.

    Nothing is read before the first document is asked for, and no more than asked for afterwards (a chunk of 1 MiB of a
    text file, 64 rows of a table).

    Raises UserError for a missing path, a named file that is binary, and rows without `text`.
    """
    held: list[str] = []
    for part in iter_parts(path, notes):
        held.append(part.text)
        if part.last:
            yield "".join(held)
            held.clear()


def iter_parts(path: Path, notes: ReadNotes | None = None) -> Iterator[Part]:
    """The same documents, those longer than about a quarter of a million characters in several parts."""
    notes = ReadNotes() if notes is None else notes
    if not path.is_dir():
        yield from _file_parts(path, notes)
    elif is_saved_dataset(path):
        yield from _whole(dataset_documents(path, notes))
    else:
        files, notes.skipped_files = corpus_files(path)
        for file in files:
            try:
                yield from _file_parts(file, notes)
            except NotTextError:
                notes.skipped_files += 1


def _file_parts(path: Path, notes: ReadNotes) -> Iterator[Part]:
    require_file(path)
    name = path.name.lower()
    if name.endswith((".jsonl", ".jsonl.gz")):
        return _whole(jsonl_documents(path, notes))
    if name.endswith(".parquet"):
        return _whole(parquet_documents(path, notes))
    if name.endswith((".gz", ".npy")) and not name.endswith(".txt.gz"):
        # gzip of an unknown kind is not unpacked: a .tar.gz would count as text
        raise NotTextError(f"{path}: is no text; name .txt, .txt.gz, .jsonl, .jsonl.gz or .parquet")
    return text_file_parts(path, notes)


def _whole(documents: Iterator[str]) -> Iterator[Part]:
    for text in documents:
        yield from cut_parts([text])


def require_file(path: Path) -> None:
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; check the path after NAME=")
    if not path.is_file():
        raise UserError(f"{path}: no regular file; write its content to a file first")


def corpus_files(path: Path) -> tuple[list[Path], int]:
    """(the files that a corpus is read from, in reading order; how many hidden or irregular ones are passed over).

    Linked folders are not followed: they can lead in circles. Raises UserError for a missing path, for a folder that
    cannot be listed, and for one that has saved datasets inside, whose files would pass for documents.
    """
    if not path.is_dir():
        require_file(path)
        return [path], 0
    refuse_dataset_dict(path)
    whole_dataset = is_saved_dataset(path)
    files, skipped = [], 0
    for folder, folders, names in os.walk(path, onerror=_refuse_folder):
        here = Path(folder)
        if here != path and not whole_dataset and is_saved_dataset(here):
            raise UserError(f"{here}: a saved dataset inside {path}; name it by itself as NAME={here}")
        kept = [name for name in folders if not name.startswith(".") and not (here / name).is_symlink()]
        skipped += len(folders) - len(kept)
        folders[:] = kept
        for name in names:
            file = here / name
            if name.startswith(".") or not file.is_file():
                skipped += 1
            else:
                files.append(file)
    return sorted(files, key=lambda file: file.relative_to(path).as_posix()), skipped


def _refuse_folder(error: OSError) -> None:
    raise UserError(f"{error.filename}: cannot be listed ({error.strerror}); check its permissions") from error
