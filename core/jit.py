"""How the counting loops are compiled: without Python's lock, so that threads share the cores, and once for all processes."""

from __future__ import annotations

import ast
import fcntl
import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from glob import escape
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.caching import FunctionCache
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import register_jitable

PATIENCE = 300.0  # seconds that another process may take to compile a function
LOOK = 0.02  # seconds between looks


# A wrapper for callers in C is never needed, and takes time to compile, as does a check of each division; without
# that, loops over floats become vector instructions too.
_OPTIONS = {"nogil": True, "no_cfunc_wrapper": True, "error_model": "numpy"}


def jitable(function: Callable[..., Any]) -> Any:
    """``function`` for compiled functions to call: it is compiled with each of them, without the wrapper that callers in
    Python need. Python calls the plain function."""
    return register_jitable(no_cpython_wrapper=True, **_OPTIONS)(function)


def compiled(function: Callable[..., Any]) -> Any:
    """``function``, which Python calls, compiled by numba, and cached for other processes where a cache folder can be
    written. Division by zero gives infinity, NaN or, of integers, any number, rather than an exception.

    A function is compiled by one process at a time: the others wait, and find it in the cache.
    """
    dispatcher = njit(**_OPTIONS)(function)
    try:
        shared = _SharedCache(function)
    except (RuntimeError, OSError):  # there is no folder that can be written
        return dispatcher
    if not hasattr(dispatcher, "compile"):  # NUMBA_DISABLE_JIT
        return dispatcher
    dispatcher._cache = shared
    compile_alone = dispatcher.compile

    def compile_once(signature: Any) -> Any:
        # The compiler's own lock comes first: of two threads, one could hold it and the other the file.
        with global_compiler_lock, shared.locked():
            return compile_alone(signature)

    dispatcher.compile = compile_once
    return dispatcher


def is_cached(dispatcher: Any) -> bool:
    """Whether the cache has a compiled function, for arguments of any types, that this machine can run."""
    shared = getattr(dispatcher, "_cache", None)
    return not isinstance(shared, _SharedCache) or shared.has_any(dispatcher.targetctx.codegen().magic_tuple())


class _SharedCache(FunctionCache):
    """numba's cache of one function's compiled code, never stale and never the reason why a run fails.

    numba renews cached code when the function's own file changes, but not when a function or constant that it uses from
    another file does. So it is also tied to the text of every module of this package that its module imports. This is
    part of the data files' names: the index of new code never names a file of old code, whenever a process is killed.
    """

    def __init__(self, function: Callable[..., Any]):
        super().__init__(function)
        file, digest = self._cache_file, _digest(function.__module__)
        file._source_stamp = (file._source_stamp, digest)
        self._stem = Path(file._index_path.removesuffix(".nbi"))
        file._data_name_pattern = f"{self._stem.name}.{digest[:12]}.{{number:d}}.nbc"

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled function, None where it must be compiled."""
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # a file that a crash or a full disk left behind, whatever pickle makes of it
            with suppress(OSError):
                self.flush()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a compiled function, where the disk has room for it, and no older code of it."""
        with suppress(Exception):
            super().save_overload(sig, data)
            kept = self._cache_file._data_name_pattern.partition("{")[0]
            for path in self._stem.parent.glob(f"{escape(self._stem.name)}.*.nbc"):
                if not path.name.startswith(kept):
                    path.unlink(missing_ok=True)

    def has_any(self, machine: tuple[Any, ...]) -> bool:
        """Whether there is code for ``machine``, the name and the features of a processor."""
        try:
            return any(key[1] == machine for key in self._cache_file._load_index())
        except Exception:
            return False

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the function's lock. Where that cannot be had, go on without: the work is then done twice, no more."""
        try:
            file = os.open(f"{self._stem}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError:
            yield
            return
        try:
            _lock(file)
            yield
        finally:
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_UN)  # a process that was forked meanwhile has the file open too
            os.close(file)


def _lock(file: int) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(LOOK)
        except OSError:  # a disk without locks
            return


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
        sources[name], imported = _read(file, package)
        pending += imported
    return hashlib.sha256(b"\0".join(sources[name] for name in sorted(sources))).hexdigest()


@cache
def _read(file: str, package: str) -> tuple[bytes, list[str]]:
    """The source of a module, and the modules of a package that it imports."""
    source = Path(file).read_bytes()
    imported: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        imported += [name for name in names if name.partition(".")[0] == package]
    return source, imported
