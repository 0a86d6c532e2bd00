"""Reading a store: whole columns of a layer, one neuron, one window; each read its own short transaction."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self, TypeVar

import lmdb
import numpy as np

from ffnscope.store.bits.kept import KeptBits, kept_number
from ffnscope.store.definitions import KINDS, POSITION_STRENGTHS, POSITION_TYPES
from ffnscope.store.errors import DamagedStoreError, UserError
from ffnscope.store.format import neuron_record, schema
from ffnscope.store.format.encoding import DamagedValueError, array_header, decode_array, decode_json, row_of
from ffnscope.store.format.environment import BITS, DATABASES, LOCK_NAME, open_environment, require_store
from ffnscope.store.format.keys import INDEX_KEY, LAYER_KEY, MOST_LAYERS, NEURON_KEY, finished_layers
from ffnscope.store.format.limits import check_column, check_format, check_run
from ffnscope.store.records import Neuron, Progress, RunInfo
from ffnscope.store.vocabulary import Vocabulary

_Read = TypeVar("_Read")


class Store:
    """A store opened for reading, also while another process writes it.

    Every method reads in a transaction of its own and returns copies. Methods raise UserError for a layer,
    neuron or window that is not there and for a damaged value.
    """

    def __init__(self, path: Path, environment: lmdb.Environment):
        self.path = path
        self._environment = environment
        self._databases: dict[str, Any] = {}
        self.format_version, self.groups, self.concepts = self._read_format()
        self.run = self._read_run()
        if keeps := kept_number(self) > 0:
            self._database(BITS)  # now: several threads will read it
        read = partial(self.read_value, "vocabulary", read=neuron_record.copied)
        self.vocabulary = Vocabulary(read, self.damage, self.run.model.vocabulary, keeps)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open the store in the folder ``path``. Raises UserError where it is none, or of a newer format."""
        require_store(folder := Path(path))
        lock = folder / "lock.mdb"
        locked = os.access(lock, os.W_OK) if lock.exists() else os.access(folder, os.W_OK)
        environment = open_environment(folder, write=False, locked=locked)
        try:
            if locked:
                environment.reader_check()
            store = cls(folder, environment)
            if not locked and not store.complete:
                raise UserError(
                    f"{folder}: is still being written, and you have no permission to write in its folder; "
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

    def _read_format(self) -> tuple[int, frozenset[str], tuple[str, ...]]:
        """The format's version, the groups of optional arrays that every layer has, the descriptions' concepts."""
        about = self.read_json("format")
        if about is None:
            raise UserError(f"{self.path}: not an ffnscope store (an LMDB folder of something else)")
        try:
            version, groups, concepts = check_format(about)
        except DamagedValueError as error:
            raise self.damage(str(error)) from error
        if version > schema.FORMAT_VERSION:
            newer = f"format {version} is newer than this ffnscope reads ({schema.FORMAT_VERSION})"
            raise UserError(f"{self.path}: {newer}; install a newer ffnscope")
        return version, groups, concepts

    def has(self, name: str) -> bool:
        """Whether the layers of this store have an array of schema.LAYER_ARRAYS: all have the arrays of format 1."""
        group = schema.LAYER_ARRAYS[name].group
        return not group or group in self.groups

    def _read_run(self) -> RunInfo:
        try:
            run = RunInfo.from_json(self.read_json("run"))
            check_run(run)
            self._check_sizes(run)
            return run
        except DamagedValueError as error:
            raise self.damage(str(error)) from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self.damage("its run entry cannot be read") from error

    def _check_sizes(self, run: RunInfo) -> None:
        """Raise DamagedValueError where the store does not hold as many tokens and windows as the run entry says."""
        corpus, tokens = run.corpus, run.model.vocabulary
        if self._shape("meta", b"unigram_totals") != (tokens,):
            raise DamagedValueError(f"its token counts are not of {tokens:,} tokens")
        for index in {0, corpus.counted_windows - 1} if corpus.counted_windows else ():
            if self._shape("windows", INDEX_KEY.pack(index)) != (corpus.seq_len,):
                raise DamagedValueError(f"window {index} does not have {corpus.seq_len:,} tokens")

    def progress(self) -> Progress:
        """How far the run is, as the collector last wrote."""
        value = self.read_json("progress")
        try:
            return Progress.from_json(value) if value is not None else Progress("collecting")
        except (TypeError, AttributeError) as error:
            raise self.damage("its progress entry") from error

    @property
    def complete(self) -> bool:
        """Whether the run is complete."""
        return self.progress().state == "complete"

    def layers(self) -> tuple[int, ...]:
        """The layers that the store holds whole, ascending; grows while the run goes on."""
        database = self._database("meta")
        try:
            with self._environment.begin() as transaction:
                return finished_layers(transaction, database)
        except (DamagedValueError, lmdb.Error) as error:
            raise self.damage(str(error)) from error

    def layer_info(self, layer: int) -> dict[str, Any]:
        """When a layer was finished and how long it took."""
        value = self.read_json(f"layer:{layer:05d}")
        if value is None:
            raise UserError(self._no_layer(layer))
        if not isinstance(value, dict):
            raise self.damage(f"layer:{layer:05d}: is not a JSON object")
        return value

    def size_on_disk(self) -> int:
        """Bytes that the data file takes up."""
        stat = (self.path / "data.mdb").stat()
        return stat.st_blocks * 512 if hasattr(stat, "st_blocks") else stat.st_size

    # Whole layers

    def column(self, layer: int, name: str) -> np.ndarray:
        """One array of a layer, read-only, as schema.LAYER_ARRAYS describes it; or ``frequency`` [F] float32
        or ``domain_frequencies`` [F, D] float32, which are derived. An optional array that the store lacks (``has``)
        reads as schema.absent."""
        if name == "frequency":
            return (self.column(layer, "activations") / self.run.corpus.positions).astype(np.float32)
        if name == "domain_frequencies":
            sizes = np.array([d.windows * self.run.corpus.seq_len for d in self.run.corpus.domains])
            return (self.column(layer, "domain_activations") / np.maximum(sizes, 1)).astype(np.float32)
        if name not in schema.LAYER_ARRAYS:
            raise UserError(f"no array {name!r} in a store; the arrays are {', '.join(schema.LAYER_ARRAYS)}")
        if not self.has(name):
            return schema.absent(name, self.neurons(layer))
        try:
            array = self.read_value("columns", self._key(layer) + name.encode(), neuron_record.copied)
            if array is not None:
                owners = self._shape("columns", LAYER_KEY.pack(layer) + b"detected_neuron")
                check_column(name, array, self.run, owners, layer)
                return array
        except DamagedValueError as error:
            raise self.damage(f"{name} of layer {layer}: {error}") from error
        raise self._absent(layer, name)

    def neurons(self, layer: int) -> int:
        """F: how many neurons a layer has."""
        try:
            shape = self._shape("columns", self._key(layer) + b"kind")
        except DamagedValueError as error:
            raise self.damage(f"kind of layer {layer}: {error}") from error
        if shape is None:
            raise UserError(self._no_layer(layer))
        model = self.run.model
        neurons = model.neurons_of(layer) if layer < model.layers else model.neurons
        if shape != (neurons,):
            raise self.damage(f"kind of layer {layer}: does not have {neurons:,} neurons")
        return shape[0]

    def curves(self, layer: int, neuron: int) -> np.ndarray:
        """[D, T] int64: activated windows at every position, a row per counted domain."""
        if not 0 <= neuron < self.neurons(layer):
            raise self._no_neuron(layer, neuron)
        try:
            with self._environment.begin(buffers=True) as transaction:
                return self._curve(transaction, layer, neuron)
        except (DamagedValueError, lmdb.Error) as error:
            raise self.damage(f"position curve of L{layer}N{neuron}: {error}") from error

    def position_frequency(self, layer: int, neuron: int) -> np.ndarray:
        """[T] float64: f(p) of core/DEFINITIONS.md over the counted domains."""
        return self.curves(layer, neuron).sum(axis=0) / max(self.run.corpus.counted_windows, 1)

    # The corpus

    def window(self, index: int) -> np.ndarray:
        """[T] token ids of a window of the counted domains."""
        if not 0 <= index < self.run.corpus.counted_windows:
            raise UserError(f"{self.path}: has no window {index}")
        try:
            window = self.read_value("windows", INDEX_KEY.pack(index), neuron_record.copied)
            if window is not None and (window.shape != (self.run.corpus.seq_len,) or window.dtype.kind != "u"):
                raise DamagedValueError(f"does not have {self.run.corpus.seq_len} token ids")
        except DamagedValueError as error:
            raise self.damage(f"window {index}: {error}") from error
        if window is None:
            raise UserError(f"{self.path}: has no window {index}")
        return window

    def unigram_totals(self) -> np.ndarray:
        """[V] N(t): how often each token occurs in the counted domains where a unigram can stand."""
        try:
            totals = self.read_value("meta", b"unigram_totals", neuron_record.copied)
        except DamagedValueError as error:
            raise self.damage(f"token counts: {error}") from error
        if totals is None:
            raise self.damage("its token counts are missing")
        return totals

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
        prefix, columns = self._key(layer), self._database("columns")

        def raw(name: str) -> memoryview:
            value = transaction.get(prefix + name.encode(), db=columns)
            if value is None:
                raise self._absent(layer, name)
            return memoryview(value)

        def row(name: str) -> np.ndarray:
            return row_of(raw(name), neuron)

        corpus = self.run.corpus
        try:
            total = array_header(raw("kind"))[2][0]
            if not 0 <= neuron < total:
                raise self._no_neuron(layer, neuron)
            order, activations = int(row("order")), int(row("activations"))
            sizes = [max(domain.windows * corpus.seq_len, 1) for domain in corpus.domains]
            names = [domain.name for domain in corpus.domains]
            shares = [float(np.float32(a / s)) for a, s in zip(row("domain_activations"), sizes, strict=True)]
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
                ngram_activations=neuron_record.three(row("ngram_activations")),
                ngrams_distinct=neuron_record.three(row("ngrams_distinct")),
                order=order,
                detected=neuron_record.detected(raw, neuron, order) if order else (),
                trigger_projection=float(row("trigger_projection")) if order else None,
                position_mi=float(row("position_mi")),
                position_bias=float(row("position_bias")),
                position_type=POSITION_TYPES[int(row("position_type"))],
                position_strength=POSITION_STRENGTHS[int(row("position_strength"))],
                top_ngrams=neuron_record.top_ngrams(row),
                promoted=neuron_record.pairs(row("promoted"), row("promoted_projection")),
                suppressed=neuron_record.pairs(row("suppressed"), row("suppressed_projection")),
                similar=neuron_record.others(row("similar"), row("similar_cosine")),
                opposed=neuron_record.others(row("opposed"), row("opposed_cosine")),
                domain_frequencies=tuple(zip(names, shares, strict=True)),
                strongest=neuron_record.contexts(
                    row("strongest_window"), row("strongest_position"), row("strongest_value")
                ),
                drawn=neuron_record.contexts(row("random_window"), row("random_position"), None),
                curve=self._curve(transaction, layer, neuron),
                **(neuron_record.explained(row) if schema.EXPLAINED in self.groups else {}),
                **(neuron_record.described(row) if schema.DESCRIBED in self.groups else {}),
                **(neuron_record.thresholds(row) if schema.THRESHOLDS in self.groups else {}),
                **(neuron_record.expert(row) if schema.ROUTED in self.groups else {}),
            )
        except (DamagedValueError, lmdb.Error, IndexError, TypeError, ValueError) as error:
            raise self.damage(f"L{layer}N{neuron}: {error}") from error

    def _curve(self, transaction: lmdb.Transaction, layer: int, neuron: int) -> np.ndarray:
        value = transaction.get(NEURON_KEY.pack(layer, neuron), db=self._database("curves"))
        shape = len(self.run.corpus.counted_domains), self.run.corpus.seq_len
        if value is None:
            return np.zeros(shape, np.int64)
        # A deflated array may claim any size: the shape is compared before it is made.
        _, dtype, stored_shape, _ = array_header(value)
        if stored_shape != shape or dtype.kind != "u":
            raise DamagedValueError(f"is {dtype}{list(stored_shape)}, not unsigned integers of shape {list(shape)}")
        return decode_array(value).astype(np.int64)

    # Kept bits

    @cached_property
    def kept(self) -> KeptBits:
        """The windows whose activation bits are kept, and the bits. Raises UserError where there are none."""
        return KeptBits(self)

    # LMDB

    @contextmanager
    def pinned(self) -> Iterator[int]:
        """Keep the store's pages as they are now from being overwritten; gives the number of its last transaction."""
        with self._environment.begin() as transaction:
            yield int(transaction.id())

    def keys(self, database: str) -> Iterator[bytes]:
        """Every key of one of the databases, or with "" the databases' names, as they lie in the file.

        Raises lmdb.Error.
        """
        handle = self._database(database) if database else None
        with self._environment.begin() as transaction, transaction.cursor(handle) as cursor:
            yield from map(bytes, cursor.iternext(keys=True, values=False))

    def _database(self, name: str) -> Any:
        if name not in self._databases:
            try:
                for key in (name,) if self._databases else DATABASES:
                    self._databases[key] = self._environment.open_db(key.encode(), create=False)
            except lmdb.Error as error:
                if (self.path / LOCK_NAME).is_file():
                    raise self.damage("its databases are missing") from error
                raise UserError(f"{self.path}: not an ffnscope store (an LMDB folder of something else)") from error
        return self._databases[name]

    def _get(self, database: str, key: bytes) -> bytes | None:
        handle = self._database(database)
        try:
            with self._environment.begin() as transaction:
                return transaction.get(key, db=handle)
        except lmdb.Error as error:
            raise self.damage(str(error)) from error

    def read_json(self, key: str) -> Any:
        value = self._get("meta", key.encode())
        try:
            return None if value is None else decode_json(value)
        except DamagedValueError as error:
            raise self.damage(f"{key}: {error}") from error

    def read_value(self, database: str, key: bytes, read: Callable[[Any], _Read]) -> _Read | None:
        """What ``read`` makes of a value in the file, None where it is not there. Raises DamagedValueError."""
        handle = self._database(database)
        try:
            with self._environment.begin(buffers=True) as transaction:
                value = transaction.get(key, db=handle)
                return None if value is None else read(value)
        except lmdb.Error as error:
            raise DamagedValueError(str(error)) from error

    def _shape(self, database: str, key: bytes) -> tuple[int, ...] | None:
        return self.read_value(database, key, lambda value: array_header(value)[2])

    def _absent(self, layer: int, name: str) -> UserError:
        finished = layer in self.layers()
        return self.damage(f"{name} of layer {layer} is missing") if finished else UserError(self._no_layer(layer))

    def _key(self, layer: int) -> bytes:
        if not 0 <= layer <= MOST_LAYERS:
            raise UserError(self._no_layer(layer))
        return LAYER_KEY.pack(layer)

    def _no_neuron(self, layer: int, neuron: int) -> UserError:
        return UserError(f"no neuron {neuron} in layer {layer}; it has 0 to {self.run.model.neurons_of(layer) - 1}")

    def _no_layer(self, layer: int) -> str:
        layers = ", ".join(map(str, self.layers()))
        return f"{self.path}: has no layer {layer}; it has {f'layers {layers}' if layers else 'none yet'}"

    def damage(self, what: str) -> UserError:
        return DamagedStoreError(f"{self.path}: damaged ({what}); `ffnscope verify {self.path}` lists what is wrong")
