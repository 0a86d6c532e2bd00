"""The domains that were asked for: `NAME=PATH`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ffnscope.store.errors import UserError

_NOT_IN_NAMES = frozenset(":|\"'`,<>")  # each means something in filters, column names or lists of columns


@dataclass(frozen=True)
class DomainSource:
    """Where a domain comes from. `count_only`: it counts towards activations, frequencies and dead neurons only."""

    name: str
    path: Path
    count_only: bool = False


def parse_source(text: str, count_only: bool = False) -> DomainSource:
    """`NAME=PATH` as a source; `~` in PATH is the home folder. Raises UserError for a bad name or an empty path."""
    option = "--count-only" if count_only else "--data"
    name, equals, path = text.partition("=")
    if not equals or not name or not path:
        raise UserError(f"{option} {text!r}: write NAME=PATH, e.g. {option} wiki=wiki.jsonl")
    if not name.isprintable() or any(char.isspace() or char in _NOT_IN_NAMES for char in name):
        raise UserError(f"{option} {text!r}: the name {name!r} must be one word without : | , < > or quotes")
    try:
        return DomainSource(name, Path(path).expanduser(), count_only)
    except RuntimeError as error:
        raise UserError(f"{option} {text!r}: {error}") from error


def parse_sources(data: Sequence[str], count_only: Sequence[str] = ()) -> tuple[DomainSource, ...]:
    """All sources of a run, those of --data first. Raises UserError as `parse_source`, and for a name given twice."""
    sources = [parse_source(text) for text in data] + [parse_source(text, True) for text in count_only]
    return in_order(sources)


def in_order(sources: Iterable[DomainSource]) -> tuple[DomainSource, ...]:
    """The sources as their domains are numbered: counted domains, then count-only ones. Raises UserError for a name given
    twice, and where no domain is counted."""
    ordered = tuple(sorted(sources, key=lambda source: source.count_only))
    seen: set[str] = set()
    for source in ordered:
        if source.name in seen:
            raise UserError(f"{source.name}={source.path}: the name {source.name!r} is given twice; name domains apart")
        seen.add(source.name)
    if not ordered or ordered[0].count_only:
        raise UserError("no corpus given; add --data NAME=PATH")
    return ordered
