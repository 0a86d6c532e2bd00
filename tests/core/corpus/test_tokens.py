"""Documents cut into parts, however long, tokenise as in one piece."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from odd_tokenizers import metaspace_bpe
from transformers import AutoTokenizer, PreTrainedTokenizerFast

import ffnscope.core
from ffnscope.core.corpus import text as corpus_text
from ffnscope.core.corpus import tokens as corpus_tokens
from ffnscope.core.corpus.build import build_corpus
from ffnscope.core.corpus.documents import iter_parts
from ffnscope.core.corpus.sources import DomainSource

DEMO = Path(ffnscope.core.__file__).parent / "demo"
BOS, VOCABULARY = 2, 8192


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(DEMO / "model")


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


@pytest.mark.parametrize("before", [None, "true"])
def test_one_worker_leaves_the_librarys_setting_as_it_was(before: str | None, monkeypatch) -> None:
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    if before is not None:
        monkeypatch.setenv("TOKENIZERS_PARALLELISM", before)
    with corpus_tokens._parallelism(1):
        assert os.environ["TOKENIZERS_PARALLELISM"] == "false"
    assert os.environ.get("TOKENIZERS_PARALLELISM") == before
