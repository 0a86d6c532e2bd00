"""Every page of an LMDB data file, looked at without LMDB: each must be a part of the tree once, or free."""

from __future__ import annotations

import mmap
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ffnscope.store.format.meta_pages import DamagedFileError, Meta

# https://github.com/LMDB/lmdb, libraries/liblmdb/mdb.c, version 0.9 on 64 bits: MDB_page, MDB_node and MDB_db.
_PAGE = struct.Struct("=QHHHH")  # number, unused, flags, end of the node offsets, begin of the nodes
_NODE = struct.Struct("=HHHH")  # low and high half of the size or page, flags or more of the page, size of the key
_DATABASE = struct.Struct("=IHHQQQQQ")  # unused, flags, depth, branch, leaf and overflow pages, entries, root
_NUMBER = struct.Struct("=Q")
_BRANCH, _LEAF, _OVERFLOW, _KINDS = 1, 2, 4, 0x3FFF
_BIG, _INNER = 1, 2
_NO_PAGE = (1 << 64) - 1
_DEEPEST = 32


def check_number(path: Path, meta: Meta) -> None:
    """Raise DamagedFileError where ``meta`` numbers its snapshot otherwise than the snapshot's own list of free pages:
    the last entry there is that of the transaction that made it, for each but the first frees the root before it.

    Nothing where the pages of the list cannot be read: those of the older snapshot may be damaged, and hold no data.
    """
    last = None
    with _mapped(path) as data:
        if (meta.last_page + 1) * meta.page_size > len(data):
            return
        try:
            for key, _ in _Pages(data, meta).entries(meta.free, numbers=True):
                last = key
        except (DamagedFileError, struct.error, IndexError, RecursionError):
            return
    number = 1 if last is None else int.from_bytes(last, sys.byteorder)
    if number != meta.transaction and (last is not None or meta.transaction > 1):
        raise DamagedFileError(
            f"a meta page says transaction {meta.transaction}, its list of free pages {number}: "
            "an older state of the store may stand for the newest"
        )


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data


def walk(path: Path, meta: Meta) -> None:
    """Follow every page of the snapshot that ``meta`` names. Raises DamagedFileError at the first thing that is wrong:
    a page that is used twice, used and free, or neither; one that is not what it should be; keys out of order."""
    with _mapped(path) as data:
        pages = _Pages(data, meta)
        list(pages.entries(meta.main))
        free = np.zeros(meta.last_page + 1, np.bool_)
        for _, value in pages.entries(meta.free, numbers=True):
            numbers = np.frombuffer(value, "<u8") if len(value) % 8 == 0 else np.zeros(0, "<u8")
            if not len(numbers) or numbers[0] >= len(numbers):
                raise DamagedFileError("its list of free pages is damaged")
            listed = numbers[1 : 1 + int(numbers[0])]
            if (listed > meta.last_page).any() or free[listed].any() or len(np.unique(listed)) != len(listed):
                raise DamagedFileError("its list of free pages is damaged")
            free[listed] = True
        both, neither = np.flatnonzero(free & pages.used), np.flatnonzero(~free & ~pages.used)
        if len(both):
            raise DamagedFileError(f"page {both[0]} is used and free")
        if len(neither):
            raise DamagedFileError(f"page {neither[0]} is neither used nor free")


class _Pages:
    """The pages of one snapshot, and which of them were met."""

    def __init__(self, data: mmap.mmap, meta: Meta):
        self._data, self._size, self._last = data, meta.page_size, meta.last_page
        self.used = np.zeros(meta.last_page + 1, np.bool_)
        self.used[:2] = True

    def entries(self, record: bytes, numbers: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Key and value of a database, and those of the databases in it. Keys are ``numbers`` for the free pages;
        only there are values of more than a page given."""
        _, _, depth, branch, leaf, overflow, entries, root = _DATABASE.unpack(record)
        if root == _NO_PAGE:
            if entries:
                raise DamagedFileError("a database without pages has entries")
            return
        counts = [0, 0, 0, 0]
        last: bytes | None = None
        for key, value in self._tree(root, depth, counts, numbers):
            here = key[::-1] if numbers and sys.byteorder == "little" else key
            if last is not None and here <= last:
                raise DamagedFileError(f"keys out of order at {key[:20]!r}")
            last = here
            yield key, value
        if counts != [branch, leaf, overflow, entries]:
            raise DamagedFileError(f"the database at page {root} has other pages or entries than it says")

    def _tree(self, number: int, depth: int, counts: list[int], whole: bool) -> Iterator[tuple[bytes, bytes]]:
        page, nodes, kind = self._nodes(number)
        if kind != (_LEAF if depth == 1 else _BRANCH) or not 1 <= depth <= _DEEPEST:
            raise DamagedFileError(f"page {number} is at the wrong depth")
        counts[0 if kind == _BRANCH else 1] += 1
        for at in nodes:
            low, high, flags, length = _NODE.unpack_from(page, at)
            start = at + _NODE.size
            if start + length > self._size:
                raise DamagedFileError(f"page {number} has a key beyond its end")
            if kind == _BRANCH:
                yield from self._tree(low | high << 16 | flags << 32, depth - 1, counts, whole)
                continue
            counts[3] += 1
            begin, size = start + length, low | high << 16
            if begin + (_NUMBER.size if flags == _BIG else size) > self._size or flags not in (0, _BIG, _INNER):
                raise DamagedFileError(f"page {number} has a value beyond its end")
            if flags == _BIG:
                value = self._overflow(_NUMBER.unpack_from(page, begin)[0], size, counts, whole)
            else:
                value = page[begin : begin + size]
            if flags == _INNER:
                if size != _DATABASE.size:
                    raise DamagedFileError(f"page {number} has a damaged database")
                for _ in self.entries(value):
                    pass
            yield page[start:begin], value

    def _overflow(self, first: int, size: int, counts: list[int], whole: bool) -> bytes:
        count = -(-(_PAGE.size + size) // self._size)
        if first + count - 1 > self._last:
            raise DamagedFileError(f"a value lies beyond page {self._last}")
        if self.used[first : first + count].any():
            raise DamagedFileError(f"page {first} is used twice")
        self.used[first : first + count] = True
        at = first * self._size
        page_number, _, flags, low, high = _PAGE.unpack_from(self._data, at)
        if page_number != first or flags & _KINDS != _OVERFLOW or low | high << 16 != count:
            raise DamagedFileError(f"page {first} is not the value that it should be")
        counts[2] += count
        return self._data[at + _PAGE.size : at + _PAGE.size + size] if whole else b""

    def _nodes(self, number: int) -> tuple[bytes, list[int], int]:
        if not 2 <= number <= self._last:
            raise DamagedFileError(f"page {number} is out of range")
        if self.used[number]:
            raise DamagedFileError(f"page {number} is used twice")
        self.used[number] = True
        page = self._data[number * self._size : (number + 1) * self._size]
        page_number, _, flags, lower, upper = _PAGE.unpack_from(page)
        kind = flags & _KINDS
        if page_number != number or kind not in (_BRANCH, _LEAF):
            raise DamagedFileError(f"page {number} is not the page that it should be")
        if not _PAGE.size <= lower <= upper <= self._size or lower % 2:
            raise DamagedFileError(f"page {number} has no bounds")
        nodes = np.frombuffer(page, "=u2", (lower - _PAGE.size) // 2, _PAGE.size)
        if len(nodes) and not upper <= nodes.min() <= nodes.max() <= self._size - _NODE.size:
            raise DamagedFileError(f"page {number} has an entry beyond its end")
        return page, nodes.tolist(), kind
