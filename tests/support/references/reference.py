"""A slow, plain implementation of every number of the definitions, which the product is checked against.

It shares no code with the product and is written to be read beside the definitions, section by section:
loops, Counters and integers instead of anything clever. Shapes: S windows, T positions, F neurons, d model
width, V vocabulary size.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np

Gram = tuple[int, ...]
Grams = dict[tuple[int, int], list[Gram]]  # (window, position): the n-grams that end there, by length
Detected = tuple[Gram, int, int]

ORDER_NAMES = {1: "token", 2: "bigram", 3: "trigram"}
MOST_COVERING = {1: 5, 2: 20, 3: 50}


# ---- Data -------------------------------------------------------------------------------------------------


class Domain(NamedTuple):
    """Windows `first .. first + windows - 1` of the corpus."""

    name: str
    first: int
    windows: int
    count_only: bool = False


def cut_windows(documents: Sequence[Sequence[int]], seq_len: int, bos_id: int | None) -> tuple[np.ndarray, int]:
    """The windows [S, T] int64 of one domain's tokenised documents, and the number of tokens left over."""
    stream: list[int] = []
    for number, document in enumerate(documents):
        if number > 0 and bos_id is not None:
            stream.append(bos_id)
        stream.extend(document)
    prefix = [] if bos_id is None else [bos_id]
    piece = seq_len - len(prefix)
    windows = []
    while len(stream) >= piece:
        windows.append(prefix + stream[:piece])
        stream = stream[piece:]
    return np.array(windows, dtype=np.int64).reshape(len(windows), seq_len), len(stream)


def gram_at(tokens: np.ndarray, window: int, position: int, n: int, bos_id: int | None) -> Gram | None:
    """The n-gram that ends at a position, None where it leaves the window or holds BOS."""
    first = position - n + 1
    if first < 0:
        return None
    gram = tuple(int(token) for token in tokens[window, first : position + 1])
    if bos_id is not None and bos_id in gram:
        return None
    return gram


def grams_of(tokens: np.ndarray, bos_id: int | None, windows: Iterable[int]) -> Grams:
    """The n-grams that end at each position of some windows. Where one holds BOS or leaves the window, so do longer ones.

    They are made once for all neurons: this is most of the time that the reference takes.
    """
    found: Grams = {}
    for window in windows:
        for position in range(tokens.shape[1]):
            grams = [gram_at(tokens, window, position, n, bos_id) for n in (1, 2, 3)]
            found[window, position] = [gram for gram in grams if gram is not None]
    return found


def full_windows(domains: Iterable[Domain]) -> list[int]:
    """The windows of all domains that are not count-only."""
    return [w for d in domains if not d.count_only for w in range(d.first, d.first + d.windows)]


def occurrences(tokens: np.ndarray, n: int, bos_id: int | None, windows: Iterable[int]) -> Counter[Gram]:
    """N(g) of every n-gram over the given windows."""
    found: Counter[Gram] = Counter()
    for window in windows:
        for position in range(tokens.shape[1]):
            gram = gram_at(tokens, window, position, n, bos_id)
            if gram is not None:
                found[gram] += 1
    return found


def all_occurrences(grams: Grams) -> dict[int, Counter[Gram]]:
    """N(g) of every n-gram, by n."""
    return {n: Counter(there[n - 1] for there in grams.values() if len(there) >= n) for n in (1, 2, 3)}


# ---- N-grams and detectors --------------------------------------------------------------------------------


def covers_95(part: int, whole: int) -> bool:
    return 100 * part >= 95 * whole


def coverage_95(count: Counter[Gram]) -> int:
    """The smallest m such that the m most frequent n-grams cover at least 95%; 0 where there are none."""
    whole = sum(count.values())
    if whole == 0:
        return 0
    covered = 0
    for m, times in enumerate(sorted(count.values(), reverse=True), start=1):
        covered += times
        if covers_95(covered, whole):
            return m
    raise AssertionError("all n-grams together cover everything")


def detected_ngrams(count: Counter[Gram], N: Counter[Gram], min_occurrences: int) -> list[Detected]:
    """All n-grams that a neuron would detect, (tokens, count, N), most counted first, ties by token ids."""
    found = [
        (gram, times, N[gram])
        for gram, times in count.items()
        if N[gram] >= min_occurrences and covers_95(times, N[gram])
    ]
    return sorted(found, key=lambda item: (-item[1], item[0]))


def is_detector(n: int, count: Counter[Gram], detected: list[Detected]) -> bool:
    """Conditions 1 and 3 of the definition; 2 made `detected`, 4 is the caller's."""
    few = 1 <= coverage_95(count) <= MOST_COVERING[n]
    return few and covers_95(sum(times for _, times, _ in detected), sum(count.values()))


# ---- Positions --------------------------------------------------------------------------------------------


def position_information(counts: Sequence[int], windows: int) -> float:
    """Mutual information in nats between position and activation; `counts` [T] activations over S windows."""
    if sum(counts) == 0:
        return 0.0
    T = len(counts)
    f = Fraction(sum(counts), windows * T)
    terms: list[float] = []
    for activations, times in Counter(counts).items():
        f_p = Fraction(activations, windows)
        if f_p > 0:
            terms.extend([float(f_p) * math.log(f_p / f)] * times)
        if f_p < 1:
            terms.extend([float(1 - f_p) * math.log((1 - f_p) / (1 - f))] * times)
    return math.fsum(terms) / T


def position_bias(counts: Sequence[int], windows: int) -> float:
    """The Miller-Madow correction m / (2 S T)."""
    if windows == 0:
        return 0.0
    m = sum(1 for activations in counts if 0 < activations < windows)
    return m / (2 * windows * len(counts))


# ---- Thresholds -------------------------------------------------------------------------------------------


def thresholds(
    values: np.ndarray, tokens: np.ndarray, windows: Sequence[int], bos_id: int | None, share: str
) -> np.ndarray:
    """[F] float32: of a, `values` [S, T, F], the ceil(Q * n)-th largest |a| at the n positions of `windows` whose token is
    not BOS; `share` is Q as it was written."""
    places = [(w, p) for w in windows for p in range(tokens.shape[1]) if bos_id is None or tokens[w, p] != bos_id]
    rank = math.ceil(Fraction(share) * len(places))
    sizes = np.abs(np.array([values[place] for place in places], np.float32))
    return np.sort(sizes, axis=0)[::-1][rank - 1]


# ---- One neuron -------------------------------------------------------------------------------------------


@dataclass
class Neuron:
    """Every number of one neuron. Dictionaries by n have the keys 1, 2, 3."""

    positions: int
    activations: int
    frequency: float
    bos_activations: int
    max_activation: float | None
    mean_activation: float | None
    domain_positions: dict[str, int]
    domain_activations: dict[str, int]
    domain_frequency: dict[str, float]
    ngram_activations: dict[int, int]
    count: dict[int, Counter[Gram]]
    unigrams_95: int
    bigrams_95: int
    trigrams_95: int
    detector_order: int
    detected: list[Detected]
    top_unigrams: list[tuple[int, int, float]]
    position_counts: np.ndarray
    position_mi: float
    bias: float
    positional: bool
    kind: str

    @property
    def dead(self) -> bool:
        return self.activations == 0


def neuron_statistics(
    active: np.ndarray,
    values: np.ndarray,
    tokens: np.ndarray,
    domains: Sequence[Domain],
    bos_id: int | None,
    min_occurrences: int = 5,
    N: dict[int, Counter[Gram]] | None = None,
    grams: Grams | None = None,
) -> Neuron:
    """One neuron from `active` bool, `values` float (the activation function's output) and `tokens`, all [S, T].

    Count-only domains enter positions, activations, frequencies, BOS activations, max, mean and dead, nothing
    else. `grams` are those of the other domains' windows, and `N` their occurrences, where these are known.
    """
    S, T = tokens.shape
    assert sorted(w for d in domains for w in range(d.first, d.first + d.windows)) == list(range(S))
    full = full_windows(domains)
    if grams is None:
        grams = grams_of(tokens, bos_id, full)
    if N is None:
        N = all_occurrences(grams)

    activations = bos_activations = 0
    activated_values: list[float] = []
    domain_activations = {d.name: 0 for d in domains}
    count: dict[int, Counter[Gram]] = {1: Counter(), 2: Counter(), 3: Counter()}
    position_counts = np.zeros(T, dtype=np.int64)
    for domain in domains:
        for window in range(domain.first, domain.first + domain.windows):
            for position in np.flatnonzero(active[window]).tolist():
                activations += 1
                domain_activations[domain.name] += 1
                activated_values.append(float(values[window, position]))
                if bos_id is not None and tokens[window, position] == bos_id:
                    bos_activations += 1
                if domain.count_only:
                    continue
                position_counts[position] += 1
                for gram in grams[window, position]:
                    count[len(gram)][gram] += 1

    covering = {n: coverage_95(count[n]) for n in (1, 2, 3)}
    detector_order, detected = 0, []
    for n in (1, 2, 3):
        candidates = detected_ngrams(count[n], N[n], min_occurrences)
        if is_detector(n, count[n], candidates):
            detector_order, detected = n, candidates
            break

    unigrams = sorted(count[1].items(), key=lambda item: (-item[1], item[0]))[:20]
    mi = position_information([int(c) for c in position_counts], len(full))
    bias = position_bias([int(c) for c in position_counts], len(full))
    positional = mi - bias > 0.05

    if activations == 0:
        kind = "dead"
    elif detector_order:
        kind = ORDER_NAMES[detector_order]
    else:
        kind = "positional" if positional else "other"

    domain_positions = {d.name: d.windows * T for d in domains}
    return Neuron(
        positions=S * T,
        activations=activations,
        frequency=activations / (S * T),
        bos_activations=bos_activations,
        max_activation=max(activated_values) if activated_values else None,
        mean_activation=math.fsum(activated_values) / activations if activated_values else None,
        domain_positions=domain_positions,
        domain_activations=domain_activations,
        domain_frequency={name: a / domain_positions[name] for name, a in domain_activations.items()},
        ngram_activations={n: sum(count[n].values()) for n in (1, 2, 3)},
        count=count,
        unigrams_95=covering[1],
        bigrams_95=covering[2],
        trigrams_95=covering[3],
        detector_order=detector_order,
        detected=detected,
        top_unigrams=[(gram[0], times, times / N[1][gram]) for gram, times in unigrams],
        position_counts=position_counts,
        position_mi=mi,
        bias=bias,
        positional=positional,
        kind=kind,
    )


def layer_statistics(
    active: np.ndarray,
    values: np.ndarray,
    tokens: np.ndarray,
    domains: Sequence[Domain | tuple],
    bos_id: int | None,
    min_occurrences: int = 5,
) -> list[Neuron]:
    """All neurons of one layer: `active` bool and `values` float [S, T, F], `tokens` [S, T]."""
    named = [Domain(*d) for d in domains]
    grams = grams_of(tokens, bos_id, full_windows(named))
    N = all_occurrences(grams)
    return [
        neuron_statistics(active[:, :, i], values[:, :, i], tokens, named, bos_id, min_occurrences, N, grams)
        for i in range(active.shape[2])
    ]


# ---- Vocabulary projection --------------------------------------------------------------------------------


def projection(E: np.ndarray, W_out: np.ndarray, project_out: np.ndarray | None = None) -> np.ndarray:
    """projection(i, v), float64 [F, V], of the unembedding E [V, d] and the rows W_out [F, d].

    `project_out` [d, d_model] is the weight of a linear output projection before the unembedding; W_out is then
    [F, d_model].
    """
    E, W_out = E.astype(np.float64), W_out.astype(np.float64)
    if project_out is not None:
        W_out = W_out @ project_out.astype(np.float64).T
    return W_out @ E.T


def top_k(row: np.ndarray, k: int = 50) -> list[tuple[int, float]]:
    """The k largest of a row [V] as (token, value), ties by lower token id: the promoted tokens."""
    return [(v, float(row[v])) for v in sorted(range(len(row)), key=lambda v: (-row[v], v))[:k]]


def bottom_k(row: np.ndarray, k: int = 50) -> list[tuple[int, float]]:
    """The k smallest of a row [V] as (token, value), ties by lower token id: the suppressed tokens."""
    return [(v, float(row[v])) for v in sorted(range(len(row)), key=lambda v: (row[v], v))[:k]]


def is_top_k(listed: Sequence[tuple[int, float]], row: np.ndarray, k: int, tolerance: float) -> bool:
    """Whether a list made in lower precision is `top_k` up to near-ties; for `bottom_k` negate its values and row."""
    ids, values = [t for t, _ in listed], [x for _, x in listed]
    rest = [float(row[v]) for v in range(len(row)) if v not in ids]
    return (
        len(set(ids)) == len(ids) == min(k, len(row))
        and all(abs(x - float(row[t])) <= tolerance for t, x in listed)
        and list(zip(ids, values, strict=True)) == sorted(listed, key=lambda item: (-item[1], item[0]))
        and (not rest or not values or max(rest) <= values[-1] + 2 * tolerance)
    )


def trigger_projection(row: np.ndarray, detected: Sequence[Detected]) -> float | None:
    """Mean projection over the last tokens of the detected n-grams, one token an n-gram; None for no detector."""
    if not detected:
        return None
    return math.fsum(float(row[gram[-1]]) for gram, _, _ in detected) / len(detected)
