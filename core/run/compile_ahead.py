"""The counting loops compiled in processes of their own, while the run reads its model and its corpus.

Only the first run after an installation needs it: what is compiled is cached (core/jit.py). Where the processes cannot
start or are killed, the run compiles what it lacks itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import suppress

import numpy as np

from ffnscope.core.activations.recorder_kernel import record
from ffnscope.core.corpus.windows import Corpus, Domain
from ffnscope.core.jit import is_cached
from ffnscope.core.run import kept_bits
from ffnscope.core.statistics import concept_kernel, kernels, row_extremes, suffix_kernel
from ffnscope.core.statistics.bits import words
from ffnscope.core.statistics.concepts import Describer, concept_sets
from ffnscope.core.statistics.counts import ORDERED_NEURONS, count_layer
from ffnscope.core.statistics.explained.kernel import explain_block
from ffnscope.core.statistics.tables import make_tables
from ffnscope.store.definitions import MIN_OCCURRENCES, TOP_K
from ffnscope.store.format.schema import CONTEXTS

WINDOWS, LENGTH, NEURONS = 4, 64, ORDERED_NEURONS  # what the loops are tried on
LOOPS = (
    concept_kernel.sizes,
    concept_kernel.describe_block,
    explain_block,
    suffix_kernel.by_position,
    suffix_kernel.in_order,
    kernels.count_block,
    kept_bits._transpose,
    record,
    row_extremes._by_rows,
)

OPTIMISATION = "2"  # as fast loops as by numba's default, 3, in less time

_processes: list[subprocess.Popen[bytes]] = []


def compile_ahead() -> bool:
    """Begin to compile what is not cached, in two processes. Returns whether something is being compiled."""
    if _processes:
        return any(process.poll() is None for process in _processes)
    if not sys.executable or os.environ.get("LOCAL_RANK", "0") != "0" or all(is_cached(loop) for loop in LOOPS):
        return False
    with suppress(OSError):
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "ffnscope.core.run.compile_ahead"],
            stdin=subprocess.PIPE,  # closed when this process ends, however it does
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"NUMBA_OPT": OPTIMISATION} | os.environ,
        )
        _processes.append(process)
    return bool(_processes)


def compile_loops(concepts_first: bool = False) -> None:
    """Compile all loops by calling them with a run's types, in the order in which a run needs them, or first what describes
    neurons, which it needs last."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 9, (WINDOWS, LENGTH)).astype(np.int32)
    domain = Domain("text", 0, WINDOWS, 0, 1, False, "")
    everywhere = np.arange(WINDOWS)
    concepts = concept_sets(
        everywhere,
        tokens,
        0,
        text_of=str,
        whole=lambda token: True,
        domain_of=np.zeros(WINDOWS, np.int64),
        domains=["text"],
    )
    if concepts_first:
        nothing, formulas, figures = (
            np.zeros((1, WINDOWS, 1), np.uint64),
            np.zeros((1, 2, 4), np.int16),
            np.zeros((1, 2, 3)),
        )
        Describer(*concepts).describe(nothing, formulas, figures)
    tables = make_tables(Corpus(tokens, (domain,), 0, 9), concepts)
    before = rng.standard_normal((WINDOWS, LENGTH, NEURONS)).astype(np.float32)
    bits = np.empty((WINDOWS, NEURONS, LENGTH // 8), np.uint8)
    sums, maxima = np.empty((2, WINDOWS, NEURONS), np.float32)
    strongest, places = np.zeros((NEURONS, CONTEXTS), np.float32), np.full((NEURONS, CONTEXTS), -1, np.int64)
    record(before, before, WINDOWS, 0, (0, NEURONS), bits, sums, maxima, strongest, places)

    class Recorded:
        neurons = NEURONS

        def block(self, first: int, last: int) -> np.ndarray:
            """The recorded bits, neurons first."""
            return np.ascontiguousarray(bits[:, first:last].swapaxes(0, 1))

        def window(self, window: int, first: int, last: int) -> np.ndarray:
            """Those of one window."""
            return bits[window, first:last]

    count_layer(0, Recorded(), tables, min_occurrences=MIN_OCCURRENCES)
    row_extremes.extremes_of_rows(before.reshape(-1, NEURONS), TOP_K, 1)
    real = words(np.packbits(tokens != 0, axis=1, bitorder="little"))
    for _ in kept_bits.kept_values(0, Recorded(), kept_bits.KeptWindows(everywhere, real)):
        pass


def _end_with_parent() -> None:
    with suppress(OSError):
        sys.stdin.buffer.read()
    os._exit(0)


def _compile_in_two_processes() -> None:
    """Each leaves to the other what that one is at. They are forked once all is imported, which takes a second."""
    second = os.fork()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(KeyboardInterrupt):
        compile_loops(concepts_first=second == 0)
        if second:
            os.waitpid(second, 0)


if __name__ == "__main__":
    _compile_in_two_processes()
