"""Reading corpora: every kind of file and folder, hostile content, and no more than asked for."""

from __future__ import annotations

import builtins
import gzip
import itertools
import json
import os
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ffnscope.core.corpus import tables as corpus_tables
from ffnscope.core.corpus import text as corpus_text
from ffnscope.core.corpus.documents import ReadNotes, iter_documents, iter_parts
from ffnscope.core.corpus.fields import TextField
from ffnscope.core.corpus.text import cut_parts
from ffnscope.core.corpus.window_files import load_windows_npy
from ffnscope.store.errors import UserError

HOSTILE = ["[/]", "\x1b[31m", "a\r\nb\n", "שלום\u202e", "\x00 NUL", "\u2028x\x85y", '"', "👩‍🚀", " lead", "\ufeffmark"]


def read(path: Path) -> tuple[list[str], ReadNotes]:
    notes = ReadNotes()
    return list(iter_documents(path, notes)), notes


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        list(iter_documents(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def write_jsonl(path: Path, texts: list[str | None]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"plain", "plain"),
        (b"\xef\xbb\xbfmark", "mark"),
        (b"a\r\nb\rc\n\n", "a\r\nb\rc\n\n"),
        ("😀 é \u2028".encode(), "😀 é \u2028"),
        (b" \n", " \n"),
    ],
)
def test_a_text_file_is_one_document_used_exactly(tmp_path: Path, raw: bytes, text: str) -> None:
    for name in ("a.txt", "a.py", "README", "a.html"):
        (tmp_path / name).write_bytes(raw)
        assert read(tmp_path / name) == ([text], ReadNotes())
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(raw))
    assert read(tmp_path / "a.txt.gz") == ([text], ReadNotes())


def test_invalid_utf8_is_replaced_and_counted_once_a_document(tmp_path: Path) -> None:
    raw = b"good text \xff\xfe and \xe2\x82 more good text"
    (tmp_path / "a.txt").write_bytes(raw)
    documents, notes = read(tmp_path / "a.txt")
    assert documents == [raw.decode("utf-8", "replace")]
    assert notes == ReadNotes(replaced_documents=1)
    assert notes.summary() == "1 document with invalid UTF-8 replaced"


@settings(max_examples=100)
@given(raw=st.binary(max_size=60), chunk=st.integers(3, 9))
def test_chunked_decoding_is_decoding(tmp_path_factory, raw: bytes, chunk: int) -> None:
    assume(not raw.startswith(b"version https://git-lfs"))  # refused: a pointer to the text
    assume(corpus_text.kind_of_bytes(raw) is None)
    path = tmp_path_factory.mktemp("chunks") / "a.txt"
    path.write_bytes(raw)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus_text, "CHUNK_BYTES", chunk)
        patch.setattr(corpus_text, "JUNK_SHARE", 2)
        patch.setattr(corpus_text, "PART_CHARACTERS", 5)
        if b"\0" in raw[:chunk]:
            assert "NUL" in refusal(path)
            return
        documents, notes = read(path)
    expected = raw.decode("utf-8-sig", "replace") if raw.startswith(b"\xef\xbb\xbf") else raw.decode("utf-8", "replace")
    assert documents == ([expected] if expected else [])
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        assert notes.replaced_documents == 1
    else:
        assert notes.replaced_documents == 0


def test_binary_junk_is_refused_by_name_and_skipped_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "nul.txt").write_bytes(b"text\0text")
    (tmp_path / "junk.txt").write_bytes(bytes(range(128, 256)))
    (tmp_path / "a.npy").write_bytes(b"anything")
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(b"text"))
    for name in ("nul.txt", "junk.txt", "a.npy", "a.tar.gz"):
        assert name in refusal(tmp_path / name)
    (tmp_path / "good.txt").write_text("good")
    documents, notes = read(tmp_path)
    assert documents == ["good"]
    assert notes == ReadNotes(skipped_files=4)


def test_missing_and_irregular_paths_are_refused(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "missing")
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in refusal(tmp_path / "pipe")
    (tmp_path / "broken.txt.gz").write_bytes(gzip.compress(b"text" * 1000)[:-9])
    assert "broken.txt.gz: cannot be read" in refusal(tmp_path / "broken.txt.gz")
    (tmp_path / "no.jsonl.gz").write_bytes(b"no gzip")
    assert "no.jsonl.gz: cannot be read" in refusal(tmp_path / "no.jsonl.gz")


def test_a_folder_is_its_files_by_relative_path(tmp_path: Path) -> None:
    for name in ("b/z.txt", "b.md", "a/deep/code.py", "a/x.txt", ".git/config", "b/.hidden", "empty.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("" if "empty" in name else name)
    write_jsonl(tmp_path / "b" / "a.jsonl", ["one", "two"])
    pq.write_table(pa.table({"text": ["three"]}), tmp_path / "c.parquet")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "dangling.txt").symlink_to(tmp_path / "nowhere")
    (tmp_path / "linked.txt").symlink_to(tmp_path / "b.md")
    documents, notes = read(tmp_path)
    assert documents == ["a/deep/code.py", "a/x.txt", "b.md", "one", "two", "b/z.txt", "three", "b.md"]
    assert notes == ReadNotes(skipped_files=4, empty_documents=1)


def test_jsonl_fields_are_exact_and_blank_lines_are_nothing(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [*HOSTILE, "", None])
    raw = b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b"\n  \n" + b'{"text": "last"}'
    path.write_bytes(raw)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(raw))
    for name in ("a.jsonl", "a.jsonl.gz"):
        documents, notes = read(tmp_path / name)
        assert documents == [*HOSTILE, "last"]
        assert notes == ReadNotes(empty_documents=2)


def test_jsonl_that_no_tokenizer_could_take_is_mended_and_counted(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "a\\ud800b"}\n{"text": "a\xffb"}\n{"text": "\\ud83d\\ude00"}\n')
    documents, notes = read(tmp_path / "a.jsonl")
    assert documents == ["a\ufffdb", "a\ufffdb", "😀"]
    assert notes == ReadNotes(replaced_documents=2)


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"\0\0\0",
        b"[]",
        b'"text"',
        b'{"body": "x"}',
        b'{"text": 3}',
        b"[" * 100_000,
        b'{"text": ' + b"9" * 5000 + b"}",
        b"\x89PNG",
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "fine"}\n\n' + line + b"\n")
    reader = iter_documents(tmp_path / "a.jsonl")
    assert next(reader) == "fine"
    with pytest.raises(UserError, match=r"a\.jsonl, line 3: "):
        next(reader)


def test_parquet(tmp_path: Path) -> None:
    texts = [*HOSTILE, "", None, "x" * 3_000_000]
    for kind in (pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
        table = pa.table({"n": list(range(len(texts))), "text": pa.array(texts, pa.string()).cast(kind)})
        pq.write_table(table, tmp_path / "a.parquet", row_group_size=4)
        documents, notes = read(tmp_path / "a.parquet")
        assert documents == [text for text in texts if text]
        assert notes == ReadNotes(empty_documents=2)


def test_parquet_strings_that_are_invalid_utf8_are_replaced(tmp_path: Path) -> None:
    raw = pa.array([b"a\xffb", b"fine"], pa.binary())
    pq.write_table(pa.table({"text": pa.Array.from_buffers(pa.string(), 2, raw.buffers())}), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == (["a\ufffdb", "fine"], ReadNotes(replaced_documents=1))


def test_parquet_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, datasets: ModuleType) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"body": ["x"]}), path)
    assert "no column 'text' (it has body)" in refusal(path)
    pq.write_table(pa.table({"text": [1]}), path)
    assert "int64" in refusal(path)
    path.write_bytes(b"PAR1 junk PAR1")
    assert "cannot be read as Parquet" in refusal(path)
    path.write_bytes(b"")
    assert "cannot be read as Parquet" in refusal(path)
    real_import = builtins.__import__

    def without(name: str, *args: object, **kwargs: object) -> object:
        if name.split(".")[0] in ("pyarrow", "datasets"):
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    datasets.Dataset.from_dict({"text": ["x"]}).save_to_disk(tmp_path / "saved")
    monkeypatch.setattr(builtins, "__import__", without)
    assert "pip install 'ffnscope[parquet]'" in refusal(path)
    assert "pip install 'ffnscope[datasets]'" in refusal(tmp_path / "saved")


def test_saved_datasets_are_read_no_further_than_asked(tmp_path: Path, datasets: ModuleType) -> None:
    texts = [f"text {i} é" for i in range(300)]
    datasets.Dataset.from_dict({"text": texts}).shuffle(seed=1).save_to_disk(tmp_path / "saved", num_shards=3)
    expected = datasets.load_from_disk(str(tmp_path / "saved"))["text"]
    assert list(iter_documents(tmp_path / "saved")) == list(expected) and sorted(expected) == sorted(texts)
    (tmp_path / "saved" / "data-00002-of-00003.arrow").write_bytes(b"junk")
    reading = iter_documents(tmp_path / "saved")
    assert [next(reading) for _ in range(200)] == expected[:200]
    with pytest.raises(UserError, match="cannot be loaded as a saved dataset"):
        next(reading)


@pytest.mark.parametrize("named", ["../a.arrow", "/etc/passwd"])
def test_a_saved_dataset_names_no_files_outside(named: str, tmp_path: Path, datasets: ModuleType) -> None:
    datasets.Dataset.from_dict({"text": ["x"]}).save_to_disk(tmp_path / "saved")
    state = tmp_path / "saved" / "state.json"
    state.write_text(state.read_text().replace("data-00000-of-00001.arrow", named))
    assert "outside its folder" in refusal(tmp_path / "saved")
    state.write_text(json.dumps(json.loads(state.read_text()) | {"_indices_data_files": [{"filename": "i.arrow"}]}))
    assert "its rows are reordered by an index" in refusal(tmp_path / "saved")


def test_saved_datasets(tmp_path: Path, datasets: ModuleType) -> None:
    texts = ["one", "", "two", None, *HOSTILE]
    saved = datasets.Dataset.from_dict({"text": texts, "n": list(range(len(texts)))})
    saved.save_to_disk(tmp_path / "plain", num_shards=3)
    documents, notes = read(tmp_path / "plain")
    assert documents == ["one", "two", *HOSTILE]
    assert notes == ReadNotes(empty_documents=2)
    saved.select([2, 0]).save_to_disk(tmp_path / "picked")
    assert read(tmp_path / "picked")[0] == ["two", "one"]

    datasets.DatasetDict({"train": saved, "test": saved}).save_to_disk(tmp_path / "dict")
    assert "(test, train)" in refusal(tmp_path / "dict")
    assert read(tmp_path / "dict" / "train")[0] == documents
    (tmp_path / "dict" / "dataset_dict.json").unlink()
    assert "a saved dataset inside" in refusal(tmp_path / "dict")

    datasets.Dataset.from_dict({"body": ["x"]}).save_to_disk(tmp_path / "body")
    assert "no column 'text'" in refusal(tmp_path / "body")
    (tmp_path / "body" / "state.json").write_text("{")
    assert "cannot be loaded" in refusal(tmp_path / "body")


def test_reading_stops_where_the_reader_stops(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", ["x" * 1000] * 2000)
    with path.open("ab") as handle:
        handle.write(b"broken\n")
    reader = iter_documents(path)
    assert [len(next(reader)) for _ in range(1000)] == [1000] * 1000

    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.txt").write_text("first")
    (folder / "b.jsonl").write_text("broken")
    assert next(iter_documents(folder)) == "first"

    def rows():
        yield from (pa.table({"text": [str(n)] * 64}) for n in range(3))

    with pq.ParquetWriter(tmp_path / "a.parquet", pa.schema({"text": pa.string()})) as writer:
        for table in rows():
            writer.write_table(table)
    notes = ReadNotes()
    reader = corpus_tables.parquet_documents(tmp_path / "a.parquet", TextField(), notes)
    assert next(reader) == "0"


def test_megabyte_lines_and_long_documents(tmp_path: Path) -> None:
    long = "word " * 1_000_000
    write_jsonl(tmp_path / "a.jsonl", [long, "é" * 2_000_000])
    (tmp_path / "a.txt").write_text(long)
    assert read(tmp_path / "a.jsonl")[0] == [long, "é" * 2_000_000]
    parts = list(iter_parts(tmp_path / "a.txt"))
    assert [part.last for part in parts] == [False] * (len(parts) - 1) + [True]
    assert max(len(part.text) for part in parts) <= corpus_text.PART_CHARACTERS
    assert "".join(part.text for part in parts) == long
    assert parts[1].text.startswith(" ")


@given(st.lists(st.text("ab \n1é,", max_size=20), max_size=6), st.integers(1, 6), st.integers(6, 12))
def test_parts_are_the_document_cut_between_letters_and_spaces(chunks: list[str], size: int, longest: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus_text, "PART_CHARACTERS", size)
        patch.setattr(corpus_text, "LONGEST_PART", longest)
        parts = list(cut_parts(chunks))
    document = "".join(chunks)
    assert "".join(part.text for part in parts) == document
    assert [part.last for part in parts] == [False] * (len(parts) - 1) + [True] * bool(document)
    assert all(part.text for part in parts)
    for part, following in itertools.pairwise(parts):
        assert (part.text[-1].isalpha() and following.text[0].isspace()) or len(part.text) == longest


@pytest.mark.parametrize("dtype", [np.int32, np.int64, ">i4"])
def test_windows_are_mapped_as_they_are(tmp_path: Path, dtype) -> None:
    windows = np.arange(12).reshape(3, 4)
    np.save(tmp_path / "a.npy", np.asfortranarray(windows.astype(dtype)))
    loaded = load_windows_npy(tmp_path / "a.npy")
    assert isinstance(loaded, np.memmap)
    assert np.array_equal(loaded, windows)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((2, 3), np.float32), "float32"),
        (np.zeros((2, 3), np.uint32), "uint32"),
        (np.zeros((2, 3), np.int16), "int16"),
        (np.zeros(3, np.int32), r"shape \[3\]"),
        (np.zeros((0, 3), np.int32), "empty"),
        (np.zeros((3, 0), np.int32), "empty"),
        (np.array([[1, -2]]), "-2"),
        (np.array([[None]]), "cannot be read"),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, array: np.ndarray, said: str) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(UserError, match=said):
        load_windows_npy(tmp_path / "a.npy")


def test_other_files_named_npy_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with pytest.raises(UserError, match="no such file"):
        load_windows_npy(path)
    np.save(path, np.zeros((4, 4), np.int32))
    whole = path.read_bytes()
    for junk in (b"", b"junk", whole[:20], whole[:-1], b"PK\x03\x04", b"\x80\x04N."):
        path.write_bytes(junk)
        with pytest.raises(UserError, match=r"a\.npy: cannot be read"):
            load_windows_npy(path)
    with path.open("wb") as handle:
        np.savez(handle, a=np.zeros(3))
    with pytest.raises(UserError, match=r"a\.npy: cannot be read"):
        load_windows_npy(path)


@settings(max_examples=150)
@given(at=st.integers(0, 127), byte=st.integers(0, 255))
def test_damaged_npy_headers_are_read_or_refused(tmp_path_factory, at: int, byte: int) -> None:
    path = tmp_path_factory.mktemp("npy") / "a.npy"
    np.save(path, np.arange(16, dtype=np.int32).reshape(4, 4))
    raw = bytearray(path.read_bytes())
    raw[at] = byte
    path.write_bytes(raw)
    try:
        windows = load_windows_npy(path)
    except UserError:
        return
    assert windows.ndim == 2
    assert windows.min() >= 0
