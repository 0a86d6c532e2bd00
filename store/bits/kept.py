"""The kept bits of a store: where they stand in the corpus, and how often neurons fire in sets of these positions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ffnscope.store.bits.column_sums import ColumnSums
from ffnscope.store.bits.window_text import WindowTexts
from ffnscope.store.errors import UserError
from ffnscope.store.format import kept_bits as layout
from ffnscope.store.format.encoding import DamagedValueError, decode_array
from ffnscope.store.format.environment import BITS

if TYPE_CHECKING:
    from ffnscope.store.reader import Store

MOST_THREADS = 8

_Read = TypeVar("_Read")


class KeptBits:
    """The windows whose activation bits a store keeps, and these bits, read in place.

    Everything is numbered by **row**: the kept positions (those of kept windows whose token is not BOS) in the corpus's
    order, 0 .. P-1. A set of positions is a bool array [P]. Made by ``Store.kept``.
    """

    def __init__(self, store: Store):
        """Raises UserError where the store keeps no bits."""
        keep = kept_number(store)
        if not keep:
            raise UserError(f"{store.path}: this store keeps no activation bits; collect it with --keep")
        corpus = store.run.corpus
        self.store = store
        self.windows = layout.kept_windows([domain.windows for domain in corpus.counted_domains], keep)
        self.tokens = np.stack([store.window(window).astype(np.uint32) for window in self.windows.tolist()])
        """[K, T] uint32: token ids of the kept windows."""
        self.kept = np.ones(self.tokens.shape, np.bool_) if corpus.bos_id is None else self.tokens != corpus.bos_id
        """[K, T] bool: the kept positions."""
        self.starts = np.concatenate([[0], np.cumsum(self.kept.sum(axis=1, dtype=np.int64))])
        """[K + 1] int64: rows starts[i] .. starts[i + 1] - 1 are those of kept window i."""
        self.positions = int(self.starts[-1])
        """P."""
        self.memory: dict[str, Any] = {}
        """What questions leave for the next ones, by name."""

    # Rows and places

    @cached_property
    def window_of(self) -> np.ndarray:
        """[P] int32: index into ``windows`` of every row."""
        return np.repeat(np.arange(len(self.windows), dtype=np.int32), np.diff(self.starts))

    @cached_property
    def position_of(self) -> np.ndarray:
        """[P] int32: position in its window of every row."""
        return np.nonzero(self.kept)[1].astype(np.int32)

    @cached_property
    def token_of(self) -> np.ndarray:
        """[P] uint32: token id of every row."""
        return self.tokens[self.kept]

    @cached_property
    def texts(self) -> WindowTexts:
        """The windows' texts. Raises UserError where the vocabulary is damaged."""
        return WindowTexts(self.tokens, self.store.run.corpus.bos_id, self.store.vocabulary)

    @cached_property
    def even(self) -> np.ndarray:
        """[P] bool: rows of windows with an even number in the corpus."""
        return (self.windows % 2 == 0)[self.window_of]

    def of_windows(self, places: np.ndarray) -> np.ndarray:
        """[P] bool of places [K, T] bool; positions that are not kept are left out."""
        return places[self.kept]

    def to_windows(self, members: np.ndarray) -> np.ndarray:
        """[K, T] bool of a set [P] bool."""
        places = np.zeros(self.kept.shape, np.bool_)
        places[self.kept] = members
        return places

    def moved(self, members: np.ndarray) -> np.ndarray:
        """[P] bool: the set moved by half of the kept windows, window i's part to window i + K // 2, around the end.
        What comes to stand on BOS is left out."""
        return self.of_windows(np.roll(self.to_windows(members), len(self.windows) // 2, axis=0))

    # Labels

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The names of the corpus's labelled spans. Raises UserError where their entry is damaged."""
        names = self.store.read_json("labels")
        if names is None:
            return ()
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise self.store.damage("its labels entry")
        return tuple(names)

    def label(self, name: str) -> np.ndarray:
        """[P] bool: the positions inside spans of a label, one of ``labels``. Raises UserError."""
        try:
            key = layout.label_key(self.labels.index(name))
            places = self.store.read_value(BITS, key, decode_array)
            if places is None or places.shape != (-(-self.positions // 8),) or places.dtype != np.uint8:
                raise DamagedValueError("are missing" if places is None else "are not those of the kept positions")
        except DamagedValueError as error:
            raise self.store.damage(f"positions of a label: {error}") from error
        return np.unpackbits(places, count=self.positions, bitorder="little").view(np.bool_)

    # Bits

    def activations(self, layer: int) -> np.ndarray:
        """[F, 2] int64: |A_i| over the even and over the odd windows. Raises UserError."""
        try:
            key = layout.BITS_KEY.pack(layer, layout.COUNTS_BLOCK, 0)
            counts = self.store.read_value(BITS, key, lambda value: decode_array(value).astype(np.int64))
            if counts is None or counts.shape != (self.store.neurons(layer), 2):
                raise DamagedValueError("are missing" if counts is None else "are not those of the layer")
        except DamagedValueError as error:
            raise self.store.damage(f"kept activations of layer {layer}: {error}") from error
        return counts

    def neuron(self, layer: int, neuron: int) -> np.ndarray:
        """[P] bool: A_i, where a neuron is activated. Reads one block. Raises UserError where it isn't there."""
        neurons = self.store.neurons(layer)
        if not 0 <= neuron < neurons:
            raise UserError(f"no neuron {neuron} in layer {layer}; it has 0 to {neurons - 1}")
        block, own = divmod(neuron, layout.BLOCK)
        members = np.empty(self.positions, np.bool_)

        def read(rows: np.ndarray) -> np.ndarray:
            return (rows.view(np.uint8)[:, own // 8] >> (own % 8)) & 1

        for tile, (start, end) in enumerate(layout.tiles(self.positions)):
            members[start:end] = self._tile(layer, block, tile, end - start, read)
        return members

    def hits(
        self,
        layers: Iterable[int],
        sets: Sequence[np.ndarray],
        proceed: Callable[[], None] = lambda: None,
        threads: int | None = None,
    ) -> dict[int, np.ndarray]:
        """|S and A_i| of all neurons of ``layers`` for each of the ``sets`` (bool [P]): [len(sets), F, 2] int64 per layer,
        over the even and over the odd windows.

        Reads the rows of a set only, or of its complement, whichever are fewer. ``proceed`` is called now and then; what
        it raises ends the work. Raises UserError for a layer that isn't there.
        """
        layers = tuple(layers)
        sizes = {layer: self.store.neurons(layer) for layer in layers}
        large = np.array([2 * int(np.count_nonzero(members)) > len(members) for members in sets], np.bool_)
        rows = [
            np.flatnonzero((members ^ most) & (self.even ^ odd))
            for members, most in zip(sets, large, strict=True)
            for odd in (False, True)
        ]
        jobs = [(layer, block) for layer in layers for block in range(layout.blocks(sizes[layer]))]
        counts = {layer: np.zeros((len(sets), sizes[layer], 2), np.int64) for layer in layers}

        def count(job: tuple[int, int]) -> None:
            proceed()
            layer, block = job
            first, end = block * layout.BLOCK, min((block + 1) * layout.BLOCK, sizes[layer])
            sums = self._block_hits(layer, block, rows)[:, : end - first]
            counts[layer][:, first:end] = sums.reshape(len(sets), 2, end - first).transpose(0, 2, 1)

        pool = ThreadPoolExecutor(min(threads or _cores(), MOST_THREADS))
        try:
            for _ in pool.map(count, jobs):
                pass
        finally:
            pool.shutdown(cancel_futures=True)
        for layer in layers if large.any() else ():
            counts[layer][large] = self.activations(layer) - counts[layer][large]
        return counts

    def _block_hits(self, layer: int, block: int, sets: Sequence[np.ndarray]) -> np.ndarray:
        """[len(sets), 512] int64 for sorted rows, those of all sets side by side."""
        words = layout.row_words(self.store.run.model.neurons_of(layer), block)
        sums = ColumnSums(words * len(sets))
        for tile, (start, end) in enumerate(layout.tiles(self.positions)):
            parts = [rows[slice(*np.searchsorted(rows, (start, end)))] - start for rows in sets]
            longest = max((len(part) for part in parts), default=0)
            if not longest:
                continue

            def read(bits: np.ndarray, parts: Sequence[np.ndarray] = tuple(parts), longest: int = longest) -> None:
                for first in range(0, longest, sums.rows):
                    chunk = np.zeros((min(sums.rows, longest - first), len(parts), words), np.uint64)
                    for index, part in enumerate(parts):
                        rows = part[first : first + sums.rows]
                        chunk[: len(rows), index] = bits[rows]
                    sums.add(chunk.reshape(len(chunk), -1))

            self._tile(layer, block, tile, end - start, read)
        return sums.total().reshape(len(sets), -1)

    def _tile(self, layer: int, block: int, tile: int, rows: int, read: Callable[[np.ndarray], _Read]) -> _Read:
        """What ``read`` makes of a tile's rows [rows, words] uint64, which lie in the file and are there only meanwhile."""
        words = layout.row_words(self.store.run.model.neurons_of(layer), block)
        key = layout.BITS_KEY.pack(layer, block, tile)
        try:
            tile_value = self.store.read_value(BITS, key, lambda value: (read(layout.tile_rows(value, rows, words)),))
            if tile_value is None:
                raise DamagedValueError("are missing")
        except DamagedValueError as error:
            first = block * layout.BLOCK
            raise self.store.damage(f"bits of layer {layer} from neuron {first} on, tile {tile}: {error}") from error
        return tile_value[0]


def kept_number(store: Store) -> int:
    """K: how many windows a store keeps the bits of, 0 where it keeps none."""
    keep = store.run.settings.get("keep", 0)
    return min(keep, store.run.corpus.counted_windows) if type(keep) is int else 0


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
