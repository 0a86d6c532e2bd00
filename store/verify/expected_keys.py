"""Which keys a store must hold, and which of them are missing or unexpected."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import lmdb

from ffnscope.store.bits.kept import kept_number
from ffnscope.store.errors import UserError
from ffnscope.store.format import kept_bits as layout
from ffnscope.store.format.environment import BITS, DATABASES
from ffnscope.store.format.keys import INDEX_KEY, LAYER_KEY, NEURON_KEY
from ffnscope.store.format.schema import array_names
from ffnscope.store.reader import Store
from ffnscope.store.vocabulary import CHUNK, RAW_PARTS

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
    vocabulary: Iterable[bytes] = (
        INDEX_KEY.pack(index) + part for index in chunks for part in (b"ends", b"whole", b"bytes")
    )
    present = frozenset(layers)
    keeps = kept_number(store) > 0
    databases = [*DATABASES, *([BITS] if keeps else [])]
    if keeps:
        meta.append(b"labels")
        vocabulary = itertools.chain(
            vocabulary, (INDEX_KEY.pack(index) + part for index in chunks for part in RAW_PARTS)
        )
    try:
        yield from _difference("", store.keys(""), sorted(name.encode() for name in databases))
        yield from _difference("meta", store.keys("meta"), meta, optional=(b"progress",))
        yield from _difference("columns", store.keys("columns"), columns)
        yield from _difference("windows", store.keys("windows"), windows)
        yield from _difference("vocabulary", store.keys("vocabulary"), vocabulary)
        yield from _curves(store.keys("curves"), {layer: run.model.neurons_of(layer) for layer in present})
        if keeps:
            yield from _bits(store, present)
    except lmdb.Error as error:
        yield f"its keys cannot be read ({error})"


def _difference(
    database: str, keys: Iterable[bytes], wanted: Iterable[bytes], optional: tuple[bytes, ...] = ()
) -> Iterator[str]:
    present, last = set(), b""
    for key in keys:
        if key <= last:
            yield _line(database, "out of order", [key])
            return
        present.add(key)
        last = key
    must = set(wanted)
    if missing := must - present - set(optional):
        yield _line(database, "missing", sorted(missing))
    if extra := present - must:
        yield _line(database, "unknown", sorted(extra))


def _curves(keys: Iterable[bytes], neurons: dict[int, int]) -> Iterator[str]:
    extra, last = [], b""
    for key in keys:
        if key <= last:
            yield _line("curves", "out of order", [key])
            return
        last = key
        layer, neuron = NEURON_KEY.unpack(key) if len(key) == NEURON_KEY.size else (-1, -1)
        if not 0 <= neuron < neurons.get(layer, 0):
            extra.append(key)
    if extra:
        yield _line("curves", "unknown", extra)


def _bits(store: Store, layers: frozenset[int]) -> Iterator[str]:
    """Bits of a layer that isn't finished may lie there while a run goes on or is stopped."""
    try:
        kept, labels, complete = store.kept, len(store.kept.labels), store.complete
    except UserError:
        return  # said by the checks of what cannot be read
    tiles = len(layout.tiles(kept.positions))
    blocks = ((layer, range(layout.blocks(store.run.model.neurons_of(layer)))) for layer in sorted(layers))
    jobs = ((layer, block, tile) for layer, own in blocks for block in own for tile in range(tiles))
    expected = {layout.BITS_KEY.pack(*job) for job in jobs}
    expected |= {layout.BITS_KEY.pack(layer, layout.COUNTS_BLOCK, 0) for layer in layers}
    expected |= {layout.label_key(index) for index in range(labels)}
    keys = [key for key in store.keys(BITS) if complete or key in expected or not _unfinished(key, store, layers)]
    yield from _difference(BITS, keys, expected)


def _unfinished(key: bytes, store: Store, layers: frozenset[int]) -> bool:
    """Whether a key is one of bits of a layer of the run that isn't there yet."""
    layer = layout.BITS_KEY.unpack(key)[0] if len(key) == layout.BITS_KEY.size else -1
    return layer in store.run.layers and layer not in layers


def _line(database: str, what: str, keys: list[bytes]) -> str:
    named = ", ".join(repr(key[:60])[1:] for key in keys[:_EXAMPLES])
    where = f"in database {database}" if database else "among the databases"
    return f"{where} {len(keys):,} {what}: {named}{' ...' if len(keys) > _EXAMPLES else ''}"
