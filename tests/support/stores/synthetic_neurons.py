"""Neurons that fire by a drawn rule on a corpus, and every array of a layer counted from where they fired."""

from __future__ import annotations

import numpy as np
from synthetic_explained import Halves, empty
from synthetic_similar import nearest
from synthetic_text import BOS, Text

from ffnscope.store.definitions import KINDS, POSITION_TYPES
from ffnscope.store.format.schema import ABSENT, CONTEXTS, LAYER_ARRAYS, SIMILAR, TOP_NGRAMS, array_names

MIN_OCCURRENCES = 5
FEW = (5, 20, 50)
WIDTH = 16
RULES = ("dead", "token", "bigram", "trigram", "oscillatory", "both", "one", "hump", "other")


class Corpus:
    """The n-grams of a text: where each stands and how often. Count-only domains come last."""

    def __init__(self, text: Text, domain_windows: tuple[int, ...], counted: int):
        self.text, self.domain_windows = text, domain_windows
        self.seq_len = text.windows.shape[1]
        self.flat = text.windows.ravel()
        self.counted_domains = counted
        self.windows = sum(domain_windows[:counted])  # S of n-grams and curves
        self.positions = self.windows * self.seq_len
        tokens = text.windows[: self.windows]
        has = tokens != BOS
        self.ids, self.grams, self.totals, self.sorted, self.starts = [], [], [], [], []
        for n in (1, 2, 3):
            ok = np.zeros_like(has)
            ok[:, n - 1 :] = np.logical_and.reduce([has[:, k : self.seq_len - n + 1 + k] for k in range(n)])
            rows = np.stack([tokens.ravel()[np.flatnonzero(ok) - n + 1 + k] for k in range(n)], axis=1)
            grams, inverse, totals = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
            ids = np.full(tokens.size, -1, np.int64)
            ids[np.flatnonzero(ok)] = inverse.ravel()
            self.ids.append(ids)
            self.grams.append(grams)  # in lexicographic order: id order is token order
            self.totals.append(totals)
            order = np.argsort(ids, kind="stable")
            self.sorted.append(order[np.count_nonzero(ids < 0) :])
            self.starts.append(np.concatenate([[0], np.cumsum(totals)]))
        self.domain_ends = np.cumsum(domain_windows) * self.seq_len
        self.halves = Halves(self)

    def where(self, n: int, gram: int) -> np.ndarray:
        """Flat positions of an n-gram."""
        return self.sorted[n - 1][self.starts[n - 1][gram] : self.starts[n - 1][gram + 1]]


def _fire(rng: np.random.Generator, corpus: Corpus, rule: str) -> tuple[np.ndarray, str, str]:
    """Flat activated positions, ascending, and the position type and strength of the rule's curve."""
    size, seq_len = len(corpus.flat), corpus.seq_len
    position = np.arange(size) % seq_len
    if rule == "dead":
        return np.zeros(0, np.int64), "", ""
    if rule in ("token", "bigram", "trigram"):
        n = ("token", "bigram", "trigram").index(rule) + 1
        frequent = np.flatnonzero(corpus.totals[n - 1] >= MIN_OCCURRENCES)
        if not len(frequent):
            return np.zeros(0, np.int64), "", ""
        fired = np.concatenate(
            [corpus.where(n, g) for g in rng.choice(frequent, min(len(frequent), rng.integers(1, 5)))]
        )
        noise = rng.integers(0, size, int(len(fired) * rng.choice([0, 0.01, 0.03])))
        fired = np.concatenate([fired, noise])
        if rng.random() < 0.3:
            fired = np.concatenate([fired, np.flatnonzero(corpus.flat == BOS)])
        return np.unique(fired), "other", "weak"
    strong = rng.random() < 0.6
    noise = 0.0 if strong else 0.06
    if rule == "oscillatory":
        period = max(seq_len // rng.integers(3, 7), 4)
        high = (position + rng.integers(0, period)) % period < period // 2
    elif rule == "both":
        high = position < seq_len * rng.uniform(0.2, 0.8)
    elif rule == "one":
        edge = int(seq_len * rng.uniform(0.3, 0.8))
        high = np.where(position < edge, False, rng.random(size) < 0.6)
    elif rule == "hump":
        high = rng.random(size) < 0.8 * np.exp(-(((position / seq_len - rng.random()) / 0.12) ** 2)) + 0.02
    else:
        liked = rng.random(len(corpus.text.texts)) < rng.choice([0.01, 0.05, 0.3])
        high = liked[corpus.flat] & (rng.random(size) < rng.uniform(0.2, 0.9))
        high |= rng.random(size) < rng.choice([0.0005, 0.01, 0.05])
    fired = np.flatnonzero(high ^ (rng.random(size) < noise) if noise and rule != "other" else high)
    kind = {"hump": "other", "other": "other"}.get(rule, rule)
    return fired, kind, "strong" if strong else "weak"


def count_layer(rng: np.random.Generator, corpus: Corpus, rules: list[str], top_k: int) -> dict[str, np.ndarray]:
    """The arrays of a layer whose neurons fire by ``rules``; beside them ``curves`` [F, D, T] uint32, ``code_lengths``, and
    ``fired``, a list of each neuron's flat activated positions."""
    neurons, domains = len(rules), len(corpus.domain_windows)
    sizes = {"F": neurons, "D": domains, "K": top_k, "G": TOP_NGRAMS, "C": CONTEXTS, "R": SIMILAR, "M": 0}
    out: dict[str, np.ndarray] = {}
    for name in array_names(()):
        spec = LAYER_ARRAYS[name]
        shape = tuple(sizes[letter] if letter in sizes else int(letter) for letter in spec.shape)
        out[name] = np.zeros(shape, spec.dtype)
    for name in ("top_unigrams", "top_bigrams", "top_trigrams", "strongest_window", "strongest_position"):
        out[name][:] = ABSENT
    for name in ("random_window", "random_position"):
        out[name][:] = ABSENT
    for name in ("max_activation", "mean_activation", "strongest_value", "trigger_projection"):
        out[name][:] = np.nan
    out |= empty(neurons)
    out["curves"] = np.zeros((neurons, corpus.counted_domains, corpus.seq_len), np.uint32)
    detected: list[tuple[int, np.ndarray, np.ndarray, np.ndarray]] = []
    for i, rule in enumerate(rules):
        fired, kind, strength = _fire(rng, corpus, rule)
        out.setdefault("fired", []).append(fired)  # type: ignore[arg-type, attr-defined]
        found = _count_neuron(rng, corpus, out, i, fired, kind, strength)
        if found is not None:
            detected.append((i, *found))
    _project(rng, corpus, out, detected, neurons, top_k)
    return out


def _count_neuron(
    rng: np.random.Generator,
    corpus: Corpus,
    out: dict[str, np.ndarray],
    i: int,
    fired: np.ndarray,
    kind: str,
    strength: str,
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Count one neuron into ``out``; its detected n-grams: token rows, counts, totals."""
    if not len(fired):
        return None
    windows, seq_len = corpus.windows, corpus.seq_len
    values = rng.gamma(2.0, 0.5, len(fired)).astype(np.float32) + np.float32(1e-3)
    out["activations"][i] = len(fired)
    out["bos_activations"][i] = np.count_nonzero(corpus.flat[fired] == BOS)
    out["domain_activations"][i] = np.diff(np.searchsorted(fired, corpus.domain_ends), prepend=0)
    out["max_activation"][i], out["mean_activation"][i] = values.max(), values.mean(dtype=np.float64)
    inside = fired < corpus.positions
    fired, values = fired[inside], values[inside]
    corpus.halves.explain(fired, out, i)
    last = np.searchsorted(fired, corpus.domain_ends[: corpus.counted_domains])
    for d, (start, end) in enumerate(zip([0, *last[:-1]], last, strict=True)):
        out["curves"][i, d] = np.bincount(fired[start:end] % seq_len, minlength=seq_len)
    order, found = 0, None
    names = (("unigrams_95", "top_unigrams"), ("bigrams_95", "top_bigrams"), ("trigrams_95", "top_trigrams"))
    for n, (covering, top) in enumerate(names, start=1):
        ids = corpus.ids[n - 1][fired]
        grams, counts = np.unique(ids[ids >= 0], return_counts=True)
        whole, totals = counts.sum(), corpus.totals[n - 1][grams]
        by = np.lexsort((grams, -counts))
        covered = np.cumsum(counts[by])
        m = int(np.searchsorted(100 * covered, 95 * whole)) + 1 if whole else 0
        out[covering][i], out["ngram_activations"][i, n - 1], out["ngrams_distinct"][i, n - 1] = m, whole, len(grams)
        first = by[:TOP_NGRAMS]
        out[top][i, : len(first)] = corpus.grams[n - 1][grams[first]]
        out[f"{top}_count"][i, : len(first)], out[f"{top}_total"][i, : len(first)] = counts[first], totals[first]
        good = by[(100 * counts[by] >= 95 * totals[by]) & (totals[by] >= MIN_OCCURRENCES)]
        if not order and 1 <= m <= FEW[n - 1] and len(good) and 100 * counts[good].sum() >= 95 * whole:
            order, rows = n, np.full((len(good), 3), ABSENT, np.uint32)
            rows[:, :n] = corpus.grams[n - 1][grams[good]]
            found = (rows, counts[good], totals[good])
    curve = out["curves"][i].sum(axis=0, dtype=np.int64)
    f, mean = curve / windows, curve.sum() / (windows * seq_len)
    with np.errstate(divide="ignore", invalid="ignore"):
        mi = np.nan_to_num(f * np.log(f / mean)).sum() + np.nan_to_num((1 - f) * np.log((1 - f) / (1 - mean))).sum()
    out["position_mi"][i] = mi / seq_len
    out["position_bias"][i] = np.count_nonzero((curve > 0) & (curve < windows)) / (2 * windows * seq_len)
    positional = mi / seq_len - out["position_bias"][i] > 0.05
    if positional:
        out["position_type"][i] = POSITION_TYPES.index(kind)
        out["position_strength"][i] = 2 if strength == "strong" else 1
    out["order"][i] = out["split_order"][i] = order
    out["split_held"][i] = 2 if order else 0
    out["kind"][i] = order if order else KINDS.index("positional") if positional else KINDS.index("other")
    best = np.argsort(-values, kind="stable")[:CONTEXTS]
    out["strongest_window"][i, : len(best)], out["strongest_position"][i, : len(best)] = divmod(fired[best], seq_len)
    out["strongest_value"][i, : len(best)] = values[best]
    some = rng.choice(fired, min(CONTEXTS, len(fired)), replace=False)
    out["random_window"][i, : len(some)], out["random_position"][i, : len(some)] = divmod(some, seq_len)
    return found


def _project(
    rng: np.random.Generator, corpus: Corpus, out: dict[str, np.ndarray], detected: list, neurons: int, top_k: int
) -> None:
    """Projections of drawn output rows; the rows of most detectors point away from their triggers."""
    vocabulary = len(corpus.text.texts)
    unembedding = rng.standard_normal((vocabulary, WIDTH), np.float32)
    rows = rng.standard_normal((neurons, WIDTH), np.float32)
    for i, grams, _, _ in detected:
        away = unembedding[_last(grams)].mean(axis=0)
        rows[i] = rows[i] * 0.7 + (-away if rng.random() < 0.85 else away)
    rows *= np.float32(0.03)
    out |= nearest(rows)
    spans = {i: part for i, *part in detected}
    columns: dict[str, list[np.ndarray]] = {name: [] for name in LAYER_ARRAYS if name.startswith("detected_")}
    for start in range(0, neurons, 512):
        block = rows[start : start + 512] @ unembedding.T
        for name, sign in (("promoted", -1.0), ("suppressed", 1.0)):
            keys = np.float32(sign) * block
            near = np.argpartition(keys, top_k, axis=1)[:, :top_k] if top_k < vocabulary else np.argsort(keys, axis=1)
            near.sort(axis=1)
            values = np.take_along_axis(keys, near, axis=1)
            by = np.argsort(values, axis=1, kind="stable")
            out[name][start : start + 512] = np.take_along_axis(near, by, axis=1)
            out[f"{name}_projection"][start : start + 512] = np.float32(sign) * np.take_along_axis(values, by, axis=1)
        for i in range(start, min(start + 512, neurons)):
            if i not in spans:
                continue
            grams, counts, totals = spans[i]
            row = block[i - start]
            projections = row[_last(grams)]
            out["trigger_projection"][i] = projections.mean(dtype=np.float64)
            columns["detected_neuron"].append(np.full(len(counts), i))
            columns["detected_tokens"].append(grams)
            columns["detected_count"].append(counts)
            columns["detected_total"].append(totals)
            columns["detected_projection"].append(projections)
            columns["detected_rank"].append((row[None] < projections[:, None]).sum(axis=1))
    for name, parts in columns.items():
        if parts:
            out[name] = np.concatenate(parts).astype(LAYER_ARRAYS[name].dtype)


def _last(grams: np.ndarray) -> np.ndarray:
    """The last token of each row."""
    n = (grams != ABSENT).sum(axis=1)
    return grams[np.arange(len(grams)), n - 1].astype(np.int64)
