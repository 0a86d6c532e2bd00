"""The model's files must not change while a run reads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ffnscope.store.errors import UserError


@dataclass(frozen=True)
class FileStamps:
    """(path, size in bytes, modification time in ns) of files at one moment."""

    files: tuple[tuple[Path, int, int], ...]

    @classmethod
    def now(cls, paths: list[Path]) -> FileStamps:
        """The files as they are now, without those not yet downloaded."""
        return cls(tuple((path, *_state(path)) for path in paths if path.exists()))

    def check(self) -> None:
        """Raise UserError where a file has changed since."""
        for path, size, changed in self.files:
            if _state(path) != (size, changed):
                raise UserError(
                    f"{path}: changed while the run was reading it; layers finished before are kept. Restore the weights "
                    "and run with --resume, or collect into another --store"
                )


def _state(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); fetch the model again") from error
    return status.st_size, status.st_mtime_ns
