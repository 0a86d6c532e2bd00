"""Files of rows, in every format and compression: read as what their names say, or refused; never as text."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_tokenizers import tiny_tokenizer
from transformers import PreTrainedTokenizerFast

from ffnscope.core.corpus import row_files
from ffnscope.core.corpus.documents import describe, iter_documents
from ffnscope.core.corpus.fields import TextField
from ffnscope.core.corpus.sources import parse_source, parse_sources
from ffnscope.core.corpus.text import ReadNotes
from ffnscope.core.model.tokenizer import chat_renderer
from ffnscope.store.errors import UserError

TEXTS = ["plain", "a,b\t\"c\"\r\nd", "[1, {\"text\": 2}]", "é 😀 \u2028", "\\ud800 {", " ", "3"]  # fmt: skip
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress,
    ".zst": lambda raw: zstandard.compress(raw[:9]) + zstandard.ZstdCompressor().compress(raw[9:]),
}  # fmt: skip


def read(path: Path, field: str = "text") -> tuple[list[str], ReadNotes]:
    notes = ReadNotes()
    return list(iter_documents(path, notes, TextField(field))), notes


def refusal(path: Path, field: str = "text") -> str:
    with pytest.raises(UserError) as caught:
        read(path, field)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def json_lines(texts: list[str]) -> str:
    return "".join(json.dumps({"id": 1, "text": text}) + "\n" for text in texts)


def comma_separated(texts: list[str], delimiter: str = ",") -> str:
    written = io.StringIO()
    csv.writer(written, delimiter=delimiter).writerows([["id", "text"], *([str(i), t] for i, t in enumerate(texts))])
    return written.getvalue()


WRITERS: dict[str, Callable[[list[str]], str]] = {
    "a.jsonl": json_lines,
    "a.NDJSON": json_lines,
    "lines.json": json_lines,
    "array.json": lambda texts: json.dumps([{"text": text} for text in texts], indent=1),
    "strings.json": lambda texts: json.dumps(texts, ensure_ascii=False),
    "pretty.json": lambda texts: "\n".join(json.dumps({"text": text}, indent=2) for text in texts),
    "joined.json": lambda texts: json_lines(texts).replace("\n", ""),
    "a.csv": comma_separated,
    "a.tsv": lambda texts: comma_separated(texts, "\t"),
}


@pytest.mark.parametrize("ending", COMPRESS)
@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_documents(name: str, ending: str, tmp_path: Path) -> None:
    path = tmp_path / (name + ending)
    path.write_bytes(COMPRESS[ending](("\ufeff" + WRITERS[name](TEXTS)).encode()))
    assert read(path) == (TEXTS, ReadNotes())


@settings(max_examples=60)
@given(texts=st.lists(st.text('ab\n,"\\é😀[]{} ', min_size=1, max_size=12), min_size=1), chunk=st.integers(1, 7))
def test_json_is_read_in_chunks_of_any_size(texts: list[str], chunk: int, tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("chunks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_files, "CHUNK_BYTES", chunk)
        for name in ("lines.json", "array.json", "strings.json", "pretty.json"):
            (folder / name).write_text(WRITERS[name](texts), encoding="utf-8")
            assert read(folder / name) == (texts, ReadNotes())


@pytest.mark.parametrize("ending", [ending for ending in COMPRESS if ending])
def test_compressed_files_that_are_cut_short_or_something_else_are_refused(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.jsonl{ending}"
    whole = COMPRESS[ending](json_lines([str(n) * 50 for n in range(3000)]).encode())
    for raw in (whole[:-9], whole[: len(whole) // 2], b"something else"):
        path.write_bytes(raw)
        assert "a.jsonl" in refusal(path) and "cannot be read" in refusal(path)


def test_json_that_is_not_rows_of_text_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    for raw, said in (
        ('[{"text": "a"}, {"text": "b"}', "does not end"),
        ('[{"text": "a"}] x', "more text behind"),
        ('[{"text": "a"} {"text"}, ' + " " * 100 + "]", "not JSON"),
        ("plain text", "not JSON"),
        ('{"text": "a"}\n{"body": "b"}', "row 2: no field 'text' (it has body); --text-field"),
        ('{"data": [{"text": "a"}]}', "one JSON object without a field 'text' (it has data)"),
        ('[{"text": 3}]', "row 1: field 'text' holds a number"),
        ("[1, 2]", "row 1: a number instead of an object"),
        ("[" * 100_000, "RecursionError"),
    ):
        path.write_text(raw)
        assert said in refusal(path), raw
    with monkeypatch.context() as patch:
        patch.setattr(row_files, "CHUNK_BYTES", 3)
        path.write_text("[12345, 6]")
        assert "row 1: a number instead of an object" in refusal(path)
    path.write_bytes(b'[{"text": "a\xffb"}, {"text": "\\ud800"}, {"text": null}]')
    assert read(path) == (["a\ufffdb", "\ufffd"], ReadNotes(replaced_documents=2, empty_documents=1))


def test_csv_that_does_not_fit_its_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    for raw, said in (
        ("id,body\n1,a\n", "no column 'text' in its first row (it has id, body); --text-field"),
        ("id;text\n1;a\n", "separate columns with commas"),
        ("id\ttext\n1\ta\n", "let its name end in .tsv"),
        ("id,text\n1,a\n2,b,c\n", "line 3: 3 columns, but the first row has 2"),
        ("text,text\na,b\n", "several columns 'text'"),
        ('text\n"a\nb\n', "line 3: not CSV"),
        ("", "no column 'text'"),
    ):
        path.write_text(raw)
        assert said in refusal(path), raw
    path.write_bytes(b'text\na\xffb\n\n""\n' + b"x" * 200_000)
    assert read(path) == (["a\ufffdb", "x" * 200_000], ReadNotes(replaced_documents=1, empty_documents=1))


def test_arrow_files_of_both_kinds(tmp_path: Path, datasets: ModuleType) -> None:
    datasets.Dataset.from_dict({"text": TEXTS}).save_to_disk(tmp_path / "saved")
    stream = next((tmp_path / "saved").glob("*.arrow")).read_bytes()
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "wiki-train.arrow").write_bytes(stream)
    (tmp_path / "cache" / "dataset_info.json").write_text("{}")
    assert read(tmp_path / "cache") == (TEXTS, ReadNotes(left_out=["dataset_info.json"]))
    pyarrow.feather.write_feather(pa.table({"text": TEXTS}), str(tmp_path / "a.feather"), compression="uncompressed")
    assert read(tmp_path / "a.feather")[0] == TEXTS
    (tmp_path / "bad.arrow").write_bytes(stream[:40])
    assert "cannot be read as Arrow" in refusal(tmp_path / "bad.arrow")


def test_another_field_also_a_nested_one(tmp_path: Path, datasets: ModuleType) -> None:
    (tmp_path / "a.jsonl").write_text('{"data": {"text": "a"}, "data.body": "b", "n": {"t": null}}\n')
    assert read(tmp_path / "a.jsonl", "data.text")[0] == ["a"]
    assert read(tmp_path / "a.jsonl", "data.body")[0] == ["b"]
    assert read(tmp_path / "a.jsonl", "n.t.x")[1].empty_documents == 1
    assert "(it has data.text, data.body, n.t); --text-field" in refusal(tmp_path / "a.jsonl")
    assert "no field 'data.text.x'" in refusal(tmp_path / "a.jsonl", "data.text.x")
    rows = [{"meta": {"body": text}, "text": "other"} for text in TEXTS]
    pq.write_table(pa.Table.from_pylist([*rows, {"meta": None, "text": ""}]), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet", "meta.body") == (TEXTS, ReadNotes(empty_documents=1))
    assert "no column 'meta.x'" in refusal(tmp_path / "a.parquet", "meta.x")
    datasets.Dataset.from_list(rows).save_to_disk(tmp_path / "saved")
    assert read(tmp_path / "saved", "meta.body")[0] == TEXTS
    (tmp_path / "a.csv").write_text("body\na\n")
    assert read(tmp_path / "a.csv", "body")[0] == ["a"]


def test_the_field_is_given_for_all_domains_or_for_one() -> None:
    sources = parse_sources(["a=x.jsonl", "b=y.csv"], ["c=z.json"], ["content", "b=meta.body"])
    assert [source.text_field for source in sources] == ["content", "meta.body", "content"]
    for wrong, said in ((["d=x"], "no domain 'd'"), (["a=x", "a=y"], "given twice"), (["a="], "write FIELD")):
        with pytest.raises(UserError, match=said):
            parse_sources(["a=x.jsonl"], [], wrong)


def test_chats_are_read_on_demand_by_the_tokenizers_template(tmp_path: Path) -> None:
    tiny_tokenizer(tmp_path)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    chats = [[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}], []]
    shares = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "yes"}]
    lines = [json.dumps({"messages": chat}) for chat in chats] + [json.dumps({"messages": shares})]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    pq.write_table(pa.table({"messages": chats}), tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.parquet"):
        assert "--text-field messages" in refusal(tmp_path / name)
        assert "no chat template" in refusal(tmp_path / name, "messages")
    assert chat_renderer(tokenizer) is None
    tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    )
    field = TextField("messages", chat_renderer(tokenizer))
    notes = ReadNotes()
    expected = "<user>hi<assistant>yes"
    assert list(iter_documents(tmp_path / "a.jsonl", notes, field)) == [expected] * 2
    assert notes.summary() == "1 empty document, 2 chats by the tokenizer's template"
    assert list(iter_documents(tmp_path / "a.parquet", None, field)) == [expected]
    (tmp_path / "b.jsonl").write_text('{"messages": [{"role": "system", "content": "x"}]}\n')
    with pytest.raises(UserError, match=r"line 1: .*refuses this chat \(no system\)"):
        list(iter_documents(tmp_path / "b.jsonl", None, field))


def test_token_ids_and_lists_of_words_are_named_for_what_they_are(tmp_path: Path) -> None:
    pq.write_table(pa.table({"input_ids": [[1, 2]], "words": [["a"]]}), tmp_path / "a.parquet")
    assert "numpy.save" in refusal(tmp_path / "a.parquet")
    assert "holds token ids; token ids are read from .npy" in refusal(tmp_path / "a.parquet", "input_ids")
    assert "list<" in refusal(tmp_path / "a.parquet", "words")
    (tmp_path / "a.jsonl").write_text('{"text": [1, 2], "words": ["a", "b"], "rows": [{"a": 1}]}\n')
    assert "holds token ids" in refusal(tmp_path / "a.jsonl")
    assert "holds a list of strings" in refusal(tmp_path / "a.jsonl", "words")
    assert "not a chat" in refusal(tmp_path / "a.jsonl", "rows")


def test_a_hub_data_sets_card_and_facts_are_left_out_and_said(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table({"text": TEXTS}), tmp_path / "data" / "train-00000-of-00001.parquet")
    (tmp_path / "README.md").write_text("# a data card")
    (tmp_path / "dataset_infos.json").write_text('{"default": {}}')
    (tmp_path / "data" / "settings.json").write_text('{"a": 1}')
    documents, notes = read(tmp_path)
    assert documents == TEXTS
    assert notes.summary() == "left out: README.md, dataset_infos.json, data/settings.json"
    (tmp_path / "data" / "train-00000-of-00001.parquet").unlink()
    (tmp_path / "main.py").write_text("code")
    documents, notes = read(tmp_path)
    assert (documents, notes.left_out) == (["# a data card", "code"], ["data/settings.json", "dataset_infos.json"])


def test_how_a_corpus_is_read_is_said(tmp_path: Path) -> None:
    for name in ("a.txt", "b.py", "c.jsonl.zst", "d.json", "e.csv", "f.parquet", "g.npy", "README.md"):
        (tmp_path / name).write_bytes(b"x")
    assert describe(tmp_path, "body") == (
        "2 text files, one document each; 1 JSON lines file, field body; 1 JSON file, field body; "
        "1 CSV file, column body; 1 Parquet file, column body"
    )
    assert describe(tmp_path / "a.txt", "text") == "1 text file, one document"
    assert describe(tmp_path / "g.npy", "text") == "windows of token ids"
    (tmp_path / "folder").mkdir()
    assert describe(tmp_path / "folder", "text") == "no file that can be read"


def test_a_split_of_a_dataset_dict(tmp_path: Path, datasets: ModuleType) -> None:
    saved = datasets.Dataset.from_dict({"text": TEXTS})
    datasets.DatasetDict({"train": saved, "test": saved.select([0])}).save_to_disk(tmp_path / "dict")
    assert read(parse_source(f"d={tmp_path}/dict:test").path)[0] == TEXTS[:1]
    with pytest.raises(UserError, match="no split 'dev' in this dataset; it has test, train"):
        parse_source(f"d={tmp_path}/dict:dev")
    assert f"{tmp_path}/dict:test" in refusal(tmp_path / "dict")


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet", "a.txt", "folder/a.json"])
def test_a_git_lfs_pointer_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
    for path in (tmp_path / name, tmp_path):
        assert "git lfs pull" in refusal(path)


def test_binary_files_are_named_for_what_they_are(tmp_path: Path) -> None:
    for raw, said in ((b"PK\x03\x04\0", "zip archive"), ("text".encode("utf-16"), "UTF-16"), (b"PAR1\0", "Parquet")):
        (tmp_path / "a.txt").write_bytes(raw)
        assert said in refusal(tmp_path / "a.txt")


def test_files_of_other_kinds_are_no_text_without_nul_bytes_either(tmp_path: Path) -> None:
    for raw, said in (
        (b"%PDF-1.4\n1 0 obj", "a PDF"),
        (b"Rar!\x1a\x07\x01words", "RAR archive"),
        (b"7z\xbc\xafwords " + b"words " * 9, "7z archive"),
        (gzip.compress(b"words"), "compressed with gzip"),
        (b"{\\rtf1\\ansi words}", "RTF"),
    ):
        folder = tmp_path / said
        folder.mkdir()
        (folder / "a.bin").write_bytes(raw)
        assert said in refusal(folder / "a.bin")
        (folder / "b.txt").write_text("PAR1 BZh words")
        assert read(folder) == (["PAR1 BZh words"], ReadNotes(skipped_files=1))
    (tmp_path / "a.jsonl").write_bytes(gzip.compress(b'{"text": "a"}'))
    assert "line 1: not JSON" in refusal(tmp_path / "a.jsonl")
    assert "it is compressed with gzip" in refusal(tmp_path / "a.jsonl")
