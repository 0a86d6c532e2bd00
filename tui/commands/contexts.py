"""``ffnscope contexts``: every kept activation of a neuron, in context."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from ffnscope.store.errors import UserError
from ffnscope.tui.commands.shared import (
    OutputFile,
    Overwrite,
    StorePath,
    check_format,
    open_store,
    safe,
    say_rule,
    write_result,
)

if TYPE_CHECKING:
    import numpy as np

    from ffnscope.store.query.contexts import Occurrence
    from ffnscope.store.reader import Store

FORMATS = ("text", "csv", "jsonl")
_NEURON = re.compile(r"L(\d{1,9})N(\d{1,9})", re.IGNORECASE | re.ASCII)


def contexts(
    store: StorePath,
    neuron: Annotated[str, typer.Argument(metavar="NEURON", help="Which one, e.g. L2N10.", show_default=False)],
    where: Annotated[
        str, typer.Option(metavar="QUERY", help="Only positions that fit, e.g. 'domain:wiki prev:the'.")
    ] = "",
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="At most N.")] = None,
    width: Annotated[int, typer.Option(metavar="N", min=0, help="Characters on either side.")] = 40,
    sort: Annotated[
        str,
        typer.Option(
            metavar="place|strength|left|right",
            help="By place in the corpus, by activation (the strongest that the store knows first), or by the text on a side.",
        ),
    ] = "place",
    misses: Annotated[
        bool, typer.Option("--misses", help="Of a detector: where its n-grams occur and it is not activated.")
    ] = False,
    beside: Annotated[bool, typer.Option("--beside", help="Instead, count the tokens before and after.")] = False,
    format: Annotated[str, typer.Option(metavar="|".join(FORMATS), help="How to write it.")] = "text",
    output: OutputFile = None,
    overwrite: Overwrite = False,
) -> None:
    """Every kept activation of a neuron, in context, aligned on the token."""
    from ffnscope.store.export.answers import write_contexts
    from ffnscope.store.query.contexts import activated, concordance, known_strengths, missed, sort_rows

    check_format(format, FORMATS, output, overwrite)
    layer, number = parse_neuron(neuron)
    with open_store(store) as opened:
        rows = (missed if misses else activated)(opened, layer, number, where)
        kept, rule = opened.kept, say_rule(opened)
        what = "misses" if misses else "activations"
        line = f"L{layer}N{number}: {len(rows):,} {what} at {kept.positions:,} kept of {opened.run.corpus.positions:,} positions"
        print(safe(f"{line} that fit {where}" if where else line, sys.stderr), file=sys.stderr)
        if not len(rows):
            raise typer.Exit(1)
        rows = sort_rows(kept, rows, sort, known_strengths(opened, layer, number))[:limit]

        def write(out: TextIO) -> None:
            out.write(f"{rule}\n" if rule and output and format == "text" else "")
            if beside:
                out.writelines(f"{line}\n" for line in _beside(opened, rows, format))
            elif format == "text":
                out.writelines(f"{line}\n" for line in _text(concordance(kept, rows, width), width))
            else:
                write_contexts(out, concordance(kept, rows, width), format)

        write_result(write, output, overwrite)


def parse_neuron(text: str) -> tuple[int, int]:
    """Layer and number of a neuron named as L2N10. Raises UserError."""
    match = _NEURON.fullmatch(text.strip())
    if match is None:
        raise UserError(f"{text}: names no neuron; write its layer and number, as in L2N10")
    return int(match[1]), int(match[2])


def _text(occurrences: Iterator[Occurrence], width: int) -> Iterator[str]:
    """Lines aligned on the token; widths of window and position are those of the first screenful or more."""
    from ffnscope.tui.drawing.glyphs import choose_glyphs
    from ffnscope.tui.drawing.text import fit, visible

    glyphs = choose_glyphs(getattr(sys.stdout, "encoding", None))
    while part := list(islice(occurrences, 1000)):
        shown = [(occurrence, visible(occurrence.token, glyphs)) for occurrence in part]
        for occurrence, token in shown:
            left = fit(visible(occurrence.left, glyphs, spaces=False), width, "right", glyphs)
            right = visible(occurrence.right, glyphs, spaces=False)
            yield f"{occurrence.window:>7}:{occurrence.position:<5} {left} [{token}] {right}"


def _beside(store: Store, rows: np.ndarray, format: str) -> Iterator[str]:
    """How often each token stands before and after: lines of side, count, token."""
    from ffnscope.store.query.contexts import neighbours
    from ffnscope.tui.commands.shared import quote

    if format == "csv":
        yield "side,count,token_id,token"
    for side, offset in (("before", -1), ("behind", 1)):
        tokens, counts = neighbours(store.kept, rows, offset)
        for token, count in zip(tokens.tolist(), counts.tolist(), strict=True):
            text = quote(store.vocabulary.text(token))
            if format == "csv":
                yield f'{side},{count},{token},"{text.replace(chr(34), chr(34) * 2)}"'
            elif format == "jsonl":
                yield f'{{"side":"{side}","count":{count},"token_id":{token},"token":{text}}}'
            else:
                yield f"{side:<7} {count:>11,}  {text}"
