"""``ffnscope doctor``: versions, what the terminal can show, what the browser would choose, whether a store can be used."""

from __future__ import annotations

import locale
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ffnscope.store.errors import UserError
from ffnscope.tui.commands.shared import safe

PACKAGES = ("ffnscope", "textual", "plotext", "lmdb", "numpy", "numba", "torch", "transformers")
SMALLEST = (80, 24)


@dataclass(frozen=True)
class Finding:
    """One thing looked at: what was found, and where it is a problem the way out."""

    name: str
    text: str
    remedy: str = ""


def doctor(
    store: Annotated[
        Path | None, typer.Argument(metavar="STORE", help="Folder of a store to look at too.", show_default=False)
    ] = None,
    keys: Annotated[
        bool, typer.Option("--keys", help="List the browser's actions with their ids for config.toml.")
    ] = False,
) -> None:
    """Versions, terminal, settings, and the store: what is wrong and the way out."""
    if keys:
        print_keys()
        return
    sections: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("versions", versions),
        ("terminal", terminal),
        ("browser", browser),
    ]
    if store is not None:
        sections.append(("store", lambda: look_at_store(store)))
    problems = 0
    for title, look in sections:
        print(title)
        for finding in look():
            print(f"  {safe(finding.name):<13} {safe(finding.text)}")
            if finding.remedy:
                problems += 1
                print(f"  {'':<13} problem: {safe(finding.remedy)}")
    print(f"{problems} problem{'' if problems == 1 else 's'} found" if problems else "no problem found")


def versions() -> Iterator[Finding]:
    """Of Python and the packages, read from what pip installed; nothing of them is imported."""
    from importlib.metadata import PackageNotFoundError, version

    yield Finding("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    for name in PACKAGES:
        try:
            yield Finding(name, version(name))
        except PackageNotFoundError:
            yield Finding(name, "not installed", f"`pip install --upgrade ffnscope` installs {name}")


def terminal() -> Iterator[Finding]:
    """What the terminal can show."""
    streams = (("stdin", sys.stdin), ("stdout", sys.stdout), ("stderr", sys.stderr))
    missing = [name for name, stream in streams if not (stream and stream.isatty())]
    lead = f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not a terminal" if missing else "a terminal"
    yield Finding("streams", lead, "`ffnscope view` needs all three to be a terminal" if missing else "")
    term = os.environ.get("TERM", "")
    unfit = "" if term and term != "dumb" else "set TERM to what your terminal is, such as xterm-256color"
    yield Finding("TERM", term or "not set", unfit)
    columns, rows = shutil.get_terminal_size(SMALLEST)
    small = columns < SMALLEST[0] or rows < SMALLEST[1]
    yield Finding("size", f"{columns}x{rows}", "make the window at least 80x24" if small else "")
    yield Finding("colours", colours(term, os.environ.get("COLORTERM", ""), "NO_COLOR" in os.environ))
    encoding = getattr(sys.__stderr__, "encoding", None) or "unknown"
    plain = "utf" not in encoding.lower()
    remedy = "UTF-8 is off, so everything is drawn in ASCII: set LANG to a UTF-8 locale, or PYTHONUTF8=1"
    yield Finding("encoding", f"{encoding} (locale {_locale()})", remedy if plain else "")
    hosts = [
        name
        for name, variable in (("tmux", "TMUX"), ("screen", "STY"), ("SSH", "SSH_CONNECTION"))
        if os.environ.get(variable)
    ]
    yield Finding("inside", ", ".join(hosts) or "neither tmux, screen nor SSH")


def colours(term: str, colorterm: str, none: bool = False) -> str:
    """How many colours a terminal of that name takes, in words."""
    if none:
        return "none (NO_COLOR is set)"
    if colorterm in ("truecolor", "24bit"):
        return f"16 million (COLORTERM={colorterm})"
    if "256color" in term:
        return "256 (by TERM; COLORTERM=truecolor says that there are more)"
    return "16 (by TERM; one that ends in -256color says that there are more)"


def _locale() -> str:
    named = (os.environ.get(name) for name in ("LC_ALL", "LC_CTYPE", "LANG"))
    return next((name for name in named if name), "") or locale.setlocale(locale.LC_CTYPE)


def browser() -> Iterator[Finding]:
    """The user's settings, and what `ffnscope view` makes of them here."""
    from ffnscope.tui.state.config import Config, config_path
    from ffnscope.tui.state.remembered import state_path

    config, path, wrong = Config(), config_path(), ""
    try:
        from ffnscope.tui.app import FfnscopeApp, choose_theme
        from ffnscope.tui.drawing.glyphs import ASCII, choose_glyphs
        from ffnscope.tui.keymap import user_config
    except ImportError as error:
        yield Finding(
            "browser", f"cannot be loaded ({error})", "`pip install --upgrade ffnscope` installs what it needs"
        )
        return
    try:
        config = user_config(FfnscopeApp)
    except UserError as error:
        wrong = f"{error}; `ffnscope view` does not start until then"
    keys = f", {len(config.keys)} keys of your own" if config.keys else ""
    status = "cannot be used" if wrong else f"read{keys}" if path.exists() else "no such file, defaults apply"
    yield Finding("config", f"{path}: {status}", wrong)
    state = state_path()
    writable = _may_write(state)
    remedy = (
        "" if writable else f"nothing is remembered between runs: make {state.parent} writable, or set XDG_STATE_HOME"
    )
    yield Finding("state", f"{state}: {'kept' if writable else 'cannot be written'}", remedy)
    try:
        yield Finding("theme", f"{choose_theme(config.theme)} ({'config' if config.theme else 'by the terminal'})")
    except UserError as error:
        yield Finding("theme", f"{config.theme}", f"{error}; correct `theme` in {path}")
    ascii = choose_glyphs(getattr(sys.__stderr__, "encoding", None), config.ascii) is ASCII
    yield Finding("drawn in", "ASCII" if ascii else "Unicode")
    mouse = config.mouse if config.mouse is not None else not os.environ.get("SSH_CONNECTION")
    yield Finding("mouse", ("on" if mouse else "off") + (" (over SSH)" if config.mouse is None and not mouse else ""))


def print_keys() -> None:
    """Every action of the browser: its id, its keys unless config.toml changes them, what it does, in a section per screen."""
    from ffnscope.tui.app import FfnscopeApp
    from ffnscope.tui.keymap import every_action

    shown = ""
    for screen, row in every_action(FfnscopeApp):
        if screen != shown:
            print(screen)
            shown = screen
        print(f"  {row.id:<17} {' '.join(row.keys):<12} {row.description}")


def look_at_store(path: Path) -> Iterator[Finding]:
    """Whether a store can be read and written here; `ffnscope verify` reads all of it."""
    from ffnscope.store.format.environment import remote_file_system
    from ffnscope.store.reader import Store
    from ffnscope.tui.commands.info import describe_progress
    from ffnscope.tui.drawing.numbers import filesize

    try:
        store = Store.open(path)
    except UserError as error:
        yield Finding("opens", "no", str(error))
        return
    with store:
        yield Finding("opens", f"{store.path}, format {store.format_version}, {filesize(store.size_on_disk())}")
        try:
            progress, layers = store.progress(), store.layers()
            yield Finding(
                "progress", describe_progress(progress, len(layers)), _unfinished(progress.state, len(layers))
            )
        except UserError as error:
            yield Finding("progress", "cannot be read", str(error))
    remote = remote_file_system(path)
    slow = (
        "LMDB is slow on it and viewing while it is written unsafe: copy a finished store to a local disk"
        if remote
        else ""
    )
    yield Finding("file system", f"a network's ({remote})" if remote else "local", slow)
    writable = os.access(path, os.W_OK)
    from ffnscope.tui.state.remembered import state_path

    where = "in the store's folder" if writable else f"under {state_path().parent}: the store's folder is read-only"
    yield Finding("marks, notes", where)


def _unfinished(state: str, layers: int) -> str:
    if state == "complete":
        return ""
    if not layers:
        return "no layer is finished yet, there is nothing to see"
    return "figures of the whole model cover the finished layers only" if state == "interrupted" else ""


def _may_write(path: Path) -> bool:
    """Whether a file can be written at a path, its missing folders included."""
    nearest = path if path.exists() else next(folder for folder in path.parents if folder.exists())
    return os.access(nearest, os.W_OK)
