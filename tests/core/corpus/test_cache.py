"""Tokenised windows kept between runs are found again, and only where nothing has changed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

import ffnscope.core
from ffnscope.core.corpus import cache as corpus_cache
from ffnscope.core.corpus.build import build_corpus
from ffnscope.core.corpus.documents import ReadNotes
from ffnscope.core.corpus.sources import DomainSource
from ffnscope.core.corpus.windows import Corpus, CutText
from ffnscope.store.errors import UserError

DEMO = Path(ffnscope.core.__file__).parent / "demo"
BOS, VOCABULARY = 2, 8192


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(DEMO / "model")


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


def test_cached_labels_outside_the_windows_are_not_taken(tmp_path: Path) -> None:
    windows = np.arange(8, dtype=np.int32).reshape(2, 4)
    for places, whole in (([0, 7], True), ([0, 8], False), ([-1, 2], False)):
        cut = CutText(windows, 0, 1, ReadNotes(), {"a": np.array(places, np.int64), "none": np.zeros(0, np.int64)})
        corpus_cache.save_cut_text(tmp_path, "key", cut)
        found = corpus_cache.load_cut_text(tmp_path, "key")
        assert (found is not None) == whole
        assert found is None or found.labels["a"].tolist() == places


def test_tokenizers_have_fingerprints(tokenizer) -> None:
    before = corpus_cache.fingerprint_tokenizer(tokenizer)
    tokenizer(["some text"], truncation=True, max_length=3, padding="max_length")
    assert corpus_cache.fingerprint_tokenizer(tokenizer) == before
    other = AutoTokenizer.from_pretrained(DEMO / "model")
    assert corpus_cache.fingerprint_tokenizer(other) == before
    other.add_tokens(["some"])
    assert corpus_cache.fingerprint_tokenizer(other) != before
