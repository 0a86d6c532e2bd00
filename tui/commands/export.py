"""``ffnscope export``: neurons as CSV or JSON lines."""

from __future__ import annotations

import sys
from typing import Annotated, Any, TextIO

import typer

from ffnscope.store.escaping import escape_controls
from ffnscope.tui.commands.shared import OutputFile, Overwrite, StorePath, open_store, prepare_stdout, safe, say_rule


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
    from ffnscope.store.query.select import own_marks, select

    with open_store(store) as opened:
        parsed = parse_filter(where, registry.domain_names(opened))
        names = None if columns is None else columns.split(",")
        writing.resolve_columns(opened, names)
        writing.check_format(format)
        selection = select(opened, parsed, sort, *own_marks(opened, parsed))
        say_rule(opened)
        if output is not None:
            written = writing.write_file(output, opened, selection, names, format, token_ids, overwrite)
            print(f"{written:,} neurons written to {safe(str(output), sys.stderr)}", file=sys.stderr)
            return
        prepare_stdout()
        out: Any = _Harmless(sys.stdout) if sys.stdout.isatty() else sys.stdout
        writing.write(opened, out, selection, names, format, token_ids)


class _Harmless:
    """A stream that shows control characters as escapes instead of sending them to a terminal."""

    def __init__(self, out: TextIO):
        self._out = out

    def write(self, text: str) -> int:
        """Write without controls."""
        return self._out.write(escape_controls(text, keep="\n"))
