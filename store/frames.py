"""A layer as a table in memory: numpy columns, and pandas or polars frames where those are installed."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np

from ffnscope.store.errors import UserError
from ffnscope.store.notes import Notes
from ffnscope.store.query import columns as registry
from ffnscope.store.query.filter import parse_filter
from ffnscope.store.query.select import select as selected
from ffnscope.store.reader import Store

# Those that are the same for every neuron of a layer stand in `layer` and the run already.
_LEFT_OUT = ("positions",)


def table(store: Store, layer: int, columns: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Columns of one layer by name, each [F]: the values of ``columns.values``, words as numpy strings.

    ``columns``: names or short names of the filter language (``frequency:NAME`` too); default all of them but
    ``positions``. Neurons without a value hold NaN, "" in a column of words. Raises UserError for an unknown column
    and a layer that is not there.
    """
    domains = registry.domain_names(store)
    if columns is None:
        names = [name for name in registry.names(domains) if name not in _LEFT_OUT]
    else:
        names = [registry.resolve(name, domains) for name in columns]
    return {name: _values(store, layer, name) for name in names}


def select(store: Store, where: str) -> np.ndarray:
    """[N, 2] int64 (layer, neuron) of the neurons that a filter holds for, by layer and neuron.

    ``marked`` and ``noted`` hold for the marks and notes kept beside the store. Raises FilterError (a UserError) for a
    filter that cannot be read.
    """
    parsed = parse_filter(where, registry.domain_names(store))
    with Notes.open(store.path) as notes:
        return selected(store, parsed, None, notes.marks(), notes.notes())


def to_pandas(store: Store, layer: int | None = None, columns: Sequence[str] | None = None) -> Any:
    """``table`` of a layer, or of all layers in the store, as a pandas DataFrame; words are categories.

    Raises UserError where pandas is not installed.
    """
    pandas = _installed("pandas")
    frame = {}
    for name, values in _stacked(store, layer, columns).items():
        words = registry.words(name)
        frame[name] = pandas.Categorical(values, categories=list(words)) if words else values
    return pandas.DataFrame(frame)


def to_polars(store: Store, layer: int | None = None, columns: Sequence[str] | None = None) -> Any:
    """``table`` of a layer, or of all layers in the store, as a polars DataFrame.

    Raises UserError where polars is not installed.
    """
    polars = _installed("polars")
    return polars.DataFrame(
        {n: v.tolist() if v.dtype.kind == "U" else v for n, v in _stacked(store, layer, columns).items()}
    )


def _stacked(store: Store, layer: int | None, columns: Sequence[str] | None) -> dict[str, np.ndarray]:
    names = list(columns) if columns is not None else None
    if names is not None and layer is None and not {"layer", "l"} & {name.lower() for name in names}:
        names = ["layer", *names]
    parts = [table(store, number, names) for number in (store.layers() if layer is None else (layer,))]
    if not parts:
        return {}
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _values(store: Store, layer: int, name: str) -> np.ndarray:
    values = registry.values(store, layer, name)
    words = registry.words(name)
    return np.array(words)[values] if words else values


def _installed(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise UserError(f"{name} is not installed; pip install 'ffnscope[{name}]'") from error
