"""``python -m ffnscope.tui`` is the command ``ffnscope``."""

from __future__ import annotations

import sys

from ffnscope.tui.cli import program

if __name__ == "__main__":
    sys.exit(program())
