"""From a layer's activation bits to every number of its neurons (definitions.md), a block of neurons at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from functools import cached_property, partial
from typing import Protocol

import numpy as np

from ffnscope.core import kernels
from ffnscope.core.bits import words
from ffnscope.core.halves import halve
from ffnscope.core.ngrams import NgramTable, ngram_tables
from ffnscope.core.positional import classify, is_positional, mi_bias, mutual_information
from ffnscope.core.windows import Corpus
from ffnscope.store.errors import UserError
from ffnscope.store.schema import ABSENT, CONTEXTS, TOP_NGRAMS
from ffnscope.store.words import KINDS

MOST_POSITIONS = 1 << 31  # counters are int32
BLOCK_BYTES = 96 << 20  # bits of one block of neurons: long stretches of the scratch file are read at once
PARTS_A_THREAD = 4  # of a block: neurons take different times
CURVE_BLOCK = 2048  # neurons whose position curves are looked at together
ORDER_NAMES = ("unigrams", "bigrams", "trigrams")


class LayerBits(Protocol):
    """The activation bits of one layer."""

    neurons: int

    def block(self, first: int, last: int) -> np.ndarray:
        """Bits of neurons first .. last - 1: [last - first, S, B] uint8, position p of a window in bit p % 8 of
        byte p // 8, unused bits zero."""


@dataclass(frozen=True)
class CorpusTables:
    """What counting needs of the corpus, made once a run.

    ``edges`` [D + 1] int64: domain d is the windows edges[d] .. edges[d + 1] - 1; the first ``counted`` domains
    count towards every statistic and ``ngrams`` covers just their windows. ``bos`` [S, B] uint8: bits of the
    positions whose token is BOS.
    """

    seq_len: int
    edges: np.ndarray
    counted: int
    ngrams: tuple[NgramTable, NgramTable, NgramTable]
    bos: np.ndarray

    @cached_property
    def orders(self) -> tuple[kernels.Ngrams, ...]:
        """The n-grams of n = 1, 2, 3 as the kernels count them."""
        halves = halve(self.ngrams)
        return tuple(
            kernels.Ngrams(slots, table.ids.reshape(-1), repeated, table.totals, even, odd)
            for table, (slots, repeated), even, odd in zip(
                self.ngrams, (table.slots() for table in self.ngrams), halves.even, halves.odd, strict=True
            )
        )

    @property
    def counted_windows(self) -> int:
        """S of n-grams and position curves."""
        return int(self.edges[self.counted])


@dataclass
class LayerCounts:
    """What the bits of a layer say. F neurons, D domains, Dc counted domains, T positions, G = TOP_NGRAMS.

    Integers throughout: activations, bos_activations, order, split_order and split_held [F], domain_activations [F, D],
    curves [F, Dc, T], ngram_activations, ngrams_distinct and coverage [F, 3], drawn [F, CONTEXTS] (window * T +
    position, -1 where fewer), top[n], top_count[n], top_total[n] [F, G] by n-gram id (-1 where fewer),
    detected[f] = (ids, counts) of a detector's n-grams, ordered by count, then id.
    """

    activations: np.ndarray
    bos_activations: np.ndarray
    domain_activations: np.ndarray
    curves: np.ndarray
    ngram_activations: np.ndarray
    ngrams_distinct: np.ndarray
    coverage: np.ndarray
    order: np.ndarray
    split_order: np.ndarray
    split_held: np.ndarray
    drawn: np.ndarray
    top: np.ndarray
    top_count: np.ndarray
    top_total: np.ndarray
    detected: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    @classmethod
    def joined(cls, parts: Sequence[LayerCounts]) -> LayerCounts:
        """The counts of consecutive neurons put together."""
        if len(parts) == 1:
            return parts[0]
        names = [each.name for each in fields(cls) if each.name != "detected"]
        arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        detected: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        before = 0
        for part in parts:
            detected |= {before + neuron: found for neuron, found in part.detected.items()}
            before += len(part.activations)
        return cls(**arrays, detected=detected)

    @classmethod
    def empty(cls, neurons: int, tables: CorpusTables) -> LayerCounts:
        """Zero counts."""
        windows = tables.counted_windows
        curve_type = np.uint8 if windows < 1 << 8 else np.uint16 if windows < 1 << 16 else np.uint32
        domains = len(tables.edges) - 1
        grams = (neurons, 3, TOP_NGRAMS)
        return cls(
            activations=np.zeros(neurons, np.int64),
            bos_activations=np.zeros(neurons, np.int64),
            domain_activations=np.zeros((neurons, domains), np.int64),
            curves=np.zeros((neurons, tables.counted, tables.seq_len), curve_type),
            ngram_activations=np.zeros((neurons, 3), np.int64),
            ngrams_distinct=np.zeros((neurons, 3), np.int64),
            coverage=np.zeros((neurons, 3), np.int64),
            order=np.zeros(neurons, np.uint8),
            split_order=np.zeros(neurons, np.uint8),
            split_held=np.zeros(neurons, np.uint8),
            drawn=np.full((neurons, CONTEXTS), -1, np.int64),
            top=np.full(grams, -1, np.int64),
            top_count=np.zeros(grams, np.int64),
            top_total=np.zeros(grams, np.int64),
        )


class _Workspace(threading.local):
    """Arrays that each thread reuses from block to block."""

    def __init__(self, tables: CorpusTables):
        places = tables.counted_windows * tables.seq_len
        slots = _slots(tables)
        self.arrays = kernels.Space(
            positions=np.empty(places, np.int32),
            halves=np.empty(places, np.int32),
            counts=np.zeros(slots, np.int32),
            touched=np.empty(slots, np.int32),
            kept=np.empty(slots, np.int32),
            histogram=np.zeros(places + 2, np.int32),
        )


def _slots(tables: CorpusTables) -> int:
    """Places that counting the n-grams of one order takes at most."""
    return max(len(order.repeated) for order in tables.orders) + 3


def counting_bytes(tables: CorpusTables, neurons: int, threads: int) -> int:
    """Memory that counting a layer of ``neurons`` takes at most, beside ``tables``: threads' arrays, bits, counts."""
    places = tables.counted_windows * tables.seq_len
    each = 4 * (3 * places + 3 * _slots(tables))
    curve = tables.counted * tables.seq_len * (1 if tables.counted_windows < 1 << 8 else 2)
    return threads * each + 2 * BLOCK_BYTES + neurons * (curve + 3 * 3 * TOP_NGRAMS * 8)


def make_tables(corpus: Corpus) -> CorpusTables:
    """What counting needs of the corpus; n-grams over the windows of the domains that are not count-only.

    Raises UserError where these have 2**31 positions or more.
    """
    edges = np.array([0, *np.cumsum([domain.windows for domain in corpus.domains])], np.int64)
    counted = sum(not domain.count_only for domain in corpus.domains)
    windows = int(edges[counted])
    if windows * corpus.seq_len >= MOST_POSITIONS:
        raise UserError(
            f"{windows * corpus.seq_len:,} positions are more than can be counted by n-gram ({MOST_POSITIONS - 1:,}); lower "
            "--max-tokens, or give further domains as --count-only"
        )
    is_bos = np.zeros(corpus.tokens.shape, bool) if corpus.bos_id is None else corpus.tokens == corpus.bos_id
    return CorpusTables(
        seq_len=corpus.seq_len,
        edges=edges,
        counted=counted,
        ngrams=ngram_tables(corpus.tokens[:windows], corpus.bos_id, corpus.vocabulary_size),
        bos=np.packbits(is_bos, axis=1, bitorder="little"),
    )


def count_layer(
    layer: int,
    bits: LayerBits,
    tables: CorpusTables,
    min_occurrences: int,
    threads: int = 1,
    advance: Callable[[int], None] = lambda neurons: None,
    neurons: range | None = None,
) -> LayerCounts:
    """Count everything about a layer's ``neurons`` (consecutive; default all).

    The result does not depend on ``threads``, nor on how the neurons are divided.
    ``advance`` is called with the number of neurons finished, a block at a time.
    """
    neurons = range(bits.neurons) if neurons is None else neurons
    counts = LayerCounts.empty(len(neurons), tables)
    bos, orders = words(tables.bos), tables.orders
    workspace = _Workspace(tables)
    size = max(1, BLOCK_BYTES // max(tables.bos.size, 1))
    blocks = [range(first, min(first + size, neurons.stop)) for first in range(neurons.start, neurons.stop, size)]

    def count(block: np.ndarray, first: int, part: range) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows = slice(part.start - neurons.start, part.stop - neurons.start)
        found, ids, number = kernels.count_block(
            block[part.start - first : part.stop - first],
            bos,
            layer << 32 | part.start,
            tables.seq_len,
            tables.edges,
            tables.counted,
            orders,
            min_occurrences,
            workspace.arrays,
            kernels.Counted(*(getattr(counts, name)[rows] for name in kernels.Counted._fields)),
        )
        return found + rows.start, ids, number

    def read(block: range) -> np.ndarray:
        return words(bits.block(block.start, block.stop))

    found = []
    with ThreadPoolExecutor(threads) as pool, ThreadPoolExecutor(1) as reader:
        ahead = [reader.submit(read, block) for block in blocks[:1]]
        for index, block in enumerate(blocks):
            held = ahead.pop().result()
            ahead += [reader.submit(read, after) for after in blocks[index + 1 : index + 2]]
            step = -(-len(block) // (threads * PARTS_A_THREAD))
            parts = [block[start : start + step] for start in range(0, len(block), step)]
            for part, each in zip(parts, pool.map(partial(count, held, block.start), parts), strict=True):
                found.append(each)
                advance(len(part))
    counts.detected = _by_neuron(*(_joined([each[column] for each in found], (0,)) for column in range(3)))
    return counts


def _by_neuron(neurons: np.ndarray, ids: np.ndarray, numbers: np.ndarray) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Detected n-grams [M] as LayerCounts has them: (ids, counts) by neuron, ordered by count, then id."""
    order = np.lexsort((ids, -numbers, neurons))
    found, starts, sizes = np.unique(neurons[order], return_index=True, return_counts=True)
    rows = [order[start : start + size] for start, size in zip(starts, sizes, strict=True)]
    return {neuron: (ids[own], numbers[own]) for neuron, own in zip(found.tolist(), rows, strict=True)}


def layer_arrays(
    counts: LayerCounts, tables: CorpusTables, maxima: np.ndarray, sums: np.ndarray
) -> dict[str, np.ndarray]:
    """The arrays of the store that the counts give (schema.LAYER_ARRAYS without projections and strongest contexts).

    ``maxima`` [F] float32: the largest output of the activation function at activated positions; ``sums`` [F]
    float64: their sum.
    """
    alive = counts.activations > 0
    information, bias, types, strengths = _positional(counts.curves, tables.counted_windows)
    positional = types > 0
    kind = np.full(len(alive), KINDS.index("other"), np.uint8)
    kind[positional] = KINDS.index("positional")
    kind[counts.order > 0] = counts.order[counts.order > 0]
    kind[~alive] = KINDS.index("dead")
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(alive, sums / counts.activations, np.nan)
    arrays = {
        "kind": kind,
        "order": counts.order,
        "split_order": counts.split_order,
        "split_held": counts.split_held,
        "activations": counts.activations.astype(np.uint64),
        "bos_activations": counts.bos_activations.astype(np.uint64),
        "domain_activations": counts.domain_activations.astype(np.uint64),
        "max_activation": np.where(alive, maxima, np.nan).astype(np.float32),
        "mean_activation": means.astype(np.float32),
        "ngram_activations": counts.ngram_activations.astype(np.uint64),
        "ngrams_distinct": counts.ngrams_distinct.astype(np.uint32),
        "position_mi": information.astype(np.float32),
        "position_bias": bias.astype(np.float32),
        "position_type": types,
        "position_strength": strengths,
        "random_window": _absent(counts.drawn // tables.seq_len),
        "random_position": _absent(np.where(counts.drawn < 0, -1, counts.drawn % tables.seq_len)),
    }
    for index, (name, table) in enumerate(zip(ORDER_NAMES, tables.ngrams, strict=True)):
        top = counts.top[:, index]
        tokens = np.where(top[..., None] < 0, -1, table.tokens[np.maximum(top, 0)] if len(table.tokens) else -1)
        arrays[f"{name}_95"] = counts.coverage[:, index].astype(np.uint32)
        arrays[f"top_{name}"] = _absent(np.broadcast_to(tokens, (*top.shape, index + 1)))
        arrays[f"top_{name}_count"] = counts.top_count[:, index].astype(np.uint32)
        arrays[f"top_{name}_total"] = counts.top_total[:, index].astype(np.uint32)
    return arrays | _detections(counts, tables)


def _positional(curves: np.ndarray, windows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mutual information, bias [F] float64, codes of type and strength [F] uint8 (0 where not positional)."""
    neurons = len(curves)
    information, bias = np.zeros(neurons), np.zeros(neurons)
    types, strengths = np.zeros(neurons, np.uint8), np.zeros(neurons, np.uint8)
    for first in range(0, neurons, CURVE_BLOCK):
        rows = slice(first, first + CURVE_BLOCK)
        whole = curves[rows].sum(axis=1, dtype=np.int64)
        information[rows], bias[rows] = mutual_information(whole, windows), mi_bias(whole, windows)
        which = np.flatnonzero(is_positional(information[rows], bias[rows]))
        if len(which):
            types[first + which], strengths[first + which] = classify(whole[which], windows)
    return information, bias, types, strengths


def _detections(counts: LayerCounts, tables: CorpusTables) -> dict[str, np.ndarray]:
    neurons, tokens, numbers, totals = [], [], [], []
    for neuron in sorted(counts.detected):
        ids, each = counts.detected[neuron]
        table = tables.ngrams[counts.order[neuron] - 1]
        padded = np.full((len(ids), 3), -1, np.int64)
        padded[:, : table.order] = table.tokens[ids]
        neurons.append(np.full(len(ids), neuron))
        tokens.append(padded)
        numbers.append(each)
        totals.append(table.totals[ids])
    return {
        "detected_neuron": _joined(neurons, (0,)).astype(np.uint32),
        "detected_tokens": _absent(_joined(tokens, (0, 3))),
        "detected_count": _joined(numbers, (0,)).astype(np.uint32),
        "detected_total": _joined(totals, (0,)).astype(np.uint32),
    }


def _joined(parts: list[np.ndarray], empty: tuple[int, ...]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(empty, np.int64)


def _absent(values: np.ndarray) -> np.ndarray:
    return np.where(values < 0, ABSENT, values).astype(np.uint32)
