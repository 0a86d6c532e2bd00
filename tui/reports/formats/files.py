"""A report in files and as JSON: the same bytes each time, and whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

from ffnscope.store.atomic_write import check_writable, write_whole
from ffnscope.store.errors import UserError
from ffnscope.tui.reports.document import Document, Table, Value
from ffnscope.tui.reports.formats.values import exact

ABOUT = "about"
FINDINGS = "findings"


def csv_files(document: Document) -> dict[str, str]:
    """File name -> CSV (header first, RFC 4180, lines end in ``\\n``): each tidy table, ``about.csv`` and, with findings,
    ``findings.csv``."""
    about: list[tuple[Value, ...]] = [*document.about, *(("warning", text) for text in document.warnings)]
    files = {f"{ABOUT}.csv": _csv(("name", "value"), about)}
    if document.findings:
        rows = [(x.key, x.claim, x.verdict, x.text) for x in document.findings]
        files[f"{FINDINGS}.csv"] = _csv(("finding", "claim", "verdict", "text"), rows)
    for table in document.tables:
        files[f"{table.key}.csv"] = _csv(tuple(column.name for column in table.columns), table.rows)
    return files


def _csv(header: tuple[str, ...], rows: Any) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([exact(value) for value in row] for row in rows)
    return out.getvalue()


def json_text(document: Document) -> str:
    """Everything machine-readable as one JSON object: about, warnings, findings with their numbers, and each tidy
    table with its columns and rows. None for what has no value; only ASCII."""
    return json.dumps(
        {
            "title": document.title,
            "about": dict(document.about),
            "warnings": list(document.warnings),
            "findings": [
                {"finding": f.key, "claim": f.claim, "verdict": f.verdict, "text": f.text, "numbers": f.numbers}
                for f in document.findings
            ],
            "figures": {table.key: _table(table) for table in document.tables},
        },
        indent=1,
        allow_nan=False,
    )


def _table(table: Table) -> dict[str, Any]:
    return {
        "title": table.title,
        "columns": [{"name": column.name, "meaning": column.meaning} for column in table.columns],
        "rows": [[_plain(value) for value in row] for row in table.rows],
    }


def _plain(value: Value) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def check_folder(folder: Path, names: Iterable[str], overwrite: bool) -> None:
    """Raise UserError where ``folder`` is a file, or holds one of the files ``names`` already (unless ``overwrite``)."""
    try:
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder}: is a file; give a folder to write")
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror or error})") from error
    for name in names:
        check_writable(folder / name, overwrite)


def write_folder(folder: Path, files: Mapping[str, str], overwrite: bool = False) -> None:
    """Write files into a folder, made where it is missing. Each appears whole or not at all, none before all are
    written. Raises UserError where one exists (unless ``overwrite``) or the folder cannot be written to."""
    check_folder(folder, files, overwrite)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror or error})") from error
    write_whole({folder / name: _writing(text) for name, text in files.items()}, overwrite)


def write_file(path: Path, text: str, overwrite: bool = False) -> None:
    """Write one file that appears whole or not at all. Raises UserError as ``write_folder`` does."""
    write_whole({path: _writing(text)}, overwrite)


def _writing(text: str) -> Callable[[TextIO], Any]:
    return lambda out: out.write(text)
