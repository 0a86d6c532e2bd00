"""Whatever byte of a store's data file is changed or cut off, it is found, or it held nothing; never a crash."""

from __future__ import annotations

import itertools
import json
import random
import shutil
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

import flips
import pytest
from damage import problems
from synthetic import make_store

from ffnscope.store.errors import DamagedStoreError, UserError
from ffnscope.store.format.encoding import encode_json
from ffnscope.store.format.environment import open_environment
from ffnscope.store.format.keys import INDEX_KEY, LAYER_KEY, NEURON_KEY
from ffnscope.store.format.meta_pages import DamagedFileError, least_bytes, read_metas
from ffnscope.store.reader import Store
from ffnscope.store.records import Progress
from ffnscope.store.verify import isolated
from ffnscope.store.verify.isolated import verify_isolated
from ffnscope.store.verify.pages import walk
from ffnscope.store.writer import StoreWriter
from ffnscope.tui.cli import main

PAGE = 4096


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of a few dozen pages."""
    folder = tmp_path_factory.mktemp("damage") / "small.ffn"
    return make_store(folder, layers=2, neurons=16, vocabulary=300, seq_len=16, windows=12)


@pytest.fixture
def path(small: Path, tmp_path: Path) -> Path:
    """A copy to be spoiled."""
    return shutil.copytree(small, tmp_path / "s.ffn")


def chosen_bytes(size: int, seed: int) -> list[str]:
    """Bytes to flip, as flips.py takes them: in the meta pages, in the heads of all others, and anywhere."""
    rng = random.Random(seed)
    used = [page * PAGE + i for page in (0, 1) for i in rng.sample(range(8, 152), 30)]
    heads = [page * PAGE + i for page in range(2, size // PAGE) for i in rng.sample(range(64), 2)]
    return [f"{at}:{1 << rng.randrange(8)}" for at in (*used, *heads, *(rng.randrange(size) for _ in range(100)))]


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_a_flipped_byte_is_found_or_held_nothing(small: Path, tmp_path: Path, seed: int) -> None:
    chosen = chosen_bytes((small / "data.mdb").stat().st_size, seed)
    command = [sys.executable, flips.__file__, str(small), str(tmp_path / "flipped.ffn"), *chosen]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(results) == len(chosen) > 200
    came = Counter(what for _, what, _ in results)
    assert set(came) == {"found", "same"}, [result for result in results if result[1] not in ("found", "same")]
    assert came["found"] > 50 and came["same"] > 50


@pytest.mark.parametrize("more", range(4))
def test_an_older_state_does_not_pass_for_the_newest(path: Path, more: int) -> None:
    """Low bits of the transactions' numbers, which may make the other of the two meta pages the newest (the high ones
    leave the two too far apart). Which bits do depends on the number: each of four in a row is looked at."""
    with StoreWriter.open(path) as writer:
        for done in range(more):
            writer.write_progress(Progress("collecting", "", done, 2, 0.0))
        writer.write_progress(Progress("complete", "", 2, 2, 1.0))
    file, original = path / "data.mdb", flips.contents(path)
    data, older = file.read_bytes(), 0
    for at, bit in itertools.product((144, PAGE + 144), range(5)):
        changed = bytearray(data)
        changed[at + bit // 8] ^= 1 << bit % 8
        file.write_bytes(changed)
        what, line = flips.look(path, original)
        assert what in ("found", "same"), (at, bit)
        older += "older state" in line
    # n - 1 with its second bit set is n + 1, and n without it n - 2: none of both where n is a multiple of four.
    file.write_bytes(data)
    newest = max(meta.transaction for meta in read_metas(file) or ())
    assert older == {0: 0, 1: 1, 2: 2, 3: 1}[newest % 4]
    assert flips.look(path, original) == ("same", "")


@pytest.mark.parametrize("compact", [False, True])
def test_a_copy_of_a_store_is_right(small: Path, tmp_path: Path, compact: bool) -> None:
    copied = tmp_path / "copied.ffn"
    copied.mkdir()
    with open_environment(small, write=False) as environment:
        environment.copy(str(copied), compact=compact)
    assert problems(copied) == []
    with StoreWriter.open(copied) as writer:
        for _ in range(4):
            writer.write_progress(Progress("complete", "", 2, 2, 1.0))
            assert list(verify_isolated(copied)) == []


def test_pages_that_lmdb_cannot_stand_are_a_line(path: Path) -> None:
    """Leaf and branch pages in each other's place: LMDB asserts, and reads beyond the file."""
    data = bytearray((path / "data.mdb").read_bytes())
    pages = [at for at in range(2 * PAGE, len(data), PAGE) if data[at + 10] in (1, 2)]
    for at in pages[:6]:
        changed = data.copy()
        changed[at + 10] ^= 3
        changed[at + 20 :: PAGE] = b"\xff" * len(changed[at + 20 :: PAGE])
        (path / "data.mdb").write_bytes(changed)
        lines = list(verify_isolated(path))
        assert lines and all("\n" not in line for line in lines)


def test_a_reading_that_ends_the_process_is_damage(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dies = 'import os; print(\'["doing", "layer 1", 0.5]\', flush=True); os.kill(os.getpid(), 11)'
    monkeypatch.setattr(isolated, "CHILD", dies)
    assert list(verify_isolated(path)) == [
        "data.mdb: its pages are damaged: reading layer 1 ended the process (SIGSEGV)"
    ]
    monkeypatch.setattr(isolated, "CHILD", "raise ValueError('a bug of ours')")
    with pytest.raises(RuntimeError, match="ValueError: a bug of ours"):
        list(verify_isolated(path))


COMMANDS = ("info", "export", "search the", "report", "verify", "compare O")


def test_a_file_cut_anywhere_is_one_line(small: Path, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = (path / "data.mdb").read_bytes()
    assert len(data) == least_bytes(read_metas(path / "data.mdb"))  # type: ignore[arg-type]
    for size in (*range(0, len(data), PAGE), 1, 100, PAGE + 100, len(data) - 1):
        (path / "data.mdb").write_bytes(data[:size])
        with pytest.raises(UserError, match="cannot be opened"):
            Store.open(path)
    for size in (0, PAGE, len(data) // 2 // PAGE * PAGE, len(data) - PAGE):
        (path / "data.mdb").write_bytes(data[:size])
        for command in COMMANDS:
            name, *rest = command.split()
            code = main([name, str(path), *(str(small) if word == "O" else word for word in rest)])
            out, err = capsys.readouterr()
            assert code == (1 if name == "verify" else 2) and err.count("\n") == 1 and "Traceback" not in out + err
            assert out.count("\n") == (name == "verify") and "cut short" in out + err
    (path / "data.mdb").write_bytes(data + bytes(PAGE))
    assert main(["verify", str(path)]) == 0


def test_a_collector_does_not_write_on_a_cut_file(path: Path) -> None:
    (path / "data.mdb").write_bytes((path / "data.mdb").read_bytes()[: 4 * PAGE])
    with pytest.raises(DamagedStoreError, match="cut short"):
        open_environment(path, write=True)


def test_the_walk_accounts_for_every_page(small: Path, path: Path) -> None:
    metas = read_metas(path / "data.mdb")
    assert metas is not None
    newest = max(metas, key=lambda meta: meta.transaction)
    walk(path / "data.mdb", newest)
    # The transaction before: its pages are there still, but what is free has changed.
    assert newest.transaction == 13
    for meta in metas:
        if meta is not newest:
            mixed = type(meta)(newest.page_size, newest.last_page, newest.transaction, newest.free, meta.main)
            with pytest.raises(DamagedFileError, match="used and free"):
                walk(path / "data.mdb", mixed)


def edit(path: Path, database: str, puts: dict[bytes, bytes] = {}, deletes: tuple[bytes, ...] = ()) -> None:  # noqa: B006
    with open_environment(path, write=True) as environment:
        handle = environment.open_db(database.encode())
        with environment.begin(write=True) as transaction:
            for key, value in puts.items():
                assert transaction.put(key, value, db=handle)
            for key in deletes:
                assert transaction.delete(key, db=handle)


JUNK = encode_json("x")


@pytest.mark.parametrize(
    ("database", "puts", "deletes", "says"),
    [
        ("meta", {b"other": JUNK}, (), "in database meta 1 unknown: 'other'"),
        ("columns", {LAYER_KEY.pack(0) + b"another": JUNK}, (), "in database columns 1 unknown"),
        ("columns", {LAYER_KEY.pack(7) + b"kind": JUNK}, (), "in database columns 1 unknown"),
        ("columns", {}, (LAYER_KEY.pack(1) + b"random_window",), "in database columns 1 missing"),
        ("columns", {}, (LAYER_KEY.pack(1) + b"kind",), "kind of layer 1 is missing"),
        ("curves", {NEURON_KEY.pack(0, 16): JUNK}, (), "in database curves 1 unknown"),
        ("curves", {b"short": JUNK}, (), "in database curves 1 unknown"),
        ("windows", {INDEX_KEY.pack(12): JUNK}, (), "in database windows 1 unknown"),
        ("windows", {}, (INDEX_KEY.pack(5),), "no window 5"),
        ("windows", {}, (INDEX_KEY.pack(5),), "in database windows 1 missing"),
        ("vocabulary", {}, (INDEX_KEY.pack(0) + b"whole",), "tokens from 0 on: are missing"),
        ("vocabulary", {INDEX_KEY.pack(9) + b"ends": JUNK}, (), "in database vocabulary 1 unknown"),
        ("meta", {}, (b"layer:00001",), "layers 1 are missing"),
        ("meta", {b"layer:00005": JUNK}, (), "layers 5 are not part of the run"),
        ("meta", {b"layer:00005": JUNK}, (), "kind of layer 5 is missing"),
        ("meta", {b"layer:x\x1b[2J": JUNK}, (), "is not that of a layer"),
        ("stranger", {b"a": b"b"}, (), "among the databases 1 unknown: 'stranger'"),
    ],
)
def test_missing_and_unknown_keys_are_found(
    path: Path, database: str, puts: dict[bytes, bytes], deletes: tuple[bytes, ...], says: str
) -> None:
    edit(path, database, puts, deletes)
    found = problems(path)
    assert any(says in line for line in found), found
    assert all(line.isprintable() for line in found)


def test_a_missing_curve_of_an_alive_neuron_is_found(path: Path) -> None:
    with Store.open(path) as store:
        key = next(store.keys("curves"))
    edit(path, "curves", deletes=(key,))
    layer, neuron = struct.unpack(">HI", key)
    assert f"L{layer}N{neuron}" in " ".join(problems(path))


@pytest.mark.parametrize(("database", "length"), [("curves", NEURON_KEY.size), ("windows", INDEX_KEY.size)])
def test_keys_in_another_order_are_found(path: Path, database: str, length: int) -> None:
    """The second and the third entry of each leaf page with keys of that length."""
    data = bytearray((path / "data.mdb").read_bytes())
    for page in range(2 * PAGE, len(data), PAGE):
        kind, end, first, second, third = struct.unpack_from("<HH2xHHH", data, page + 10)
        if kind == 2 and end >= 22 and struct.unpack_from("<H", data, page + first + 6) == (length,):
            struct.pack_into("<HH", data, page + 18, third, second)
    (path / "data.mdb").write_bytes(data)
    found = problems(path)
    assert any(f"in database {database} 1 out of order" in line for line in found), found


def test_a_file_of_another_version_of_lmdb_is_left_to_it(path: Path) -> None:
    file = path / "data.mdb"
    newer = bytearray(file.read_bytes())
    for page in (0, PAGE):
        struct.pack_into("<I", newer, page + 20, 2)
    for data in (newer, newer[:PAGE]):
        file.write_bytes(data)
        assert read_metas(file) is None
        with pytest.raises(UserError, match=r"cannot be opened as a store \("):
            Store.open(path)
