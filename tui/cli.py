"""The command line: which commands there are, and how each way of failing ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, suppress
from functools import cache
from typing import Annotated, Any

import typer

from ffnscope.store.errors import LostProcessError, UserError, device_message, is_device_error
from ffnscope.tui.commands import shared
from ffnscope.tui.commands.ask import QueryCommand, ask
from ffnscope.tui.commands.collect import collect
from ffnscope.tui.commands.compare import compare
from ffnscope.tui.commands.contexts import contexts
from ffnscope.tui.commands.demo import demo
from ffnscope.tui.commands.doctor import doctor
from ffnscope.tui.commands.effects.ablate import ablate
from ffnscope.tui.commands.export import export
from ffnscope.tui.commands.info import info
from ffnscope.tui.commands.report import report
from ffnscope.tui.commands.search import search
from ffnscope.tui.commands.shared import is_main_process
from ffnscope.tui.commands.verify import verify
from ffnscope.tui.commands.view import view
from ffnscope.tui.state.background import leave

BAD_INPUT = 2
INTERRUPTED = 130
BROKEN_PIPE = 141
# What libraries write in generic exceptions when memory, address space or threads run out.
_NO_MEMORY = (
    "failed to map segment",
    "annot allocate memory",
    "can't allocate memory",
    "can't start new thread",
    "bad_alloc",
)

app = typer.Typer(
    name="ffnscope",
    help="See what the FFN neurons of a language model do: exact statistics in a store, and a terminal browser on it.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
for command in (demo, collect, view, search, ask, contexts, ablate, export, report, compare, info, verify, doctor):
    app.command(cls=QueryCommand if command is ask else None)(command)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"ffnscope {version('ffnscope')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """See what the FFN neurons of a language model do: exact statistics in a store, and a terminal browser on it."""


@cache
def _command() -> Any:
    return typer.main.get_command(app)


def program() -> int:
    """The program ``ffnscope``: ``main``, then an exit that does not wait for a prompt that is still running."""
    return leave(main())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. What a user can correct is one line on stderr."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    shared.given[:] = given
    _open_streams()
    if not sys.stderr.isatty():
        # The progress bars of Hugging Face's libraries, read by tqdm when it is imported.
        os.environ.setdefault("TQDM_DISABLE", "1")
    code, message = _run(given)
    # Of processes that a launcher started together, the first speaks; only collect is started so.
    if message and (given[:1] != ["collect"] or is_main_process()):
        _say(message)
    return code


def _run(arguments: list[str]) -> tuple[int, str]:
    """The exit code of a command, and the message if it failed."""
    try:
        code = _command()(arguments, prog_name="ffnscope", standalone_mode=False)
        sys.stdout.flush()
        return (code if isinstance(code, int) else 0), ""
    except LostProcessError as error:
        _say(str(error))  # the main process may be the one that is gone
        return BAD_INPUT, ""
    except UserError as error:
        return BAD_INPUT, str(error)
    except KeyboardInterrupt:
        return INTERRUPTED, ""
    except (BrokenPipeError, SystemExit) as stop:
        # typer turns a broken pipe into an exit of its own, and nothing else.
        if isinstance(stop, SystemExit) and type(sys.stdout).__name__ != "PacifyFlushWrapper":
            raise
        _discard_stdout()
        return BROKEN_PIPE, ""
    except MemoryError:
        return BAD_INPUT, "out of memory; close something, or give a smaller --batch-size"
    except Exception as error:
        if type(error).__name__ == "Abort":
            return INTERRUPTED, ""
        if is_device_error(error):
            return BAD_INPUT, device_message("the device", error)
        if any(sign in str(error) for sign in _NO_MEMORY):
            why = " ".join(str(error).split())[:200]
            return BAD_INPUT, f"not enough memory or address space ({why}); close something, or raise `ulimit -v`"
        if isinstance(error, OSError):
            _discard_stdout()
            # Only what writes to a stream names no file; collect has results in its store alone.
            unnamed = "a file" if arguments[:1] == ["collect"] else "standard output"
            where = unnamed if error.filename is None else os.fsdecode(error.filename)
            return BAD_INPUT, f"{where}: cannot be read or written ({error.strerror or error})"
        if not _is_usage_error(error):
            raise
        return BAD_INPUT, _usage(error)


def _open_streams() -> None:
    """A closed standard stream is None: open /dev/null instead, to read for stdout, so that results fail, to write for stderr."""
    for name, how in (("stdout", os.O_RDONLY), ("stderr", os.O_WRONLY)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, how), "w"))


def _discard_stdout() -> None:
    """Drop what is left in the buffers: nobody reads it."""
    from ffnscope.tui.commands.progress import discard

    discard(1)


def _is_usage_error(error: Any) -> bool:
    # typer brings its own copy of click from 0.20 on: the class depends on its version, what it offers does not.
    return hasattr(error, "format_message") and hasattr(error, "exit_code")


def _usage(error: Any) -> str:
    if type(error).__name__ == "NoArgsIsHelpError":
        with redirect_stderr(None):  # where typer puts an empty line
            error.show()
        return "no command given; try `ffnscope demo`, or `ffnscope --help`"
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "ffnscope"
    return f"{error.format_message().rstrip('.')}; see `{path} --help`"


def _say(message: str) -> None:
    from ffnscope.tui.drawing.glyphs import choose_glyphs
    from ffnscope.tui.drawing.text import visible

    glyphs = choose_glyphs(getattr(sys.stderr, "encoding", None))
    with suppress(OSError):
        print(f"ffnscope: {visible(message, glyphs, spaces=False)}", file=sys.stderr, flush=True)
