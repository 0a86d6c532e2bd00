"""Changing what lies in a store behind its back."""

from __future__ import annotations

import lmdb

from ffnscope.store.format.environment import open_environment
from ffnscope.store.format.keys import NEURON_KEY
from ffnscope.store.reader import Store
from ffnscope.store.verify.check import verify


def change(path, database, key, value):
    """Put ``value(what is there)`` in the place of the value under a key."""
    with open_environment(path, write=True) as environment:
        handle = environment.open_db(database.encode())
        with environment.begin(write=True) as transaction:
            before = transaction.get(key, db=handle)
            assert before is not None
            transaction.put(key, value(before), db=handle)


def put(path, database, key, value):
    """Put a value under a key, or take away what is there where ``value`` is None."""
    with open_environment(path, write=True) as environment:
        handle = environment.open_db(database.encode())
        with environment.begin(write=True) as transaction:
            if value is None:
                assert transaction.delete(key, db=handle)
            else:
                transaction.put(key, value, db=handle)


def problems(path):
    """What ``verify`` finds in a store."""
    with Store.open(path) as store:
        return list(verify(store))


def flip(value):
    """The value with one bit changed."""
    return value[:-1] + bytes([value[-1] ^ 1])


def alive(path):
    """A neuron of layer 0 that has a position curve."""
    with lmdb.open(str(path), readonly=True, max_dbs=8, lock=False) as environment:
        handle = environment.open_db(b"curves", create=False)
        with environment.begin() as transaction, transaction.cursor(handle) as cursor:
            assert cursor.first()
            return NEURON_KEY.unpack(cursor.key())[1]
