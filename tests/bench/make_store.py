"""Make a store of any size without a model: `python tests/bench/make_store.py big.ffn --layers 64 --neurons 36864`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.extend(map(str, (Path(__file__).resolve().parents[1] / "support").iterdir()))

from synthetic import write_store


def main() -> None:
    """Parse the arguments, make the store, say how long it took and how large it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--neurons", type=int, default=36_864)
    parser.add_argument("--vocabulary", type=int, default=50_272)
    parser.add_argument("--seq-len", type=int, default=256)
    parser.add_argument("--windows", type=int, default=400)
    parser.add_argument("--domains", default="wiki,code,math,speech")
    parser.add_argument("--top-k", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hostile", action="store_true", help="tokens with markup, escape sequences, bidi overrides")
    parser.add_argument("--unfinished", action="store_true", help="only half of the layers, as while it is written")
    parser.add_argument("--full", action="store_true", help="count every neuron of every layer (slow)")
    given = parser.parse_args()
    start = time.perf_counter()
    path = write_store(
        given.store,
        layers=given.layers,
        neurons=given.neurons,
        seed=given.seed,
        vocabulary=given.vocabulary,
        seq_len=given.seq_len,
        windows=given.windows,
        domains=given.domains.split(","),
        hostile=given.hostile,
        complete=not given.unfinished,
        top_k=given.top_k,
        light=not given.full,
    )
    size = (path / "data.mdb").stat().st_blocks * 512
    print(f"{path}: {given.layers} x {given.neurons}, {size / 1e6:.0f} MB, {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
