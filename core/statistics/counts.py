"""Count a layer's activation bits (core/DEFINITIONS.md), a block of neurons at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ffnscope.core.statistics import kernels
from ffnscope.core.statistics.bits import words
from ffnscope.core.statistics.concepts import Describer, describing_bytes
from ffnscope.core.statistics.device.complete_kernel import complete_block
from ffnscope.core.statistics.explained.kernel import Explained, explain_block, explain_unordered_block
from ffnscope.core.statistics.explained.tree import SUMS, make_space, space_bytes
from ffnscope.core.statistics.suffix_kernel import NEURONS
from ffnscope.core.statistics.suffix_order import NO_ORDER, Reordering, SuffixOrder
from ffnscope.core.statistics.tables import CorpusTables
from ffnscope.store.format.schema import CONTEXTS, TOP_NGRAMS

if TYPE_CHECKING:
    from ffnscope.core.statistics.device.device_counts import DeviceCounter, NgramCounts

BLOCK_BYTES = 48 << 20  # of one block of neurons' bits: large enough for long sequential reads of the scratch file
ORDERED_NEURONS = 32  # of a block, that are worth the memory in which their bits are put in the n-grams' order
ARRIVING = 2  # blocks that a device has put in order, in pinned memory, of which torch takes powers of two
COUNTED_ON_DEVICE = ("ngram_activations", "ngrams_distinct", "coverage", "top", "top_count", "top_total")
PARTS_PER_THREAD = 4  # per block: neurons take different times to count


class LayerBits(Protocol):
    """The activation bits of one layer."""

    neurons: int

    def block(self, first: int, last: int) -> np.ndarray:
        """Bits of neurons first .. last - 1: [last - first, S, B] uint8, position p of a window in bit p % 8 of
        byte p // 8, unused bits zero."""


@dataclass
class LayerCounts:
    """The counts of a layer. F neurons, D domains, Dc counted domains, T positions, G = TOP_NGRAMS.

    Integers throughout: activations, bos_activations, order, split_order and split_held [F], domain_activations [F, D],
    curves [F, Dc, T], ngram_activations, ngrams_distinct and coverage [F, 3], drawn [F, CONTEXTS] (window * T +
    position, -1 where fewer), top[n], top_count[n], top_total[n] [F, G] by n-gram id (-1 where fewer),
    token_set [F, G] of token ids (-1 where fewer), token_set_size [F],
    detected[f] = (ids, counts) of a detector's n-grams, ordered by count, then id.
    float64: code_lengths [F, 5], D of p0, token, bigram, trigram, position, and token_f1 [F]; NaN for none.
    formulas [F, 2, 4] int16 and formula_figures [F, 2, 3] float64: descriptions and runners-up, zeros and NaN for none.
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
    code_lengths: np.ndarray
    token_set: np.ndarray
    token_set_size: np.ndarray
    token_f1: np.ndarray
    formulas: np.ndarray
    formula_figures: np.ndarray
    detected: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    @classmethod
    def joined(cls, parts: Sequence[LayerCounts]) -> LayerCounts:
        """The counts of consecutive neurons put together."""
        if len(parts) == 1:
            return parts[0]
        names = [field.name for field in fields(cls) if field.name != "detected"]
        arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        detected: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        before = 0
        for part in parts:
            detected |= {before + neuron: ngrams for neuron, ngrams in part.detected.items()}
            before += len(part.activations)
        return cls(**arrays, detected=detected)

    @classmethod
    def empty(cls, neurons: int, tables: CorpusTables) -> LayerCounts:
        """Zero counts."""
        domains = len(tables.edges) - 1
        grams = (neurons, 3, TOP_NGRAMS)
        return cls(
            activations=np.zeros(neurons, np.int64),
            bos_activations=np.zeros(neurons, np.int64),
            domain_activations=np.zeros((neurons, domains), np.int64),
            curves=np.zeros((neurons, tables.counted, tables.seq_len), _curve_type(tables)),
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
            code_lengths=np.full((neurons, SUMS), np.nan),
            token_set=np.full((neurons, TOP_NGRAMS), -1, np.int64),
            token_set_size=np.zeros(neurons, np.int64),
            token_f1=np.full(neurons, np.nan),
            formulas=np.zeros((neurons, 2, 4), np.int16),
            formula_figures=np.full((neurons, 2, 3), np.nan),
        )


class Workspace(threading.local):
    """Arrays that each thread reuses from block to block."""

    def __init__(self, tables: CorpusTables, order: SuffixOrder):
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
        self.explained = make_space(tables.tree, len(order.leaves.targets))


def _slots(tables: CorpusTables) -> int:
    """Places that counting the n-grams of one order takes at most."""
    return max(len(order.repeated) for order in tables.orders) + 3


def _curve_type(tables: CorpusTables) -> type[np.unsignedinteger]:
    """What counts windows. Not uint8 for few of them: the loops would be compiled once more."""
    return np.uint16 if tables.counted_windows < 1 << 16 else np.uint32


def counting_bytes(tables: CorpusTables, neurons: int, threads: int, on_device: bool = False) -> int:
    """Memory of the host that counting a layer of ``neurons`` takes at most, beside ``tables``: arrays of threads, bits,
    counts, and where a device puts bits in order, what they arrive in."""
    places, order = tables.counted_windows * tables.seq_len, _order(tables, neurons)
    stretches = len(order.leaves.targets)
    per_thread = 4 * (3 * places + 3 * _slots(tables)) + describing_bytes(tables.concepts)
    per_thread += space_bytes(tables.tree, stretches)
    curve = tables.counted * tables.seq_len * np.dtype(_curve_type(tables)).itemsize
    blocks = 2 * BLOCK_BYTES + (0 if order is NO_ORDER else Reordering.bytes_needed(places, _block(tables, neurons)))
    if on_device and order is not NO_ORDER:
        blocks += ARRIVING * (1 << (_block(tables, neurons) * places // 8).bit_length())
    return threads * per_thread + blocks + neurons * (curve + 3 * 3 * TOP_NGRAMS * 8)


def _block(tables: CorpusTables, neurons: int) -> int:
    """How many neurons are counted together."""
    fit = BLOCK_BYTES // max(tables.bos.size, 1)
    size = min(neurons, max(1, fit, min(2 * fit, 2 * NEURONS)))
    return size - size % NEURONS if NEURONS < size < neurons else size


def _order(tables: CorpusTables, neurons: int) -> SuffixOrder:
    """The order in which the bits of blocks of a layer's neurons are counted; NO_ORDER where they are not put in one."""
    return tables.suffix_order if _block(tables, neurons) >= ORDERED_NEURONS else NO_ORDER


def count_layer(
    layer: int,
    bits: LayerBits,
    tables: CorpusTables,
    *,
    min_occurrences: int,
    threads: int = 1,
    advance: Callable[[int], None] = lambda neurons: None,
    neurons: range | None = None,
    device: DeviceCounter | None = None,
    device_share: float = 1.0,
) -> LayerCounts:
    """Count everything about a layer's ``neurons`` (consecutive; default all).

    The result does not depend on ``threads``, nor on how the neurons are divided, nor on whether a ``device`` puts bits in
    order and counts the n-grams, of a share of the blocks.
    ``advance`` is called with the number of neurons finished, a block at a time.
    """
    neurons = range(bits.neurons) if neurons is None else neurons
    counts = LayerCounts.empty(len(neurons), tables)
    bos, orders, tree = words(tables.bos), tables.orders, tables.tree
    size, order = _block(tables, len(neurons)), _order(tables, len(neurons))
    workspace, counted_windows = Workspace(tables, order), tables.counted_windows
    describer = Describer(*tables.concepts) if tables.concepts else None
    blocks = [
        range(first, min(first + size, neurons.stop)) for first in range(neurons.start, neurons.stop, max(size, 1))
    ]
    reorder = None
    if order is not NO_ORDER:
        reorder = Reordering(order, counted_windows * tables.seq_len, tables.seq_len, size)

    def count(
        block: np.ndarray, ordered: np.ndarray, ngrams: NgramCounts | None, first: int, part: range
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows = slice(part.start - neurons.start, part.stop - neurons.start)
        own = slice(part.start - first, part.stop - first)
        left = (ordered[own], order.orders) if ngrams is None else (ngrams.lists[own], ngrams.possible[own])
        if ngrams is not None:
            for name in COUNTED_ON_DEVICE:
                getattr(counts, name)[rows] = getattr(ngrams, name)[own]
        detections, ids, number = (kernels.count_block if ngrams is None else complete_block)(
            block[own],
            bos,
            layer << 32 | part.start,
            tables.seq_len,
            tables.edges,
            tables.counted,
            orders,
            min_occurrences,
            *left,
            workspace.arrays,
            kernels.Counted(*(getattr(counts, name)[rows] for name in kernels.Counted._fields)),
        )
        explained = Explained(*(getattr(counts, name)[rows] for name in Explained._fields))
        if reorder is None:
            space = workspace.explained
            explain_unordered_block(block[own], bos, tables.seq_len, counted_windows, tree, space, explained)
        else:
            explain_block(
                block[own], ordered[own], bos, counted_windows, tree, order.leaves, workspace.explained, explained
            )
        if describer is not None:
            describer.describe(block[own], counts.formulas[rows], counts.formula_figures[rows])
        return detections + rows.start, ids, number

    def read(index: int) -> tuple[np.ndarray, NgramCounts | None, np.ndarray | None]:
        packed = bits.block(blocks[index].start, blocks[index].stop)
        if device is None or int((index + 1) * device_share) == int(index * device_share):
            return words(packed), None, None
        here = packed[:, :counted_windows]
        return words(packed), device.count(here), None if reorder is None else device.order(here)

    detections = []
    with ThreadPoolExecutor(threads) as pool, ThreadPoolExecutor(1) as reader:
        ahead = [reader.submit(read, 0)] if blocks else []
        for index, block in enumerate(blocks):
            block_bits, ngrams, ordered = ahead.pop().result()
            if ordered is None:
                ordered = np.empty((len(block), 0), np.uint64)
                if reorder is not None:
                    ordered = reorder(block_bits, pool, threads)
            if index + 1 < len(blocks):
                ahead.append(reader.submit(read, index + 1))
            step = -(-len(block) // (threads * PARTS_PER_THREAD))
            parts = [block[start : start + step] for start in range(0, len(block), step)]
            for part, counted in zip(
                parts, pool.map(partial(count, block_bits, ordered, ngrams, block.start), parts), strict=True
            ):
                detections.append(counted)
                advance(len(part))
    counts.detected = _by_neuron(
        *(concatenate([counted[column] for counted in detections], (0,)) for column in range(3))
    )
    if tables.counted_windows < 1 << 8:
        counts.curves = counts.curves.astype(np.uint8)
    return counts


def _by_neuron(neurons: np.ndarray, ids: np.ndarray, numbers: np.ndarray) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Detected n-grams [M] as LayerCounts has them: (ids, counts) by neuron, ordered by count, then id."""
    order = np.lexsort((ids, -numbers, neurons))
    distinct, starts, sizes = np.unique(neurons[order], return_index=True, return_counts=True)
    rows = [order[start : start + size] for start, size in zip(starts, sizes, strict=True)]
    return {neuron: (ids[own], numbers[own]) for neuron, own in zip(distinct.tolist(), rows, strict=True)}


def concatenate(parts: list[np.ndarray], empty: tuple[int, ...]) -> np.ndarray:
    """The parts as one array; int64 zeros of shape ``empty`` where there are none."""
    return np.concatenate(parts) if parts else np.zeros(empty, np.int64)
