"""How long questions of kept bits take: `python tests/bench/ask.py`, on a store of OPT-125m's shape and 1M kept positions.

Prints seconds of queries of 10,000 and 100,000 positions with and without the chance level, one neuron's positions,
co-activation, a regular expression over all text the first time, a concordance, the memory of the process beyond what it
maps, and beside them a linear scan of all bits.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import gettempdir
from typing import Any

sys.path.extend(map(str, (Path(__file__).resolve().parents[1] / "support").iterdir()))

import numpy as np
from synthetic import write_store

from ffnscope.store.format import kept_bits as layout
from ffnscope.store.query.ask import coactivated, rank
from ffnscope.store.query.contexts import concordance
from ffnscope.store.query.positions import parse_query
from ffnscope.store.reader import Store


def main() -> None:
    """Make the store where it is not there yet, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, default=Path(gettempdir()) / "ffnscope-bench-ask.ffn")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--neurons", type=int, default=3072)
    parser.add_argument("--windows", type=int, default=1958)
    given = parser.parse_args()
    if not given.store.exists():
        timed("making the store", lambda: make(given))
    with Store.open(given.store) as store:
        kept = timed("kept positions", lambda: store.kept)
        rng = np.random.default_rng(0)
        print(f"{len(store.layers())} x {store.run.model.neurons} neurons, {kept.positions:,} kept positions")
        timed("a regular expression the first time", lambda: matches(store, r"text:/\\b(the|of) \\w+ing\\b/"))
        timed("a regular expression again", lambda: matches(store, r"text:/school \\w+/"))
        for size in (10_000, 100_000, 500_000):
            members = np.zeros(kept.positions, np.bool_)
            members[rng.choice(kept.positions, size, replace=False)] = True
            for chance in (False, True):
                ask = lambda members=members, chance=chance: rank(store, members, "", chance=chance)  # noqa: E731
                least(f"query of {size:,}{', and chance' if chance else ''}", ask)
        found = least("positions of one neuron", lambda: kept.neuron(3, 1000))
        print(f"  ({np.count_nonzero(found):,} of them)")
        least("co-activation", lambda: coactivated(store, 3, 1000))
        rows = np.flatnonzero(found)
        timed("concordance of one neuron", lambda: sum(1 for _ in concordance(kept, rows)))
        print(f"memory beyond mapped files: {anonymous() / 2**20:,.0f} MiB")
        timed("a linear scan of all bits", lambda: scan(store))


def make(given: argparse.Namespace) -> None:
    """A store whose bits are random, 1 of 16 set."""
    write_store(
        given.store,
        layers=given.layers,
        neurons=given.neurons,
        vocabulary=50_272,
        seq_len=512,
        windows=given.windows,
        domains=("wiki", "code", "math", "speech"),
        keep=given.windows,
        light=True,
        pool=64,
        density=4,
    )


def matches(store: Store, query: str) -> int:
    """How many positions a query has."""
    return int(np.count_nonzero(parse_query(query).members(store.kept)))


def scan(store: Store) -> int:
    """All bits and a query's, a neuron after the other, which is what the layout spares."""
    total = 0
    for layer in store.layers():
        for block in range(layout.blocks(store.run.model.neurons)):
            for tile in range(len(layout.tiles(store.kept.positions))):
                key = layout.BITS_KEY.pack(layer, block, tile)
                read = lambda value: int(  # noqa: E731
                    np.bitwise_count(np.frombuffer(value, "<u8", offset=layout.HEAD_BYTES)).sum()
                )
                total += store.read_value("bits", key, read) or 0
    return total


def timed(name: str, work: Callable[[], Any]) -> Any:
    """What ``work`` gives; prints its seconds."""
    return least(name, work, 1)


def least(name: str, work: Callable[[], Any], times: int = 3) -> Any:
    """What ``work`` gives; prints the seconds of its first and of its fastest time, and the latter's seconds of all cores."""
    seconds = []
    for _ in range(times):
        start, busy = time.perf_counter(), time.process_time()
        found = work()
        seconds.append((time.perf_counter() - start, time.process_time() - busy))
    fastest = min(seconds)
    print(f"{name:<44} {fastest[0]:8.3f} s ({fastest[1]:.3f} CPU), the first time {seconds[0][0]:.3f} s", flush=True)
    return found


def anonymous() -> int:
    """Bytes of memory of this process that are not mapped files: the most there have been may be more."""
    status = Path("/proc/self/status").read_text()
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon")), 0)


if __name__ == "__main__":
    main()
