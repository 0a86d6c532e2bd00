"""Checking kept bits against their checksums, the counts beside them and the statistics of their layer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ffnscope.store.bits.column_sums import column_sums
from ffnscope.store.bits.kept import KeptBits, kept_number
from ffnscope.store.errors import UserError
from ffnscope.store.format import kept_bits as layout
from ffnscope.store.format.encoding import DamagedValueError
from ffnscope.store.format.environment import BITS
from ffnscope.store.reader import Store

_EXAMPLES = 3


def corpus_problems(store: Store) -> Iterator[str]:
    """One line for each thing that is wrong with what a store with kept bits holds beside them: tokens' bytes, labels."""
    if not kept_number(store):
        return
    try:
        for token in range(store.run.model.vocabulary):
            store.vocabulary.encoded(token)
        for label in store.kept.labels:
            store.kept.label(label)
    except UserError as error:
        yield str(error).rpartition("; ")[0]


def layer_problems(store: Store, layer: int) -> Iterator[str]:
    """One line for each thing that is wrong with the kept bits of a layer."""
    if not kept_number(store):
        return
    try:
        kept = store.kept
        counts = kept.activations(layer)
        activations = store.column(layer, "activations").astype(np.int64)
        others = store.column(layer, "bos_activations").astype(np.int64)
    except UserError as error:
        yield str(error).rpartition("; ")[0]
        return
    yield from _named(
        layer, counts.sum(axis=1) > activations - others, "more kept activations than activations beside BOS"
    )
    bit_counts = np.zeros_like(counts)
    intact = True
    for block in range(layout.blocks(len(counts))):
        first = block * layout.BLOCK
        for tile, (start, end) in enumerate(layout.tiles(kept.positions)):
            try:
                sums = _tile_counts(kept, layer, block, tile, start, end)
            except UserError as error:
                intact = False
                yield str(error).rpartition("; ")[0]
                continue
            own = len(counts[first : first + layout.BLOCK])
            bit_counts[first : first + own] += sums[:own]
            if sums[own:].any():
                yield f"layer {layer}: bits of neurons that do not exist, after neuron {len(counts) - 1}"
    if intact:
        yield from _named(
            layer, (bit_counts != counts).any(axis=1), "the kept bits are not as many as their counts say"
        )


def _tile_counts(kept: KeptBits, layer: int, block: int, tile: int, start: int, end: int) -> np.ndarray:
    """[64 words, 2] int64: how often each neuron is activated at even and at odd windows' rows of a tile. Raises UserError."""
    store, words = kept.store, layout.row_words(kept.store.run.model.neurons_of(layer), block)

    def read(value: memoryview) -> np.ndarray:
        layout.check_tile(value)
        rows = layout.tile_rows(value, end - start, words)
        even = kept.even[start:end]
        return np.stack([column_sums(rows[even]), column_sums(rows[~even])], axis=1)

    try:
        sums = store.read_value(BITS, layout.BITS_KEY.pack(layer, block, tile), read)
        if sums is None:
            raise DamagedValueError("are missing")
    except DamagedValueError as error:
        raise store.damage(f"bits of layer {layer}, block {block}, tile {tile}: {error}") from error
    return sums


def _named(layer: int, bad: np.ndarray, what: str) -> Iterator[str]:
    neurons = np.flatnonzero(bad)
    if len(neurons):
        named = ", ".join(f"L{layer}N{neuron}" for neuron in neurons[:_EXAMPLES].tolist())
        yield f"layer {layer}: {what}: {len(neurons)} neurons, {named}{' ...' if len(neurons) > _EXAMPLES else ''}"
