"""``ffnscope report``: the paper's figures of a store, and what they say."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ffnscope.store.definitions import TESTED_TOKENS
from ffnscope.tui.commands.shared import StorePath, open_store, safe

if TYPE_CHECKING:
    from ffnscope.tui.reports.document import Document

CsvFolder = Annotated[
    Path | None, typer.Option("--csv", metavar="DIR", help="One CSV file per figure, in this folder.")
]
HtmlFile = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="One page with plots, for a browser.")]
AsJson = Annotated[bool, typer.Option("--json", help="Everything as JSON, to stdout.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")]


def report(
    store: StorePath,
    csv: CsvFolder = None,
    html: HtmlFile = None,
    as_json: AsJson = False,
    overwrite: Overwrite = False,
    split: Annotated[
        bool, typer.Option("--split", help="Re-check detectors found on the even windows on the odd ones.")
    ] = False,
    causal: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Take the token detectors away, and neurons of each kind, and say what that does; MODEL is the store's, `auto` "
            "where it was collected from.",
        ),
    ] = None,
    tokens: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="With --causal: test kept windows of about N tokens."),
    ] = TESTED_TOKENS,
    causal_rows: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="With --causal: keep each neuron's effect in FILE, and continue from there.",
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="auto|cpu|cuda|mps", help="With --causal: what to compute on.")
    ] = "auto",
) -> None:
    """The paper's figures as tables and plots, and what they say of its claims."""
    from ffnscope.tui.reports.reading import gather
    from ffnscope.tui.reports.sections import report_document

    with open_store(store) as opened:
        gathered = gather(opened, every_range=csv is not None or as_json)
        document = report_document(gathered)
        if causal is not None:
            from ffnscope.tui.commands.effects.causal import take_away
            from ffnscope.tui.reports.catalogue.causal import CAUSAL, causal_finding, with_causal

            # A long run must not end at a file that is there already.
            _check_targets(document, csv, html, overwrite)
            effects = take_away(opened, causal, tokens, device, causal_rows)
            sections = report_document(with_causal(gathered, effects), CAUSAL).sections
            findings = (*document.findings, causal_finding(effects))
            document = replace(document, findings=findings, sections=(*document.sections, *sections))
        if split:
            from ffnscope.tui.reports.held_out import split_section

            document = replace(document, sections=(*document.sections, split_section(opened, gathered.layers)))
        deliver(document, csv, html, as_json, overwrite)


def _check_targets(document: Document, csv: Path | None, html: Path | None, overwrite: bool) -> None:
    from ffnscope.store.atomic_write import check_writable
    from ffnscope.tui.reports.formats import files

    if csv is not None:
        files.check_folder(csv, files.csv_files(document), overwrite)
    if html is not None:
        check_writable(html, overwrite)


def deliver(document: Document, csv: Path | None, html: Path | None, as_json: bool, overwrite: bool) -> None:
    """Write a report where it was asked for: into files, as JSON, or else on the terminal."""
    from ffnscope.tui.reports.formats import files

    if csv is not None:
        texts = files.csv_files(document)
        files.write_folder(csv, texts, overwrite)
        print(f"{len(texts)} files written to {safe(str(csv), sys.stderr)}", file=sys.stderr)
    if html is not None:
        from ffnscope.tui.reports.formats.html import page

        files.write_file(html, page(document), overwrite)
        print(f"written to {safe(str(html), sys.stderr)}", file=sys.stderr)
    if as_json:
        print(files.json_text(document))
    elif csv is None and html is None:
        from ffnscope.tui.commands.shared import console
        from ffnscope.tui.drawing.glyphs import choose_glyphs
        from ffnscope.tui.reports.formats.terminal import show

        try:
            show(document, console(), choose_glyphs(getattr(sys.stdout, "encoding", None)))
        except SystemExit as stop:
            # How rich ends a process whose output is read no more.
            raise BrokenPipeError from stop
