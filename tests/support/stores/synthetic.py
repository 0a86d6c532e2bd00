"""Stores without a model: neurons that fire by drawn rules on a drawn corpus, everything else counted from that."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from made_once import made_once
from synthetic_bits import bits_of, kept_rows, piece_bytes, random_bits
from synthetic_explained import sums
from synthetic_neurons import MIN_OCCURRENCES, RULES, Corpus, count_layer
from synthetic_similar import SIMILAR_NAMES, spread
from synthetic_text import BOS, make_text

from ffnscope.store.format.schema import EXPLAINED
from ffnscope.store.records import CorpusInfo, DomainInfo, ModelInfo, Progress, RunInfo
from ffnscope.store.writer import StoreWriter

NOTHING_ALIVE = (1.0, *[0.0] * (len(RULES) - 1))  # as `mix`
POOL = 4096  # neurons counted for a light store, which every layer draws its neurons from


def write_store(
    path: Path | str,
    layers: int = 2,
    neurons: int = 256,
    seed: int = 0,
    vocabulary: int = 2000,
    seq_len: int = 64,
    windows: int = 40,
    domains: Sequence[str] = ("wiki", "code"),
    hostile: bool = False,
    complete: bool = True,
    top_k: int = 20,
    *,
    written: int | None = None,
    count_only: Sequence[str] = (),
    light: bool = False,
    pool: int = POOL,
    name: str = "synthetic",
    explained: bool = True,
    keep: int = 0,
    labels: Mapping[str, np.ndarray] | None = None,
    density: int | None = None,
    mix: Sequence[float] | None = None,
) -> Path:
    """A store of ``layers`` x ``neurons`` over ``windows`` windows (of all domains together), all numbers consistent.

    ``written``: only so many layers are there yet (default all, or half of them where not ``complete``).
    ``count_only``: further domains, of a quarter as many windows. ``light``: layers repeat a pool of counted neurons,
    and only positional neurons and the first 64 of a layer have position curves. ``explained``: with the group of
    optional arrays of that name. ``keep``: windows whose bits are kept, ``labels``: places [S, T] bool of labelled spans;
    ``density``: kept bits are random, one of 2**density is set, whatever the numbers say. ``mix``: the shares of RULES in
    every layer, which otherwise change with its depth. Deterministic in ``seed``.
    """
    path = Path(path)
    rng = np.random.default_rng(seed)
    parts = [len(part) for part in np.array_split(np.arange(windows), len(domains))]
    domain_windows = (*parts, *([max(windows // 4, 1)] * len(count_only)))
    text = make_text(rng, vocabulary, seq_len, domain_windows, hostile)
    corpus = Corpus(text, domain_windows, len(domains))
    run = _run(corpus, (*domains, *count_only), layers, neurons, top_k, seed, name)
    if keep:
        run = replace(run, settings=run.settings | {"keep": keep})
    rows, even = kept_rows(text.windows, BOS, domain_windows[: len(domains)], keep)
    marked = {label: places.ravel()[rows] for label, places in (labels or {}).items()}
    raw = [b"" if ok else piece_bytes(piece) for piece, ok in zip(text.texts, text.whole, strict=True)]
    totals = np.bincount(corpus.flat[: corpus.positions], minlength=vocabulary)
    totals[BOS] = 0
    written = written if written is not None else layers if complete else max(layers // 2, 1)
    with StoreWriter.open(path) as writer:
        writer.begin(
            run,
            text.texts,
            text.whole,
            text.windows[: corpus.windows],
            totals,
            groups=(EXPLAINED,) if explained else (),
            raw=raw if keep else None,
            labels=marked,
        )
        shares = [_mix(layer / max(layers - 1, 1), mix) for layer in range(written)]
        made = _layers(rng, corpus, shares, neurons, top_k)
        if light:
            rules = rng.choice(RULES, min(pool, neurons), p=_mix(0.5, mix))
            made = _light_layers(rng, count_layer(rng, corpus, rules.tolist(), top_k), rules, shares, neurons)
        for layer, arrays in enumerate(made):
            curves, fired = arrays.pop("curves"), arrays.pop("fired")
            arrays["explained_sums"] = sums(arrays.pop("code_lengths"))
            kept = arrays.pop("has_curve", arrays["activations"] > 0)
            bits: Iterator[tuple[bytes, bytes | bytearray]] = iter(())
            if keep and density is not None:
                bits = random_bits(rng, layer, neurons, even, density)
            elif keep:
                bits = bits_of(layer, _active(fired, rows, text.windows.size), even)
            dtype = np.uint8 if max(domain_windows) < 256 else np.uint16
            writer.write_layer(
                layer,
                arrays,
                ((int(i), curves[i].astype(dtype)) for i in np.flatnonzero(kept)),
                {"seconds": 1.0},
                bits,
            )
            writer.write_progress(_progress("collecting", layer + 1, layers))
        if not written:
            writer.write_progress(_progress("collecting", 0, layers))
        if complete:
            writer.write_progress(_progress("complete", layers, layers))
    return path


# A store that is not complete tells when it was written.
make_store = made_once(write_store, unless=lambda given: not given["complete"])


def _active(fired: Sequence[np.ndarray], rows: np.ndarray, size: int) -> np.ndarray:
    """[P, F] bool at the flat positions ``rows``, of neurons that fire at the flat positions ``fired``."""
    found = np.zeros((len(rows), len(fired)), np.bool_)
    for neuron, places in enumerate(fired):
        everywhere = np.zeros(size, np.bool_)
        everywhere[places] = True
        found[:, neuron] = everywhere[rows]
    return found


def _progress(state: str, done: int, layers: int) -> Progress:
    left = 0.0 if state == "complete" else 30.0 * (layers - done)
    return Progress(state, "statistics", done, layers, done / layers, 12345.6, left, time.time())


def _run(
    corpus: Corpus, domains: Sequence[str], layers: int, neurons: int, top_k: int, seed: int, name: str
) -> RunInfo:
    first, records = 0, []
    for i, (domain, count) in enumerate(zip(domains, corpus.domain_windows, strict=True)):
        records.append(DomainInfo(domain, first, count, count, 3, i >= corpus.counted_domains, f"{seed:08x}{i:08x}"))
        first += count
    model = ModelInfo(
        name, "opt", layers, neurons, 64, len(corpus.text.texts), corpus.seq_len, "relu", False, f"{seed:016x}"
    )
    settings: dict[str, Any] = {
        "min_occurrences": MIN_OCCURRENCES,
        "top_k": top_k,
        "layers": list(range(layers)),
        "dtype": "float32",
        "batch_size": 8,
    }
    info = CorpusInfo(corpus.seq_len, BOS, tuple(records), f"{seed:016x}")
    return RunInfo(model, info, settings, "2026-01-01T00:00:00+00:00", "0.1.0", f"{seed:032x}")


def _mix(depth: float, mix: Sequence[float] | None) -> np.ndarray:
    """Shares of RULES at a relative depth: ``mix``, or else dead and detectors early, positional throughout."""
    if mix is not None:
        return np.array(mix)
    dead, token = max(0.02, 0.3 - 0.5 * abs(depth - 0.3)), max(0.04, 0.25 - 0.3 * depth)
    shares = {"dead": dead, "token": token, "bigram": 0.05, "trigram": 0.03, "oscillatory": 0.02, "both": 0.03}
    shares |= {"one": 0.03, "hump": 0.02}
    return np.array([*shares.values(), 1 - sum(shares.values())])


def _layers(
    rng: np.random.Generator, corpus: Corpus, shares: Sequence[np.ndarray], neurons: int, top_k: int
) -> Iterator[dict[str, np.ndarray]]:
    for own in shares:
        yield count_layer(rng, corpus, rng.choice(RULES, neurons, p=own).tolist(), top_k)


def _light_layers(
    rng: np.random.Generator,
    counted: dict[str, np.ndarray],
    rules: np.ndarray,
    shares: Sequence[np.ndarray],
    neurons: int,
) -> Iterator[dict[str, np.ndarray]]:
    ends = np.searchsorted(counted["detected_neuron"], np.arange(len(rules) + 1))
    for own in shares:
        share = dict(zip(RULES, own, strict=True))
        weights = np.array([share[rule] / np.count_nonzero(rules == rule) for rule in rules])
        drawn = rng.choice(len(rules), neurons, p=weights / weights.sum())
        sizes = (ends[1:] - ends[:-1])[drawn]
        starts = np.cumsum(sizes) - sizes
        detected = np.repeat(ends[:-1][drawn] - starts, sizes) + np.arange(sizes.sum())
        arrays = {
            name: array[detected if name.startswith("detected_") else drawn]
            for name, array in counted.items()
            if name not in ("curves", "fired")
        }
        arrays["detected_neuron"] = np.repeat(np.arange(neurons, dtype=np.uint32), sizes)
        arrays |= spread({name: counted[name] for name in SIMILAR_NAMES}, drawn, len(rules))
        has_curve = (arrays["activations"] > 0) & ((arrays["position_type"] > 0) | (np.arange(neurons) < 64))
        extra = {"curves": _Drawn(counted["curves"], drawn), "fired": [counted["fired"][i] for i in drawn]}
        yield arrays | extra | {"has_curve": has_curve}  # type: ignore[dict-item]


class _Drawn:
    """Rows of a big array by drawn index, without a copy of them all."""

    def __init__(self, array: np.ndarray, drawn: np.ndarray):
        self._array, self._drawn = array, drawn

    def __getitem__(self, row: int) -> np.ndarray:
        return self._array[self._drawn[row]]
