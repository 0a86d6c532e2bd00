"""What a layer of the store consists of: the name, type and shape of each of its arrays.

Arrays of a group are there where the store's format entry lists the group: a column that not every run has, or that came
with a later format, is one line here. What a store lacks reads as empty (``absent``).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

FORMAT_VERSION = 2
ABSENT = 0xFFFFFFFF  # a token, window or position that is not there
TOP_NGRAMS = 20
CONTEXTS = 8
SIMILAR = 5
EXPLAINED = "explained"  # the group of how much the token explains
DESCRIBED = "described"  # the group of the descriptions by concepts
THRESHOLDS = "thresholds"  # the group of runs whose neurons have thresholds of their own
ROUTED = "routed"  # the group of mixtures of experts: which expert, and how often it is chosen


@dataclass(frozen=True)
class ArraySpec:
    """One array of a layer. Shape letters: F neurons, D domains, K projection list length, M detected n-grams, E routed
    experts, G = TOP_NGRAMS, C = CONTEXTS, R = SIMILAR; digits stand for themselves. ``group``: that of an optional array."""

    dtype: str
    shape: str
    meaning: str
    group: str = ""


LAYER_ARRAYS: dict[str, ArraySpec] = {
    "kind": ArraySpec("|u1", "F", "code of definitions.KINDS"),
    "order": ArraySpec("|u1", "F", "order of the detector, 0 where the neuron is none"),
    "split_order": ArraySpec("|u1", "F", "order of the detector found on the even windows alone, 0 for none"),
    "split_held": ArraySpec("|u1", "F", "what the odd windows say of it: 0 too rare there, 1 it fails, 2 it holds"),
    "activations": ArraySpec("<u8", "F", "activated positions, all domains"),
    "bos_activations": ArraySpec("<u8", "F", "activated positions whose token is BOS, all domains"),
    "domain_activations": ArraySpec("<u8", "FD", "activated positions of each domain"),
    "max_activation": ArraySpec("<f4", "F", "largest output of the activation function; NaN where dead"),
    "mean_activation": ArraySpec("<f4", "F", "mean output over activated positions; NaN where dead"),
    "ngram_activations": ArraySpec("<u8", "F3", "activated positions that have an n-gram, n = 1, 2, 3"),
    "ngrams_distinct": ArraySpec("<u4", "F3", "different n-grams that trigger the neuron, n = 1, 2, 3"),
    "unigrams_95": ArraySpec("<u4", "F", "unigrams that cover 95% of the activations"),
    "bigrams_95": ArraySpec("<u4", "F", "bigrams that cover 95%"),
    "trigrams_95": ArraySpec("<u4", "F", "trigrams that cover 95%"),
    "trigger_projection": ArraySpec("<f4", "F", "mean projection over the detected tokens; NaN for no detector"),
    "position_mi": ArraySpec("<f4", "F", "mutual information with position, nats"),
    "position_bias": ArraySpec("<f4", "F", "Miller-Madow bias of position_mi, nats"),
    "position_type": ArraySpec("|u1", "F", "code of definitions.POSITION_TYPES"),
    "position_strength": ArraySpec("|u1", "F", "code of definitions.POSITION_STRENGTHS"),
    "promoted": ArraySpec("<u4", "FK", "tokens with the largest projection"),
    "promoted_projection": ArraySpec("<f4", "FK", "their projections"),
    "suppressed": ArraySpec("<u4", "FK", "tokens with the smallest projection"),
    "suppressed_projection": ArraySpec("<f4", "FK", "their projections"),
    "similar": ArraySpec(
        "<u4", "FR", "neurons of the layer whose output rows have the largest cosine; ABSENT where fewer"
    ),
    "similar_cosine": ArraySpec("<f4", "FR", "their cosines; NaN where fewer"),
    "opposed": ArraySpec("<u4", "FR", "neurons of the layer whose output rows have the smallest cosine"),
    "opposed_cosine": ArraySpec("<f4", "FR", "their cosines"),
    "top_unigrams": ArraySpec("<u4", "FG1", "most frequent triggering unigrams; ABSENT where there are fewer"),
    "top_unigrams_count": ArraySpec("<u4", "FG", "activations on each"),
    "top_unigrams_total": ArraySpec("<u4", "FG", "occurrences of each in the data"),
    "top_bigrams": ArraySpec("<u4", "FG2", "most frequent triggering bigrams"),
    "top_bigrams_count": ArraySpec("<u4", "FG", "activations on each"),
    "top_bigrams_total": ArraySpec("<u4", "FG", "occurrences of each in the data"),
    "top_trigrams": ArraySpec("<u4", "FG3", "most frequent triggering trigrams"),
    "top_trigrams_count": ArraySpec("<u4", "FG", "activations on each"),
    "top_trigrams_total": ArraySpec("<u4", "FG", "occurrences of each in the data"),
    "strongest_window": ArraySpec("<u4", "FC", "windows of the strongest activations; ABSENT where fewer"),
    "strongest_position": ArraySpec("<u4", "FC", "their positions"),
    "strongest_value": ArraySpec("<f4", "FC", "their activations"),
    "random_window": ArraySpec("<u4", "FC", "windows of randomly drawn activated positions"),
    "random_position": ArraySpec("<u4", "FC", "their positions"),
    "detected_neuron": ArraySpec("<u4", "M", "neuron of each detected n-gram, ascending"),
    "detected_tokens": ArraySpec("<u4", "M3", "its tokens, ABSENT after the last"),
    "detected_count": ArraySpec("<u4", "M", "activations on it"),
    "detected_total": ArraySpec("<u4", "M", "occurrences of it in the data"),
    "detected_projection": ArraySpec("<f4", "M", "projection of its last token"),
    "detected_rank": ArraySpec("<u4", "M", "tokens that are suppressed more than its last token"),
    "token_explained": ArraySpec("<f4", "F", "1 - D(p) / D(p0) of the token; NaN for none", EXPLAINED),
    "bigram_explained": ArraySpec("<f4", "F", "the same of the bigram", EXPLAINED),
    "trigram_explained": ArraySpec("<f4", "F", "the same of the trigram", EXPLAINED),
    "position_explained": ArraySpec("<f4", "F", "the same of the position", EXPLAINED),
    "explained_sums": ArraySpec("<f8", "5", "sums over its neurons of D(p0) and the four D(p), nats", EXPLAINED),
    "token_set": ArraySpec(
        "<u4", "FG", "tokens of the token set, most activations first; ABSENT after the last", EXPLAINED
    ),
    "token_set_size": ArraySpec("<u4", "F", "tokens of the whole token set, 0 for none", EXPLAINED),
    "token_f1": ArraySpec("<f4", "F", "f1 of the token set on odd windows; NaN for none", EXPLAINED),
    "concept_formula": ArraySpec("<i2", "F24", "shape and literals of the description and the runner-up", DESCRIBED),
    "concept_figures": ArraySpec("<f4", "F23", "their precision, recall, f1 on odd windows; NaN for none", DESCRIBED),
    "threshold": ArraySpec("<f4", "F", "what |a| must reach for the neuron to be activated", THRESHOLDS),
    "positive_share": ArraySpec("<f4", "F", "share of activated positions where a > 0; NaN where dead", THRESHOLDS),
    "negative_window": ArraySpec(
        "<u4", "FC", "windows of the most negative activations; ABSENT where fewer", THRESHOLDS
    ),
    "negative_position": ArraySpec("<u4", "FC", "their positions", THRESHOLDS),
    "negative_value": ArraySpec("<f4", "FC", "their activations, most negative first", THRESHOLDS),
    "expert": ArraySpec("<u4", "F", "routed expert of each neuron; ABSENT where it sees every token", ROUTED),
    "expert_positions": ArraySpec("<u8", "ED", "positions of each domain that each expert was chosen for", ROUTED),
}
GROUPS = tuple(dict.fromkeys(spec.group for spec in LAYER_ARRAYS.values() if spec.group))


def array_names(groups: Collection[str]) -> tuple[str, ...]:
    """The arrays of each layer of a store with these groups of optional ones."""
    return tuple(name for name, spec in LAYER_ARRAYS.items() if not spec.group or spec.group in groups)


def absent(name: str, neurons: int) -> np.ndarray:
    """What an optional array reads as where a store lacks it: NaN, ABSENT, or 0 where a byte is a code."""
    spec = LAYER_ARRAYS[name]
    sizes = {"F": neurons, "G": TOP_NGRAMS, "C": CONTEXTS, "E": 0, "D": 0}
    shape = tuple(sizes[letter] if letter in sizes else int(letter) for letter in spec.shape)
    dtype = np.dtype(spec.dtype)
    return np.full(shape, np.nan if dtype.kind == "f" else 0 if dtype.itemsize <= 2 else ABSENT, dtype)


def check_layer_arrays(
    arrays: dict[str, np.ndarray], neurons: int, domains: int, top_k: int, groups: Collection[str] = ()
) -> None:
    """Raise ValueError where ``arrays`` is not exactly the set of arrays, types and shapes of a layer of a store with
    these groups of optional arrays."""
    names = array_names(groups)
    if set(arrays) != set(names):
        raise ValueError(f"a layer's arrays differ from the format: {sorted(set(arrays) ^ set(names))}")
    detected = len(arrays["detected_neuron"])
    sizes = {"F": neurons, "D": domains, "K": top_k, "M": detected, "G": TOP_NGRAMS, "C": CONTEXTS}
    sizes["R"] = SIMILAR
    sizes["E"] = len(arrays.get("expert_positions", ()))
    for name in names:
        spec = LAYER_ARRAYS[name]
        shape = tuple(sizes.get(letter) or (0 if letter in sizes else int(letter)) for letter in spec.shape)
        array = arrays[name]
        if array.shape != shape or np.dtype(spec.dtype) != array.dtype:
            raise ValueError(f"{name} is {array.dtype}{array.shape}, the format says {spec.dtype}{shape}")
