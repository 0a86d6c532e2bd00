"""Count a layer's activation bits (core/DEFINITIONS.md), a block of neurons at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field, fields, replace
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
    blocks = 2 * BLOCK_BYTES + (
        0 if order is NO_ORDER else Reordering.bytes_needed(places, _block_neurons(tables, neurons))
    )
    if on_device and order is not NO_ORDER:
        blocks += ARRIVING * (1 << (_block_neurons(tables, neurons) * places // 8).bit_length())
    return threads * per_thread + blocks + neurons * (curve + 3 * 3 * TOP_NGRAMS * 8)


def _block_neurons(tables: CorpusTables, neurons: int) -> int:
    """How many neurons are counted together."""
    fit = BLOCK_BYTES // max(tables.bos.size, 1)
    size = min(neurons, max(1, fit, min(2 * fit, 2 * NEURONS)))
    return size - size % NEURONS if NEURONS < size < neurons else size


def _order(tables: CorpusTables, neurons: int) -> SuffixOrder:
    """The order in which the bits of blocks of a layer's neurons are counted; NO_ORDER where they are not put in one."""
    return tables.suffix_order if _block_neurons(tables, neurons) >= ORDERED_NEURONS else NO_ORDER


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
    counter = _LayerCounter(layer, bits, tables, neurons, min_occurrences, device, device_share)
    detections = []
    # The next block is read while the threads count the one before.
    with ThreadPoolExecutor(threads) as pool, ThreadPoolExecutor(1) as reader:
        ahead = [reader.submit(counter.read, 0)] if counter.blocks else []
        for index in range(len(counter.blocks)):
            block = counter.put_in_order(ahead.pop().result(), pool, threads)
            if index + 1 < len(counter.blocks):
                ahead.append(reader.submit(counter.read, index + 1))
            step = -(-len(block.neurons) // (threads * PARTS_PER_THREAD))
            parts = [block.neurons[start : start + step] for start in range(0, len(block.neurons), step)]
            for part, detected in zip(parts, pool.map(partial(counter.count, block), parts), strict=True):
                detections.append(detected)
                advance(len(part))
    counts = counter.counts
    counts.detected = _by_neuron(*(concatenate([part[column] for part in detections], (0,)) for column in range(3)))
    if tables.counted_windows < 1 << 8:
        counts.curves = counts.curves.astype(np.uint8)
    return counts


@dataclass(frozen=True, eq=False)
class _Block:
    """Consecutive ``neurons`` of a layer and their ``bits`` [n, S, W] uint64. ``ordered`` [n, V] uint64: those of the counted
    windows in the n-grams' order, V = 0 where they are counted without one; None until they are put in it. ``ngrams``: what a
    device has counted, None where that is left to the host."""

    neurons: range
    bits: np.ndarray
    ordered: np.ndarray | None = None
    ngrams: NgramCounts | None = None


class _LayerCounter:
    """Counts ``neurons`` of a layer into ``counts``, in ``blocks``: each is read, put in order, and counted in parts."""

    def __init__(
        self,
        layer: int,
        bits: LayerBits,
        tables: CorpusTables,
        neurons: range,
        min_occurrences: int,
        device: DeviceCounter | None,
        device_share: float,
    ):
        self.counts = LayerCounts.empty(len(neurons), tables)
        size = _block_neurons(tables, len(neurons))
        starts = range(neurons.start, neurons.stop, max(size, 1))
        self.blocks = [range(start, min(start + size, neurons.stop)) for start in starts]
        self._layer, self._bits, self._tables, self._first = layer, bits, tables, neurons.start
        self._min_occurrences = min_occurrences
        self._device, self._device_share = device, device_share
        self._order = _order(tables, len(neurons))
        self._reorder: Reordering | None = None
        if self._order is not NO_ORDER:
            places = tables.counted_windows * tables.seq_len
            self._reorder = Reordering(self._order, places, tables.seq_len, size)
        self._bos = words(tables.bos)
        self._workspace = Workspace(tables, self._order)
        self._describer = Describer(*tables.concepts) if tables.concepts else None

    def read(self, index: int) -> _Block:
        """The bits of a block; a device counts the n-grams of its share of the blocks, and puts their bits in order."""
        neurons, device, share = self.blocks[index], self._device, self._device_share
        packed = self._bits.block(neurons.start, neurons.stop)
        if device is None or int((index + 1) * share) == int(index * share):
            return _Block(neurons, words(packed))
        counted = packed[:, : self._tables.counted_windows]
        ngrams = device.count(counted)
        return _Block(neurons, words(packed), None if self._reorder is None else device.order(counted), ngrams)

    def put_in_order(self, block: _Block, pool: Executor, threads: int) -> _Block:
        """The block with its bits in the n-grams' order, unless a device has put them in it. Valid until the next call."""
        if block.ordered is not None:
            return block
        if self._reorder is None:
            return replace(block, ordered=np.empty((len(block.neurons), 0), np.uint64))
        return replace(block, ordered=self._reorder(block.bits, pool, threads))

    def count(self, block: _Block, part: range) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Count some neurons of a block, by threads at the same time. Returns [M] each: neuron (by its row in the counts),
        id and count of every n-gram that a detector among them detects."""
        rows = slice(part.start - self._first, part.stop - self._first)
        own = slice(part.start - block.neurons.start, part.stop - block.neurons.start)
        neurons, ids, counts = self._count_ngrams(block, own, rows)
        self._explain(block, own, rows)
        if self._describer is not None:
            self._describer.describe(block.bits[own], self.counts.formulas[rows], self.counts.formula_figures[rows])
        return neurons + rows.start, ids, counts

    def _count_ngrams(self, block: _Block, own: slice, rows: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Curves, n-grams and detectors of neurons ``own`` of a block, into ``rows``."""
        tables, ngrams, space = self._tables, block.ngrams, self._workspace.arrays
        assert block.ordered is not None
        seed = self._layer << 32 | block.neurons[own].start
        counted = kernels.Counted(*(getattr(self.counts, name)[rows] for name in kernels.Counted._fields))
        settings = tables.seq_len, tables.edges, tables.counted, tables.orders, self._min_occurrences
        arguments = block.bits[own], self._bos, seed, *settings
        if ngrams is None:
            return kernels.count_block(*arguments, block.ordered[own], self._order.orders, space, counted)
        for name in COUNTED_ON_DEVICE:
            getattr(self.counts, name)[rows] = getattr(ngrams, name)[own]
        return complete_block(*arguments, ngrams.lists[own], ngrams.possible[own], space, counted)

    def _explain(self, block: _Block, own: slice, rows: slice) -> None:
        """How much the token explains of neurons ``own`` of a block, into ``rows``."""
        tables, space = self._tables, self._workspace.explained
        assert block.ordered is not None
        bits, ordered, windows = block.bits[own], block.ordered[own], tables.counted_windows
        explained = Explained(*(getattr(self.counts, name)[rows] for name in Explained._fields))
        if self._reorder is None:
            explain_unordered_block(bits, self._bos, tables.seq_len, windows, tables.tree, space, explained)
        else:
            explain_block(bits, ordered, self._bos, windows, tables.tree, self._order.leaves, space, explained)


def _by_neuron(neurons: np.ndarray, ids: np.ndarray, numbers: np.ndarray) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Detected n-grams [M] as LayerCounts has them: (ids, counts) by neuron, ordered by count, then id."""
    order = np.lexsort((ids, -numbers, neurons))
    distinct, starts, sizes = np.unique(neurons[order], return_index=True, return_counts=True)
    rows = [order[start : start + size] for start, size in zip(starts, sizes, strict=True)]
    return {neuron: (ids[own], numbers[own]) for neuron, own in zip(distinct.tolist(), rows, strict=True)}


def concatenate(parts: list[np.ndarray], empty: tuple[int, ...]) -> np.ndarray:
    """The parts as one array; int64 zeros of shape ``empty`` where there are none."""
    return np.concatenate(parts) if parts else np.zeros(empty, np.int64)
