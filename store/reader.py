"""Reading a store: whole columns of a layer, one neuron, one window; each read its own short transaction."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import lmdb
import numpy as np

from ffnscope.store import schema
from ffnscope.store.environment import DATABASES, is_store, open_environment
from ffnscope.store.errors import UserError
from ffnscope.store.records import Context, DetectedNgram, Neuron, Ngram, Progress, RunInfo
from ffnscope.store.values import DamagedValueError, array_header, decode_array, decode_json, row_of
from ffnscope.store.vocabulary import CHUNK, Vocabulary
from ffnscope.store.words import KINDS, POSITION_STRENGTHS, POSITION_TYPES

LAYER_KEY = struct.Struct(">H")
NEURON_KEY = struct.Struct(">HI")
INDEX_KEY = struct.Struct(">I")


class Store:
    """A store opened for reading, also while another process writes it.

    Every method reads in a transaction of its own and returns copies. Methods raise UserError for a layer,
    neuron or window that is not there and for a damaged value.
    """

    def __init__(self, path: Path, environment: lmdb.Environment):
        self.path = path
        self._environment = environment
        self._databases: dict[str, Any] = {}
        self.run = self._read_run()
        self.vocabulary = Vocabulary(self._read_vocabulary_chunk, self.run.model.vocabulary)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open the store in the folder ``path``. Raises UserError where it is none, or of a newer format."""
        folder = Path(path)
        if not folder.exists():
            raise UserError(
                f"{folder}: no such store; `ffnscope collect MODEL --data NAME=PATH --store {folder}` makes one"
            )
        if not is_store(folder):
            raise UserError(f"{folder}: not an ffnscope store (no data.mdb in it); give the folder named by --store")
        lock = folder / "lock.mdb"
        locked = os.access(lock, os.W_OK) if lock.exists() else os.access(folder, os.W_OK)
        environment = open_environment(folder, write=False, locked=locked)
        try:
            if locked:
                environment.reader_check()
            store = cls(folder, environment)
            if not locked and not store.complete:
                raise UserError(
                    f"{folder}: is being written and its folder cannot be written to by you; "
                    "open it when it is complete, or copy it"
                )
        except BaseException:
            environment.close()
            raise
        return store

    def close(self) -> None:
        """Give the environment back."""
        self._environment.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What was run, and how far it is

    def _read_run(self) -> RunInfo:
        try:
            about = self._json("format")
            if about is None:
                raise UserError(f"{self.path}: not an ffnscope store (an LMDB folder of something else)")
            if not isinstance(about, dict) or not isinstance(about.get("version"), int):
                raise UserError(f"{self.path}: damaged (its format entry); `ffnscope verify` says more")
            if about["version"] > schema.FORMAT_VERSION:
                raise UserError(
                    f"{self.path}: format {about['version']} is newer than this ffnscope reads "
                    f"({schema.FORMAT_VERSION}); install a newer ffnscope"
                )
            return RunInfo.from_json(self._json("run"))
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{self.path}: damaged or unfinished (its run entry cannot be read)") from error

    def progress(self) -> Progress:
        """How far the run is, as last said by the collector."""
        value = self._json("progress")
        try:
            return Progress.from_json(value) if value else Progress("collecting")
        except TypeError as error:
            raise self._damaged("its progress entry") from error

    @property
    def complete(self) -> bool:
        """Whether the run has finished."""
        return self.progress().state == "complete"

    def layers(self) -> tuple[int, ...]:
        """The layers that the store holds whole, ascending; grows while the run goes on."""
        with self._environment.begin() as transaction:
            return finished_layers(transaction, self._database("meta"))

    def layer_info(self, layer: int) -> dict[str, Any]:
        """When a layer was finished and how long it took."""
        value = self._json(f"layer:{layer:05d}")
        if value is None:
            raise UserError(self._no_layer(layer))
        return value

    def size_on_disk(self) -> int:
        """Bytes that the data file takes up."""
        stat = (self.path / "data.mdb").stat()
        return stat.st_blocks * 512 if hasattr(stat, "st_blocks") else stat.st_size

    # Whole layers

    def column(self, layer: int, name: str) -> np.ndarray:
        """One array of a layer, read-only, as schema.LAYER_ARRAYS describes it; or ``frequency`` [F] float32
        or ``domain_frequencies`` [F, D] float32, which are derived."""
        if name == "frequency":
            return (self.column(layer, "activations") / self.run.corpus.positions).astype(np.float32)
        if name == "domain_frequencies":
            sizes = np.array([d.windows * self.run.corpus.seq_len for d in self.run.corpus.domains])
            return (self.column(layer, "domain_activations") / np.maximum(sizes, 1)).astype(np.float32)
        if name not in schema.LAYER_ARRAYS:
            raise UserError(f"no array {name!r} in a store; there are {', '.join(schema.LAYER_ARRAYS)}")
        value = self._get("columns", LAYER_KEY.pack(layer) + name.encode())
        if value is None:
            raise UserError(self._no_layer(layer))
        try:
            return decode_array(value)
        except DamagedValueError as error:
            raise self._damaged(f"{name} of layer {layer}: {error}") from error

    def table(self, layer: int, columns: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Columns of one layer by name, [F] each, words as strings; see ``frames.table``."""
        from ffnscope.store.frames import table

        return table(self, layer, columns)

    def select(self, where: str) -> np.ndarray:
        """[N, 2] int64 (layer, neuron) of the neurons that a filter holds for; see ``frames.select``."""
        from ffnscope.store.frames import select

        return select(self, where)

    def neurons(self, layer: int) -> int:
        """F: how many neurons a layer has."""
        return self._header(layer, "kind")[0]

    def curves(self, layer: int, neuron: int) -> np.ndarray:
        """[D, T] int64: activated windows at every position, a row a counted domain."""
        corpus = self.run.corpus
        value = self._get("curves", NEURON_KEY.pack(layer, neuron))
        if value is None:
            return np.zeros((len(corpus.counted_domains), corpus.seq_len), np.int64)
        try:
            return decode_array(value).astype(np.int64)
        except DamagedValueError as error:
            raise self._damaged(f"position curve of L{layer}N{neuron}: {error}") from error

    def position_frequency(self, layer: int, neuron: int) -> np.ndarray:
        """[T] float64: f(p) of definitions.md over the counted domains."""
        return self.curves(layer, neuron).sum(axis=0) / max(self.run.corpus.counted_windows, 1)

    # The corpus

    def window(self, index: int) -> np.ndarray:
        """[T] token ids of a window of the counted domains."""
        value = self._get("windows", INDEX_KEY.pack(index))
        if value is None:
            raise UserError(f"{self.path}: no window {index} in it")
        try:
            return decode_array(value)
        except DamagedValueError as error:
            raise self._damaged(f"window {index}: {error}") from error

    def unigram_totals(self) -> np.ndarray:
        """[V] N(t): how often each token occurs in the counted domains where a unigram can stand."""
        value = self._get("meta", b"unigram_totals")
        if value is None:
            raise self._damaged("its token counts are missing")
        try:
            return decode_array(value)
        except DamagedValueError as error:
            raise self._damaged(f"token counts: {error}") from error

    # One neuron

    def neuron(self, layer: int, neuron: int) -> Neuron:
        """Everything about one neuron, in one transaction."""
        with self._environment.begin(buffers=True) as transaction:
            return self._neuron(transaction, layer, neuron)

    def iterate(self, layer: int | None = None) -> Iterator[Neuron]:
        """Every neuron of a layer, or of all layers in the store, in order."""
        for number in self.layers() if layer is None else (layer,):
            for neuron in range(self.neurons(number)):
                yield self.neuron(number, neuron)

    def _neuron(self, transaction: lmdb.Transaction, layer: int, neuron: int) -> Neuron:
        prefix, columns = LAYER_KEY.pack(layer), self._database("columns")

        def raw(name: str) -> memoryview:
            value = transaction.get(prefix + name.encode(), db=columns)
            if value is None:
                raise UserError(self._no_layer(layer))
            return memoryview(value)

        def row(name: str) -> np.ndarray:
            return row_of(raw(name), neuron)

        corpus = self.run.corpus
        try:
            total = array_header(raw("kind"))[2][0]
            if not 0 <= neuron < total:
                raise UserError(f"no neuron {neuron} in layer {layer}; it has 0 to {total - 1}")
            order = int(row("order"))
            activations = int(row("activations"))
            sizes = [max(domain.windows * corpus.seq_len, 1) for domain in corpus.domains]
            names = [domain.name for domain in corpus.domains]
            shares = [float(np.float32(a / s)) for a, s in zip(row("domain_activations"), sizes, strict=True)]
            trigger = float(row("trigger_projection"))
            return Neuron(
                layer=layer,
                neuron=neuron,
                kind=KINDS[int(row("kind"))],
                positions=corpus.positions,
                activations=activations,
                frequency=float(np.float32(activations / corpus.positions)),
                bos_activations=int(row("bos_activations")),
                max_activation=float(row("max_activation")) if activations else None,
                mean_activation=float(row("mean_activation")) if activations else None,
                unigrams_95=int(row("unigrams_95")),
                bigrams_95=int(row("bigrams_95")),
                trigrams_95=int(row("trigrams_95")),
                ngram_activations=_three(row("ngram_activations")),
                ngrams_distinct=_three(row("ngrams_distinct")),
                order=order,
                detected=_detected(raw, neuron, order) if order else (),
                trigger_projection=trigger if order else None,
                position_mi=float(row("position_mi")),
                position_bias=float(row("position_bias")),
                position_type=POSITION_TYPES[int(row("position_type"))],
                position_strength=POSITION_STRENGTHS[int(row("position_strength"))],
                top_ngrams=(_top(row, "top_unigrams"), _top(row, "top_bigrams"), _top(row, "top_trigrams")),
                promoted=_pairs(row("promoted"), row("promoted_projection")),
                suppressed=_pairs(row("suppressed"), row("suppressed_projection")),
                domain_frequencies=tuple(zip(names, shares, strict=True)),
                strongest=_contexts(row("strongest_window"), row("strongest_position"), row("strongest_value")),
                drawn=_contexts(row("random_window"), row("random_position"), None),
                curve=self._curve(transaction, layer, neuron),
            )
        except (DamagedValueError, IndexError, ValueError) as error:
            raise self._damaged(f"L{layer}N{neuron}: {error}") from error

    def _curve(self, transaction: lmdb.Transaction, layer: int, neuron: int) -> np.ndarray:
        value = transaction.get(NEURON_KEY.pack(layer, neuron), db=self._database("curves"))
        if value is None:
            return np.zeros((len(self.run.corpus.counted_domains), self.run.corpus.seq_len), np.int64)
        return decode_array(bytes(value)).astype(np.int64)

    # LMDB

    def _database(self, name: str) -> Any:
        if not self._databases:
            try:
                self._databases = {each: self._environment.open_db(each.encode(), create=False) for each in DATABASES}
            except lmdb.Error as error:
                raise UserError(f"{self.path}: not an ffnscope store (an LMDB folder of something else)") from error
        return self._databases[name]

    def _get(self, database: str, key: bytes) -> bytes | None:
        handle = self._database(database)
        try:
            with self._environment.begin() as transaction:
                return transaction.get(key, db=handle)
        except lmdb.Error as error:
            raise self._damaged(str(error)) from error

    def _json(self, key: str) -> Any:
        value = self._get("meta", key.encode())
        try:
            return None if value is None else decode_json(value)
        except DamagedValueError as error:
            raise self._damaged(f"{key}: {error}") from error

    def _header(self, layer: int, name: str) -> tuple[int, ...]:
        with self._environment.begin(buffers=True) as transaction:
            value = transaction.get(LAYER_KEY.pack(layer) + name.encode(), db=self._database("columns"))
            if value is None:
                raise UserError(self._no_layer(layer))
            try:
                return array_header(value)[2]
            except DamagedValueError as error:
                raise self._damaged(f"{name} of layer {layer}: {error}") from error

    def _read_vocabulary_chunk(self, index: int) -> tuple[np.ndarray, np.ndarray, bytes]:
        parts = []
        for part in ("ends", "whole", "bytes"):
            value = self._get("vocabulary", INDEX_KEY.pack(index) + part.encode())
            if value is None:
                raise self._damaged(f"tokens from {index * CHUNK} on are missing")
            try:
                parts.append(decode_array(value))
            except DamagedValueError as error:
                raise self._damaged(f"tokens from {index * CHUNK} on: {error}") from error
        return parts[0], parts[1], parts[2].tobytes()

    def _no_layer(self, layer: int) -> str:
        there = self.layers()
        return f"{self.path}: no layer {layer} in it; there are {', '.join(map(str, there)) or 'none yet'}"

    def _damaged(self, what: str) -> UserError:
        return UserError(f"{self.path}: damaged ({what}); `ffnscope verify {self.path}` lists what is wrong")


def finished_layers(transaction: lmdb.Transaction, meta: Any) -> tuple[int, ...]:
    """The layers whose entry is in the database ``meta``, ascending."""
    found = []
    with transaction.cursor(meta) as cursor:
        if cursor.set_range(b"layer:"):
            for key in map(bytes, cursor.iternext(keys=True, values=False)):
                if not key.startswith(b"layer:"):
                    break
                found.append(int(key[6:]))
    return tuple(found)


def _three(values: np.ndarray) -> tuple[int, int, int]:
    return int(values[0]), int(values[1]), int(values[2])


def _pairs(tokens: np.ndarray, values: np.ndarray) -> tuple[tuple[int, float], ...]:
    return tuple(zip(tokens.tolist(), values.tolist(), strict=True))


def _top(row: Any, name: str) -> tuple[Ngram, ...]:
    tokens, counts, totals = row(name).tolist(), row(f"{name}_count").tolist(), row(f"{name}_total").tolist()
    return tuple(
        Ngram(tuple(ngram), count, total) for ngram, count, total in zip(tokens, counts, totals, strict=True) if count
    )


def _contexts(windows: np.ndarray, positions: np.ndarray, values: np.ndarray | None) -> tuple[Context, ...]:
    kept = windows != schema.ABSENT
    strengths = np.full(len(windows), np.nan) if values is None else values
    return tuple(
        Context(int(w), int(p), float(v))
        for w, p, v in zip(windows[kept], positions[kept], strengths[kept], strict=True)
    )


def _detected(raw: Any, neuron: int, order: int) -> tuple[DetectedNgram, ...]:
    neurons = _uncopied(raw("detected_neuron"))
    first, last = np.searchsorted(neurons, [neuron, neuron + 1])
    columns = ("detected_tokens", "detected_count", "detected_total", "detected_projection", "detected_rank")
    parts = [_uncopied(raw(name))[first:last].tolist() for name in columns]
    return tuple(
        DetectedNgram(tuple(tokens[:order]), count, total, projection, rank)
        for tokens, count, total, projection, rank in zip(*parts, strict=True)
    )


def _uncopied(value: memoryview) -> np.ndarray:
    _, dtype, shape, offset = array_header(value)
    return np.frombuffer(value, dtype, offset=offset).reshape(shape)
