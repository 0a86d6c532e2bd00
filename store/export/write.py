"""Neurons as CSV or JSON lines: which, in which order, and their columns as text."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np

from ffnscope.store.atomic_write import write_whole
from ffnscope.store.errors import UserError
from ffnscope.store.escaping import json_text
from ffnscope.store.export.cells import LISTS, Tokens, layer_cells
from ffnscope.store.query import columns as registry
from ffnscope.store.query.select import select
from ffnscope.store.reader import Store

COLUMNS = (
    "layer",
    "neuron",
    "kind",
    "positions",
    "activations",
    "frequency",
    "bos_activations",
    "max_activation",
    "mean_activation",
    "unigrams_95",
    "bigrams_95",
    "trigrams_95",
    "detected_tokens",
    "trigger_projection",
    "suppresses_triggers",
    "position_mi",
    "position_type",
    "position_strength",
    "top_unigrams",
    "promoted",
    "suppressed",
)
EXPLAINED = (
    "token_explained",
    "bigram_explained",
    "trigram_explained",
    "position_explained",
    "token_f1",
    "token_set_size",
    "token_set",
)
DESCRIBED = registry.DESCRIBED
THRESHOLDS = ("threshold", "positive_share")
FORMATS = ("csv", "jsonl")
_ROWS = 1024  # formatted at a time where they lie in one layer
_MIXED_ROWS = (1 << 15, 1 << 20)  # with and without lists, where they jump between layers


def default_columns(store: Store) -> tuple[str, ...]:
    """COLUMNS, a frequency for every domain, EXPLAINED, DESCRIBED; THRESHOLDS where the neurons have them, `expert` in a
    mixture of experts."""
    domains = (registry.DOMAIN_PREFIX + name for name in registry.domain_names(store))
    thresholds = THRESHOLDS if store.run.activated.has_thresholds else ()
    return (*COLUMNS, *domains, *EXPLAINED, *DESCRIBED, *thresholds, *(("expert",) if store.has("expert") else ()))


def resolve_columns(store: Store, names: Sequence[str] | None) -> tuple[str, ...]:
    """The columns meant by names or short names; all of them for None. Raises UserError listing what is known."""
    if names is None:
        return default_columns(store)
    domains = registry.domain_names(store)
    resolved = []
    for text in names:
        name = text.strip()
        column = name.lower() if name.lower() in LISTS else registry.find(name, domains)
        if column is None:
            known = dict.fromkeys([*default_columns(store), *registry.names(), *LISTS])
            raise UserError(f"no column {name!r}; known are {', '.join(known)}")
        resolved.append(column)
    if not resolved:
        raise UserError(f"no columns given; known are {', '.join(default_columns(store))}")
    return tuple(resolved)


def check_format(format: str) -> None:
    """Raise UserError where a format is not one of FORMATS."""
    if format not in FORMATS:
        raise UserError(f"no format {format!r}; known are {', '.join(FORMATS)}")


def write(
    store: Store,
    out: TextIO,
    selection: np.ndarray | None = None,
    columns: Sequence[str] | None = None,
    format: str = "csv",
    token_ids: bool = False,
) -> int:
    """Write neurons as CSV (header first, RFC 4180, lines end in ``\\n``) or JSON lines; how many were written.

    ``selection`` [N, 2] (layer, neuron) in the order to write, None for every neuron; ``columns`` names or short
    names, None for those of ``default_columns``. Nothing is written where a column is unknown (UserError).
    """
    check_format(format)
    names = resolve_columns(store, columns)
    selection = select(store) if selection is None else np.asarray(selection, np.int64).reshape(-1, 2)
    tokens = Tokens(store, token_ids)
    if format == "csv":
        writer = csv.writer(out, lineterminator="\n")
        # No run has such names, a store made by hand may.
        writer.writerow([name if name.isprintable() else json_text(name)[1:-1] for name in names])
        for cells in _chunks(store, selection, names, tokens):
            writer.writerows(zip(*(_csv(name, part) for name, part in zip(names, cells, strict=True)), strict=True))
    else:
        keys = [json_text(name) for name in names]
        for cells in _chunks(store, selection, names, tokens):
            for row in zip(*cells, strict=True):
                out.write("{" + ",".join(f"{key}:{cell}" for key, cell in zip(keys, row, strict=True)) + "}\n")
    return len(selection)


def write_file(
    path: Path,
    store: Store,
    selection: np.ndarray | None = None,
    columns: Sequence[str] | None = None,
    format: str = "csv",
    token_ids: bool = False,
    overwrite: bool = False,
) -> int:
    """``write`` into a file that appears whole or not at all. Raises UserError where the file is there already
    (unless ``overwrite``) or its folder cannot be written to."""
    path = Path(path)

    def rows(out: TextIO) -> int:
        return write(store, out, selection, columns, format, token_ids)

    return int(write_whole({path: rows}, overwrite)[0])


def _csv(name: str, cells: list[str]) -> list[str]:
    """JSON texts as CSV cells: nothing for null, words without their quotes."""
    if name in LISTS:
        return ["" if cell == "null" else cell for cell in cells]
    if name == "concept":
        return ["" if cell == "null" else json.loads(cell) for cell in cells]
    return ["" if cell == "null" else cell.strip('"') for cell in cells]


def _chunks(store: Store, selection: np.ndarray, names: Sequence[str], tokens: Tokens) -> Iterator[list[list[str]]]:
    """The cells of consecutive rows of a selection, a list per column."""
    layers = selection[:, 0]
    if np.all(layers[1:] >= layers[:-1]):
        for start in np.flatnonzero(np.diff(layers, prepend=-1)).tolist():
            layer, end = int(layers[start]), int(np.searchsorted(layers, layers[start], side="right"))
            reader = _Reader(store)
            for first in range(start, end, _ROWS):
                neurons = selection[first : min(first + _ROWS, end), 1]
                yield [layer_cells(reader, layer, neurons, name, tokens) for name in names]
        return
    size = _MIXED_ROWS[not any(name in LISTS for name in names)]
    for first in range(0, len(selection), size):
        part = selection[first : first + size]
        mixed: list[np.ndarray] = [np.empty(len(part), object) for _ in names]
        for layer in np.unique(part[:, 0]).tolist():
            at = np.flatnonzero(part[:, 0] == layer)
            reader = _Reader(store)
            for cells, name in zip(mixed, names, strict=True):
                cells[at] = layer_cells(reader, layer, part[at, 1], name, tokens)
        yield [cells.tolist() for cells in mixed]


class _Reader(Store):
    """A store that keeps the columns it has read, for as long as one layer is being written."""

    def __init__(self, store: Store):
        self.__dict__.update(store.__dict__)
        self._kept: dict[tuple[int, str], np.ndarray] = {}

    def column(self, layer: int, name: str) -> np.ndarray:
        if (layer, name) not in self._kept:
            self._kept[layer, name] = super().column(layer, name)
        return self._kept[layer, name]
