"""Windows from documents, against a naive reference; domains, settings, cache and every refusal."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_tokenizers import metaspace_bpe
from transformers import AutoTokenizer, PreTrainedTokenizerFast

import ffnscope.core
from ffnscope.core.corpus import cache as corpus_cache
from ffnscope.core.corpus import text as corpus_text
from ffnscope.core.corpus import tokens as corpus_tokens
from ffnscope.core.corpus.build import build_corpus, resolve_seq_len
from ffnscope.core.corpus.documents import iter_parts
from ffnscope.core.corpus.sources import DomainSource, parse_source, parse_sources
from ffnscope.core.corpus.windows import Corpus, WindowCutter
from ffnscope.store.errors import UserError

DEMO = Path(ffnscope.core.__file__).parent / "demo"
BOS, VOCABULARY = 2, 8192


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(DEMO / "model")


def cut_windows(
    document_ids: Iterable[Sequence[int]], seq_len: int, bos_id: int | None, max_tokens: int | None = None
) -> tuple[np.ndarray, int]:
    """(windows `[S, T]` int32, dropped tokens) of documents given as ids."""
    cutter = WindowCutter(seq_len, bos_id, max_tokens)
    for ids in document_ids:
        cutter.add(np.asarray(ids, dtype=np.int64))
        if cutter.full:
            break
    return cutter.finish()


def reference(documents: list[list[int]], seq_len: int, bos: int | None) -> tuple[list[list[int]], int]:
    """core/DEFINITIONS.md, "Data", word by word."""
    joined: list[int] = []
    for number, document in enumerate(filter(None, documents)):
        joined += [bos] * (number > 0 and bos is not None) + document
    piece = seq_len if bos is None else seq_len - 1
    pieces = [joined[start : start + piece] for start in range(0, len(joined), piece)]
    left = len(pieces.pop()) if pieces and len(pieces[-1]) < piece else 0
    return [([] if bos is None else [bos]) + ids for ids in pieces], left


documents_of_ids = st.lists(st.lists(st.integers(0, 9), max_size=12), max_size=8)


@settings(max_examples=300)
@given(documents_of_ids, st.integers(2, 9), st.sampled_from([None, 2]), st.sampled_from([0, 1, 5, 1 << 16]))
def test_windows_are_the_references(documents, seq_len: int, bos: int | None, flush: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ffnscope.core.corpus.windows._FLUSH_TOKENS", flush)
        windows, dropped = cut_windows(documents, seq_len, bos, None)
    expected, left = reference(documents, seq_len, bos)
    assert windows.dtype == np.int32
    assert windows.flags.c_contiguous
    assert windows.shape == (len(expected), seq_len)
    assert windows.tolist() == expected
    assert dropped == left


@settings(max_examples=300)
@given(documents_of_ids, st.integers(2, 9), st.sampled_from([None, 2]), st.integers(2, 40))
def test_max_tokens_takes_a_prefix_and_reads_no_further(documents, seq_len: int, bos: int | None, most: int) -> None:
    taken = 0

    def reading() -> Iterator[list[int]]:
        nonlocal taken
        for document in documents:
            taken += 1
            yield document

    if most < seq_len:
        with pytest.raises(UserError, match="--max-tokens"):
            cut_windows(reading(), seq_len, bos, most)
        return
    windows, dropped = cut_windows(reading(), seq_len, bos, most)
    everything, left = reference(documents, seq_len, bos)
    assert windows.tolist() == everything[: most // seq_len]
    full = len(windows) == most // seq_len
    assert dropped == (0 if full else left)
    needed = next(
        (n for n in range(len(documents) + 1) if len(reference(documents[:n], seq_len, bos)[0]) >= most // seq_len),
        len(documents),
    )
    assert taken == needed


def test_endless_documents_end() -> None:
    windows, dropped = cut_windows(itertools.repeat([5, 6, 7]), 4, 0, 400_000)
    assert windows.shape == (100_000, 4)
    assert windows[:2].tolist() == [[0, 5, 6, 7], [0, 0, 5, 6]]
    assert dropped == 0


@pytest.mark.parametrize(("seq_len", "bos"), [(1, 0), (0, None), (-3, 0)])
def test_windows_without_room_are_refused(seq_len: int, bos: int | None) -> None:
    with pytest.raises(UserError, match="--seq-len"):
        cut_windows([[1]], seq_len, bos, None)
    assert cut_windows([[1, 2]], 1, None)[0].tolist() == [[1], [2]]


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
        windows, dropped = reference(ids, 512, BOS)
        assert (domain.name, domain.count_only) == (source.name, source.count_only)
        assert (domain.first_window, domain.windows, domain.dropped_tokens) == (first, len(windows), dropped)
        assert domain.documents == len(texts)
        assert corpus.tokens[first : first + len(windows)].tolist() == windows
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


def test_long_documents_tokenise_as_in_one_piece(tmp_path: Path, tokenizer, monkeypatch) -> None:
    text = (DEMO / "corpus" / "code.jsonl").read_text("utf-8")[:60_000] + "😀 été.\r\n\r\n\tEnd  "
    (tmp_path / "a.txt").write_bytes(text.encode())
    (tmp_path / "b.txt").write_text("the next document")
    source = [DomainSource("a", tmp_path)]
    whole = build_corpus(source, tokenizer, 16, vocabulary_size=VOCABULARY, bos_id=BOS)
    monkeypatch.setattr(corpus_text, "PART_CHARACTERS", 500)
    monkeypatch.setattr(corpus_text, "CHUNK_BYTES", 777)
    monkeypatch.setattr(corpus_tokens, "_FIRST_BATCH", 3)
    assert len(list(corpus_text.cut_parts([text]))) > 100
    parted = build_corpus(source, tokenizer, 16, vocabulary_size=VOCABULARY, bos_id=BOS, workers=1)
    assert np.array_equal(whole.tokens, parted.tokens)
    assert whole.domains == parted.domains
    assert whole.domains[0].documents == 2


@pytest.mark.parametrize("old_style", [False, True])
def test_long_documents_tokenise_as_in_one_piece_with_sentencepiece_too(tmp_path, monkeypatch, old_style: bool) -> None:
    tokenizer = metaspace_bpe(old_style)
    (tmp_path / "a.txt").write_text("the cat sat on a mat. The 😀 cat\n\n  on the mat " * 100)
    source = [DomainSource("a", tmp_path / "a.txt")]
    whole = build_corpus(source, tokenizer, 16, vocabulary_size=len(tokenizer), bos_id=1)
    monkeypatch.setattr(corpus_text, "PART_CHARACTERS", 300)
    assert np.array_equal(
        build_corpus(source, tokenizer, 16, vocabulary_size=len(tokenizer), bos_id=1).tokens, whole.tokens
    )


@pytest.mark.parametrize("between", ["\n", "\t", "\r\n", "  ", "\n\n"])
@pytest.mark.parametrize("kind", ["always", "first", "prepended", "bytes"])
def test_a_document_cut_at_any_white_space_tokenises_as_in_one_piece(kind: str, between: str, monkeypatch) -> None:
    pieces = {"<unk>": 0, "▁": 1}
    for char in ["\n", "\t", "\r", *"abcdefghij"]:
        pieces[char] = len(pieces)
    if kind == "bytes":
        pieces |= {char: len(pieces) + i for i, char in enumerate(tokenizers.pre_tokenizers.ByteLevel.alphabet())}
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=pieces, merges=[], unk_token="<unk>"))
    if kind == "bytes":
        backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=True)
    elif kind == "prepended":
        normal = tokenizers.normalizers
        backend.normalizer = normal.Sequence([normal.Prepend("▁"), normal.Replace(" ", "▁")])
    else:
        backend.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(prepend_scheme=kind, split=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    text = between.join(["abcd", "jig", "cab", "bad"] * 200)
    monkeypatch.setattr(corpus_text, "PART_CHARACTERS", 100)
    parts = list(corpus_text.cut_parts([text]))
    assert len(parts) > 20 and not parts[1].text.startswith(" a")
    cut = np.concatenate([ids for ids, _ in corpus_tokens.encode_parts(parts, tokenizer)])
    assert cut.tolist() == tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("longest", [1 << 22, 400])
def test_tokens_that_reach_over_words_are_not_cut(tmp_path: Path, monkeypatch, longest: int) -> None:
    backend = tokenizers.Tokenizer(tokenizers.models.BPE())
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    text = "of the cat in the hat and of the mat on the mat. 。\n"
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=300, special_tokens=["<s>"], show_progress=False)
    backend.train_from_iterator([text[:9], text[9:21], text[9:]], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>")
    assert "ofĠtheĠca" in tokenizer.get_vocab()
    (tmp_path / "a.txt").write_text(text * 20)
    monkeypatch.setattr(corpus_text, "PART_CHARACTERS", 100)
    monkeypatch.setattr(corpus_tokens, "_LONGEST_WHOLE", longest)
    encoded = list(corpus_tokens.encode_parts(iter_parts(tmp_path / "a.txt"), tokenizer))
    assert [last for _, last in encoded] == [False] * (len(encoded) - 1) + [True]
    if longest == 400:
        assert len(encoded) > 1
    else:
        assert encoded[0][0].tolist() == tokenizer(text * 20)["input_ids"]


def test_hostile_text_is_tokenised_as_it_is(tmp_path: Path, tokenizer) -> None:
    texts = ["[/]\x00\x1b[31m", "", "\r\n", "שלום\u202e", "x" * 1_000_000, "a</s>b"]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    corpus = build_corpus(
        [DomainSource("a", tmp_path / "a.jsonl")], tokenizer, 8, vocabulary_size=VOCABULARY, bos_id=None
    )
    flat = corpus.tokens.ravel().tolist()
    expected = [token for text in texts for token in tokenizer(text, add_special_tokens=False)["input_ids"]]
    assert flat == expected[: len(flat)]
    assert len(expected) - len(flat) == corpus.domains[0].dropped_tokens < 8
    assert corpus.domains[0].notes.empty_documents == 1
    assert BOS in tokenizer("a</s>b", add_special_tokens=False)["input_ids"]


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


def test_a_link_of_another_kind_is_not_found_in_the_cache(tmp_path: Path, tokenizer) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": "the of and to in"}) + "\n" for _ in range(30)))
    (tmp_path / "raw.txt").symlink_to(rows)

    def build(*names: str, cache: Path | None = None) -> list[str]:
        sources = [DomainSource(name, tmp_path / name) for name in names]
        corpus = build_corpus(sources, tokenizer, 16, vocabulary_size=VOCABULARY, bos_id=BOS, cache_dir=cache)
        return [domain.fingerprint for domain in corpus.domains]

    once = build("rows.jsonl", "raw.txt", cache=tmp_path / "cache")
    assert once == build("rows.jsonl", "raw.txt") and once[0] != once[1]


def test_cached_windows_are_found_again_and_only_then(tmp_path: Path, tokenizer, monkeypatch) -> None:
    path, cache = tmp_path / "folder", tmp_path / "cache"
    path.mkdir()
    (path / "a.txt").write_text("some text to cut \ud7ff" * 50)
    (path / "b.txt").write_bytes(b"\xff and more of it" * 9)

    def build(seq_len: int = 16, most: int | None = None, bos: int | None = BOS) -> Corpus:
        return build_corpus(
            [DomainSource("a", path)],
            tokenizer,
            seq_len,
            max_tokens=most,
            vocabulary_size=VOCABULARY,
            bos_id=bos,
            cache_dir=cache,
        )

    def build_from_cache(**settings: int | None) -> Corpus:
        with monkeypatch.context() as patch:
            patch.setattr("ffnscope.core.corpus.build.encode_labelled", tokenised)
            return build(**settings)

    def tokenised(*_: object) -> None:
        raise AssertionError("tokenised although the cache had it")

    first = build()
    assert first.domains[0].notes.replaced_documents == 1
    again = build_from_cache()
    assert np.array_equal(again.tokens, first.tokens)
    assert again.domains == first.domains
    assert again.domains[0].notes == first.domains[0].notes
    for change in ({"seq_len": 15}, {"most": 32}, {"bos": None}):
        with pytest.raises(AssertionError):
            build_from_cache(**change)
        built = build(**change)
        assert build_from_cache(**change).fingerprint == built.fingerprint
    assert not list(cache.glob("*.part"))

    (path / "a.txt").write_text("other text to cut " * 50)
    with pytest.raises(AssertionError):
        build_from_cache()
    changed = build()
    assert changed.fingerprint != first.fingerprint
    for file in cache.iterdir():
        for junk in (b"", b"junk", file.read_bytes()[:-1], file.read_bytes()[:-1] + b"\x7f"):
            file.write_bytes(junk)
            assert build().fingerprint == changed.fingerprint

    (path / "a.txt").write_text("")
    (path / "b.txt").write_text("")
    with pytest.raises(UserError, match="corpus is empty"):
        build()
    blocked = tmp_path / "file"
    blocked.write_text("")
    (path / "a.txt").write_text("some text " * 50)
    with pytest.raises(UserError, match="--scratch"):
        build_corpus(
            [DomainSource("a", path)], tokenizer, 16, vocabulary_size=VOCABULARY, bos_id=BOS, cache_dir=blocked
        )


def test_tokenizers_have_fingerprints(tokenizer) -> None:
    before = corpus_cache.fingerprint_tokenizer(tokenizer)
    tokenizer(["some text"], truncation=True, max_length=3, padding="max_length")
    assert corpus_cache.fingerprint_tokenizer(tokenizer) == before
    other = AutoTokenizer.from_pretrained(DEMO / "model")
    assert corpus_cache.fingerprint_tokenizer(other) == before
    other.add_tokens(["some"])
    assert corpus_cache.fingerprint_tokenizer(other) != before


def test_importing_is_light() -> None:
    code = "import sys, ffnscope.core.corpus.build as w, ffnscope.core.model.token_texts as v\n"
    code += "print({'torch', 'transformers'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"
