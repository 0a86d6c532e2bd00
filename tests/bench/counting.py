"""Time that counting takes one core of the host: milliseconds per neuron and million positions.

    python tests/bench/counting.py [--tokens 1000000] [--neurons 4]

Of tokens that are drawn independently of each other (Zipf's law, 50,000 tokens, windows of 2,048), and neurons that are
activated at a given share of the positions: "token" by a liking for some tokens, "random" at any. CPU time of one thread, the
best of a few: with others on the same cores, caches are shared and all of it takes longer.

all          everything that is counted, on the host
ordering     of it, putting bits into the n-grams' order, of blocks of 128 neurons
ngrams       of it, n-grams and detectors, contexts and curves
explained    of it, how much the token explains, and token sets
rest         what is left where a GPU puts bits in order and counts n-grams: contexts, curves, detectors, and how much the
             token explains
described    descriptions, which only kept windows cost: per neuron and million kept positions
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ffnscope.core.statistics.bits import words
from ffnscope.core.statistics.concepts import Describer, concept_sets
from ffnscope.core.statistics.counts import LayerCounts, Workspace
from ffnscope.core.statistics.device.complete_kernel import complete_block
from ffnscope.core.statistics.device.device_counts import DeviceCounter
from ffnscope.core.statistics.explained.kernel import Explained, explain_block
from ffnscope.core.statistics.kernels import Counted, count_block
from ffnscope.core.statistics.ngrams import ngram_tables
from ffnscope.core.statistics.suffix_kernel import by_position, in_order
from ffnscope.core.statistics.tables import CorpusTables

VOCABULARY, LENGTH, MIN_OCCURRENCES = 50_000, 2048, 5
KINDS = (("token", 0.001), ("token", 0.01), ("token", 0.06), ("token", 0.2), ("random", 0.06), ("random", 0.5))
REPEATS = 5
KEPT = 128  # windows at most, by which neurons are described
PIECES = [
    " the",
    " of",
    "ing",
    " a",
    ",",
    ".",
    "\n",
    " (",
    ")",
    " 19",
    "7",
    " The",
    "NA",
    " =",
    '"',
    " é",
]  # the tokens' texts, in turn


def corpus(windows: int, rng: np.random.Generator) -> np.ndarray:
    """[windows, LENGTH] tokens, the first of each BOS."""
    weights = 1 / np.arange(1, VOCABULARY)
    tokens = 1 + rng.choice(VOCABULARY - 1, (windows, LENGTH), p=weights / weights.sum())
    tokens[:, 0] = 0
    return tokens


def activated(tokens: np.ndarray, kind: str, share: float, rng: np.random.Generator) -> np.ndarray:
    """[windows, LENGTH] bool: where a neuron is."""
    if kind == "random":
        return rng.random(tokens.shape, np.float32) < share
    liking = rng.random(VOCABULARY) ** 8
    return rng.random(tokens.shape, np.float32) < (liking * share / liking[tokens].mean())[tokens]


def seconds(work: Callable[[], object]) -> float:
    """The least CPU time of this thread that ``work`` takes."""
    work()
    best = float("inf")
    for _ in range(REPEATS):
        started = time.thread_time()
        work()
        best = min(best, time.thread_time() - started)
    return best


class Block:
    """Neurons whose ``packed`` bits [n, windows, B] are counted by a thread with arrays of its own."""

    def __init__(self, packed: np.ndarray, tables: CorpusTables, space: Workspace):
        self.packed, self.bits, self.tables, self.space = packed, words(packed), tables, space
        self.ordered = self.order(self.bits)
        ngrams = DeviceCounter(tables, torch.device("cpu")).count(packed)
        assert ngrams is not None
        self.ngrams = ngrams

    def order(self, bits: np.ndarray) -> np.ndarray:
        """Neurons' bits in the n-grams' order."""
        places = self.tables.suffix_order.places
        table = np.empty((bits.shape[1] * LENGTH, -(-len(bits) // 64)), np.uint64)
        out = np.empty((len(bits), -(-len(places) // 64)), np.uint64)
        by_position(bits, 0, bits.shape[1], LENGTH, table)
        in_order(table, places, 0, out.shape[1], out)
        return out

    def count(self) -> None:
        """N-grams, and whatever else the kernel counts with them."""
        runs = self.tables.suffix_order.orders
        count_block(*self._arguments(), self.ordered, runs, self.space.arrays, self._rows(Counted))

    def complete(self) -> None:
        """What a device leaves of that."""
        out = self._rows(Counted)
        out.coverage[:] = self.ngrams.coverage
        complete_block(*self._arguments(), self.ngrams.lists, self.ngrams.possible, self.space.arrays, out)

    def describe(self, describer: Describer) -> None:
        """Find descriptions."""
        rows = LayerCounts.empty(len(self.packed), self.tables)
        describer.describe(self.bits, rows.formulas, rows.formula_figures)

    def explain(self) -> None:
        """How much the token explains, and token sets."""
        tables, bos = self.tables, words(self.tables.bos)
        corpus_arguments = (bos, tables.counted_windows, tables.tree, tables.suffix_order.leaves)
        explain_block(self.bits, self.ordered, *corpus_arguments, self.space.explained, self._rows(Explained))

    def _arguments(self) -> tuple[Any, ...]:
        tables = self.tables
        return self.bits, words(tables.bos), 0, LENGTH, tables.edges, 1, tables.orders, MIN_OCCURRENCES

    def _rows(self, kind: Any) -> Any:
        counts = LayerCounts.empty(len(self.packed), self.tables)
        return kind(*(getattr(counts, name) for name in kind._fields))


def main() -> None:
    """Print a line per kind of neuron."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--neurons", type=int, default=4)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    tokens = corpus(max(2, given.tokens // LENGTH), rng)
    is_bos = np.packbits(tokens == 0, axis=1, bitorder="little")
    tables = CorpusTables(LENGTH, np.array([0, len(tokens)]), 1, ngram_tables(tokens, 0, VOCABULARY), is_bos)
    space = Workspace(tables, tables.suffix_order)
    kept = np.arange(min(KEPT, len(tokens)))
    describer = Describer(
        *concept_sets(
            kept,
            tokens[kept],
            0,
            text_of=lambda token: PIECES[token % len(PIECES)],
            whole=lambda token: True,
            domain_of=np.zeros(len(kept), np.int64),
            domains=["text"],
        )
    )
    per = 1e3 / (given.neurons * tokens.size / 1e6)
    print(f"{tokens.size:,} positions; n-grams that both halves have: {len(tables.tree.nodes):,}")
    print(f"{'':>15}{'all':>8}{'ordering':>10}{'ngrams':>8}{'explained':>11}{'rest':>7}{'described':>11}")
    ordering = 0.0
    for kind, share in KINDS:
        where = [activated(tokens, kind, share, rng) for _ in range(given.neurons)]
        block = Block(np.stack([np.packbits(row, axis=1, bitorder="little") for row in where]), tables, space)
        if not ordering:  # the same for any neurons
            many = np.tile(block.bits, (-(-128 // given.neurons), 1, 1))[:128]
            ordering = seconds(lambda many=many, block=block: block.order(many)) * 1e3 / (128 * tokens.size / 1e6)
        ngrams, explained, rest = (seconds(work) * per for work in (block.count, block.explain, block.complete))
        described = seconds(lambda block=block: block.describe(describer)) * per * len(tokens) / len(kept)
        whole = f"{ordering + ngrams + explained:>8.2f}{ordering:>10.2f}"
        figures = f"{whole}{ngrams:>8.2f}{explained:>11.2f}{rest + explained:>7.2f}{described:>11.2f}"
        print(f"{kind:>8}{share:>7.1%}{figures}", flush=True)


if __name__ == "__main__":
    main()
