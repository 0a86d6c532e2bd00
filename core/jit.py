"""How the counting loops are compiled: without Python's lock, so that threads share the cores, and cached on disk."""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any], error_model: str = "python") -> Any:
    """``function`` compiled by numba, and cached for the next process where a cache folder can be written. With the
    ``error_model`` "numpy", division by zero gives infinity or NaN rather than an exception.

    Numba renews cached code when the function's own file changes, but not when a function or constant that it uses from
    another file does. So the cache is also tied to the text of every module of this package that its module imports.
    """
    try:
        dispatcher = njit(nogil=True, cache=True, error_model=error_model)(function)
        cache_file = dispatcher._cache._cache_file
        cache_file._source_stamp = (cache_file._source_stamp, _digest(function.__module__))
    except (RuntimeError, AttributeError):  # no folder can be written, or a numba that keeps its stamp elsewhere
        return njit(nogil=True, error_model=error_model)(function)
    return dispatcher


def vectorized(function: Callable[..., Any]) -> Any:
    """``compiled`` for loops over floats that shall become vector instructions: these know no exceptions."""
    return compiled(function, error_model="numpy")


@cache
def _digest(module: str) -> str:
    """sha256, hex, of the source of ``module`` and of all modules of its package that it imports, directly or not."""
    package = module.partition(".")[0]
    pending, sources = [module], {}
    while pending:
        name = pending.pop()
        file = getattr(sys.modules.get(name), "__file__", None)
        if name in sources or file is None:
            continue
        sources[name] = Path(file).read_bytes()
        for node in ast.walk(ast.parse(sources[name])):
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            else:
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            pending += [name for name in names if name.partition(".")[0] == package]
    return hashlib.sha256(b"\0".join(sources[name] for name in sorted(sources))).hexdigest()
