"""Completions for a query that is being typed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ffnscope.store.concepts.rules import BY_NAME
from ffnscope.store.query.positions import TERMS


def complete_query(text: str, domains: Sequence[str] = (), labels: Sequence[str] = ()) -> list[str]:
    """What the last word of an unfinished query could become: terms, and the names of domains, labels and concepts."""
    last = re.split(r"\s", text)[-1]
    minus = "-" if last.startswith("-") else ""
    head, colon, rest = last[len(minus) :].partition(":")
    if not colon:
        return [f"{minus}{name}:" for name in TERMS if name.startswith(head.lower())]
    names: Iterable[str] = {"domain": domains, "label": labels, "concept": BY_NAME}.get(head.lower(), ())
    done, bar, part = rest.rpartition("|")
    taken = set(done.split("|"))
    quoted = (f'"{name}"' if re.search(r'[\s|"]', name) else name for name in names)
    return [
        f"{minus}{head}:{done}{bar}{name}"
        for name in quoted
        if name.lower().startswith(part.lower()) and name not in taken
    ]
