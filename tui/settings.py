"""What the browser remembers of a store (state), and what the user has written down for it (config.toml)."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ffnscope.store.errors import UserError

MAX_FILTERS = 20


def _folder(variable: str, default: str) -> Path:
    given = os.environ.get(variable, "")
    base = Path(given) if given and Path(given).is_absolute() else Path.home() / default
    return base / "ffnscope"


def config_path() -> Path:
    """`~/.config/ffnscope/config.toml`, or under XDG_CONFIG_HOME."""
    return _folder("XDG_CONFIG_HOME", ".config") / "config.toml"


def state_path() -> Path:
    """`~/.local/state/ffnscope/browser.json`, or under XDG_STATE_HOME."""
    return _folder("XDG_STATE_HOME", ".local/state") / "browser.json"


def filters_path() -> Path:
    """`~/.local/state/ffnscope/filters.json`, or under XDG_STATE_HOME."""
    return state_path().with_name("filters.json")


@dataclass(frozen=True)
class Config:
    """The user's config.toml: `theme`, `mouse`, `ascii`, and under `[keys]` a key (or several, with commas) for an action."""

    theme: str | None = None
    mouse: bool | None = None
    ascii: bool = False
    keys: dict[str, str] = field(default_factory=dict)


def read_config(actions: Iterable[str], path: Path | None = None) -> Config:
    """The config, empty where there is none; `actions` are the names known under `[keys]`. Raises UserError for a bad one."""
    path = path or config_path()
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Config()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: no TOML ({error}); mend it or move it away") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    kinds: dict[str, type] = {"theme": str, "mouse": bool, "ascii": bool, "keys": dict}
    for name, value in values.items():
        if name not in kinds:
            raise UserError(f"{path}: no setting {name!r}; there are {', '.join(kinds)}")
        if not isinstance(value, kinds[name]):
            raise UserError(f"{path}: {name} is to be a {kinds[name].__name__}, not {value!r}")
    keys = values.get("keys", {})
    # Asked for only here: whoever names them may have to load every screen.
    known = sorted(set(actions)) if keys else []
    for action, key in keys.items():
        if action not in known:
            near = "".join(f", perhaps {name}" for name in get_close_matches(action, known, 1))
            raise UserError(f"{path}: no action {action!r} under [keys]{near}; `ffnscope doctor --keys` lists them")
        if not isinstance(key, str) or not key:
            raise UserError(f'{path}: [keys] {action} is to be a key, as in {action} = "x", not {key!r}')
    return Config(**values)


@dataclass
class Place:
    """Where one was in a store, and the filters used there, oldest first."""

    layer: int = -1
    neuron: int = -1
    sort: str = "kind"
    descending: bool = False
    filter: str = ""
    filters: list[str] = field(default_factory=list)


def read_places(path: Path) -> dict[str, Place]:
    """The places by run id; none where the file is not there or is no state of ours."""
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
        return {run: _place(each) for run, each in values.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _place(value: dict[str, Any]) -> Place:
    made = Place(**value)
    for name, kind in asdict(Place()).items():
        if not isinstance(getattr(made, name), type(kind)):
            raise TypeError(name)
    if not all(isinstance(each, str) for each in made.filters):
        raise TypeError("filters")
    return made


def write_places(path: Path, places: dict[str, Place]) -> None:
    """Keep the places; quietly nothing where the folder cannot be written to, since a read-only home is no error."""
    try:
        _write_json(path, {run: asdict(place) for run, place in places.items()})
    except OSError:
        pass


def read_filters(path: Path) -> dict[str, str]:
    """The saved filters by name; none where the file is not there or is no list of ours."""
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
        return {name: text for name, text in values.items() if isinstance(text, str)}
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}


def save_filter(path: Path, name: str, text: str | None) -> None:
    """Keep a filter under a name, in place of what had it; None forgets it. Raises UserError."""
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
