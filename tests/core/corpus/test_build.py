"""A corpus from its sources: domains, window length, windows given as tokens, every refusal."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import reference as ref
from transformers import AutoTokenizer

import ffnscope.core
from ffnscope.core.corpus.build import build_corpus, resolve_seq_len
from ffnscope.core.corpus.sources import DomainSource, parse_source, parse_sources
from ffnscope.core.corpus.windows import Corpus
from ffnscope.store.errors import UserError

DEMO = Path(ffnscope.core.__file__).parent / "demo"
BOS, VOCABULARY = 2, 8192


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(DEMO / "model")


def test_sources() -> None:
    assert parse_source("wiki=a/b.jsonl") == DomainSource("wiki", Path("a/b.jsonl"))
    assert parse_source("w=a=b", True) == DomainSource("w", Path("a=b"), True)
    assert parse_source("w=~/x").path == Path.home() / "x"
    given_sources = parse_sources(["b=1", "a=2"], ["c=3"])
    assert [(source.name, source.count_only) for source in given_sources] == [("b", False), ("a", False), ("c", True)]
    names = ["", " ", "a b", "a:b", "a|b", 'a"b', "a'b", "a\tb", "a\x1b[31m", "\u202ea", "a,b", "a<b", "\x00"]
    for text in ["wiki.jsonl", "=x", "a=", *(f"{name}=x" for name in names)]:
        with pytest.raises(UserError) as caught:
            parse_source(text)
        assert str(caught.value).isprintable()
    for data, count_only in ((["a=1", "a=2"], []), (["a=1"], ["a=2"])):
        with pytest.raises(UserError, match="'a' is given twice"):
            parse_sources(data, count_only)
    for data, count_only in (([], []), ([], ["a=1"])):
        with pytest.raises(UserError, match="--data NAME=PATH"):
            parse_sources(data, count_only)


def test_sequence_length(tmp_path: Path) -> None:
    text = DomainSource("text", tmp_path / "a.txt")
    five, six = (DomainSource(f"w{n}", tmp_path / f"{n}.npy") for n in (5, 6))
    np.save(five.path, np.zeros((2, 5), np.int32))
    np.save(six.path, np.zeros((2, 6), np.int32))
    assert resolve_seq_len(None, None, [text]) == 2048
    assert resolve_seq_len(None, 4096, [text]) == 2048
    assert resolve_seq_len(None, 512, [text]) == 512
    assert resolve_seq_len(4096, None, [text]) == 4096
    assert resolve_seq_len(100, 512, [text]) == 100
    assert resolve_seq_len(None, 512, [text, five]) == 5
    assert resolve_seq_len(5, 512, [five]) == 5
    for requested, positions, sources, said in [
        (513, 512, [text], "512 positions"),
        (0, None, [text], "--seq-len 0"),
        (6, 512, [five], r"5\.npy: windows of 5, but --seq-len has 6"),
        (None, 512, [five, six], r"6\.npy: windows of 6, but .*5\.npy has 5"),
        (None, 4, [five], "windows of 5, but the model has 4 positions"),
    ]:
        with pytest.raises(UserError, match=said):
            resolve_seq_len(requested, positions, sources)


def demo_sources() -> list[DomainSource]:
    return [DomainSource(name, DEMO / "corpus" / f"{name}.jsonl") for name in ("wiki", "math")]


def test_the_demo_corpus_is_what_plain_tokenising_gives(tokenizer) -> None:
    sources = [*demo_sources(), DomainSource("speech", DEMO / "corpus" / "speech.jsonl", count_only=True)]
    seen: list[tuple[str, int, int | None]] = []
    corpus = build_corpus(
        sources, tokenizer, 512, vocabulary_size=VOCABULARY, bos_id=BOS, progress=lambda *step: seen.append(step)
    )
    assert corpus.tokens.dtype == np.int32
    assert corpus.tokens.flags.c_contiguous
    assert corpus.tokens.shape == (corpus.n_windows, corpus.seq_len) == (corpus.n_windows, 512)
    first = 0
    for source, domain in zip(sources, corpus.domains, strict=True):
        texts = [json.loads(line)["text"] for line in source.path.read_text("utf-8").split("\n") if line]
        ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
        windows, dropped = ref.cut_windows(ids, 512, BOS)
        assert (domain.name, domain.count_only) == (source.name, source.count_only)
        assert (domain.first_window, domain.windows, domain.dropped_tokens) == (first, len(windows), dropped)
        assert domain.documents == len(texts)
        assert corpus.tokens[first : first + len(windows)].tolist() == windows.tolist()
        first += len(windows)
    assert first == corpus.n_windows
    assert seen[-1] == ("speech", corpus.domains[-1].windows * 512, None)


def test_counted_domains_come_first_and_names_differ(tmp_path: Path, tokenizer) -> None:
    (tmp_path / "a.txt").write_text("some text " * 50)
    sources = [DomainSource("counted", tmp_path / "a.txt", True), DomainSource("plain", tmp_path / "a.txt")]
    corpus = build_corpus(sources, tokenizer, 16, max_tokens=64, vocabulary_size=VOCABULARY, bos_id=BOS)
    assert [domain.name for domain in corpus.domains] == ["plain", "counted"]
    assert [domain.windows for domain in corpus.domains] == [4, 4]
    with pytest.raises(UserError, match="given twice"):
        build_corpus(
            [sources[0], DomainSource("counted", tmp_path)], tokenizer, 16, vocabulary_size=VOCABULARY, bos_id=BOS
        )


def test_max_tokens_reads_only_what_it_needs(tmp_path: Path, tokenizer) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a few words of text"}\n' * 20_000 + "broken\n")
    source = [DomainSource("a", path)]
    corpus = build_corpus(source, tokenizer, 32, max_tokens=1000, vocabulary_size=VOCABULARY, bos_id=BOS)
    assert corpus.n_windows == 31
    assert corpus.domains[0].dropped_tokens == 0
    assert 100 < corpus.domains[0].documents < 200
    with pytest.raises(UserError, match="line 20001"):
        build_corpus(source, tokenizer, 32, vocabulary_size=VOCABULARY, bos_id=BOS)


def test_windows_given_as_tokens(tmp_path: Path) -> None:
    windows = np.arange(40, dtype=np.int64).reshape(8, 5)
    np.save(tmp_path / "a.npy", np.asfortranarray(windows))
    source = [DomainSource("a", tmp_path / "a.npy")]
    corpus = build_corpus(source, None, 5, vocabulary_size=40, bos_id=None)
    assert np.array_equal(corpus.tokens, windows)
    assert corpus.tokens.dtype == np.int32
    assert corpus.tokens.flags.c_contiguous
    assert build_corpus(source, None, 5, max_tokens=14, vocabulary_size=40, bos_id=None).n_windows == 2
    np.save(tmp_path / "b.npy", windows.astype(np.int32))
    again = build_corpus([DomainSource("a", tmp_path / "b.npy")], None, 5, vocabulary_size=40, bos_id=None)
    assert again.fingerprint == corpus.fingerprint
    for vocabulary, seq_len, said in [(39, 5, "a=.*token id 39.*vocabulary has 39"), (40, 6, "windows of 5.*6")]:
        with pytest.raises(UserError, match=said):
            build_corpus(source, None, seq_len, vocabulary_size=vocabulary, bos_id=None)
    wrong = windows.copy()
    wrong[2:] = -1  # behind what max_tokens asks for, so never looked at
    np.save(tmp_path / "b.npy", wrong)
    source = [DomainSource("a", tmp_path / "b.npy")]
    assert np.array_equal(
        build_corpus(source, None, 5, max_tokens=14, vocabulary_size=40, bos_id=None).tokens, windows[:2]
    )
    with pytest.raises(UserError, match="negative token id -1"):
        build_corpus(source, None, 5, max_tokens=15, vocabulary_size=40, bos_id=None)
    np.save(tmp_path / "b.npy", np.full((1, 5), 2**32 + 1))
    with pytest.raises(UserError, match="token id 4294967297"):
        build_corpus([DomainSource("a", tmp_path / "b.npy")], None, 5, vocabulary_size=40, bos_id=None)


def test_fingerprints_tell_corpora_apart(tmp_path: Path) -> None:
    def corpus(windows: np.ndarray, name: str = "a", bos: int | None = None, count_only: bool = False) -> Corpus:
        np.save(tmp_path / "w.npy", windows)
        sources = [DomainSource("first", tmp_path / "w.npy"), DomainSource(name, tmp_path / "w.npy", count_only)]
        return build_corpus(sources, None, windows.shape[1], vocabulary_size=100, bos_id=bos)

    windows = np.arange(12, dtype=np.int32).reshape(3, 4)
    others = [
        corpus(windows),
        corpus(windows, name="b"),
        corpus(windows, bos=0),
        corpus(windows, count_only=True),
        corpus(windows.reshape(4, 3)),
        corpus(windows[::-1]),
    ]
    assert len({other.fingerprint for other in others}) == len(others)
    assert corpus(windows).fingerprint == others[0].fingerprint


def test_refusals(tmp_path: Path, tokenizer) -> None:
    def refuse(path: Path, said: str, **changes: object) -> None:
        asked = {
            "tokenizer": tokenizer,
            "seq_len": 64,
            "max_tokens": None,
            "vocabulary_size": VOCABULARY,
            "bos_id": BOS,
        }
        with pytest.raises(UserError, match=said):
            build_corpus([DomainSource("a", path)], **(asked | changes))

    (tmp_path / "short.txt").write_text("the cat")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "folder").mkdir()
    refuse(tmp_path / "short.txt", "3 tokens, but one window needs 63.*--seq-len")
    refuse(tmp_path / "short.txt", "3 tokens, but one window needs 64", bos_id=None)
    refuse(tmp_path / "empty.txt", r"empty\.txt: the corpus is empty.*1 empty document")
    refuse(tmp_path / "folder", "folder: the corpus is empty")
    refuse(tmp_path / "missing", "no such file")
    refuse(tmp_path / "short.txt", "MODEL has no tokenizer", tokenizer=None)
    refuse(tmp_path / "short.txt", "a=.*token id .* vocabulary has 100 ", vocabulary_size=100)
    refuse(tmp_path / "short.txt", "BOS id 2 is outside", vocabulary_size=2)
    refuse(tmp_path / "short.txt", "--max-tokens 63", max_tokens=63)
    refuse(tmp_path / "short.txt", "--seq-len 1", seq_len=1)


@pytest.mark.parametrize("raw", ['{"content": "a"}\n', "not JSON\n"])
def test_a_second_source_is_refused_before_the_first_is_tokenised(raw: str, tmp_path: Path, tokenizer) -> None:
    (tmp_path / "a.txt").write_text("the water of the school " * 100)
    (tmp_path / "b.jsonl").write_text(raw)
    sources = [DomainSource("a", tmp_path / "a.txt"), DomainSource("b", tmp_path / "b.jsonl")]
    read: list[str] = []

    def build() -> None:
        build_corpus(
            sources, tokenizer, 16, vocabulary_size=VOCABULARY, bos_id=BOS, progress=lambda name, *_: read.append(name)
        )

    with pytest.raises(UserError, match=r"b\.jsonl, line 1"):
        build()
    assert not read
    (tmp_path / "b.jsonl").write_text(json.dumps({"text": "the water of the school " * 10}))
    build()
    assert set(read) == {"a", "b"}


def test_importing_is_light() -> None:
    code = "import sys, ffnscope.core.corpus.build as w, ffnscope.core.model.token_texts as v\n"
    code += "print({'torch', 'transformers'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"
