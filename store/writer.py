"""Writing a store: one transaction a layer, so that it always holds whole layers."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import lmdb
import numpy as np

from ffnscope.store.errors import DamagedStoreError, UserError
from ffnscope.store.format import schema
from ffnscope.store.format.encoding import DamagedValueError, decode_json, encode_array, encode_json
from ffnscope.store.format.environment import (
    BITS,
    DATABASES,
    LOCK_NAME,
    check_length,
    disk_error,
    is_disk_error,
    is_store,
    open_environment,
)
from ffnscope.store.format.kept_bits import label_key
from ffnscope.store.format.keys import INDEX_KEY, LAYER_KEY, NEURON_KEY, finished_layers
from ffnscope.store.format.lock import take_lock
from ffnscope.store.format.meta_pages import least_bytes
from ffnscope.store.records import Progress, RunInfo
from ffnscope.store.vocabulary import RAW_PARTS, pack_chunks, pack_raw

WINDOW_BATCH = 4096  # windows a transaction
BITS_BATCH = 64 << 20  # bytes of kept bits a transaction: LMDB holds what is not yet committed in memory
_TWO_PAGES = 2 * 4096  # what LMDB begins a data file with
_EMPTY_BYTES = 1 << 16  # more than databases without a value take


class StoreWriter:
    """The one writer of a store. Layers may come in any order; each is there wholly or not at all."""

    def __init__(self, path: Path, environment: lmdb.Environment, lock: int):
        self.path = path
        self._environment = environment
        self._lock = lock
        self._turn = threading.Lock()
        self._databases = {name: environment.open_db(name.encode()) for name in DATABASES}

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the store for writing, making its folder. Raises UserError where another collector writes it."""
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{path}: cannot be created ({error.strerror}); choose another --store") from error
        lock = _take_lock(path)
        environment = None
        try:
            environment = open_environment(path, write=True)
            return cls(path, environment, lock)
        except BaseException as error:
            if environment is not None:
                environment.close()
            os.close(lock)
            if isinstance(error, lmdb.Error) and is_disk_error(error):
                raise disk_error(path, error) from error
            raise

    def close(self) -> None:
        """Give the environment back."""
        self._environment.close()
        os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def begun(self) -> bool:
        """Whether the run entry is there, written last by ``begin``."""
        with self._environment.begin() as transaction:
            return transaction.get(b"format", db=self._databases["meta"]) is not None

    def layers(self) -> tuple[int, ...]:
        """The layers that are there already, ascending."""
        try:
            with self._environment.begin() as transaction:
                return finished_layers(transaction, self._databases["meta"])
        except DamagedValueError as error:
            raise UserError(f"{self.path}: damaged ({error}); collect it again with --overwrite") from error

    def begin(
        self,
        run: RunInfo,
        texts: tuple[str, ...],
        whole: np.ndarray,
        windows: np.ndarray,
        unigram_totals: np.ndarray,
        groups: Collection[str] = (),
        raw: Sequence[bytes] | None = None,
        labels: Mapping[str, np.ndarray] | None = None,
        concepts: Sequence[str] = (),
    ) -> None:
        """Write what a reader needs before the first layer: run, vocabulary, windows [S, T] of the counted
        domains, N(t) [V], and which ``groups`` of optional arrays (schema.GROUPS) its layers have.

        For a run that keeps bits: ``raw``, the bytes of the tokens that are not ``whole``, b"" for the others, and
        ``labels``, the kept positions [P] bool inside the corpus's labelled spans, by label; ``concepts``, the names of
        those that descriptions are made of. ``meta`` gets its entries in one transaction, the last: without them the
        folder is not a store yet, and a run that ended before it starts again."""
        self._commit(_vocabulary_items(texts, whole))
        if raw is not None:
            self._open(BITS)
            self._commit(_raw_items(raw))
            self._commit(_label_items(labels or {}))
        dtype = np.uint16 if run.model.vocabulary <= 1 << 16 else np.uint32
        for start in range(0, len(windows), WINDOW_BATCH):
            part = windows[start : start + WINDOW_BATCH].astype(dtype)
            self._commit([("windows", INDEX_KEY.pack(start + i), encode_array(row)) for i, row in enumerate(part)])
        about = {"version": schema.FORMAT_VERSION, "ffnscope": run.version, "arrays": sorted(groups)}
        meta_items = [] if raw is None else [("meta", b"labels", encode_json(list(labels or {})))]
        self._commit(
            [
                *meta_items,
                ("meta", b"unigram_totals", encode_array(unigram_totals.astype(np.uint32))),
                ("meta", b"run", encode_json(run.to_json())),
                ("meta", b"format", encode_json(about | ({"concepts": list(concepts)} if concepts else {}))),
            ]
        )

    @property
    def groups(self) -> frozenset[str]:
        """The groups of optional arrays that the store's layers have: a store is finished in the format that it was
        started in. Raises UserError where its format entry is damaged."""
        with self._environment.begin() as transaction:
            value = transaction.get(b"format", db=self._databases["meta"])
        try:
            return frozenset(decode_json(value).get("arrays", []) if value is not None else ())
        except (DamagedValueError, AttributeError, TypeError) as error:
            raise UserError(f"{self.path}: damaged (its format entry); collect it again with --overwrite") from error

    def write_layer(
        self,
        layer: int,
        arrays: dict[str, np.ndarray],
        curves: Iterable[tuple[int, np.ndarray]],
        info: dict[str, Any],
        bits: Iterable[tuple[bytes, bytes | bytearray]] = (),
    ) -> None:
        """Commit one layer: its arrays, the position curves ([D, T] unsigned) of its alive neurons in ascending
        order, what is known of its making, and its kept ``bits`` by key. Arrays of groups that the store was started
        without are left out. Many bits go before in transactions of their own; without the layer's entry, which comes
        last, nobody reads them. Raises ValueError where they are not a layer of the format."""
        neurons, domains = arrays["domain_activations"].shape
        groups = self.groups
        names = set(schema.array_names(groups)) | set(arrays).difference(schema.LAYER_ARRAYS)
        arrays = {name: array for name, array in arrays.items() if name in names}
        schema.check_layer_arrays(arrays, neurons, domains, arrays["promoted"].shape[1], groups)
        items = [("columns", LAYER_KEY.pack(layer) + name.encode(), encode_array(a)) for name, a in arrays.items()]
        items += [("curves", NEURON_KEY.pack(layer, n), encode_array(curve, compress=True)) for n, curve in curves]
        items.append(("meta", f"layer:{layer:05d}".encode(), encode_json({"finished": time.time(), **info})))
        values: list[tuple[str, bytes, bytes | bytearray]] = []
        for key, value in bits:
            values.append((BITS, key, value))
            if sum(len(value) for _, _, value in values) >= BITS_BATCH:
                self._commit(values)
                values = []
        self._commit([*values, *sorted(items)])

    def write_progress(self, progress: Progress) -> None:
        """Say how far the run is."""
        value = encode_json(progress.to_json() | {"process": os.getpid(), "host": socket.gethostname()})
        self._commit([("meta", b"progress", value)])

    def _open(self, name: str) -> None:
        with self._turn:
            self._databases[name] = self._environment.open_db(name.encode())

    def _commit(self, items: Sequence[tuple[str, bytes, bytes | bytearray]]) -> None:
        """Put (database, key, value) items in one transaction, with a larger map where it is full."""
        for name in {database for database, _, _ in items}.difference(self._databases):
            self._open(name)
        while True:
            try:
                # The map must not grow under another thread's transaction.
                with self._turn, self._environment.begin(write=True) as transaction:
                    for database, key, value in items:
                        transaction.put(key, value, db=self._databases[database])
                return
            except lmdb.MapFullError:
                size = self._environment.info()["map_size"]
                try:
                    with self._turn:
                        self._environment.set_mapsize(size * 2)
                except (lmdb.Error, MemoryError):
                    raise UserError(
                        f"{self.path}: the store outgrew the address space ({size / 2**30:.1f} GiB); "
                        "raise `ulimit -v` and run again with --resume"
                    ) from None
            except lmdb.Error as error:
                if is_disk_error(error):
                    raise disk_error(self.path, error) from error
                raise


def _vocabulary_items(texts: tuple[str, ...], whole: np.ndarray) -> list[tuple[str, bytes, bytes]]:
    return [
        ("vocabulary", INDEX_KEY.pack(index) + part.encode(), encode_array(array))
        for index, parts in enumerate(pack_chunks(texts, whole))
        for part, array in zip(("ends", "whole", "bytes"), parts, strict=True)
    ]


def _raw_items(raw: Sequence[bytes]) -> list[tuple[str, bytes, bytes]]:
    return [
        ("vocabulary", INDEX_KEY.pack(index) + part, encode_array(array))
        for index, parts in enumerate(pack_raw(raw))
        for part, array in zip(RAW_PARTS, parts, strict=True)
    ]


def _label_items(labels: Mapping[str, np.ndarray]) -> list[tuple[str, bytes, bytes]]:
    bits = (encode_array(np.packbits(members, bitorder="little")) for members in labels.values())
    return [(BITS, label_key(index), value) for index, value in enumerate(bits)]


def _take_lock(path: Path) -> int:
    """Two collectors on one store never both write."""
    try:
        return take_lock(path / LOCK_NAME)
    except BlockingIOError:
        raise UserError(f"{path}: another collector is writing it; wait for it, or choose another --store") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be written to ({error.strerror}); choose another --store") from error


def is_begun(path: Path) -> bool:
    """Whether the folder holds a store that a reader can open: its run entry is there, finished or not.

    Raises UserError where its data file is no LMDB environment, and DamagedStoreError for a store whose run entry cannot
    be read: what it holds is somebody's run.
    """
    if not is_store(path) or (path / "data.mdb").stat().st_size < _TWO_PAGES:
        return False
    environment = open_environment(path, write=False, locked=os.access(path, os.W_OK))
    try:
        meta = environment.open_db(b"meta", create=False)
        with environment.begin() as transaction:
            begun = transaction.get(b"format", db=meta) is not None
            if not begun and transaction.stat(meta)["entries"]:
                raise _damaged(path, "its run entry is missing")
            return begun
    except lmdb.NotFoundError as error:
        # The databases are made first of all: a file that holds more than that had them.
        if (metas := check_length(path / "data.mdb")) is not None and least_bytes(metas) > _EMPTY_BYTES:
            raise _damaged(path, str(error)) from error
        return False
    except lmdb.Error as error:
        raise _damaged(path, str(error)) from error
    finally:
        environment.close()


def _damaged(path: Path, why: str) -> DamagedStoreError:
    return DamagedStoreError(f"{path}: damaged ({why}); copy it again, or start over with --overwrite")


def remove_store(path: Path) -> None:
    """Delete a store's own files (never the notes beside them, never anything else in the folder).

    Raises UserError where the folder is not a store of ffnscope, or is being written."""
    if not (path / LOCK_NAME).is_file() and not is_begun(path):
        raise UserError(f"{path}: not an ffnscope store, so it is not overwritten; choose another --store")
    lock = _take_lock(path)
    try:
        for name in ("data.mdb", "lock.mdb"):
            (path / name).unlink(missing_ok=True)
    finally:
        os.close(lock)
