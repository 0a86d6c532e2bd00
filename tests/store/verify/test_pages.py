"""The walk over a data file's pages finds whatever contradicts the tree, in a file that LMDB itself has made."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import lmdb
import pytest

from ffnscope.store.format.meta_pages import DamagedFileError, Meta, read_metas
from ffnscope.store.verify.pages import walk

PAGE = 4096
BRANCH, LEAF = 1, 2
DATABASE = struct.Struct("<IHHQQQQQ")
NO_PAGES = DATABASE.pack(0, 0, 0, 0, 0, 0, 0, (1 << 64) - 1)


class File:
    """A data file with a database of several leaves and two long values, and a list of free pages."""

    def __init__(self, folder: Path):
        with lmdb.open(str(folder), max_dbs=1, map_size=1 << 24) as environment:
            database = environment.open_db(b"inner")
            for round_ in range(3):
                with environment.begin(write=True) as transaction:
                    for key in range(300):
                        transaction.put(b"%05d" % key, b"x" * (9000 if key < 2 else 20 + round_), db=database)
        self.path = folder / "data.mdb"
        self.data = bytearray(self.path.read_bytes())
        self.meta: Meta = max(read_metas(self.path) or (), key=lambda meta: meta.transaction)

    def number(self, at: int, form: str = "<H") -> int:
        return int(struct.unpack_from(form, self.data, at)[0])

    def node(self, page: int, index: int) -> int:
        """Where a page's node begins."""
        return page * PAGE + self.number(page * PAGE + 16 + 2 * index)

    def put(self, at: int, form: str, *values: int) -> None:
        struct.pack_into(form, self.data, at, *values)

    def walk(self) -> None:
        self.path.write_bytes(self.data)
        walk(self.path, self.meta)

    @property
    def main(self) -> int:
        """The leaf that names the inner database."""
        return DATABASE.unpack(self.meta.main)[-1]

    @property
    def inner(self) -> int:
        """The root of the inner database, a branch."""
        node = self.node(self.main, 0)
        return DATABASE.unpack_from(self.data, node + 8 + len("inner"))[-1]

    @property
    def leaf(self) -> int:
        """The first leaf of the inner database: its first two values are long."""
        return self.number(self.node(self.inner, 0), "<I")

    @property
    def free(self) -> int:
        """Where the first list of free pages begins: how many they are, then their numbers."""
        return self.node(DATABASE.unpack(self.meta.free)[-1], 0) + 8 + 8


@pytest.fixture
def file(tmp_path: Path) -> File:
    made = File(tmp_path)
    made.walk()
    assert made.number(made.inner * PAGE + 10) == BRANCH and made.number(made.leaf * PAGE + 10) == LEAF
    assert made.number(made.free, "<Q") > 1
    return made


def no_pages_but_entries(file: File) -> None:
    file.meta = replace(file.meta, main=DATABASE.pack(0, 0, 0, 0, 0, 0, 7, (1 << 64) - 1))


def no_free_pages(file: File) -> None:
    file.meta = replace(file.meta, free=NO_PAGES)


def more_free_pages_than_listed(file: File) -> None:
    file.put(file.free, "<Q", 10**6)


def a_free_page_beyond_the_file(file: File) -> None:
    file.put(file.free + 8, "<Q", file.meta.last_page + 1)


def a_free_page_twice(file: File) -> None:
    file.put(file.free + 8, "<Q", file.number(file.free + 16, "<Q"))


def a_database_cut_short(file: File) -> None:
    file.put(file.node(file.main, 0), "<H", DATABASE.size - 8)


def a_value_longer_than_the_file(file: File) -> None:
    file.put(file.node(file.leaf, 0), "<HH", 0, 0x7FFF)


def two_values_on_the_same_pages(file: File) -> None:
    first, second = (file.node(file.leaf, index) + 8 + 5 for index in (0, 1))
    file.put(second, "<Q", file.number(first, "<Q"))


def a_leaf_twice(file: File) -> None:
    file.put(file.node(file.inner, 1), "<I", file.leaf)


def keys_in_another_order(file: File) -> None:
    offsets = file.leaf * PAGE + 16
    file.put(offsets, "<HH", file.number(offsets + 2), file.number(offsets))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (no_pages_but_entries, "a database without pages has entries"),
        (no_free_pages, "is neither used nor free"),
        (more_free_pages_than_listed, "its list of free pages is damaged"),
        (a_free_page_beyond_the_file, "its list of free pages is damaged"),
        (a_free_page_twice, "its list of free pages is damaged"),
        (a_database_cut_short, "has a damaged database"),
        (a_value_longer_than_the_file, "a value lies beyond page"),
        (two_values_on_the_same_pages, "is used twice"),
        (a_leaf_twice, "is used twice"),
        (keys_in_another_order, "keys out of order at b'00000'"),
    ],
)
def test_what_contradicts_the_tree_is_found(file, change, says):
    change(file)
    with pytest.raises(DamagedFileError, match=says):
        file.walk()
