"""The user's config.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from ffnscope.store.errors import UserError
from ffnscope.tui.state.remembered import user_folder


def config_path() -> Path:
    """`~/.config/ffnscope/config.toml`, or under XDG_CONFIG_HOME."""
    return user_folder("XDG_CONFIG_HOME", ".config") / "config.toml"


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
        raise UserError(f"{path}: not valid TOML ({error}); correct it or move it away") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    kinds = {"theme": "a string", "mouse": "true or false", "ascii": "true or false", "keys": "a table"}
    types = {"theme": str, "mouse": bool, "ascii": bool, "keys": dict}
    for name, value in values.items():
        if name not in kinds:
            raise UserError(f"{path}: unknown setting {name!r}; known are {', '.join(kinds)}")
        if not isinstance(value, types[name]):
            raise UserError(f"{path}: {name} must be {kinds[name]}, not {value!r}")
    keys = values.get("keys", {})
    # Only now, because naming the actions loads every screen.
    known = sorted(set(actions)) if keys else []
    for action, key in keys.items():
        if action not in known:
            near = "".join(f", perhaps {name}" for name in get_close_matches(action, known, 1))
            raise UserError(
                f"{path}: unknown action {action!r} under [keys]{near}; `ffnscope doctor --keys` lists them"
            )
        if not isinstance(key, str) or not key:
            raise UserError(f'{path}: [keys] {action} must be a key, as in {action} = "x", not {key!r}')
    return Config(**values)
