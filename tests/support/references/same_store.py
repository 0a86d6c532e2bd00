"""What a store says, byte by byte, without what depends on the clock."""

from __future__ import annotations

from pathlib import Path

import lmdb

from ffnscope.store.reader import Store

CLOCK = (b"run", b"progress", b"layer:")  # records of when and how fast


def contents(path: Path) -> dict[tuple[bytes, bytes], bytes]:
    """(database, key) -> value of every array and record of a complete store; its run's identity too."""
    with Store.open(path) as store:
        assert store.complete
        found = {(b"meta", b"run_id"): store.run.run_id.encode()}
    with lmdb.open(str(path), readonly=True, lock=False, max_dbs=32) as environment:
        with environment.begin() as transaction:
            names = [bytes(name) for name, _ in transaction.cursor()]
        for name in names:
            database = environment.open_db(name, create=False)
            with environment.begin(db=database) as transaction:
                found |= {
                    (name, bytes(key)): bytes(value)
                    for key, value in transaction.cursor()
                    if name != b"meta" or not bytes(key).startswith(CLOCK)
                }
    return found


def differing(one: Path, other: Path) -> list[str]:
    """The database and key of whatever two stores do not agree on to the byte."""
    ours, theirs = contents(one), contents(other)
    keys = sorted(ours.keys() | theirs.keys())
    return [
        f"{database!r} {key!r}" for database, key in keys if ours.get((database, key)) != theirs.get((database, key))
    ]
