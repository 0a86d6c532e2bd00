"""What a store's run entry and arrays must satisfy before anything is sized or indexed by them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ffnscope.store.definitions import KINDS, ORDERS, POSITION_STRENGTHS, POSITION_TYPES
from ffnscope.store.errors import UserError
from ffnscope.store.format.encoding import DamagedValueError
from ffnscope.store.format.schema import ABSENT, CONTEXTS, LAYER_ARRAYS, SIMILAR, TOP_NGRAMS
from ffnscope.store.records import RunInfo

MOST_LAYERS = 1 << 16
MOST = ABSENT - 1  # neurons of a layer, tokens, windows: what an index of 4 bytes can name
MOST_POSITIONS = 1 << 30  # of a window
_CODES = {"kind": KINDS, "order": ORDERS, "position_type": POSITION_TYPES, "position_strength": POSITION_STRENGTHS}


def check_format(about: Any) -> tuple[int, frozenset[str], tuple[str, ...]]:
    """Version, groups of optional arrays and names of concepts of a format entry. Raises DamagedValueError where it is
    none."""
    entry: dict[str, Any] = about if isinstance(about, dict) else {}
    version: Any = entry.get("version")
    groups: Any = entry.get("arrays", [])
    concepts: Any = entry.get("concepts", [])
    _need(type(version) is int, "version", "format")
    for name, texts in (("arrays", groups), ("concepts", concepts)):
        _need(isinstance(texts, list) and all(isinstance(text, str) for text in texts), name, "format")
    return version, frozenset(groups), tuple(concepts)


def check_run(run: RunInfo) -> None:
    """Raise DamagedValueError for a run entry with a value that no run has."""
    model, corpus, settings = run.model, run.corpus, run.settings
    layers: Any = settings.get("layers")
    numbers = isinstance(layers, list) and all(type(layer) is int for layer in layers)
    domains, first = corpus.domains, 0
    for domain in domains:
        _need(domain.first_window == first, f"first window of domain {domain.name[:40]!r}")
        first += domain.windows
    counted = [domain.count_only for domain in domains]
    _need(0 < model.layers <= MOST_LAYERS, "number of layers")
    _need(0 < model.neurons <= MOST, "number of neurons")
    widths = model.layer_neurons
    _need(not widths or (len(widths) == model.layers and max(widths) == model.neurons and min(widths) > 0), "neurons")
    _need(0 < model.vocabulary <= MOST, "vocabulary")
    _need(numbers and layers == sorted(set(layers)), "layers")
    _need(not layers or 0 <= layers[0] <= layers[-1] < model.layers, "layers")
    _need(0 < corpus.seq_len <= MOST_POSITIONS, "window length")
    _need(0 < corpus.windows <= MOST and corpus.positions < 1 << 62, "number of windows")
    _need(counted == sorted(counted), "order of the domains")
    _need(len({domain.name for domain in domains}) == len(domains), "names of the domains")
    _need(corpus.bos_id is None or corpus.bos_id <= MOST, "BOS token")
    for name in ("top_k", "min_occurrences"):
        _need(type(settings.get(name)) is int and settings[name] > 0, f"setting {name}")
    keep = settings.get("keep", 0)
    _need(type(keep) is int and 0 <= keep <= corpus.counted_windows, "setting keep")
    try:
        _ = run.activated
    except UserError:
        _need(False, "setting activated")


def check_column(name: str, array: np.ndarray, run: RunInfo, owners: tuple[int, ...] | None, layer: int) -> None:
    """Raise DamagedValueError where an array is not one of this name of a layer of the run, or its codes are unknown.

    ``owners``: the shape of the layer's ``detected_neuron``, which its other detected arrays go with.
    """
    spec = LAYER_ARRAYS[name]
    length = min(run.settings["top_k"], run.model.vocabulary)
    sizes = {
        "F": run.model.neurons_of(layer),
        "D": len(run.corpus.domains),
        "K": length,
        "G": TOP_NGRAMS,
        "C": CONTEXTS,
    }
    sizes["R"] = SIMILAR
    sizes["M"] = owners[0] if owners else 0
    sizes["E"] = len(array) if array.ndim and len(array) <= run.model.experts else 0
    shape = tuple(sizes[size] if size in sizes else int(size) for size in spec.shape)
    if array.dtype != np.dtype(spec.dtype) or array.shape != shape:
        raise DamagedValueError(f"is {array.dtype}{list(array.shape)}, not {np.dtype(spec.dtype)}{list(shape)}")
    if name in _CODES and array.max(initial=0) >= len(_CODES[name]):
        raise DamagedValueError("has codes that are out of range")
    if name == "detected_tokens":
        valid = array < run.model.vocabulary
        if not (valid | (array == ABSENT)).all() or not valid[:, :1].all():
            raise DamagedValueError("has token ids that are out of range")
    if name == "token_set" and not ((array < run.model.vocabulary) | (array == ABSENT)).all():
        raise DamagedValueError("has token ids that are out of range")
    if name == "expert" and not ((array < run.model.experts) | (array == ABSENT)).all():
        raise DamagedValueError("has experts that are out of range")
    if name == "detected_neuron" and len(array) and (array[-1] >= sizes["F"] or (array[1:] < array[:-1]).any()):
        raise DamagedValueError("has neurons that are out of range or not in ascending order")


def check_chunk(ends: np.ndarray, whole: np.ndarray, joined: np.ndarray, tokens: int) -> None:
    """Raise DamagedValueError where the three arrays are not the texts of ``tokens`` tokens."""
    types = [array.dtype.str for array in (ends, whole, joined)]
    if types != ["<u4", "|u1", "|u1"] or ends.shape != (tokens,) or whole.shape != (tokens,) or joined.ndim != 1:
        raise DamagedValueError("have the wrong types or shapes")
    if (ends[1:] < ends[:-1]).any() or (ends[-1] if len(ends) else 0) != len(joined):
        raise DamagedValueError("have ends that are not in ascending order")
    try:
        # Each by itself is decoded when it is asked for: a cut within a character must show here.
        joined.tobytes().decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise DamagedValueError("are not UTF-8") from error
    starts = joined[ends[(ends < len(joined))]]
    if ((starts & 0xC0) == 0x80).any():
        raise DamagedValueError("are cut within a character")


def check_raw_chunk(ends: np.ndarray, joined: np.ndarray, tokens: int) -> None:
    """Raise DamagedValueError where the two arrays do not hold the bytes of that many tokens."""
    if [ends.dtype.str, joined.dtype.str] != ["<u4", "|u1"] or ends.shape != (tokens,) or joined.ndim != 1:
        raise DamagedValueError("are not the bytes of tokens")
    if (ends[1:] < ends[:-1]).any() or (ends[-1] if len(ends) else 0) != len(joined):
        raise DamagedValueError("have ends that are out of order")


def _need(holds: object, what: str, entry: str = "run") -> None:
    if not holds:
        raise DamagedValueError(f"its {entry} entry has an impossible value: {what}")
