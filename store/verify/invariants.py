"""What the definitions say must hold between the numbers of a layer, as checks that find where it does not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ffnscope.store.definitions import (
    COVERED_PERCENT,
    KINDS,
    MOST_COVERING,
    ORDERS,
    POSITION_STRENGTHS,
    POSITION_TYPES,
    POSITIONAL_NATS,
    WHOLE_PERCENT,
)
from ffnscope.store.format.schema import ABSENT, TOP_NGRAMS
from ffnscope.store.records import RunInfo

Arrays = dict[str, np.ndarray]
Check = Callable[[Arrays, RunInfo], np.ndarray]
_COVERED = ("unigrams_95", "bigrams_95", "trigrams_95")
_TOP = ("top_unigrams", "top_bigrams", "top_trigrams")


def _codes(a: Arrays, run: RunInfo) -> np.ndarray:
    bad = (a["kind"] >= len(KINDS)) | (a["order"] >= len(ORDERS))
    return bad | (a["position_type"] >= len(POSITION_TYPES)) | (a["position_strength"] >= len(POSITION_STRENGTHS))


def _domains(a: Arrays, run: RunInfo) -> np.ndarray:
    sizes = np.array([domain.windows * run.corpus.seq_len for domain in run.corpus.domains], np.uint64)
    return (a["domain_activations"].sum(axis=1) != a["activations"]) | (a["domain_activations"] > sizes).any(axis=1)


def _curves(a: Arrays, run: RunInfo) -> np.ndarray:
    counted = len(run.corpus.counted_domains)
    return (a["curve_sums"] != a["domain_activations"][:, :counted]).any(axis=1)


def _bos(a: Arrays, run: RunInfo) -> np.ndarray:
    return a["bos_activations"] > a["activations"]


def _kind(a: Arrays, run: RunInfo) -> np.ndarray:
    dead, positional = KINDS.index("dead"), KINDS.index("positional")
    expected = np.where(
        a["activations"] == 0,
        dead,
        np.where(a["order"] > 0, a["order"], np.where(a["position_type"] > 0, positional, KINDS.index("other"))),
    )
    return (a["kind"] != expected) | ((a["position_type"] > 0) != (a["position_strength"] > 0))


def _positional(a: Arrays, run: RunInfo) -> np.ndarray:
    excess = a["position_mi"].astype(np.float64) - a["position_bias"]
    # At the threshold itself float32 cannot tell.
    unsure = np.abs(excess - POSITIONAL_NATS) <= 1e-6
    return ~unsure & ((excess > POSITIONAL_NATS) != (a["position_type"] > 0))


def _values(a: Arrays, run: RunInfo) -> np.ndarray:
    dead = a["activations"] == 0
    largest, mean = a["max_activation"], a["mean_activation"]
    # A mean of equal values may round to just above them.
    over = mean > largest + np.abs(largest) * 1e-5
    return (np.isnan(largest) != dead) | (np.isnan(mean) != dead) | over


def _ngrams(a: Arrays, run: RunInfo) -> np.ndarray:
    counted = len(run.corpus.counted_domains)
    of = a["ngram_activations"]
    bad = of[:, 0] > a["domain_activations"][:, :counted].sum(axis=1)
    bad |= (of[:, 1:] > of[:, :-1]).any(axis=1) | (a["ngrams_distinct"] > of).any(axis=1)
    return bad | ((a["ngrams_distinct"] > 0) != (of > 0)).any(axis=1)


def _top(a: Arrays, run: RunInfo) -> np.ndarray:
    bad = np.zeros(len(a["kind"]), np.bool_)
    for n, name in enumerate(_TOP):
        counts, totals = a[f"{name}_count"].astype(np.int64), a[f"{name}_total"]
        bad |= (counts[:, 1:] > counts[:, :-1]).any(axis=1) | (counts > totals).any(axis=1)
        bad |= (counts > 0).sum(axis=1) != np.minimum(a["ngrams_distinct"][:, n], TOP_NGRAMS)
        summed, whole = counts.sum(axis=1), a["ngram_activations"][:, n].astype(np.int64)
        bad |= np.where(a["ngrams_distinct"][:, n] <= TOP_NGRAMS, summed != whole, summed >= whole)
        bad |= ((a[name] == ABSENT).any(axis=2) != (counts == 0)).any(axis=1)
    tokens = a["top_unigrams"][:, :, 0]
    known = np.append(a["unigram_totals"], 0)
    totals = np.where(tokens == ABSENT, 0, known[np.minimum(tokens, len(known) - 1)])
    return bad | (totals != a["top_unigrams_total"]).any(axis=1)


def _coverage(a: Arrays, run: RunInfo) -> np.ndarray:
    bad = np.zeros(len(a["kind"]), np.bool_)
    for n, (name, top) in enumerate(zip(_COVERED, _TOP, strict=True)):
        m, totals = a[name].astype(np.int64), a["ngram_activations"][:, n].astype(np.int64)
        covered = np.cumsum(a[f"{top}_count"].astype(np.int64), axis=1)
        enough = WHOLE_PERCENT * covered >= COVERED_PERCENT * totals[:, None]
        first = np.where(totals == 0, 0, np.argmax(enough, axis=1) + 1)
        known = (totals == 0) | enough[:, -1]
        bad |= np.where(known, m != first, (m <= TOP_NGRAMS) | (m > a["ngrams_distinct"][:, n]))
    return bad


def _detectors(a: Arrays, run: RunInfo) -> np.ndarray:
    owner, count, total = (a[f"detected_{name}"].astype(np.int64) for name in ("neuron", "count", "total"))
    neurons = len(a["kind"])
    bad = np.zeros(neurons, np.bool_)
    order = a["order"].astype(np.int64)
    weak = (
        (WHOLE_PERCENT * count < COVERED_PERCENT * total)
        | (total < int(run.settings["min_occurrences"]))
        | (count > total)
    )
    weak |= (a["detected_tokens"] != ABSENT).sum(axis=1) != order[owner]
    same = owner[1:] == owner[:-1]
    weak[1:] |= same & (count[1:] > count[:-1])
    bad[owner[weak]] = True
    covered = np.bincount(owner, count, minlength=neurons).astype(np.int64)
    totals = a["ngram_activations"][np.arange(neurons), np.clip(order - 1, 0, 2)].astype(np.int64)
    few = np.zeros(neurons, np.bool_)
    for n, (name, most) in enumerate(zip(_COVERED, MOST_COVERING, strict=True), start=1):
        few |= (order == n) & (a[name] >= 1) & (a[name] <= most)
    bad |= (order > 0) & (~few | (WHOLE_PERCENT * covered < COVERED_PERCENT * totals) | (covered > totals))
    bad |= (np.bincount(owner, minlength=neurons) > 0) != (order > 0)
    return bad


def _projection(a: Arrays, run: RunInfo) -> np.ndarray:
    up, down = a["promoted_projection"], a["suppressed_projection"]
    bad = (up[:, 1:] > up[:, :-1]).any(axis=1) | (down[:, 1:] < down[:, :-1]).any(axis=1)
    for name in ("promoted", "suppressed"):
        bad |= (a[name] >= run.model.vocabulary).any(axis=1) | np.isnan(a[f"{name}_projection"]).any(axis=1)
    owner, neurons = a["detected_neuron"], len(a["kind"])
    sizes = np.bincount(owner, minlength=neurons)
    sums = np.bincount(owner, a["detected_projection"], minlength=neurons)
    mean = np.divide(sums, sizes, out=np.full(neurons, np.nan), where=sizes > 0)
    stored = a["trigger_projection"]
    return bad | (np.isnan(stored) != (sizes == 0)) | (np.abs(mean - stored) > 1e-5 + 1e-4 * np.abs(mean))


def _similar(a: Arrays, run: RunInfo) -> np.ndarray:
    neurons = len(a["kind"])
    own, bad = np.arange(neurons)[:, None], np.zeros(neurons, np.bool_)
    for name, sign in (("similar", 1), ("opposed", -1)):
        neighbours, cosines = a[name], sign * a[f"{name}_cosine"]
        mask = neighbours != ABSENT
        bad |= (mask & ((neighbours >= neurons) | (neighbours == own) | ~(np.abs(cosines) <= 1))).any(axis=1)
        bad |= (np.isnan(cosines) == mask).any(axis=1) | (mask[:, 1:] > mask[:, :-1]).any(axis=1)
        bad |= (cosines[:, 1:] > cosines[:, :-1]).any(axis=1)
        ordered = np.sort(neighbours, axis=1)
        bad |= ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != ABSENT)).any(axis=1)
    return bad


def _contexts(a: Arrays, run: RunInfo) -> np.ndarray:
    bad = np.zeros(len(a["kind"]), np.bool_)
    for name in ("strongest", "random", *(["negative"] if "negative_window" in a else [])):
        window, position = a[f"{name}_window"], a[f"{name}_position"]
        mask = window != ABSENT
        wrong = (window >= run.corpus.windows) | (position >= run.corpus.seq_len)
        bad |= (mask & wrong).any(axis=1) | (mask.any(axis=1) & (a["activations"] == 0))
    strongest = a["strongest_value"]
    return bad | (strongest[:, 1:] > strongest[:, :-1]).any(axis=1)


def _explained(a: Arrays, run: RunInfo) -> np.ndarray:
    neurons = len(a["kind"])
    if "token_explained" not in a:
        return np.zeros(neurons, np.bool_)
    shares = np.stack([a[f"{name}_explained"] for name in ("token", "bigram", "trigram", "position")])
    none, dead = np.isnan(shares), a["activations"] == 0
    bad = (none.any(axis=0) != none.all(axis=0)) | (dead & ~none[0]) | (shares > 1).any(axis=0)
    sums = a["explained_sums"]
    if none[0].all():
        return bad | (sums != 0).any()
    # A layer's figure is a mean of its neurons', each by its D(p0).
    means = (1 - sums[1:] / sums[0])[:, None] if sums[0] > 0 else np.full((4, 1), np.nan)
    slack = 1e-5 * (1 + np.abs(means))
    inside = (means >= np.nanmin(shares, axis=1, keepdims=True) - slack) & (
        means <= np.nanmax(shares, axis=1, keepdims=True) + slack
    )
    return bad | ~inside.all()


def _token_set(a: Arrays, run: RunInfo) -> np.ndarray:
    neurons = len(a["kind"])
    if "token_set" not in a:
        return np.zeros(neurons, np.bool_)
    tokens, size, f1 = a["token_set"], a["token_set_size"].astype(np.int64), a["token_f1"]
    mask = tokens != ABSENT
    bad = (mask.sum(axis=1) != np.minimum(size, TOP_NGRAMS)) | (mask[:, 1:] > mask[:, :-1]).any(axis=1)
    bad |= (mask & (tokens >= run.model.vocabulary)).any(axis=1) | (size > run.model.vocabulary)
    bad |= (size > 0) & (a["activations"] < 2 * size.astype(np.uint64))
    bad |= ((size == 0) & ~np.isnan(f1)) | (f1 < 0) | (f1 > 1)
    ordered = np.sort(tokens, axis=1)
    return bad | ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != ABSENT)).any(axis=1)


def _descriptions(a: Arrays, run: RunInfo) -> np.ndarray:
    neurons = len(a["kind"])
    if "concept_formula" not in a:
        return np.zeros(neurons, np.bool_)
    formulas, figures = a["concept_formula"].astype(np.int64), a["concept_figures"]
    shapes, literals = formulas[..., 0], formulas[..., 1:]
    mask = literals != 0
    bad = ((shapes < 0) | (shapes > 2) | (mask[..., 1:] & ~mask[..., :-1]).any(axis=2)).any(axis=1)
    bad |= (mask[:, 1, 0] & ~mask[:, 0, 0]) | (mask[:, :, 0] & (a["activations"] == 0)[:, None]).any(axis=1)
    bad |= (np.isnan(figures[..., 2]) & mask[..., 0]).any(axis=1)
    bad |= (~np.isnan(figures) & ~mask[..., :1]).any(axis=(1, 2))
    return bad | ((figures < 0) | (figures > 1)).any(axis=(1, 2))


def _thresholds(a: Arrays, run: RunInfo) -> np.ndarray:
    neurons = len(a["kind"])
    if "threshold" not in a:
        return np.zeros(neurons, np.bool_)
    threshold, share, dead = a["threshold"], a["positive_share"], a["activations"] == 0
    bad = ~(threshold >= 0) | (np.isnan(share) != dead) | (share < 0) | (share > 1)
    bad |= (a["strongest_value"] < threshold[:, None]).any(axis=1) | (a["strongest_value"] <= 0).any(axis=1)
    bad |= (-a["negative_value"] < threshold[:, None]).any(axis=1) | (a["negative_value"] >= 0).any(axis=1)
    return bad | (a["negative_value"][:, 1:] < a["negative_value"][:, :-1]).any(axis=1)


def _experts(a: Arrays, run: RunInfo) -> np.ndarray:
    """Neurons of an expert are activated at positions that chose it; each position chooses the same number of experts."""
    neurons = len(a["kind"])
    if "expert" not in a:
        return np.zeros(neurons, np.bool_)
    expert, chosen = a["expert"], a["expert_positions"]
    routed = expert != ABSENT
    first = int(np.argmax(routed)) if routed.any() else neurons
    own = expert[first:].astype(np.int64)
    size = max(1, (neurons - first) // max(len(chosen), 1))
    bad = np.zeros(neurons, np.bool_)
    bad[first:] = own != np.arange(len(own)) // size
    if len(chosen) != (len(np.unique(own)) if len(own) else 0):
        return ~bad
    sizes = np.array([domain.windows * run.corpus.seq_len for domain in run.corpus.domains], np.uint64)
    if len(chosen) and (chosen.sum(axis=0) != sizes * np.uint64(run.model.experts_per_token)).any():
        return ~bad
    where = own.clip(max=max(len(chosen) - 1, 0))
    bad[first:] |= (a["domain_activations"][first:] > chosen[where]).any(axis=1) if len(chosen) else False
    return bad


CHECKS: tuple[tuple[str, Check], ...] = (
    ("codes that are out of range", _codes),
    ("activations are not the sum of the domains' or exceed their positions", _domains),
    ("position curves do not sum to the activations", _curves),
    ("more activations at BOS than activations", _bos),
    ("kind does not follow from the numbers", _kind),
    ("positional type does not follow from the mutual information", _positional),
    ("largest and mean activation do not agree", _values),
    ("n-gram activations do not agree with the activations", _ngrams),
    ("most frequent n-grams do not agree with the counts", _top),
    ("number of n-grams that cover 95% is wrong", _coverage),
    ("detected n-grams do not make the detector that is recorded", _detectors),
    ("projections are out of order or do not agree", _projection),
    ("similar output rows are not other neurons of the layer, or out of order", _similar),
    ("contexts are not positions of the corpus", _contexts),
    ("shares explained do not agree with each other or with the layer's sums", _explained),
    ("token set is not a set of tokens that the neuron is activated on", _token_set),
    ("activated where their expert was not chosen, or experts are numbered wrongly", _experts),
    ("descriptions are not formulas of concepts, or have figures out of range", _descriptions),
    ("thresholds do not agree with the activations", _thresholds),
)
