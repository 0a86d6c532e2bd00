"""Documents of tables in Arrow's formats: Parquet, Arrow files, and datasets that Hugging Face's `save_to_disk` wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ffnscope.core.corpus.fields import USE_NPY, TextField
from ffnscope.core.corpus.text import ReadNotes, count_document, decode_line
from ffnscope.store.errors import UserError

_BATCH_ROWS = 64  # rows can be megabytes
_ARROW_FILE = b"ARROW1"


def parquet_documents(path: Path, field: TextField, notes: ReadNotes) -> Iterator[str]:
    """The column of a Parquet file, read a batch of rows at a time.

    Raises UserError where the file is no Parquet, has no such column of strings or chats, or pyarrow is missing.
    """
    with _reading(path, "Parquet", "read as Parquet", "parquet"):
        import pyarrow.parquet as pq

        with pq.ParquetFile(path, memory_map=True, pre_buffer=False) as table:
            column = _Column.find(path, table.schema_arrow, field)
            for batch in table.iter_batches(batch_size=_BATCH_ROWS, columns=[field.name], use_threads=False):
                yield from column.documents(batch, notes)


def arrow_documents(path: Path, field: TextField, notes: ReadNotes) -> Iterator[str]:
    """The column of an Arrow file, a record batch in memory at a time: of a stream, as the package datasets caches them,
    or a file with an index, which Feather is too.

    Raises UserError where it is not such a file, has no such column of strings or chats, or pyarrow is missing.
    """
    with _reading(path, "Arrow files", "read as Arrow", "parquet"):
        yield from _arrow_documents(path, path, field, notes)


def is_saved_dataset(folder: Path) -> bool:
    """Whether Hugging Face's `Dataset.save_to_disk` wrote this folder."""
    return (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()


def is_dataset_dict(folder: Path) -> bool:
    """Whether Hugging Face's `DatasetDict.save_to_disk` wrote this folder."""
    return (folder / "dataset_dict.json").is_file()


def splits_of(folder: Path) -> list[str]:
    """The splits of a DatasetDict, sorted."""
    return sorted(child.name for child in folder.iterdir() if child.is_dir() and is_saved_dataset(child))


def refuse_dataset_dict(folder: Path) -> None:
    """Raises UserError, naming the splits, where `DatasetDict.save_to_disk` wrote this folder."""
    if is_dataset_dict(folder):
        splits = splits_of(folder)
        example = f"{folder}:{splits[0] if splits else 'train'}"
        raise UserError(f"{folder}: a dataset of several splits ({', '.join(splits)}); name one, e.g. {example}")


def dataset_documents(folder: Path, field: TextField, notes: ReadNotes) -> Iterator[str]:
    """The column of a dataset that `save_to_disk` wrote, a record batch in memory at a time.

    Its Arrow files are read one after the other: the package datasets would touch every batch of all of them first.
    Raises UserError where it cannot be read, has no such column of strings or chats, or pyarrow is missing.
    """
    with _reading(folder, "saved datasets", "loaded as a saved dataset", "datasets"):
        for file in _dataset_files(folder):
            yield from _arrow_documents(file, folder, field, notes)


@contextmanager
def _reading(path: Path, what: str, how: str, extra: str) -> Iterator[None]:
    """Raise UserError for a missing pyarrow, and for what it raises over the file at `path`."""
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(f"{path}: reading {what} needs a package: pip install 'ffnscope[{extra}]'") from error
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: cannot be {how} ({reason}); write it again") from error


def _arrow_documents(file: Path, named: Path, field: TextField, notes: ReadNotes) -> Iterator[str]:
    """The documents of one Arrow file; errors name `named`, which it belongs to."""
    import pyarrow as pa

    with file.open("rb") as handle:
        indexed = handle.read(len(_ARROW_FILE)) == _ARROW_FILE
    with pa.memory_map(str(file)) as source, (pa.ipc.open_file if indexed else pa.ipc.open_stream)(source) as reader:
        column = _Column.find(named, reader.schema, field)
        batches = (reader.get_batch(i) for i in range(reader.num_record_batches)) if indexed else reader
        for batch in batches:
            for start in range(0, batch.num_rows, _BATCH_ROWS):
                yield from column.documents(batch.slice(start, _BATCH_ROWS), notes)


def _dataset_files(folder: Path) -> list[Path]:
    state = json.loads((folder / "state.json").read_text("utf-8"))
    if state.get("_indices_data_files"):
        raise ValueError("its rows are reordered by an index, as old versions of datasets wrote it")
    names = [entry["filename"] for entry in state["_data_files"]]
    if any(Path(name).name != name for name in names):
        raise ValueError("it names files outside its folder")
    return [folder / name for name in names]


class _Column:
    """A column of strings or chats, perhaps inside columns of structs."""

    def __init__(self, field: TextField, where: str, nested: list[str], chats: bool):
        self._field, self._where, self._nested, self._chats = field, where, nested, chats

    @classmethod
    def find(cls, path: Path, schema: Any, field: TextField) -> _Column:
        """The column that `field` names. Raises UserError where there is none of strings or chats."""
        import pyarrow as pa

        kind, nested = schema, [field.name] if field.name in schema.names else field.name.split(".")
        for name in nested:
            names = kind.names if kind is schema else [child.name for child in kind] if pa.types.is_struct(kind) else []
            if name not in names:
                raise field.missing(f"{path}: no column {field.name!r}", schema.names)
            kind = kind.field(name).type
        where = f"{path}: column {field.name!r}"
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            return cls(field, where, nested, chats=False)
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            if pa.types.is_struct(kind.value_type):
                return cls(field, where, nested, chats=True)
            if pa.types.is_integer(kind.value_type):
                raise UserError(f"{where} holds token ids; {USE_NPY}")
        raise UserError(f"{where} holds {kind}, not strings; convert it, or name another with --text-field")

    def documents(self, batch: Any, notes: ReadNotes) -> Iterator[str]:
        """The documents of a record batch."""
        import pyarrow as pa
        import pyarrow.compute as pc

        column = batch.column(self._nested[0])
        for name in self._nested[1:]:
            column = pc.struct_field(column, name)
        if self._chats:
            for messages in column.to_pylist():
                text = self._field.text(messages, self._where)
                yield from count_document(text, False, notes, chat=True)
            return
        # as bytes, because pyarrow does not promise that its strings are valid UTF-8
        for raw in column.cast(pa.large_binary()).to_pylist():
            text, invalid = decode_line(raw) if raw is not None else (None, False)
            yield from count_document(text, invalid, notes)
