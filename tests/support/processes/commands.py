"""Running the command as a script does, and what one line of error must be."""

from __future__ import annotations

import os
import subprocess
import sys

from ffnscope.tui.cli import main


def ffnscope(*arguments, **environment):
    done = subprocess.run(
        [sys.executable, "-m", "ffnscope.tui", *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode, done.stdout, done.stderr


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def one_line(text):
    assert text.startswith("ffnscope: ") and text.endswith("\n") and text.count("\n") == 1, text
    return text
