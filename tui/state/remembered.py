"""What the browser remembers between runs: the place in each store, and the saved filters."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ffnscope.store.errors import UserError

MAX_FILTERS = 200


def user_folder(variable: str, default: str) -> Path:
    """ffnscope's folder under the one that a variable of the XDG standard names, by default under the home folder's `default`."""
    given = os.environ.get(variable, "")
    base = Path(given) if given and Path(given).is_absolute() else Path.home() / default
    return base / "ffnscope"


def state_path() -> Path:
    """`~/.local/state/ffnscope/browser.json`, or under XDG_STATE_HOME."""
    return user_folder("XDG_STATE_HOME", ".local/state") / "browser.json"


def filters_path() -> Path:
    """`~/.local/state/ffnscope/filters.json`, or under XDG_STATE_HOME."""
    return state_path().with_name("filters.json")


@dataclass
class Place:
    """Where the user was in a store, and the filters used there, oldest first."""

    layer: int = -1
    neuron: int = -1
    sort: str = "kind"
    descending: bool = False
    filter: str = ""
    filters: list[str] = field(default_factory=list)


def read_places(path: Path) -> dict[str, Place]:
    """The places by run id; empty if the file does not exist or is not ours."""
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
        return {run: _place(value) for run, value in values.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _place(value: dict[str, Any]) -> Place:
    place = Place(**value)
    for name, kind in asdict(Place()).items():
        if not isinstance(getattr(place, name), type(kind)):
            raise TypeError(name)
    if not all(isinstance(text, str) for text in place.filters):
        raise TypeError("filters")
    return place


def write_places(path: Path, places: dict[str, Place]) -> None:
    """Write the places; a folder that cannot be written to is ignored, since a read-only home is not an error."""
    try:
        _write_json(path, {run: asdict(place) for run, place in places.items()})
    except OSError:
        pass


def read_last_viewed(path: Path) -> tuple[list[Path], float]:
    """The stores last viewed and when (Unix time), kept beside the places at ``path``; none where there are none."""
    try:
        values: Any = json.loads(_last_viewed(path).read_text(encoding="utf-8"))
        return [Path(store) for store in values["stores"]], float(values["time"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return [], 0.0


def write_last_viewed(path: Path, stores: Sequence[Path]) -> None:
    """Remember which stores are viewed, or quietly nothing where the folder cannot be written to."""
    with suppress(OSError):
        _write_json(_last_viewed(path), {"stores": [str(store.absolute()) for store in stores], "time": time.time()})


def _last_viewed(path: Path) -> Path:
    return path.with_name("last-viewed.json")


def read_filters(path: Path) -> dict[str, str]:
    """The saved filters by name; empty if the file does not exist or is not ours."""
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
        return {name: text for name, text in values.items() if isinstance(text, str)}
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}


def save_filter(path: Path, name: str, text: str | None) -> None:
    """Save a filter under a name, replacing one of that name; None deletes it. Raises UserError."""
    filters = read_filters(path)
    filters.pop(name, None)
    try:
        _write_json(path, filters if text is None else filters | {name: text})
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); XDG_STATE_HOME names another folder") from error


def _write_json(path: Path, value: Any) -> None:
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(json.dumps(value, indent=1), encoding="utf-8")
        unfinished.replace(path)
    except OSError:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise
