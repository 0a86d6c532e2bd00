"""Which keys a store must hold, and which of them are missing or too many."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import lmdb

from ffnscope.store.format.environment import DATABASES
from ffnscope.store.format.keys import INDEX_KEY, LAYER_KEY, NEURON_KEY
from ffnscope.store.format.schema import array_names
from ffnscope.store.reader import Store
from ffnscope.store.vocabulary import CHUNK

_EXAMPLES = 3


def unexpected(store: Store, layers: tuple[int, ...]) -> Iterator[str]:
    """One line for each database that does not hold exactly the keys that the format gives a run with these layers.

    Curves are those of any neurons of the layers: which of them are alive is the matter of other checks.
    """
    run = store.run
    meta = [b"format", b"progress", b"run", b"unigram_totals", *(f"layer:{layer:05d}".encode() for layer in layers)]
    columns = (LAYER_KEY.pack(layer) + name.encode() for layer in layers for name in array_names(store.groups))
    windows = (INDEX_KEY.pack(index) for index in range(run.corpus.counted_windows))
    chunks = range(-(-run.model.vocabulary // CHUNK))
    vocabulary = (INDEX_KEY.pack(index) + part for index in chunks for part in (b"ends", b"whole", b"bytes"))
    there = frozenset(layers)
    try:
        yield from _difference("", store.keys(""), sorted(name.encode() for name in DATABASES))
        yield from _difference("meta", store.keys("meta"), meta, optional=(b"progress",))
        yield from _difference("columns", store.keys("columns"), columns)
        yield from _difference("windows", store.keys("windows"), windows)
        yield from _difference("vocabulary", store.keys("vocabulary"), vocabulary)
        yield from _curves(store.keys("curves"), there, run.model.neurons)
    except lmdb.Error as error:
        yield f"its keys cannot be read ({error})"


def _difference(
    database: str, found: Iterable[bytes], wanted: Iterable[bytes], optional: tuple[bytes, ...] = ()
) -> Iterator[str]:
    there, last = set(), b""
    for key in found:
        if key <= last:
            yield _line(database, "out of order", [key])
            return
        there.add(key)
        last = key
    must = set(wanted)
    if missing := must - there - set(optional):
        yield _line(database, "missing", sorted(missing))
    if extra := there - must:
        yield _line(database, "unknown", sorted(extra))


def _curves(found: Iterable[bytes], layers: frozenset[int], neurons: int) -> Iterator[str]:
    extra, last = [], b""
    for key in found:
        if key <= last:
            yield _line("curves", "out of order", [key])
            return
        last = key
        layer, neuron = NEURON_KEY.unpack(key) if len(key) == NEURON_KEY.size else (-1, -1)
        if layer not in layers or neuron >= neurons:
            extra.append(key)
    if extra:
        yield _line("curves", "unknown", extra)


def _line(database: str, what: str, keys: list[bytes]) -> str:
    named = ", ".join(repr(key[:60])[1:] for key in keys[:_EXAMPLES])
    where = f"in database {database}" if database else "among the databases"
    return f"{where} {len(keys):,} {what}: {named}{' ...' if len(keys) > _EXAMPLES else ''}"
