"""Effects as CSV and JSON lines, and a file of them, which says what store and windows they are of, that is continued."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Mapping, Set
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self, TextIO

from ffnscope.core.effects.ablation import Key
from ffnscope.core.effects.summary import Effect
from ffnscope.core.effects.windows import TestedWindows
from ffnscope.store.definitions import ABLATION_MODES
from ffnscope.store.errors import UserError
from ffnscope.store.reader import Store

COLUMNS = (
    "layer", "neuron", "mode", "positions", "active_positions", "delta_loss", "delta_loss_low", "delta_loss_high",
    "delta_loss_active", "delta_trigger_logit", "changed",
)  # fmt: skip
INTERVALS = (
    "delta_loss_active_low", "delta_loss_active_high", "trigger_positions", "delta_trigger_logit_low",
    "delta_trigger_logit_high",
)  # fmt: skip
ORIGIN = ("run", "windows")  # behind the others in a file
FORMATS = ("csv", "jsonl")


@dataclass(frozen=True)
class Origin:
    """What rows are of: the ``run`` whose store says which neurons there are and where they are activated, and the tested
    ``windows`` with their ``positions``. Both are ids of 16 hexadecimal digits."""

    run: str
    windows: str
    positions: int

    @classmethod
    def of(cls, store: Store, windows: TestedWindows) -> Self:
        """Of rows that a store and windows give."""
        return cls(store.run.run_id[:16], windows.fingerprint, windows.positions)


def header(format: str, columns: tuple[str, ...] = COLUMNS) -> str:
    """The first line, with its end; nothing for JSON lines."""
    return ",".join(columns) + "\n" if format == "csv" else ""


def line(effect: Effect, format: str, columns: tuple[str, ...] = COLUMNS, origin: Origin | None = None) -> str:
    """One effect as a line, with its end; with an ``origin``, that in ORIGIN's columns. Floats read back exactly; what is not
    there is an empty cell or null."""
    cells = {name: _cell(getattr(effect, name)) for name in columns}
    if origin is not None:
        cells |= {name: _cell(getattr(origin, name)) for name in ORIGIN}
    if format == "csv":
        return ",".join("" if cell == "null" else cell.strip('"') for cell in cells.values()) + "\n"
    return "{" + ",".join(f'"{name}":{cell}' for name, cell in cells.items()) + "}\n"


def _cell(value: object) -> str:
    return "null" if value is None or (isinstance(value, float) and math.isnan(value)) else json.dumps(value)


def _effect(key: Key, row: Mapping[str, Any]) -> Effect:
    """An effect from a row's texts or values. Raises ValueError and TypeError."""
    values: dict[str, Any] = {}
    for field in fields(Effect):
        if field.name in ("neurons", "together", "mode"):
            continue
        value = row.get(field.name)
        if field.type == "int":
            values[field.name] = 0 if value is None else int(value)
        else:
            values[field.name] = math.nan if value in (None, "") else float(value)
    return Effect((key,), False, row["mode"], **values)


class EffectFile:
    """A file of single neurons' effects, to which rows are appended; what it holds already is not computed again."""

    def __init__(
        self,
        path: Path,
        format: str,
        mode: str,
        origin: Origin,
        columns: tuple[str, ...] = COLUMNS,
        *,
        fresh: bool = False,
        instead: str = "give another --output, or --overwrite",
    ):
        """``fresh``: start over where the file is there already; ``instead``: what to do otherwise. Raises UserError for a
        file of something else, of another store or other windows, or that cannot be read; it stays as it is."""
        self.path, self._format, self._columns = path, format, columns
        self._mode, self._origin, self._instead = mode, origin, instead
        self._end = 0  # bytes of whole lines
        self.tied = True
        """Whether the file says what its rows are of; those of earlier versions do not."""
        self.effects: dict[Key, Effect] = {}
        """The effects that the file has in this mode; those of columns without INTERVALS lack what these say."""
        try:
            content = path.read_bytes() if path.is_file() and not fresh else b""
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
        if content:
            self._end = content.rfind(b"\n") + 1
            begun = self._header().encode() if format == "csv" else b'{"layer":'
            if not self._end and not (begun.startswith(content) or (format != "csv" and content.startswith(begun))):
                raise self._other()
            self.effects = self._rows(content[: self._end])
        self._out: TextIO | None = None

    def _header(self) -> str:
        return header(self._format, (*self._columns, *ORIGIN) if self.tied else self._columns)

    @property
    def finished(self) -> Set[Key]:
        """The neurons that the file has rows of in this mode."""
        return self.effects.keys()

    def _rows(self, content: bytes) -> dict[Key, Effect]:
        try:
            text = content.decode("utf-8")
            if self._format == "csv":
                self.tied = not text.startswith(header("csv", self._columns))
                if text and not text.startswith(self._header()):
                    raise ValueError
                rows: list[dict[str, Any]] = list(csv.DictReader(io.StringIO(text)))
            else:
                rows = [json.loads(text_line) for text_line in text.splitlines()]
                self.tied = not rows or not set(rows[0]).isdisjoint(ORIGIN)
            columns = {*self._columns, *(ORIGIN if self.tied else ())}
            effects = {}
            for row in rows:
                if set(row) != columns or row["mode"] not in ABLATION_MODES:
                    raise ValueError
                key = int(row["layer"]), int(row["neuron"])
                self._check_origin(row)
                if row["mode"] == self._mode:
                    effects[key] = _effect(key, row)
            return effects
        except (ValueError, KeyError, TypeError, RecursionError, csv.Error):
            raise self._other() from None

    def _check_origin(self, row: Mapping[str, Any]) -> None:
        """Raise UserError for a row of another store or other windows."""
        own, positions, differs = self._origin, int(row["positions"]), ""
        if self.tied and row["run"] != own.run:
            differs = f"of another store, of run {str(row['run'])[:16]!r}, not {own.run}"
        elif positions != own.positions:
            differs = f"over {positions:,} positions, not {own.positions:,}"
        elif self.tied and row["windows"] != own.windows:
            differs = "over other windows, or other text"
        if differs:
            raise UserError(f"{self.path}: holds effects {differs}; {self._instead}")

    def _other(self) -> UserError:
        return UserError(
            f"{self.path}: is not a {self._format} file of single neurons' effects with these columns; {self._instead}"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._out is not None:
            self._out.close()

    def append(self, effect: Effect) -> None:
        """Write one row, to the disk. Raises OSError."""
        if self._out is None:
            if self._end:
                os.truncate(self.path, self._end)  # a row that a killed run left half written
            self._out = self.path.open("a" if self._end else "w", encoding="utf-8", newline="")
            if not self._end:
                self._out.write(self._header())
        self._out.write(line(effect, self._format, self._columns, self._origin if self.tied else None))
        self._out.flush()
        if self.path.is_file():  # no pipe
            os.fsync(self._out.fileno())
