"""Documents from rows: JSON lines, Parquet, and datasets that Hugging Face's `save_to_disk` wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ffnscope.core.corpus.text import ReadNotes, decode_line, open_bytes, without_surrogates
from ffnscope.store.errors import UserError

FIELD = "text"
_BATCH_ROWS = 64  # rows can be megabytes


def jsonl_documents(path: Path, notes: ReadNotes) -> Iterator[str]:
    """The field `text` of every line, one line in memory at a time; blank lines are passed over.

    Raises UserError with the file and the line number for a line that is no JSON object with a string `text`.
    """
    with open_bytes(path) as handle:
        for number, raw in enumerate(handle, 1):
            line, invalid = decode_line(raw)
            if number == 1:
                line = line.removeprefix("\ufeff")
            if not line.strip():
                continue
            yield from _counted(_field(path, number, line), invalid, notes)


def _field(path: Path, number: int, line: str) -> str | None:
    wanted = f"every line must be an object with a string field {FIELD!r}"
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", None) or type(error).__name__
        raise UserError(f"{path}, line {number}: not JSON ({reason}); {wanted}") from error
    if not isinstance(row, dict) or FIELD not in row:
        raise UserError(f"{path}, line {number}: no field {FIELD!r}; {wanted}")
    if row[FIELD] is not None and not isinstance(row[FIELD], str):
        raise UserError(f"{path}, line {number}: {FIELD!r} is no string; {wanted}")
    return row[FIELD]


def _counted(text: str | None, replaced: bool, notes: ReadNotes) -> Iterator[str]:
    if not text:
        notes.empty_documents += 1
        return
    text, surrogates = without_surrogates(text)
    notes.replaced_documents += replaced or surrogates
    yield text


def parquet_documents(path: Path, notes: ReadNotes) -> Iterator[str]:
    """The column `text`, read a batch of rows at a time.

    Raises UserError where the file is no Parquet, has no such column of strings, or pyarrow is missing.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UserError(f"{path}: reading Parquet needs pyarrow: pip install 'ffnscope[parquet]'") from error
    try:
        with pq.ParquetFile(path, memory_map=True, pre_buffer=False) as table:
            _check_text(pa, path, table.schema_arrow)
            for batch in table.iter_batches(batch_size=_BATCH_ROWS, columns=[FIELD], use_threads=False):
                yield from _texts(pa, batch.column(0), notes)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: cannot be read as Parquet ({reason}); write the file again") from error


def is_saved_dataset(folder: Path) -> bool:
    """Whether Hugging Face's `Dataset.save_to_disk` wrote this folder."""
    return (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()


def refuse_dataset_dict(folder: Path) -> None:
    """Raises UserError, naming the splits, where `DatasetDict.save_to_disk` wrote this folder."""
    if not (folder / "dataset_dict.json").is_file():
        return
    splits = sorted(child.name for child in folder.iterdir() if child.is_dir() and is_saved_dataset(child))
    example = folder / (splits[0] if splits else "train")
    raise UserError(f"{folder}: a dataset of several splits ({', '.join(splits)}); name one, e.g. {example}")


def dataset_documents(folder: Path, notes: ReadNotes) -> Iterator[str]:
    """The column `text` of a dataset that `save_to_disk` wrote, a record batch in memory at a time.

    Its Arrow files are read one after the other: the package datasets would touch every batch of all of them first.
    Raises UserError where it cannot be read, has no such column of strings, or pyarrow is missing.
    """
    try:
        import pyarrow as pa
    except ImportError as error:
        raise UserError(f"{folder}: saved datasets need a package: pip install 'ffnscope[datasets]'") from error
    try:
        for file in _dataset_files(folder):
            with pa.memory_map(str(file)) as source, pa.ipc.open_stream(source) as reader:
                _check_text(pa, folder, reader.schema)
                for batch in reader:
                    for start in range(0, batch.num_rows, _BATCH_ROWS):
                        yield from _texts(pa, batch.slice(start, _BATCH_ROWS).column(FIELD), notes)
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{folder}: cannot be loaded as a saved dataset ({reason}); save it again") from error


def _dataset_files(folder: Path) -> list[Path]:
    state = json.loads((folder / "state.json").read_text("utf-8"))
    if state.get("_indices_data_files"):
        raise ValueError("its rows are reordered by an index, as old versions of datasets wrote it")
    names = [entry["filename"] for entry in state["_data_files"]]
    if any(Path(name).name != name for name in names):
        raise ValueError("it names files outside its folder")
    return [folder / name for name in names]


def _check_text(pa: Any, path: Path, schema: Any) -> None:
    """Raise UserError where there is no column of strings called `text`."""
    if FIELD not in schema.names:
        raise UserError(f"{path}: no column {FIELD!r} (it has {', '.join(schema.names)}); rename the column")
    kind = schema.field(FIELD).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        raise UserError(f"{path}: column {FIELD!r} holds {kind}, not strings; convert the column")


def _texts(pa: Any, column: Any, notes: ReadNotes) -> Iterator[str]:
    # as bytes, because pyarrow does not promise that its strings are valid UTF-8
    for raw in column.cast(pa.large_binary()).to_pylist():
        text, invalid = decode_line(raw) if raw is not None else (None, False)
        yield from _counted(text, invalid, notes)
