"""Labelled spans of JSON lines become labels of the tokens that hold any of their characters."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tiny_models as tm
from exact import run
from odd_tokenizers import SlowTokenizer
from tiny_tokenizers import tiny_tokenizer

from ffnscope.core.corpus import text as corpus_text
from ffnscope.core.corpus.build import build_corpus
from ffnscope.core.corpus.labels import MOST_LABELS, JoinedLabels, labelled_tokens, read_spans
from ffnscope.core.corpus.sources import DomainSource
from ffnscope.store.errors import UserError
from ffnscope.store.notebook import NotebookStore as Store
from ffnscope.store.verify.check import verify

WORDS = ["the school", " école", " 漢字", " 👍", "\n", " of", " music", " house"]


def write(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def build(source, tokenizer, seq_len, cache_dir=None):
    return build_corpus(
        [source],
        tokenizer,
        seq_len,
        max_tokens=None,
        vocabulary_size=len(tokenizer),
        bos_id=0,
        cache_dir=cache_dir,
    )


def documents(rng, count):
    """Rows with spans at random characters, some overlapping, some without any."""
    rows = []
    for number in range(count):
        text = "".join(rng.choice(WORDS, 60))
        spans = []
        for _ in range(number % 4):
            start = int(rng.integers(0, len(text) - 1))
            end = min(start + int(rng.integers(1, 12)), len(text))
            spans.append([start, end, str(rng.choice(["fact", "two words"]))])
        rows.append({"text": text} | ({"spans": spans} if spans else {}))
    return rows


def naive(rows, tokenizer, seq_len, bos):
    """{label: positions window * T + p}, a token and a character at a time."""
    joined, marks = [], []
    for number, row in enumerate(rows):
        if number:
            joined.append(bos)
            marks.append(set())
        ids = tokenizer(row["text"], add_special_tokens=False)["input_ids"]
        ends = np.cumsum([len(char.encode()) for char in row["text"]])
        at = 0
        for token in ids:
            piece = tokenizer.convert_ids_to_tokens(token)
            size = len(piece)  # a letter a byte in byte-level BPE
            held = {c for c in range(len(ends)) if ends[c] > at and ends[c] - len(row["text"][c].encode()) < at + size}
            at += size
            joined.append(token)
            marks.append({label for start, end, label in row.get("spans", []) if held & set(range(start, end))})
        assert at == ends[-1]
    found = {}
    for index in range(len(joined) // (seq_len - 1) * (seq_len - 1)):
        for label in marks[index]:
            place = index // (seq_len - 1) * seq_len + 1 + index % (seq_len - 1)
            found.setdefault(label, []).append(place)
    return found


@pytest.mark.parametrize("part", [None, 40])
def test_byte_level_pieces_hold_parts_of_characters(tmp_path, monkeypatch, part):
    if part is not None:
        # Documents longer than that are tokenised in parts.
        monkeypatch.setattr(corpus_text, "PART_CHARACTERS", part)
    tokenizer = tiny_tokenizer(tmp_path / "tokenizer", texts=["the school of music", " house of the"] * 9, size=290)
    rows = documents(np.random.default_rng(0), 12)
    source = DomainSource("a", write(tmp_path / "a.jsonl", rows))
    for _ in range(2):  # the second time from the cache
        corpus = build(source, tokenizer, 32, tmp_path / "cache")
        expected = naive(rows, tokenizer, 32, 0)
        assert {label: places.tolist() for label, places in corpus.labels.items()} == expected
        assert all(expected[label] for label in ("fact", "two words"))


def test_tokenizers_that_drop_white_space(tmp_path):
    tokenizer = tiny_tokenizer(tmp_path / "tokenizer", vocab=["the", "school", "house", "of"])
    text = "the school of the house of the school"
    rows = [{"text": text, "spans": [[4, 10, "a"], [12, 15, "b"], [10, 11, "space"]]}]
    source = DomainSource("a", write(tmp_path / "a.jsonl", rows))
    corpus = build(source, tokenizer, 9)
    assert {label: places.tolist() for label, places in corpus.labels.items()} == {"a": [2], "b": [3, 4], "space": []}


@pytest.mark.parametrize(
    ("spans", "says"),
    [
        ([[0, 3]], "must be a list of"),
        ([[0, "3", "a"]], "must be a list of"),
        ([[True, 3, "a"]], "must be a list of"),
        ([{"start": 0, "end": 1, "label": "a"}], "rename the field"),
        ("a", "is not a list"),
        ([[3, 3, "a"]], "span 3 to 3 is not in its text"),
        ([[-1, 3, "a"]], "is not in its text"),
        ([[0, 10**30, "a"]], "is not in its text"),
        ([[0, 3, ""]], "is not a label"),
        ([[0, 3, "x" * 101]], "is not a label"),
        ([[0, 3, "\x1b[31m"]], "is not a label"),
        ([[0, 3, None]], "is not a label"),
    ],
)
def test_spans_that_are_none_are_one_clear_line(tmp_path, spans, says):
    tokenizer = tiny_tokenizer(tmp_path / "tokenizer", texts=["the school"])
    path = write(tmp_path / "a.jsonl", [{"text": "fine " * 20}, {"text": "the school", "spans": spans}])
    with pytest.raises(UserError, match=says) as error:
        build(DomainSource("a", path), tokenizer, 4)
    assert str(error.value).startswith(f"{path}, line 2: ") and "\n" not in str(error.value)
    assert "\x1b" not in str(error.value)


def test_a_store_is_asked_for_its_labels(tmp_path):
    model = tm.tiny("llama", tmp_path, vocab_size=300)
    tokenizer = tiny_tokenizer(model, texts=["the school of music", " house of the"] * 9, size=290)
    rng = np.random.default_rng(1)
    rows = {name: documents(rng, 8) for name in ("a", "b")}
    sources = tuple(DomainSource(name, write(tmp_path / f"{name}.jsonl", own)) for name, own in rows.items())
    path = run(model, sources, tmp_path / "s.ffn", seq_len=32, bos_id=0, keep="all", min_occurrences=2)
    with Store.open(path) as store:
        assert list(verify(store)) == [] and store.kept.labels == ("fact", "two words")
        first = store.run.corpus.domains[1].first_window
        places = naive(rows["a"], tokenizer, 32, 0)["fact"]
        places += [first * 32 + place for place in naive(rows["b"], tokenizer, 32, 0)["fact"]]
        kept = store.kept
        flat = kept.windows[kept.window_of] * 32 + kept.position_of
        assert np.array_equal(kept.label("fact"), np.isin(flat, places)) and kept.label("fact").any()
        answer = store.ask("label:fact")
        assert answer.matches == kept.label("fact").sum()
    write(tmp_path / "b.jsonl", [{"text": row["text"]} for row in rows["b"]])
    with pytest.raises(UserError, match="cannot be resumed, because its run differs in the corpus"):
        run(model, sources, path, seq_len=32, bos_id=0, keep="all", min_occurrences=2, resume=True)


def test_labels_that_a_tokenizer_cannot_place_are_refused(tmp_path):
    tokenizer, encoded = tiny_tokenizer(tmp_path, vocab=["the", "school"]), lambda token: b"?"
    ids = tokenizer("the school", add_special_tokens=False)["input_ids"]
    ((label, tokens),) = labelled_tokens("the school", ids, [(4, 6, "a")], tokenizer, encoded)
    assert (label, tokens.tolist()) == ("a", [1])
    with pytest.raises(UserError, match="gives other tokens for the same text"):
        labelled_tokens("the school", ids[::-1], [(4, 6, "a")], tokenizer, encoded)
    with pytest.raises(UserError, match="does not say which characters its tokens hold"):
        labelled_tokens("the school", ids, [(4, 6, "a")], SlowTokenizer(["the", "school"]), encoded)


def test_labels_beside_no_text_and_more_labels_than_there_may_be_are_refused():
    with pytest.raises(UserError, match=r"^here: 'spans' beside a text that is not a string"):
        read_spans([[0, 1, "a"]], 3, "here")
    joined, one = JoinedLabels(), np.array([0])
    joined.add(0, [(str(number), one) for number in range(MOST_LABELS)])
    with pytest.raises(UserError, match="'spans' with more than 1,000 different labels"):
        joined.add(5, [("one more", one)])
