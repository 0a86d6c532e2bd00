"""The two meta pages of an LMDB data file, read without LMDB: it maps the file and trusts them."""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass
from pathlib import Path

# 64-bit LMDB 0.9: page header, then magic, version, address, map size, two databases of 48 bytes (the page size is the
# first word of the first), last page, transaction.
_HEADER = struct.Struct("=QHHHH")
_META = struct.Struct("=IIQQ48s48sQQ")
_MAGIC, _VERSION, _IS_META = 0xBEEFC0DE, 1, 0x08
_SMALLEST, _USUAL, _LARGEST = 512, 4096, 1 << 16


class DamagedFileError(Exception):
    """The data file is cut short, or its meta pages are damaged."""


@dataclass(frozen=True)
class Meta:
    """What one meta page says."""

    page_size: int
    last_page: int
    transaction: int
    free: bytes  # the records of the two databases: free pages, and everything else
    main: bytes


def read_metas(path: Path) -> tuple[Meta, Meta] | None:
    """Both meta pages of the data file ``path``; None where it is of a kind that this does not know, and LMDB must say.

    Raises DamagedFileError, and OSError where the file cannot be read.
    """
    if sys.maxsize < 1 << 32:
        return None
    with path.open("rb") as file:
        first = _meta(file.read(_HEADER.size + _META.size), 0)
        file.seek(first.page_size if first else _USUAL)
        second = _meta(file.read(_HEADER.size + _META.size), 1, sure=first is not None)
    if first and second:
        return first, second
    if first or second:
        raise DamagedFileError(f"its meta page {0 if second else 1} is damaged")
    return None


def check_metas(metas: tuple[Meta, Meta]) -> str | None:
    """What contradicts itself in the meta pages: transactions take turns on them, so a change of either shows."""
    first, second = metas
    if first.page_size != second.page_size:
        return "its two meta pages give different page sizes"
    if first.transaction == second.transaction == 0:
        return None
    turns = first.transaction % 2 == 0 and second.transaction % 2 == 1
    if not turns or abs(first.transaction - second.transaction) != 1:
        return "its two meta pages are not of consecutive transactions"
    return None


def least_bytes(metas: tuple[Meta, Meta]) -> int:
    """Bytes that the file must have for the pages of its last transaction."""
    newest = max(metas, key=lambda meta: meta.transaction)
    return (newest.last_page + 1) * newest.page_size


def _meta(data: bytes, index: int, sure: bool = True) -> Meta | None:
    """One meta page; None for another version of LMDB, and for no meta page at all where it is not ``sure`` to be one."""
    if not sure and not (len(data) == _HEADER.size + _META.size and _META.unpack_from(data, _HEADER.size)[0] == _MAGIC):
        return None
    if len(data) < _HEADER.size + _META.size:
        raise DamagedFileError("cut short")
    flags = _HEADER.unpack_from(data)[2]
    magic, version, _, _, free, main, last_page, transaction = _META.unpack_from(data, _HEADER.size)
    page_size = int.from_bytes(free[:4], sys.byteorder)
    if magic != _MAGIC or not flags & _IS_META:
        raise DamagedFileError(f"its meta page {index} is damaged" if index else "no LMDB data file")
    if version != _VERSION:
        return None
    if not _SMALLEST <= page_size <= _LARGEST or page_size & (page_size - 1):
        raise DamagedFileError(f"its meta page {index} is damaged")
    return Meta(page_size, last_page, transaction, free, main)
