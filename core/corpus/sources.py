"""The domains that were asked for: `NAME=PATH`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ffnscope.core.corpus.fields import DEFAULT_FIELD
from ffnscope.core.corpus.tables import is_dataset_dict, splits_of
from ffnscope.store.errors import UserError

_NOT_IN_NAMES = frozenset(":|\"'`,<>")  # each means something in filters, column names or lists of columns


@dataclass(frozen=True)
class DomainSource:
    """Where a domain comes from. `count_only`: it counts towards activations, frequencies and dead neurons only.
    `text_field`: the field or column of its rows that is read."""

    name: str
    path: Path
    count_only: bool = False
    text_field: str = DEFAULT_FIELD


def parse_source(text: str, count_only: bool = False, text_field: str = DEFAULT_FIELD) -> DomainSource:
    """`NAME=PATH` as a source; `~` in PATH is the home folder, `PATH:SPLIT` a split of a saved DatasetDict. Raises
    UserError for a bad name or an empty path."""
    option = "--count-only" if count_only else "--data"
    name, equals, path = text.partition("=")
    if not equals or not name or not path:
        raise UserError(f"{option} {text!r}: write NAME=PATH, e.g. {option} wiki=wiki.jsonl")
    if not name.isprintable() or any(char.isspace() or char in _NOT_IN_NAMES for char in name):
        raise UserError(f"{option} {text!r}: the name {name!r} must be one word without : | , < > or quotes")
    try:
        return DomainSource(name, _split_folder(Path(path).expanduser()), count_only, text_field)
    except RuntimeError as error:
        raise UserError(f"{option} {text!r}: {error}") from error


def _split_folder(path: Path) -> Path:
    """The folder of the split for the path `FOLDER:SPLIT` of a DatasetDict, any other path as it is."""
    folder, colon, split = str(path).rpartition(":")
    if not colon or path.exists() or not is_dataset_dict(Path(folder)):
        return path
    splits = splits_of(Path(folder))
    if split not in splits:
        raise UserError(f"{path}: no split {split!r} in this dataset; it has {', '.join(splits) or 'none'}")
    return Path(folder) / split


def parse_sources(
    data: Sequence[str], count_only: Sequence[str] = (), text_fields: Sequence[str] = ()
) -> tuple[DomainSource, ...]:
    """All sources of a run, those of --data first. `text_fields`: `FIELD` for all domains, `NAME=FIELD` for one.

    Raises UserError as `parse_source`, for a name given twice, and for a field of a domain that there is not.
    """
    given = [(text, False) for text in data] + [(text, True) for text in count_only]
    fields = _fields(text_fields, [text.partition("=")[0] for text, _ in given])
    return in_order(
        parse_source(text, only, fields.get(text.partition("=")[0], fields.get("", DEFAULT_FIELD)))
        for text, only in given
    )


def _fields(texts: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Domain -> field; "" stands for all domains."""
    fields: dict[str, str] = {}
    for text in texts:
        name, equals, field = text.partition("=") if "=" in text else ("", "", text)
        if not field or (equals and not name):
            raise UserError(f"--text-field {text!r}: write FIELD, or NAME=FIELD for one domain")
        if name and name not in names:
            raise UserError(f"--text-field {text!r}: no domain {name!r}; there are {', '.join(names)}")
        if name in fields:
            raise UserError(f"--text-field {text!r}: given twice; give one field for a domain")
        fields[name] = field
    return fields


def in_order(sources: Iterable[DomainSource]) -> tuple[DomainSource, ...]:
    """The sources as their domains are numbered: counted domains, then count-only ones. Raises UserError for a name given
    twice, and where no domain is counted."""
    ordered = tuple(sorted(sources, key=lambda source: source.count_only))
    seen: set[str] = set()
    for source in ordered:
        if source.name in seen:
            raise UserError(
                f"{source.name}={source.path}: the name {source.name!r} is given twice; give each domain its own name"
            )
        seen.add(source.name)
    if not ordered or ordered[0].count_only:
        raise UserError("no corpus given; add --data NAME=PATH")
    return ordered
