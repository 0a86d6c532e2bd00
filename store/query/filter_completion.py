"""Completions for a filter that is being typed."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ffnscope.store.query import columns
from ffnscope.store.query.filter import FLAGS, GROUPS, POSITIONS, TEXTS, FilterError, split


def complete(text: str, domains: Sequence[str] = ()) -> list[str]:
    """What the last word of an unfinished filter could become: column names, kinds, positions, domains."""
    try:
        words = split(text)
    except FilterError:
        return []
    last = "" if not words or text[-1:].isspace() else words[-1].text
    minus = "-" if last.startswith("-") else ""
    last = last[len(minus) :]
    if '"' in last:
        return []
    head, colon, rest = last.partition(":")
    if not colon:
        named = [*FLAGS, "kind:", "pos:", *(f"{key}:" for key in TEXTS), "layer:"]
        numeric = [name for name in columns.names() if not columns.words(name)]
        named += [*(alias for alias, name in columns.ALIASES.items() if name in numeric and len(alias) > 1), *numeric]
        return [minus + name for name in dict.fromkeys(named) if name.startswith(last.lower())]
    earlier, _, part = rest.rpartition("|")
    before = minus + head + ":" + (earlier + "|" if earlier else "")
    key = columns.ALIASES.get(head.lower(), head.lower())
    if key == "frequency" and not earlier:
        quoted = (f'"{name}"' if re.search(r"[\s<>=!|]", name) else name for name in domains)
        return [before + name for name in quoted if name.lower().startswith(part.lower())]
    known: Sequence[str] = ()
    if key == "pos":
        known = POSITIONS
    elif key in columns.COLUMNS:
        known = [word for word in columns.words(key) if word] + (list(GROUPS) if key == "kind" else [])
    chosen_words = set(earlier.split("|"))
    return [before + name for name in known if name.startswith(part.lower()) and name not in chosen_words]
