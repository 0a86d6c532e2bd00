"""Checking a store against its checksums and against what the definitions say must hold between its numbers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import lmdb
import numpy as np

from ffnscope.store.errors import UserError
from ffnscope.store.format import schema
from ffnscope.store.format.environment import check_length
from ffnscope.store.format.meta_pages import DamagedFileError, check_metas
from ffnscope.store.reader import Store
from ffnscope.store.verify import kept_bits
from ffnscope.store.verify.expected_keys import unexpected
from ffnscope.store.verify.invariants import CHECKS, Arrays
from ffnscope.store.verify.pages import check_number, walk

_EXAMPLES = 3


def verify(store: Store, progress: Callable[[str, float], None] = lambda what, share: None) -> Iterator[str]:
    """Read every value of a store and yield one line for each thing that is wrong; nothing where all is well.

    ``progress`` is told what is being read and how much of the whole is done, 0 to 1.
    """
    yield from _file(store)
    layers = _try(store.layers, ())
    yield from _missing(store, layers[0])
    if layers[1]:
        yield layers[1]
    problems = list(unexpected(store, layers[0]))
    while problems and (now := _try(store.layers, ())[0]) != layers[0]:
        # A layer was finished while the keys were read.
        layers = now, layers[1]
        problems = list(unexpected(store, now))
    yield from problems
    yield from _corpus(store)
    yield from kept_bits.corpus_problems(store)
    for done, layer in enumerate(layers[0]):
        progress(f"layer {layer}", done / len(layers[0]))
        yield from _layer(store, layer)
        yield from kept_bits.layer_problems(store, layer)
    progress("", 1.0)


def _try(read: Callable[..., Any], default: Any, *arguments: Any) -> tuple[Any, str | None]:
    """What ``read(*arguments)`` gives and no problem, or the default and the problem."""
    try:
        return read(*arguments), None
    except UserError as error:
        return default, str(error).rpartition("; ")[0] or str(error)
    except (lmdb.Error, ValueError, OverflowError) as error:
        return default, f"{type(error).__name__}: {error}"


def _file(store: Store) -> Iterator[str]:
    """What is wrong with the pages; looked at again where a writer may have changed them meanwhile."""
    problem: str | None = None
    for _ in range(4):
        problem = _pages(store)
        if problem is None:
            return
        time.sleep(0.05)
    yield f"data.mdb: {problem}"


def _pages(store: Store) -> str | None:
    data = store.path / "data.mdb"
    try:
        with store.pinned() as transaction:
            metas = check_length(data)
            if metas is None:
                return None
            if problem := check_metas(metas):
                return problem
            current = [meta for meta in metas if meta.transaction == transaction]
            if not current:
                return "its meta pages are not of the transaction that was opened"
            walk(data, current[0])
            for meta in metas:
                check_number(data, meta)
    except (DamagedFileError, OSError) as error:
        return str(error)
    return None


def _missing(store: Store, layers: tuple[int, ...]) -> Iterator[str]:
    complete, problem = _try(lambda: store.complete, False)
    if problem:
        yield problem
    if complete and (absent := set(store.run.layers).difference(layers)):
        yield f"marked complete, but layers {', '.join(map(str, sorted(absent)))} are missing"
    if odd := set(layers).difference(store.run.layers):
        yield f"layers {', '.join(map(str, sorted(odd)))} are not part of the run"


def _corpus(store: Store) -> Iterator[str]:
    run = store.run
    _, problem = _try(store.vocabulary.all_texts, [])
    if problem:
        yield problem
    totals, problem = _try(store.unigram_totals, None)
    if problem:
        yield problem
    seen, whole = np.zeros(run.model.vocabulary + 1, np.int64), True
    for index in range(run.corpus.counted_windows):
        window, problem = _try(store.window, None, index)
        if problem:
            whole = False
            yield problem
        elif window.max(initial=0) >= run.model.vocabulary:
            whole = False
            yield f"window {index} holds token ids that are out of range"
        else:
            seen += np.bincount(window, minlength=len(seen))
    if run.corpus.bos_id is not None and run.corpus.bos_id < len(seen):
        seen[run.corpus.bos_id] = 0
    if whole and totals is not None and not np.array_equal(totals, seen[:-1]):
        yield "the token counts do not match the windows"


def _layer(store: Store, layer: int) -> Iterator[str]:
    _, problem = _try(store.layer_info, None, layer)
    if problem:
        yield problem
    arrays: Arrays = {}
    names = schema.array_names(store.groups)
    for name in names:
        array, problem = _try(store.column, None, layer, name)
        if problem:
            yield problem
        else:
            arrays[name] = array
    run = store.run
    neurons, domains, counted = run.model.neurons_of(layer), len(run.corpus.domains), len(run.corpus.counted_domains)
    if len(arrays) < len(names):
        return
    try:
        schema.check_layer_arrays(arrays, neurons, domains, arrays["promoted"].shape[-1], store.groups)
    except (ValueError, IndexError) as error:
        yield f"layer {layer}: {error}"
        return
    curve_sums, problems = np.zeros((neurons, counted), np.uint64), False
    sizes = [domain.windows for domain in run.corpus.counted_domains]
    for neuron in range(neurons):
        curve, problem = _try(store.curves, None, layer, neuron)
        if problem:
            yield problem
            problems = True
        else:
            curve_sums[neuron] = curve.sum(axis=1)
            if (curve.max(axis=1) > sizes).any():
                yield f"L{layer}N{neuron}: its position curve exceeds the number of windows"
    if problems:
        return
    totals, _ = _try(store.unigram_totals, np.zeros(run.model.vocabulary))
    for what, check in CHECKS:
        bad = np.flatnonzero(check(arrays | {"curve_sums": curve_sums, "unigram_totals": totals}, run))
        if len(bad):
            named = ", ".join(f"L{layer}N{neuron}" for neuron in bad[:_EXAMPLES].tolist())
            yield f"layer {layer}: {what}: {len(bad)} neurons, {named}{' ...' if len(bad) > _EXAMPLES else ''}"
