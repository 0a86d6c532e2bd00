"""Effects as CSV and JSON lines, and a file of them that is continued."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Mapping, Set
from dataclasses import fields
from pathlib import Path
from typing import Any, Self, TextIO

from ffnscope.core.effects.ablation import Key
from ffnscope.core.effects.summary import Effect
from ffnscope.store.definitions import ABLATION_MODES
from ffnscope.store.errors import UserError

COLUMNS = (
    "layer", "neuron", "mode", "positions", "active_positions", "delta_loss", "delta_loss_low", "delta_loss_high",
    "delta_loss_active", "delta_trigger_logit", "changed",
)  # fmt: skip
INTERVALS = (
    "delta_loss_active_low", "delta_loss_active_high", "trigger_positions", "delta_trigger_logit_low",
    "delta_trigger_logit_high",
)  # fmt: skip
FORMATS = ("csv", "jsonl")


def header(format: str, columns: tuple[str, ...] = COLUMNS) -> str:
    """The first line, with its end; nothing for JSON lines."""
    return ",".join(columns) + "\n" if format == "csv" else ""


def line(effect: Effect, format: str, columns: tuple[str, ...] = COLUMNS) -> str:
    """One effect as a line, with its end. Floats read back exactly; what is not there is an empty cell or null."""
    cells = {name: _cell(getattr(effect, name)) for name in columns}
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
        positions: int,
        columns: tuple[str, ...] = COLUMNS,
        fresh: bool = False,
    ):
        """``fresh``: start anew where the file is there already. Raises UserError for a file of something else, of other
        windows, or that cannot be read; it stays as it is."""
        self.path, self._format, self._columns = path, format, columns
        self._mode, self._positions = mode, positions
        self._end = 0  # bytes of whole lines
        self.effects: dict[Key, Effect] = {}
        """The effects that the file has in this mode; those of columns without INTERVALS lack what these say."""
        try:
            content = path.read_bytes() if path.is_file() and not fresh else b""
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
        if content:
            self._end = content.rfind(b"\n") + 1
            begun = header("csv", columns).encode() if format == "csv" else b'{"layer":'
            if not self._end and not (begun.startswith(content) or (format != "csv" and content.startswith(begun))):
                raise self._other()
            self.effects = self._rows(content[: self._end])
        self._out: TextIO | None = None

    @property
    def finished(self) -> Set[Key]:
        """The neurons that the file has rows of in this mode."""
        return self.effects.keys()

    def _rows(self, content: bytes) -> dict[Key, Effect]:
        try:
            text = content.decode("utf-8")
            if self._format == "csv":
                if text and not text.startswith(header("csv", self._columns)):
                    raise ValueError
                rows: list[dict[str, Any]] = list(csv.DictReader(io.StringIO(text)))
            else:
                rows = [json.loads(text_line) for text_line in text.splitlines()]
            effects = {}
            for row in rows:
                if set(row) != set(self._columns) or row["mode"] not in ABLATION_MODES:
                    raise ValueError
                key = int(row["layer"]), int(row["neuron"])
                if int(row["positions"]) != self._positions:
                    raise UserError(
                        f"{self.path}: holds effects over {int(row['positions']):,} positions, not {self._positions:,}; "
                        "give another --output, or --overwrite"
                    )
                if row["mode"] == self._mode:
                    effects[key] = _effect(key, row)
            return effects
        except (ValueError, KeyError, TypeError, RecursionError, csv.Error):
            raise self._other() from None

    def _other(self) -> UserError:
        return UserError(
            f"{self.path}: is no {self._format} file of single neurons' effects with these columns; give another "
            "--output, or --overwrite"
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
                self._out.write(header(self._format, self._columns))
        self._out.write(line(effect, self._format, self._columns))
        self._out.flush()
        if self.path.is_file():  # no pipe
            os.fsync(self._out.fileno())
