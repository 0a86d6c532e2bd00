"""Stores and notes in odd states: half written by others, on odd places, with pages that contradict each other."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
from damage import problems, put
from synthetic import make_store

from ffnscope.store.errors import DamagedStoreError, UserError
from ffnscope.store.format import environment as places
from ffnscope.store.format.encoding import encode_array, encode_json
from ffnscope.store.format.environment import is_disk_error, remote_file_system
from ffnscope.store.format.keys import NEURON_KEY
from ffnscope.store.format.meta_pages import check_metas, read_metas
from ffnscope.store.notes import Notes
from ffnscope.store.reader import Store
from ffnscope.store.verify.check import verify
from ffnscope.store.verify.pages import walk
from ffnscope.store.writer import StoreWriter
from ffnscope.tui.cli import main

PAGE = 4096


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of a few dozen pages."""
    folder = tmp_path_factory.mktemp("odd") / "small.ffn"
    return make_store(folder, layers=2, neurons=16, vocabulary=300, seq_len=16, windows=12)


@pytest.fixture
def path(small: Path, tmp_path: Path) -> Path:
    """A copy to be spoiled."""
    return shutil.copytree(small, tmp_path / "s.ffn")


# Marks and notes


@pytest.fixture
def noted(path: Path) -> Path:
    """With enough notes for several pages."""
    with Notes.open(path) as notes:
        notes.set_marks([(layer, neuron) for layer in (0, 1) for neuron in range(16)], True)
        for neuron in range(16):
            notes.set_note(0, neuron, f"a note {neuron} " * 60)
    return path


def test_notes_cut_at_every_page_are_a_line(noted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = noted / "notes" / "data.mdb"
    data = file.read_bytes()
    assert len(data) > 6 * PAGE
    refused = 0
    for size in range(0, len(data), PAGE):
        file.write_bytes(data[:size])
        code = main(["export", str(noted), "--where", "marked", "--columns", "layer,neuron"])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        if code:
            refused += 1
            assert code == 2 and err.count("\n") == 1 and "notes" in err
        else:
            # An empty file is what LMDB begins with: no mark was ever made.
            assert size == 0 and out == "layer,neuron\n"
    assert refused >= len(data) // PAGE - 1
    file.write_bytes(data)
    assert main(["export", str(noted), "--where", "marked"]) == 0
    assert capsys.readouterr().out.count("\n") == 33


def test_notes_that_are_no_text_and_marks_that_are_no_neurons(noted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with lmdb.open(str(noted / "notes"), max_dbs=4) as environment:
        marks, texts = environment.open_db(b"marks"), environment.open_db(b"notes")
        with environment.begin(write=True) as transaction:
            transaction.put(b"short", b"", db=marks)
            transaction.put(NEURON_KEY.pack(9, 10**6), b"", db=marks)
            transaction.put(b"x" * 50, b"junk", db=texts)
            transaction.put(NEURON_KEY.pack(0, 3), b"\xff\xfe \x1b[2J", db=texts)
    with Notes.open(noted) as notes:
        assert len(notes.marks()) == 33
        assert notes.note(0, 3) == notes.notes()[0, 3] == "\ufffd\ufffd \x1b[2J"
        assert len(notes.notes()) == 16
    assert main(["export", str(noted), "--where", "marked"]) == 0
    assert capsys.readouterr().out.count("\n") == 33
    assert main(["export", str(noted), "--where", "noted"]) == 0
    assert capsys.readouterr().out.count("\n") == 17


def test_notes_where_an_environment_of_another_kind_is(path: Path) -> None:
    with lmdb.open(str(path / "notes")) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"marks", b"a value, no database")
    with Notes.open(path) as notes, pytest.raises(UserError, match="marks and notes cannot be read"):
        notes.marks()


def test_a_full_disk_of_notes_is_a_line(noted: Path) -> None:
    most = (noted / "notes" / "data.mdb").stat().st_size
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        signal.alarm(60)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            with Notes.open(noted) as notes:
                for neuron in range(500):
                    notes.set_note(1, neuron, "x" * 9000)
            os.write(writing, b"it fitted")
        except UserError as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        said = file.read().decode()
    assert os.waitpid(child, 0)[1] == 0
    assert "marks and notes cannot be written" in said and "\n" not in said
    with Notes.open(noted) as notes:
        assert len(notes.marks()) == 32 and len(notes.notes()) >= 16


# Places


def test_a_store_below_a_file_and_a_lock_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=r"cannot be created .*choose another --store"):
        StoreWriter.open(tmp_path / "file" / "s.ffn")
    (tmp_path / "s.ffn" / "collector.lock").mkdir(parents=True)
    with pytest.raises(UserError, match=r"cannot be written to .*choose another --store"):
        StoreWriter.open(tmp_path / "s.ffn")


MOUNTS = """\
22 1 254:0 / / rw,relatime - ext4 /dev/root rw
40 22 0:40 / /mnt/my\\040data rw - nfs4 server:/x rw
41 22 0:41 / /mnt/my\\040data/local rw - xfs /dev/x rw
42 22 0:42 / /scratch rw - lustre a:/b rw
"""


def test_network_file_systems_are_told_by_the_innermost_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mountinfo").write_text(MOUNTS)
    real = places.Path

    class There(type(real())):  # type: ignore[misc]
        def __new__(cls, *parts: Any) -> Any:
            return real(tmp_path / "mountinfo") if parts == ("/proc/self/mountinfo",) else real(*parts)

    monkeypatch.setattr(places, "Path", There)
    found = [
        remote_file_system(real(at)) for at in ("/mnt/my data/run.ffn", "/mnt/my data/local/r", "/scratch", "/home")
    ]
    assert found == ["nfs4", None, "lustre", None]
    (tmp_path / "mountinfo").unlink()
    assert remote_file_system(real("/scratch")) is None


def test_which_errors_are_the_disks() -> None:
    for number in (errno.ENOSPC, errno.EIO, errno.EFBIG, errno.EDQUOT):
        assert is_disk_error(lmdb.Error("mdb_txn_commit: " + os.strerror(number))), number
    assert not is_disk_error(lmdb.Error("mdb_put: MDB_BAD_TXN"))


def test_no_address_space_at_all_is_a_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise lmdb.MemoryError("mdb_env_open: Cannot allocate memory")

    monkeypatch.setattr(lmdb, "open", refuse)
    with pytest.raises(UserError, match=r"not enough address space .*ulimit -v"):
        Store.open(path)


def test_a_store_that_outgrows_its_map_grows(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store.open(path) as store:
        run, texts = store.run, tuple(store.vocabulary.all_texts())
        windows = np.stack([store.window(index) for index in range(12)])
        totals = store.unigram_totals()
    monkeypatch.setattr(places, "MAP_SIZE", 9 * PAGE)
    grown = path.parent / "grown.ffn"
    with StoreWriter.open(grown) as writer:
        writer.begin(run, texts, np.ones(300), windows, totals)
        assert writer.begun
    monkeypatch.undo()
    with Store.open(grown) as store:
        assert np.array_equal(store.window(11), windows[11])
        assert (grown / "data.mdb").stat().st_size > 9 * PAGE


def test_a_folder_that_cannot_be_written_to(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may write everywhere: what ``os.access`` says is played."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    with Store.open(path) as store:
        assert store.complete and problems_of(store) == []
    monkeypatch.undo()
    put(path, "meta", b"progress", encode_json({"state": "collecting"}))
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UserError, match="is still being written, and you have no permission to write in its folder"):
        Store.open(path)


def problems_of(store: Store) -> list[str]:
    return list(verify(store))


# Entries


@pytest.mark.parametrize(
    ("database", "key", "value", "says"),
    [
        ("meta", b"layer:00000", encode_json([1]), "layer:00000: is not a JSON object"),
        ("meta", b"layer:00001", b"junk", "layer:00001"),
        ("meta", b"unigram_totals", encode_array(np.zeros(300, np.uint32)), "do not match the windows"),
        ("windows", struct.pack(">I", 3), encode_array(np.full(16, 299, np.uint16)), "do not match the windows"),
        (
            "windows",
            struct.pack(">I", 3),
            encode_array(np.full(16, 300, np.uint16)),
            "window 3 holds token ids that",
        ),
        ("columns", b"\0\0promoted", encode_array(np.zeros((16, 7), np.uint32)), "promoted of layer 0"),
        (
            "columns",
            b"\0\0token_set",
            encode_array(np.full((16, 20), 300, np.uint32)),
            "token ids that are out of range",
        ),
        ("vocabulary", bytes(4) + b"ends", encode_array(np.arange(300, dtype=np.uint32)), "not in ascending order"),
        ("meta", b"progress", b"", "progress"),
    ],
)
def test_entries_of_the_wrong_make_are_found(path: Path, database: str, key: bytes, value: bytes, says: str) -> None:
    put(path, database, key, value)
    found = problems(path)
    assert any(says in line for line in found), found


def test_code_lengths_of_a_layer_without_explained_shares_are_found(path: Path) -> None:
    for name in ("token", "bigram", "trigram", "position"):
        put(path, "columns", b"\0\0" + f"{name}_explained".encode(), encode_array(np.full(16, np.nan, np.float32)))
    found = problems(path)
    assert any("explained" in line and "16 neurons" in line for line in found), found


def test_a_curve_of_more_windows_than_there_are_is_found(path: Path) -> None:
    with Store.open(path) as store:
        key = next(store.keys("curves"))
        layer, neuron = NEURON_KEY.unpack(key)
        curve = store.curves(layer, neuron)
    put(path, "curves", key, encode_array((curve + 100).astype(np.uint16), compress=True))
    assert any(f"L{layer}N{neuron}: its position curve exceeds" in line for line in problems(path))


def test_a_collector_refuses_layers_that_are_none(path: Path) -> None:
    put(path, "meta", b"layer:x", encode_json({}))
    with StoreWriter.open(path) as writer, pytest.raises(UserError, match=r"damaged .*--overwrite"):
        writer.layers()


def test_a_store_without_its_totals_is_refused(path: Path) -> None:
    put(path, "meta", b"unigram_totals", None)
    with pytest.raises(DamagedStoreError, match="token counts"):
        Store.open(path)


def test_a_layer_that_is_finished_while_it_is_verified(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The layers are asked for, then a writer finishes another before the keys are read: nothing is wrong with that."""
    with Store.open(path) as store:
        layers, asked = store.layers, []

        def late() -> tuple[int, ...]:
            asked.append(1)
            return layers()[:1] if len(asked) == 1 else layers()

        monkeypatch.setattr(store, "layers", late)
        monkeypatch.setattr(Store, "complete", False)
        assert problems_of(store) == []
        assert len(asked) >= 2


def test_pages_that_a_writer_changes_meanwhile_are_looked_at_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where it has committed twice since the snapshot was taken: neither meta page is the snapshot's."""
    with Store.open(path) as store:
        pinned, asked = store.pinned, []

        @contextmanager
        def earlier() -> Iterator[int]:
            asked.append(1)
            with pinned() as transaction:
                yield transaction - 2 if len(asked) == 1 else transaction

        monkeypatch.setattr(store, "pinned", earlier)
        assert problems_of(store) == [] and len(asked) == 2


# Pages


def damaged(data: bytes, at: int, form: str, *values: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into(form, changed, at, *values)
    return bytes(changed)


def first_page(data: bytes, kind: int) -> int:
    """Where the first page of a kind is: 1 branch, 2 leaf, 4 overflow."""
    return next(
        at for at in range(2 * PAGE, len(data), PAGE) if data[at + 10] == kind and data[at + 8 : at + 10] == b"\0\0"
    )


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (2, lambda data, at: damaged(data, at, "<Q", 10**9)),  # its number
        (2, lambda data, at: damaged(data, at + 10, "<H", 4)),  # its kind
        (2, lambda data, at: damaged(data, at + 12, "<HH", 16, 8)),  # its bounds
        (2, lambda data, at: damaged(data, at + 12, "<H", 17)),
        (2, lambda data, at: damaged(data, at + 16, "<H", 4095)),  # where its first entry is
        (4, lambda data, at: damaged(data, at, "<Q", 2)),
        (4, lambda data, at: damaged(data, at + 12, "<I", 10**6)),  # how many pages it is
        (1, lambda data, at: damaged(data, at + 10, "<H", 2)),
    ],
)
def test_pages_that_contradict_the_tree_are_found(path: Path, kind: int, change: Callable[[bytes, int], bytes]) -> None:
    """The walk by itself, without LMDB, which may not survive them. Every page of the kind in turn."""
    file = path / "data.mdb"
    data = file.read_bytes()
    metas = read_metas(file)
    assert metas is not None
    newest = max(metas, key=lambda meta: meta.transaction)
    free = set()
    for at in range(2 * PAGE, len(data), PAGE):
        if (
            data[at + 10] != kind
            or data[at + 8 : at + 10] != b"\0\0"
            or int.from_bytes(data[at : at + 8], "little") != at // PAGE
        ):
            continue
        file.write_bytes(change(data, at))
        try:
            walk(file, newest)
        except places.DamagedFileError as error:
            assert str(error)
        else:
            free.add(at // PAGE)
    file.write_bytes(data)
    walk(file, newest)
    # What nothing notices are free pages, or values in the middle of an overflow that begin like a page.
    with lmdb.open(str(path), readonly=True, lock=False) as environment:
        used = environment.info()["last_pgno"] + 1
    assert len(free) < used // 2


def test_meta_pages_that_contradict_each_other(path: Path) -> None:
    file = path / "data.mdb"
    data = file.read_bytes()
    first, second = read_metas(file) or (None, None)
    assert first is not None and second is not None
    assert check_metas((first, second)) is None
    for changed in (
        damaged(data, PAGE + 24 + 16, "<I", 8192),
        damaged(data, 16, "<I", 0),
        damaged(data, PAGE + 16, "<I", 0),
        damaged(data, 10, "<H", 0),
        damaged(data, 24 + 16, "<I", 1000),
        damaged(data, 24 + 16, "<I", 0),
    ):
        file.write_bytes(changed)
        with pytest.raises(DamagedStoreError, match=r"data\.mdb") as caught:
            Store.open(path)
        assert "\n" not in str(caught.value)
    file.write_bytes(data)
    assert problems(path) == []
    assert check_metas((first, type(first)(8192, *list(vars(first).values())[1:]))) is not None
    fresh = type(first)(PAGE, 1, 0, first.free, first.main)
    assert check_metas((fresh, fresh)) is None
