"""``ffnscope search``: the detectors of a token."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from ffnscope.tui.commands.shared import StorePath, open_store, prepare_stdout, quote


def search(
    store: StorePath,
    text: Annotated[
        str,
        typer.Argument(
            metavar="TEXT", help="Part of a token, case ignored; in double quotes the whole token, '\" the\"'."
        ),
    ],
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="At most N neurons.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Neurons that detect the token(s) matching TEXT, strongest first."""
    from ffnscope.store.definitions import ORDERS
    from ffnscope.store.query.detector_index import TokenIndex
    from ffnscope.tui.drawing.numbers import percent

    prepare_stdout()
    with open_store(store) as opened:
        hits = TokenIndex(opened).search(text, limit)
        vocabulary = opened.vocabulary
        if as_json:
            json.dump([_record(hit, vocabulary, ORDERS[hit.order]) for hit in hits], sys.stdout, indent=1)
            print()
        for hit in [] if as_json else hits:
            name = f"L{hit.layer}N{hit.neuron}"
            shown = " ".join(_token(token) for token in hit.detected)
            print(
                f"{name:<10} {ORDERS[hit.order]:<8} {percent(hit.matched, 1):>6} {percent(hit.covered, 1):>6} "
                f"{hit.activations:>12,}  {shown}"
            )
    if not hits:
        from ffnscope.tui.commands.shared import safe

        print(f"ffnscope: no neuron detects {safe(text, sys.stderr)!r}", file=sys.stderr)
        raise typer.Exit(1)
    if not as_json and sys.stdout.isatty():
        print(
            f"{len(hits):,} neurons: kind, share of activations on matching tokens, on all detected ones, activations",
            file=sys.stderr,
        )


def _token(text: str) -> str:
    """Drawn on a terminal; in a pipe exactly, as JSON."""
    if not sys.stdout.isatty():
        return quote(text)
    from ffnscope.tui.drawing.glyphs import choose_glyphs
    from ffnscope.tui.drawing.text import visible

    return visible(text, choose_glyphs(sys.stdout.encoding))


def _record(hit: Any, vocabulary: Any, kind: str) -> dict[str, Any]:
    matched = [
        {"tokens": vocabulary.texts(ngram.tokens), "count": ngram.count, "occurrences": ngram.total}
        for ngram in hit.tokens
    ]
    return {
        "layer": hit.layer,
        "neuron": hit.neuron,
        "kind": kind,
        "activations": hit.activations,
        "matched_share": hit.matched,
        "covered_share": hit.covered,
        "matched": matched,
        "detected": list(hit.detected),
    }
