"""The format of a corpus file, told by its name: `wiki.jsonl.zst` is JSON lines, compressed with Zstandard."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Format:
    """`name` as the log writes it; `place`: what a row's text stands in, "" where a file is one document."""

    name: str
    place: str = ""


TEXT = Format("text")
JSON_LINES = Format("JSON lines", "field")
JSON = Format("JSON", "field")
CSV = Format("CSV", "column")
TSV = Format("TSV", "column")
PARQUET = Format("Parquet", "column")
ARROW = Format("Arrow", "column")

COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".zstd")
_BY_SUFFIX = {
    ".jsonl": JSON_LINES, ".ndjson": JSON_LINES, ".jsonlines": JSON_LINES, ".json": JSON, ".csv": CSV, ".tsv": TSV,
    ".parquet": PARQUET, ".pq": PARQUET, ".arrow": ARROW, ".feather": ARROW,
}  # fmt: skip


def format_of(path: Path) -> Format | None:
    """The format of a file. None for `.npy`, and for a compressed file of an unknown or never compressed format: a
    `.tar.gz` would count as text."""
    name = path.name.lower()
    suffix = Path(name).suffix
    if suffix not in COMPRESSED:
        return None if suffix == ".npy" else _BY_SUFFIX.get(suffix, TEXT)
    inner = Path(name.removesuffix(suffix)).suffix
    if inner == ".txt":
        return TEXT
    format = _BY_SUFFIX.get(inner)
    return None if format in (PARQUET, ARROW) else format


def describe_formats(files: list[Path], field: str) -> str:
    """How the files are read, in words: "3 Parquet files, column text; 1 text file, one document"."""
    counts: dict[Format, int] = {}
    for file in files:
        if (format := format_of(file)) is not None:
            counts[format] = counts.get(format, 0) + 1
    parts = []
    for format, count in counts.items():
        files_read = f"{count:,} {format.name} file{'' if count == 1 else 's'}"
        place = f"{format.place} {field}" if format.place else "one document" + ("" if count == 1 else " each")
        parts.append(f"{files_read}, {place}")
    return "; ".join(parts) or "no file that can be read"
