"""``ffnscope search``: the detectors of a token, and the neurons that come closest."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ffnscope.store.errors import UserError
from ffnscope.tui.commands.shared import StorePath, open_store, prepare_stdout, quote, say_rule

if TYPE_CHECKING:
    from ffnscope.store.query.detector_index import Hit
    from ffnscope.store.query.trigger_index import TriggerHit
    from ffnscope.store.reader import Store
    from ffnscope.store.vocabulary import Vocabulary

NEAR = 20  # neurons that come close, where no limit is given


def search(
    store: StorePath,
    text: Annotated[
        str,
        typer.Argument(
            metavar="TEXT",
            help="Part of a token, case ignored; in double quotes the whole token, '\" the\"'; between slashes a regular "
            "expression, '/^ ?the$/i'.",
        ),
    ],
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="At most N neurons.")] = None,
    detectors_only: Annotated[
        bool, typer.Option("--detectors-only", help="Without the neurons that only come close.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Neurons that detect the tokens matching TEXT, strongest first; below them those that fire mostly at one.

    A neuron is "mostly at" a token that is among its most frequent triggers or
    in its token set. Such neurons are ranked by f1 of two shares: of the neuron's
    activations, those on the token; of the token's occurrences, those that
    activate it. Exit code 1 if no neuron is a detector, whatever comes close.
    """
    from ffnscope.store.definitions import ORDERS
    from ffnscope.store.query.detector_index import TokenIndex
    from ffnscope.tui.drawing.numbers import percent

    if not text:
        raise UserError("TEXT is empty; give a part of a token, a whole one in double quotes, or /REGEX/")
    prepare_stdout()
    with open_store(store) as opened:
        say_rule(opened)
        hits = TokenIndex(opened).search(text)
        near = [] if detectors_only else _near(opened, text, hits, limit)
        hits = hits[:limit]
        vocabulary = opened.vocabulary
        if as_json:
            records = [_record(hit, vocabulary, ORDERS[hit.order]) for hit in hits]
            json.dump(records + [_near_record(hit, vocabulary) for hit in near], sys.stdout, indent=1)
            print()
        for hit in [] if as_json else hits:
            name = f"L{hit.layer}N{hit.neuron}"
            shown = " ".join(_token(token) for token in hit.detected)
            print(
                f"{name:<10} {ORDERS[hit.order]:<8} {percent(hit.matched, 1):>6} {percent(hit.covered, 1):>6} "
                f"{hit.activations:>12,}  {shown}"
            )
        for neighbour in [] if as_json else near:
            name, shown = f"L{neighbour.layer}N{neighbour.neuron}", _token(vocabulary.text(neighbour.token))
            print(
                f"{name:<10} {neighbour.kind:<10}{_percent(neighbour.share):>5} {_percent(neighbour.probability):>6} "
                f"{neighbour.activations:>12,}  mostly at {shown}"
            )
    if not hits:
        from ffnscope.tui.commands.shared import safe

        closest = f"; {len(near):,} fire mostly at a token with it" if near else ""
        print(f"ffnscope: no neuron detects {safe(text, sys.stderr)!r}{closest}", file=sys.stderr)
    if near and not as_json and sys.stdout.isatty():
        print('"mostly at": kind, share of activations on the token, P(active | token), activations', file=sys.stderr)
    if not hits:
        raise typer.Exit(1)
    if not as_json and sys.stdout.isatty():
        neurons = f"{len(hits):,} neuron{'' if len(hits) == 1 else 's'}"
        print(
            f"{neurons}: kind, share of activations on matching tokens, on all detected ones, activations",
            file=sys.stderr,
        )


def _near(store: Store, text: str, hits: list[Hit], limit: int | None) -> list[TriggerHit]:
    """What comes close: as many as the limit leaves, NEAR without one."""
    from ffnscope.store.query.trigger_index import TriggerIndex

    room = NEAR if limit is None else limit - len(hits)
    if room <= 0:
        return []
    index = TriggerIndex(store)
    index.refresh()
    return index.search(text, room, {(hit.layer, hit.neuron) for hit in hits})


def _percent(share: float | None) -> str:
    from ffnscope.tui.drawing.numbers import percent

    return "-" if share is None else percent(share, 1)


def _token(text: str) -> str:
    """Drawn on a terminal; in a pipe exactly, as JSON."""
    if not sys.stdout.isatty():
        return quote(text)
    from ffnscope.tui.drawing.glyphs import choose_glyphs
    from ffnscope.tui.drawing.text import visible

    return visible(text, choose_glyphs(sys.stdout.encoding))


def _near_record(hit: TriggerHit, vocabulary: Vocabulary) -> dict[str, Any]:
    return {
        "layer": hit.layer,
        "neuron": hit.neuron,
        "kind": hit.kind,
        "activations": hit.activations,
        "match": "mostly at",
        "token": vocabulary.text(hit.token),
        "matched_share": hit.share,
        "probability": hit.probability,
        "f1": hit.f1,
        "in_token_set": hit.in_set,
    }


def _record(hit: Hit, vocabulary: Vocabulary, kind: str) -> dict[str, Any]:
    matched = [
        {"tokens": vocabulary.texts(ngram.tokens), "count": ngram.count, "occurrences": ngram.total}
        for ngram in hit.tokens
    ]
    return {
        "layer": hit.layer,
        "neuron": hit.neuron,
        "kind": kind,
        "activations": hit.activations,
        "match": "detects",
        "matched_share": hit.matched,
        "covered_share": hit.covered,
        "matched": matched,
        "detected": list(hit.detected),
    }
