"""Collect into a store, and compare every number in it with the reference's own forward pass and counting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import reference as ref
import reference_explained
import reference_forward as fwd
import torch
from transformers import AutoModelForCausalLM

from ffnscope import core
from ffnscope.core.collect import collect
from ffnscope.core.corpus.sources import DomainSource
from ffnscope.core.run.request import CollectRequest
from ffnscope.core.statistics.positional import classify
from ffnscope.store.definitions import POSITION_STRENGTHS, POSITION_TYPES
from ffnscope.store.format.kept_bits import kept_windows
from ffnscope.store.format.schema import CONTEXTS, TOP_NGRAMS
from ffnscope.store.reader import Store
from ffnscope.store.records import Context, Neuron

DEMO = Path(next(iter(core.__path__))) / "demo"
DEMO_DOMAINS = ("wiki", "code", "math", "speech")


def sources_of(
    folder: Path, domains: dict[str, np.ndarray], count_only: Iterable[str] = ()
) -> tuple[DomainSource, ...]:
    """Save windows [S, T] a domain as .npy files; the sources that name them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, windows in domains.items():
        np.save(folder / f"{name}.npy", windows)
    return tuple(DomainSource(name, folder / f"{name}.npy", name in set(count_only)) for name in domains)


def run(
    model: Path,
    sources: tuple[DomainSource, ...],
    store: Path,
    report: Callable[[Any], None] = lambda event: None,
    **options: Any,
) -> Path:
    """Collect on the CPU, with as many windows a batch as asked for; the store's folder."""
    collect(CollectRequest(str(model), sources, store, device="cpu", **options), report)
    return store


def collect_demo(store: Path, windows: int | None = None) -> Path:
    """The demo model over the demo corpus, at most so many windows a domain."""
    sources = tuple(DomainSource(name, DEMO / "corpus" / f"{name}.jsonl") for name in DEMO_DOMAINS)
    return run(DEMO / "model", sources, store, max_tokens=None if windows is None else windows * 512, batch_size=8)


def activations(
    model: Any, tokens: np.ndarray, batch_size: int, neurons: dict[int, Sequence[int]] | None = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """(input, output) float32 [S, T, F] of every layer's activation function by ordinary forward passes over the
    same batches as the run: kernels may differ in the last bit from one batch size to another. With ``neurons`` of
    each layer only theirs are kept, in their order."""
    parts = []
    for first in range(0, len(tokens), batch_size):
        layers = fwd.forward_all(model, tokens[first : first + batch_size])
        if neurons is not None:
            layers = [(before[..., neurons[i]], after[..., neurons[i]]) for i, (before, after) in enumerate(layers)]
        parts.append(layers)
    return [
        (np.concatenate([p[layer][0] for p in parts]), np.concatenate([p[layer][1] for p in parts]))
        for layer in range(len(parts[0]))
    ]


def neuron_values(model: Any, tokens: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """a, float32 [S, T, F], of every layer, over the same batches as the run."""
    parts = [fwd.forward_values(model, tokens[i : i + batch_size]) for i in range(0, len(tokens), batch_size)]
    return [np.concatenate(layer) for layer in zip(*parts, strict=True)]


def load(folder: Path, dtype: str = "float32") -> Any:
    """The checkpoint by Hugging Face in a dtype."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()


@dataclass
class Compared:
    """What was met, so that a test can say that it compared something of each sort."""

    kinds: Counter[str] = field(default_factory=Counter)
    positional_detectors: int = 0
    on_bos: int = 0
    detected: int = 0


def compare(
    path: Path,
    model_folder: Path,
    tokens: np.ndarray,
    *,
    layers: Sequence[int] | None = None,
    neurons: dict[int, Sequence[int]] | None = None,
    expected: Callable[[int], np.ndarray] | None = None,
) -> Compared:
    """Compare the store with the reference over ``tokens`` [S, T] (all domains in the store's order); of each layer
    every neuron, or only ``neurons``. ``expected(layer)`` [S, T, F] bool, where given, says what fires in place of
    the reference's forward pass. Raises AssertionError."""
    met = Compared()
    with Store.open(path) as store:
        corpus, settings = store.run.corpus, store.run.settings
        assert store.complete
        assert store.layers() == tuple(range(store.run.model.layers) if layers is None else layers)
        domains = [ref.Domain(d.name, d.first_window, d.windows, d.count_only) for d in corpus.domains]
        full = ref.full_windows(domains)
        assert full == list(range(corpus.counted_windows))
        for window in full:
            assert np.array_equal(store.window(window), tokens[window])
        grams = ref.grams_of(tokens, corpus.bos_id, full)
        N = ref.all_occurrences(grams)
        halves = reference_explained.Halves(tokens, full, corpus.bos_id, grams)
        totals = store.unigram_totals()
        assert {(t,): int(totals[t]) for t in np.flatnonzero(totals)} == dict(N[1])

        model = load(model_folder, settings["dtype"])
        E, project_out = fwd.unembedding(model)
        if hasattr(model, "lm_head"):
            model.lm_head = torch.nn.Identity()  # no neuron depends on the logits
        outcome = activations(model, tokens, settings["batch_size"], neurons)
        share = store.run.activated.share
        written = None if share is None else neuron_values(model, tokens, settings["batch_size"])
        for layer in store.layers():
            before, after = outcome[layer]
            active = before > 0
            # Contexts are ordered by the activation function's output, or by a, positive and negative ones apart.
            shown = [(active[full], after[full], "strongest")]
            if written is not None:
                a = written[layer]
                sizes = [domain.windows for domain in corpus.counted_domains]
                limits = ref.thresholds(a, tokens, kept_windows(sizes, 256).tolist(), corpus.bos_id, str(share))
                assert np.array_equal(store.column(layer, "threshold"), limits)
                # Where a token is not routed to a neuron's expert, the neuron is not activated, whatever its threshold.
                active = (np.abs(a) >= limits) & ~np.isneginf(before)
                positive = (active & (a > 0)).sum(axis=(0, 1))
                with np.errstate(invalid="ignore"):
                    shares = np.float32(positive / active.sum(axis=(0, 1)))
                assert np.array_equal(store.column(layer, "positive_share"), shares, equal_nan=True)
                shown = [
                    ((active & (a > 0))[full], a[full], "strongest"),
                    ((active & (a < 0))[full], a[full], "negative"),
                ]
            if expected is not None:
                assert np.array_equal(active, expected(layer)), "the model does not do what its rules say"
                active = expected(layer)
            projection = ref.projection(E, fwd.output_rows(model, layer), project_out)
            F = store.neurons(layer)
            chosen = range(F) if neurons is None else neurons[layer]
            assert len(projection) == F and len(chosen) == active.shape[2]
            frequencies, per_domain = store.column(layer, "frequency"), store.column(layer, "domain_activations")
            dead = ~active.any(axis=(0, 1))
            for name in ("max_activation", "mean_activation"):
                assert np.array_equal(np.isnan(store.column(layer, name)[chosen]), dead)
            undetected = store.column(layer, "order") == 0
            assert np.array_equal(np.isnan(store.column(layer, "trigger_projection")), undetected)
            explained: list[reference_explained.Explained] = []
            for column, neuron in enumerate(chosen):
                own = ref.neuron_statistics(
                    active[:, :, column],
                    after[:, :, column],
                    tokens,
                    domains,
                    corpus.bos_id,
                    settings["min_occurrences"],
                    N,
                    grams,
                )
                at = f"L{layer}N{neuron}"
                there = store.neuron(layer, neuron)
                assert (there.layer, there.neuron) == (layer, neuron), at
                assert there.frequency == frequencies[neuron] == np.float32(own.frequency), at
                assert per_domain[neuron].tolist() == list(own.domain_activations.values()), at
                assert there.curve.shape == (len(corpus.counted_domains), corpus.seq_len), at
                _compare_counts(there, own, N, at)
                _compare_positions(there, own, len(full), at)
                _compare_projection(there, own, projection[neuron], settings["top_k"], at)
                for where, values, name in shown:
                    _compare_strongest(getattr(there, name), where[:, :, column], values[:, :, column], at)
                _compare_drawn(there, active[full, :, column], at)
                explained.append(reference_explained.explain(active[:, :, column], halves))
                _compare_explained(there, explained[-1], at)
                met.kinds[own.kind] += 1
                met.positional_detectors += own.positional and own.detector_order > 0
                met.on_bos += own.bos_activations > 0
                met.detected += len(own.detected)
            if neurons is None:
                sums = reference_explained.layer_figure(explained)
                np.testing.assert_allclose(store.column(layer, "explained_sums"), sums, rtol=1e-11)
    return met


def _compare_counts(there: Neuron, own: ref.Neuron, N: dict[int, Counter[ref.Gram]], at: str) -> None:
    assert there.kind == own.kind, at
    assert (there.positions, there.activations, there.bos_activations) == (
        own.positions,
        own.activations,
        own.bos_activations,
    ), at
    shares = [(name, float(np.float32(share))) for name, share in own.domain_frequency.items()]
    assert list(there.domain_frequencies) == shares, at
    if own.dead:
        assert there.max_activation is None and there.mean_activation is None, at
    else:
        assert own.max_activation is not None and own.mean_activation is not None
        assert there.max_activation == np.float32(own.max_activation), at
        assert there.mean_activation is not None
        np.testing.assert_allclose(there.mean_activation, own.mean_activation, rtol=2e-6, err_msg=at)
    assert there.ngram_activations == tuple(own.ngram_activations.values()), at
    assert there.ngrams_distinct == tuple(len(own.count[n]) for n in (1, 2, 3)), at
    assert (there.unigrams_95, there.bigrams_95, there.trigrams_95) == (
        own.unigrams_95,
        own.bigrams_95,
        own.trigrams_95,
    ), at
    assert there.order == own.detector_order, at
    assert [(ngram.tokens, ngram.count, ngram.total) for ngram in there.detected] == own.detected, at
    for n in (1, 2, 3):
        most = sorted(own.count[n].items(), key=lambda item: (-item[1], item[0]))[:TOP_NGRAMS]
        listed = [(ngram.tokens, ngram.count, ngram.total) for ngram in there.top_ngrams[n - 1]]
        assert listed == [(gram, times, N[n][gram]) for gram, times in most], f"{at} n={n}"
    listed = [(ngram.tokens[0], ngram.count, ngram.probability) for ngram in there.top_ngrams[0]]
    assert listed == own.top_unigrams, at


def _compare_explained(there: Neuron, own: reference_explained.Explained, at: str) -> None:
    shares = (there.token_explained, there.bigram_explained, there.trigram_explained, there.position_explained)
    if own.explained is None:
        assert shares == (None,) * 4, at
    else:
        np.testing.assert_allclose(np.array(shares, float), own.explained, rtol=1e-6, atol=1e-7, err_msg=at)
    assert (there.token_set_size, list(there.token_set)) == (len(own.token_set), own.token_set[:TOP_NGRAMS]), at
    assert there.token_f1 == (None if own.token_f1 is None else float(np.float32(own.token_f1))), at


def _compare_positions(there: Neuron, own: ref.Neuron, windows: int, at: str) -> None:
    assert np.array_equal(there.curve.sum(axis=0), own.position_counts), at
    per_domain = there.curve.sum(axis=1).tolist()
    assert per_domain == list(own.domain_activations.values())[: len(per_domain)], at
    assert abs(there.position_mi - own.position_mi) <= 1e-6, at
    assert abs(there.position_bias - own.bias) <= 1e-6, at
    shape = (0, 0)
    if own.positional:
        types, strengths = classify(own.position_counts, windows)
        shape = (int(types), int(strengths))
        assert shape[0] > 0
    assert (there.position_type, there.position_strength) == (
        POSITION_TYPES[shape[0]],
        POSITION_STRENGTHS[shape[1]],
    ), at


def _compare_projection(there: Neuron, own: ref.Neuron, projection: np.ndarray, top_k: int, at: str) -> None:
    tolerance = 4e-6 * max(1.0, float(np.abs(projection).max()))
    assert ref.is_top_k(there.promoted, projection, top_k, tolerance), at
    assert ref.is_top_k([(t, -x) for t, x in there.suppressed], -projection, top_k, tolerance), at
    trigger = ref.trigger_projection(projection, own.detected)
    if trigger is None:
        assert there.trigger_projection is None and there.suppresses_triggers is None, at
        return
    assert there.trigger_projection is not None
    assert abs(there.trigger_projection - trigger) <= tolerance, at
    if abs(trigger) > tolerance:
        assert there.suppresses_triggers == (trigger < 0), at
    for ngram in there.detected:
        value = projection[ngram.tokens[-1]]
        assert abs(ngram.projection - value) <= tolerance, at
        assert (projection < value - 2 * tolerance).sum() <= ngram.rank <= (projection < value + 2 * tolerance).sum()


def _compare_strongest(found: tuple[Context, ...], active: np.ndarray, values: np.ndarray, at: str) -> None:
    places = [(int(window), int(position)) for window, position in np.argwhere(active)]
    strongest = sorted(places, key=lambda place: (-abs(values[place]), place))[:CONTEXTS]
    assert [(c.window, c.position) for c in found] == strongest, at
    assert [c.activation for c in found] == [float(values[place]) for place in strongest], at


def _compare_drawn(there: Neuron, active: np.ndarray, at: str) -> None:
    places = [(int(window), int(position)) for window, position in np.argwhere(active)]
    drawn = [(c.window, c.position) for c in there.drawn]
    assert len(set(drawn)) == len(drawn) == min(CONTEXTS, len(places)), at
    assert set(drawn) <= set(places), at
