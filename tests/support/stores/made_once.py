"""Stores that a process makes once, and copies where one is asked for again."""

from __future__ import annotations

import inspect
import pickle
import shutil
import tempfile
from collections.abc import Callable
from functools import cache, wraps
from pathlib import Path
from typing import Any


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Where they are kept until the process ends."""
    return tempfile.TemporaryDirectory(prefix="ffnscope-tests-")


def made_once(make: Callable[..., Path], unless: Callable[[dict[str, Any]], object]) -> Callable[..., Path]:
    """``make``, whose first argument is the store's folder and whose others say all about it; ``unless`` tells of other
    arguments that every store is to be made anew for them."""
    signature = inspect.signature(make)
    kept: dict[bytes, Path] = {}

    @wraps(make)
    def made(path: Path | str, *arguments: Any, **named: Any) -> Path:
        bound = signature.bind(path, *arguments, **named)
        bound.apply_defaults()
        given = {name: value for name, value in bound.arguments.items() if name != "path"}
        if unless(given) or Path(path).exists():
            return make(path, *arguments, **named)
        key = pickle.dumps(given)
        if key not in kept:
            kept[key] = make(Path(_folder().name) / f"{len(kept)}.ffn", *arguments, **named)
        # As new files: with the time and the access rights of now.
        for file in kept[key].rglob("*"):
            copy = Path(path) / file.relative_to(kept[key])
            copy.parent.mkdir(parents=True, exist_ok=True)
            if file.is_file():
                shutil.copyfile(file, copy)
        return Path(path)

    return made
