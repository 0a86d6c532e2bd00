"""Git LFS pointers: what `git clone` leaves in place of a large file where git-lfs is missing."""

from __future__ import annotations

from pathlib import Path

from ffnscope.store.errors import UserError

_START = b"version https://git-lfs.github.com/spec/"
_LONGEST = 1024  # bytes, by the specification of Git LFS


def refuse_pointer(file: Path) -> None:
    """Raise UserError where ``file`` is a Git LFS pointer instead of the file itself."""
    try:
        if file.stat().st_size >= _LONGEST:
            return
        with file.open("rb") as handle:
            start = handle.read(len(_START))
    except OSError:  # whoever reads the file says why it cannot be read
        return
    if start == _START:
        raise UserError(f"{file}: a Git LFS pointer, not the file itself; run git lfs pull in its folder")
