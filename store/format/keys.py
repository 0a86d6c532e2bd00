"""The keys of the databases, and which layers a store holds by them."""

from __future__ import annotations

import struct
from itertools import takewhile
from typing import Any

import lmdb

from ffnscope.store.format.encoding import DamagedValueError

LAYER_KEY = struct.Struct(">H")
NEURON_KEY = struct.Struct(">HI")
INDEX_KEY = struct.Struct(">I")
MOST_LAYERS = 0xFFFF  # the highest number that LAYER_KEY holds


def finished_layers(transaction: lmdb.Transaction, meta: Any) -> tuple[int, ...]:
    """The layers whose entry is in the database ``meta``, ascending. Raises DamagedValueError for one of no layer."""
    layers: list[int] = []
    with transaction.cursor(meta) as cursor:
        if cursor.set_range(b"layer:"):
            keys = map(bytes, cursor.iternext(keys=True, values=False))
            for key in takewhile(lambda key: key.startswith(b"layer:"), keys):
                number = key[6:]
                if len(number) != 5 or not number.isdigit() or (layers and int(number) <= layers[-1]):
                    raise DamagedValueError(f"its entry {key[:40]!r} is not that of a layer")
                layers.append(int(number))
    return tuple(layers)
