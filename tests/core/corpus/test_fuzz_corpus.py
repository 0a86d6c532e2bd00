"""Corpora of any bytes: the windows are those of the text as Python reads it, or one line says why there are none."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models as tm
from exact import compare, run
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from ffnscope.core.corpus.build import build_corpus
from ffnscope.core.corpus.sources import DomainSource
from ffnscope.core.corpus.text import kind_of_bytes
from ffnscope.store.errors import UserError
from ffnscope.store.reader import Store

BOS_MARK = b"\xef\xbb\xbf"
T = 8
PIECES = [
    b"\0", b"\xff", b"\xe2\x82", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", BOS_MARK, b"\r\n", b"\n", b"\r",
    b"\x1b[2J", b"\xe2\x80\xae", b"\xe2\x80\xa8", b"\xc2\x85", b"<s>", b"</s>", b" ", b"  ", b"\t", b"the school of ",
    "été 漢字 👩‍🚀 ".encode(), b"water " * 40, b"x" * 300, b'"', b"\\u0000",
]  # fmt: skip
any_bytes = st.lists(st.sampled_from(PIECES) | st.binary(max_size=12), max_size=14).map(b"".join)
MEGABYTE = b"the paper of the city " * 48_000  # a little over 2^20 bytes


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Byte-level BPE, which has a token for every byte."""
    return AutoTokenizer.from_pretrained(_folder(tmp_path_factory))


def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    tm.tiny_tokenizer(folder, texts=["the school of the city ", "water and paper "] * 20)
    return folder


def expected(tokenizer: Any, documents: list[str]) -> np.ndarray:
    """The windows: documents joined by BOS, pieces of T - 1 tokens behind a BOS each."""
    joined: list[int] = []
    for ids in (tokenizer(text, add_special_tokens=False)["input_ids"] for text in documents if text):
        if ids:
            joined += [tm.BOS_ID] * bool(joined) + ids
    count = len(joined) // (T - 1)
    pieces = np.array(joined[: count * (T - 1)], np.int64).reshape(count, T - 1)
    return np.insert(pieces, 0, tm.BOS_ID, axis=1)


def check(path: Path, tokenizer: Any, documents: list[str], refused: str | None) -> None:
    """The corpus in ``path`` is those documents, or is refused in a line that says ``refused``."""
    try:
        corpus = build_corpus([DomainSource("d", path)], tokenizer, T, vocabulary_size=len(tokenizer), bos_id=tm.BOS_ID)
    except UserError as error:
        line = str(error)
        assert path.name in line and line.isprintable()
        if refused is None:
            assert not len(expected(tokenizer, documents)), line
            assert "corpus is empty" in line or "one window needs" in line
        else:
            assert refused in line
    else:
        assert refused is None
        assert corpus.tokens.tolist() == expected(tokenizer, documents).tolist()


@given(any_bytes)
@settings(max_examples=100)
@example(b"")
@example(BOS_MARK)
@example(BOS_MARK + BOS_MARK + b"the school of the water and paper")
@example(b"one\r\ntwo\r\rthree\n\n" * 5)
@example(MEGABYTE)
@example(MEGABYTE + b"\0" + MEGABYTE)
@example(b"\xff" * 30 + b"the school of the water " * 10)
@example(b"the water " * 110_000 + b"\xff\xfe")
def test_a_text_file_of_any_bytes(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any, raw: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.txt"
    path.write_bytes(raw)
    text = raw.removeprefix(BOS_MARK).decode("utf-8", "replace")
    beginning = raw[: 1 << 20]
    # A character that begins at the very end may go on in what is read next.
    known = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode(beginning)
    invalid = sum("\udc80" <= char <= "\udcff" for char in known)
    refused = None
    if kind_of_bytes(raw) is not None and not raw[:3].isalnum():
        refused = "it is "
    elif b"\0" in beginning:
        refused = "NUL"
    elif invalid > 0.3 * len(beginning):
        refused = "no UTF-8 text"
    check(path, tokenizer, [text], refused)


lines = st.lists(
    st.tuples(
        st.one_of(
            st.none(),
            st.text(alphabet=st.characters(), max_size=20),
            st.lists(
                st.sampled_from(["the ", "water ", "\x00", "\r\n", "\ufeff", "\ud800", "𝄞", "<s>", " "]), max_size=9
            ).map("".join),
        ),
        st.booleans(),
        st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\n \t\n"]),
    ),
    max_size=8,
)
JUNK = [b"{", b"[]", b"null", b'{"text": 5}', b'{"other": "x"}', b"\0", b"\xff\xfe", b'{"text": "a"} {"text": "b"}']


@given(lines, st.booleans(), st.none() | st.tuples(st.integers(0, 8), st.sampled_from(JUNK)))
@settings(max_examples=120)
@example([("the water of the school " * 60_000, True, b"\n"), ("", False, b"\r\n"), (None, True, b"\n")], True, None)
def test_json_lines_of_any_texts(
    tmp_path_factory: pytest.TempPathFactory,
    tokenizer: Any,
    rows: list[tuple[str | None, bool, bytes]],
    mark: bool,
    junk: tuple[int, bytes] | None,
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    written = []
    for text, ascii, end in rows:
        line = json.dumps({"text": text, "n": 1}, ensure_ascii=ascii)
        written.append(line.encode("utf-8", "surrogatepass") + end)
    at = None
    if junk is not None:
        at = min(junk[0], len(written))
        written.insert(at, junk[1] + b"\n")
    path.write_bytes((BOS_MARK if mark else b"") + b"".join(written))
    documents = []
    for text, ascii, _ in rows[:at] if at is not None else rows:
        if text is not None and not ascii:
            # A lone surrogate in UTF-8 is three invalid bytes.
            text = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
        elif text is not None:
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        documents.append(text or "")
    number = b"".join(written[:at]).count(b"\n") + 1
    check(path, tokenizer, documents, None if at is None else f"any.jsonl, line {number}: ")


HOSTILE = {
    "nul.jsonl": json.dumps({"text": "the\0school\0of\0water " * 30}).encode(),
    "surrogates.jsonl": b'{"text": "' + b"the \\ud800 water \\udfff of " * 20 + b'"}\n',
    "invalid.txt": b"the \xff water \xc3\x28 of paper " * 20,
    "megabyte.txt": MEGABYTE,
    "mark.txt": BOS_MARK + b"the school of the water \xef\xbb\xbf paper " * 20,
    "crlf.txt": b"the school\r\nof the\rwater\n\r\n" * 20,
    "empty.jsonl": b'{"text": ""}\n' * 5 + b'{"text": "the school of water and paper"}\n' * 9 + b'{"text": null}\n\n',
    "escapes.txt": "\x1b[31mthe \x9b2J\u202e water \x07 <s> </s> ".encode() * 20,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_corpus_is_counted_right(name: str, tmp_path: Path) -> None:
    """From the file to every number in the store."""
    model = tm.tiny("opt", tmp_path / "models", vocab_size=300)
    tm.tiny_tokenizer(model, texts=["the school of the city ", "water and paper "] * 20, size=300)
    tokenizer = AutoTokenizer.from_pretrained(model)
    path = tmp_path / name
    path.write_bytes(HOSTILE[name])
    if name.endswith(".jsonl"):
        texts = [json.loads(line)["text"] or "" for line in HOSTILE[name].decode().split("\n") if line.strip()]
        texts = [text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace") for text in texts]
    else:
        texts = [HOSTILE[name].removeprefix(BOS_MARK).decode("utf-8", "replace")]
    store = run(model, (DomainSource("d", path),), tmp_path / "run.ffn", seq_len=T, max_tokens=40 * T, batch_size=8)
    tokens = expected(tokenizer, texts)[:40]
    assert len(tokens) > 2
    neurons = {layer: [0, 5, 11, 23] for layer in range(3)}
    compare(store, model, tokens, neurons=neurons)
    with Store.open(store) as opened:
        whole = [opened.vocabulary.text(token) for token in range(len(tokenizer)) if opened.vocabulary.whole(token)]
        assert len(whole) > 100
