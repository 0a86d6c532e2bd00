"""A reader's own marks and notes on neurons, in an environment beside the store that is made at the first write."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import lmdb

from ffnscope.store.errors import UserError
from ffnscope.store.format.environment import is_store, open_environment
from ffnscope.store.format.keys import NEURON_KEY

MAX_NOTE = 10_000  # characters
_DATABASES = ("marks", "notes")


class Notes:
    """Marks and notes of one store. Each call is a transaction of its own, so two browsers can share them.

    They lie in ``STORE/notes``; where the store's folder cannot be written to, under the user's state folder.
    """

    def __init__(self, folder: Path, store_path: Path):
        self.folder = folder
        self._store_path = store_path
        self._environment: lmdb.Environment | None = None
        self._databases: dict[str, Any] = {}
        self._marks: tuple[int, frozenset[tuple[int, int]]] | None = None

    @classmethod
    def open(cls, store_path: Path) -> Self:
        """The notes of the store in ``store_path``; makes nothing yet."""
        store_path = Path(store_path)
        beside = store_path / "notes"
        writable = os.access(beside if beside.exists() else store_path, os.W_OK)
        return cls(beside if writable else _state_folder(store_path), store_path)

    def close(self) -> None:
        """Give the environment back."""
        if self._environment is not None:
            self._environment.close()
            self._environment = None
            self._databases = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def marks(self) -> frozenset[tuple[int, int]]:
        """(layer, neuron) of every marked neuron."""
        if self._read() is None:
            return frozenset()
        with self._transaction() as transaction:
            at = int(transaction.id())
            if self._marks is None or self._marks[0] != at:
                with transaction.cursor(self._databases["marks"]) as cursor:
                    keys = cursor.iternext(keys=True, values=False)
                    self._marks = at, frozenset(NEURON_KEY.unpack(key) for key in keys if len(key) == NEURON_KEY.size)
        return self._marks[1]

    def set_mark(self, layer: int, neuron: int, on: bool) -> None:
        """Mark one neuron, or take its mark away."""
        self.set_marks([(layer, neuron)], on)

    def set_marks(self, pairs: Iterable[tuple[int, int]], on: bool) -> None:
        """Mark several neurons, or take their marks away, all at once."""
        keys = sorted({NEURON_KEY.pack(int(layer), int(neuron)) for layer, neuron in pairs})
        if not keys or (not on and self._read() is None):
            return
        with self._write() as transaction:
            for key in keys:
                if on:
                    transaction.put(key, b"", db=self._databases["marks"])
                else:
                    transaction.delete(key, db=self._databases["marks"])

    def note(self, layer: int, neuron: int) -> str:
        """The note on a neuron, "" where there is none."""
        if self._read() is None:
            return ""
        with self._transaction() as transaction:
            value = transaction.get(NEURON_KEY.pack(layer, neuron), db=self._databases["notes"])
        return "" if value is None else _text(bytes(value))

    def set_note(self, layer: int, neuron: int, text: str) -> None:
        """Write the note on a neuron; an empty one deletes it. Raises UserError above MAX_NOTE characters."""
        if len(text) > MAX_NOTE:
            raise UserError(f"L{layer}N{neuron}: a note holds at most {MAX_NOTE:,} characters, this has {len(text):,}")
        key = NEURON_KEY.pack(layer, neuron)
        if not text.strip():
            if self._read() is not None:
                with self._write() as transaction:
                    transaction.delete(key, db=self._databases["notes"])
            return
        with self._write() as transaction:
            transaction.put(key, text.encode("utf-8", "surrogatepass"), db=self._databases["notes"])

    def notes(self) -> dict[tuple[int, int], str]:
        """Every note by (layer, neuron), in order."""
        if self._read() is None:
            return {}
        with self._transaction() as transaction, transaction.cursor(self._databases["notes"]) as cursor:
            return {NEURON_KEY.unpack(key): _text(bytes(value)) for key, value in cursor if len(key) == NEURON_KEY.size}

    def _read(self) -> lmdb.Environment | None:
        """The environment; None where nothing was ever written."""
        if self._environment is None and is_store(self.folder):
            self._open()
        return self._environment

    @contextmanager
    def _transaction(self, write: bool = False) -> Iterator[lmdb.Transaction]:
        assert self._environment is not None
        try:
            with self._environment.begin(write=write) as transaction:
                yield transaction
        except lmdb.Error as error:
            what = "written" if write else "read"
            raise UserError(f"{self.folder}: marks and notes cannot be {what} ({error})") from error

    @contextmanager
    def _write(self) -> Iterator[lmdb.Transaction]:
        if self._environment is None:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(f"{self.folder}: marks and notes cannot be kept there ({error.strerror})") from error
            about = self.folder / "store.json"
            if not about.exists() and self.folder.parent != self._store_path:
                about.write_text(json.dumps({"store": os.fspath(self._store_path.resolve())}) + "\n")
            self._open()
        with self._transaction(write=True) as transaction:
            yield transaction

    def _open(self) -> None:
        environment = open_environment(self.folder, write=True, databases=4)
        try:
            environment.reader_check()
            self._databases = {name: environment.open_db(name.encode()) for name in _DATABASES}
        except lmdb.Error as error:
            environment.close()
            raise UserError(f"{self.folder}: marks and notes cannot be read ({error})") from error
        self._environment = environment


def _state_folder(store_path: Path) -> Path:
    folder = os.environ.get("XDG_STATE_HOME", "")
    state = Path(folder) if folder and Path(folder).is_absolute() else Path.home() / ".local" / "state"
    name = hashlib.sha256(os.fsencode(store_path.resolve())).hexdigest()[:32]
    return state / "ffnscope" / "notes" / name


def _text(value: bytes | memoryview) -> str:
    try:
        return str(value, "utf-8", "surrogatepass")
    except UnicodeDecodeError:
        # Not written by this class, or damaged: what can be read of it.
        return str(value, "utf-8", "replace")
