"""``ffnscope export``: neurons as CSV or JSON lines."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ffnscope.store.escaping import escape_controls
from ffnscope.tui.commands.shared import OutputFile, Overwrite, StorePath, open_store, prepare_stdout, safe


def export(
    store: StorePath,
    where: Annotated[
        str, typer.Option(metavar="FILTER", help="Only neurons that match, e.g. 'kind:token freq<0.01'.")
    ] = "",
    sort: Annotated[
        str | None, typer.Option(metavar="COL", help="Sort by this column; - before it: descending.")
    ] = None,
    columns: Annotated[str | None, typer.Option(metavar="A,B", help="Only these columns.")] = None,
    output: OutputFile = None,
    format: Annotated[str, typer.Option(metavar="csv|jsonl", help="How to write it.")] = "csv",
    token_ids: Annotated[bool, typer.Option("--token-ids", help="Token ids instead of their texts.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Write neurons as CSV or JSON lines."""
    from ffnscope.store.export import write as writing
    from ffnscope.store.query import columns as registry
    from ffnscope.store.query.filter import parse_filter

    with open_store(store) as opened:
        parsed = parse_filter(where, registry.domain_names(opened))
        names = None if columns is None else columns.split(",")
        writing.resolve_columns(opened, names)
        writing.check_format(format)
        marks, notes = _own(opened.path, where)
        selection = writing.select(opened, parsed, sort, marks, notes)
        if output is not None:
            written = writing.write_file(output, opened, selection, names, format, token_ids, overwrite)
            print(f"{written:,} neurons written to {safe(str(output), sys.stderr)}", file=sys.stderr)
            return
        prepare_stdout()
        out: Any = _Harmless(sys.stdout) if sys.stdout.isatty() else sys.stdout
        writing.write(opened, out, selection, names, format, token_ids)


def _own(path: Path, where: str) -> tuple[Any, Any]:
    """The user's marks and notes, if the filter needs them."""
    if "marked" not in where.lower() and "noted" not in where.lower():
        return (), ()
    from ffnscope.store.notes import Notes

    with Notes.open(path) as notes:
        return notes.marks(), notes.notes()


class _Harmless:
    """A stream that shows control characters as escapes instead of sending them to a terminal."""

    def __init__(self, out: Any):
        self._out = out

    def write(self, text: str) -> int:
        """Write without controls."""
        return self._out.write(escape_controls(text, keep="\n"))
