"""Flip bytes of a store's data file, each in a copy of its own that a process of its own looks at.

``python flips.py STORE WORK OFFSET:BITS ...`` prints one JSON array a flip: the offset, what came of it, and the first
line said. ``found``: verify says what is wrong; ``crash``: reading ended the process, which ``verify_isolated`` reports;
``same``: nothing wrong and every key and value is as it was; ``missed``, ``hang`` and ``error`` must not be.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import lmdb

from ffnscope.store.errors import DamagedStoreError
from ffnscope.store.reader import Store
from ffnscope.store.verify.check import verify

SECONDS = 20


def contents(path: Path) -> dict[tuple[bytes, bytes], bytes]:
    """(database, key) -> value of everything in an LMDB environment."""
    with lmdb.open(str(path), readonly=True, lock=False, max_dbs=16) as environment:
        with environment.begin() as transaction:
            names = [bytes(name) for name, _ in transaction.cursor()]
        handles = {name: environment.open_db(name, create=False) for name in names}
        with environment.begin() as transaction:
            return {
                (name, bytes(key)): bytes(value)
                for name, handle in handles.items()
                for key, value in transaction.cursor(handle)
            }


def look(path: Path, original: dict[tuple[bytes, bytes], bytes]) -> tuple[str, str]:
    """What verify and a reader make of a store."""
    try:
        with Store.open(path) as store:
            for line in verify(store):
                return "found", line
    except DamagedStoreError as error:
        return "found", str(error)
    return ("same", "") if contents(path) == original else ("missed", "")


def outcome(path: Path, original: dict[tuple[bytes, bytes], bytes]) -> tuple[str, str]:
    """``look`` in a process of its own."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        signal.alarm(SECONDS)
        try:
            said = look(path, original)
        except BaseException as error:
            said = "error", repr(error)
        os.write(writing, json.dumps(said).encode()[:4000])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        said = file.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        ended = signal.Signals(os.WTERMSIG(status))
        return ("hang" if ended == signal.SIGALRM else "crash"), ended.name
    what, line = json.loads(said)
    return what, line


def main() -> None:
    """Do the flips that the arguments name."""
    store, work, *flips = sys.argv[1:]
    original, data = contents(Path(store)), (Path(store) / "data.mdb").read_bytes()
    for flip in flips:
        offset, bits = map(int, flip.split(":"))
        shutil.rmtree(work, ignore_errors=True)
        Path(work).mkdir()
        damaged = bytearray(data)
        damaged[offset] ^= bits
        (Path(work) / "data.mdb").write_bytes(damaged)
        (Path(work) / "collector.lock").touch()
        print(json.dumps([offset, *outcome(Path(work), original)]), flush=True)


if __name__ == "__main__":
    main()
