"""``verify`` in a process of its own: a damaged page of the data file can end the process that LMDB reads it in."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from ffnscope.store.errors import DamagedStoreError, UserError

CHILD = f"from {__name__} import _main; _main()"


def verify_isolated(path: Path, progress: Callable[[str, float], None] = lambda what, share: None) -> Iterator[str]:
    """What ``verify`` yields for the store in ``path``, and a line where reading it ends the process.

    Raises UserError where there is no store to open, or one of a newer format.
    """
    command = [sys.executable, "-c", CHILD, os.fspath(path)]
    doing = "opening it"
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="ascii"
    ) as child:
        assert child.stdout is not None and child.stderr is not None
        try:
            for line in child.stdout:
                what, *values = json.loads(line)
                if what == "wrong":
                    yield values[0]
                elif what == "refused":
                    raise UserError(values[0])
                else:
                    doing = values[0] or "the end"
                    progress(*values)
        except BaseException:
            child.kill()
            raise
        errors = child.stderr.read()
    if child.returncode < 0:
        name = signal.Signals(-child.returncode).name
        yield f"data.mdb: its pages are damaged: reading {doing} ended the process ({name})"
    elif child.returncode:
        raise RuntimeError(errors)


def _main() -> None:
    from ffnscope.store.reader import Store
    from ffnscope.store.verify.check import verify

    def say(*values: str | float) -> None:
        print(json.dumps(values), flush=True)

    try:
        with Store.open(sys.argv[1]) as store:
            for line in verify(store, lambda what, share: say("doing", what, share)):
                say("wrong", line)
    except DamagedStoreError as error:
        say("wrong", str(error).partition("; ")[0])
    except UserError as error:
        say("refused", str(error))
    except KeyboardInterrupt:
        sys.exit(130)
