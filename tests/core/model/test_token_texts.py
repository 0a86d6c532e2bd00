"""What tokens are written as, against real tokenizers of every kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_tokenizers import SlowTokenizer, fast, metaspace_bpe
from tiny_tokenizers import HOSTILE
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

import ffnscope.core
from ffnscope.core.model.token_texts import Vocabulary, build_vocabulary

DEMO_MODEL = Path(ffnscope.core.__file__).parent / "demo" / "model"
LINES = [
    "the cat sat on the mat, the café was naïve 😀😀 👍🏽",
    "漢字 and ひらがな, مرحبا עולם",
    "tabs\tand\nnewlines\r\n  indented  code(x)",
] * 3
TEXTS = [*LINES, "été à Noël 😀👩‍🚀", " leading", "trailing ", "a  b", "\x00\x1b[31m", "¡ÿĀ Ġ"]


def byte_level(size: int = 300) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(LINES, trainer)
    return fast(tokenizer, bos_token="</s>")


def by_piece(tokenizer: PreTrainedTokenizerFast) -> dict[str, tuple[str, bool]]:
    vocabulary = build_vocabulary(tokenizer, len(tokenizer))
    pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    return dict(zip(pieces, zip(vocabulary.texts, vocabulary.whole.tolist(), strict=True), strict=True))


def joined_bytes(tokenizer: PreTrainedTokenizerFast, vocabulary: Vocabulary, text: str) -> bytes:
    """The bytes of a text's tokens: of whole ones as written, of halves by the library's own byte letters."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    # the library decodes every letter that is a character by itself; the others follow from the order of its table
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    order = printable + [byte for byte in range(256) if byte not in printable]
    byte_of = dict(zip(letters, order, strict=True))
    joined = b""
    for token in tokenizer(text, add_special_tokens=False)["input_ids"]:
        written = vocabulary.texts[token]
        joined += written.encode() if vocabulary.whole[token] else bytes(byte_of[letter] for letter in written)
    return joined


@pytest.mark.parametrize("make", [byte_level, lambda: AutoTokenizer.from_pretrained(DEMO_MODEL)], ids=["own", "demo"])
def test_byte_level_tokens_spell_the_text(make) -> None:
    tokenizer = make()
    vocabulary = build_vocabulary(tokenizer, len(tokenizer))
    assert not vocabulary.whole.all()
    for text in TEXTS:
        assert joined_bytes(tokenizer, vocabulary, text) == text.encode()


BYTE_LEVEL = byte_level()
BYTE_LEVEL_VOCABULARY = build_vocabulary(BYTE_LEVEL, len(BYTE_LEVEL))


@settings(max_examples=200)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30).filter(lambda text: "</s>" not in text))
def test_byte_level_tokens_spell_any_text(text: str) -> None:
    assert joined_bytes(BYTE_LEVEL, BYTE_LEVEL_VOCABULARY, text) == text.encode()


def test_byte_level_halves_are_pieces_and_wholes_are_text() -> None:
    written = by_piece(BYTE_LEVEL)
    assert written["Ġthe"] == (" the", True)
    assert written["Ċ"] == ("\n", True)
    assert written["Ã"] == ("Ã", False)  # the first byte of é
    assert written["A"] == ("A", True)
    assert written["Ã©"] == ("é", True)
    for piece, (text, whole) in written.items():
        assert whole == ("\ufffd" not in BYTE_LEVEL.backend_tokenizer.decoder.decode([piece])) or piece == "</s>"
        if not whole:
            assert text == piece


def test_added_tokens_are_their_own_spelling() -> None:
    tokenizer = byte_level()
    tokenizer.add_tokens(["Ġliteral", "<|im_start|>", "日本"])
    written = by_piece(tokenizer)
    assert written["</s>"] == ("</s>", True)
    assert written["Ġliteral"] == ("Ġliteral", True)
    assert written["<|im_start|>"] == ("<|im_start|>", True)
    assert written["日本"] == ("日本", True)


@pytest.mark.parametrize("old_style", [False, True])
def test_sentencepiece_style_bpe_with_byte_fallback(old_style: bool) -> None:
    tokenizer = metaspace_bpe(old_style)
    vocabulary = build_vocabulary(tokenizer, len(tokenizer))
    written = by_piece(tokenizer)
    assert written["▁the" if "▁the" in written else "▁"][0].startswith(" ")
    assert written["▁"] == (" ", True)
    assert written["<s>"] == ("<s>", True)
    text = "the cat on a mat"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert "".join(vocabulary.texts[token] for token in ids) == " " + text


def test_byte_fallback_pieces_that_are_not_added_tokens() -> None:
    vocab = {"<unk>": 0, "▁": 1, "a": 2, "<0x0A>": 3, "<0xE2>": 4, "<0x20>": 5, "▁a": 6, "▁▁": 7}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[("▁", "a"), ("▁", "▁")], byte_fallback=True))
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_tokens(["▁▁"])  # listed as added and an ordinary piece, as Gemma does
    vocabulary = build_vocabulary(fast(tokenizer), 8)
    assert vocabulary.texts == ("<unk>", " ", "a", "\n", "<0xE2>", " ", " a", "  ")
    assert vocabulary.whole.tolist() == [True, True, True, True, False, True, True, True]


def test_unigram() -> None:
    pieces = [("<unk>", 0.0), ("▁the", -1.0), ("▁", -2.0), ("cat", -2.0), ("é", -3.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    assert build_vocabulary(fast(tokenizer), 5).texts == ("<unk>", " the", " ", "cat", "é")


def test_word_piece_and_word_end_marks_stand_for_no_text() -> None:
    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0, "go": 1, "##ing": 2, "##": 3, "#": 4}, unk_token="[UNK]"))
    tokenizer.decoder = decoders.WordPiece()
    assert build_vocabulary(fast(tokenizer), 5).texts == ("[UNK]", "go", "ing", "##", "#")
    ends = Tokenizer(models.BPE({"i": 0, "i</w>": 1, "</w>": 2}, [], end_of_word_suffix="</w>"))
    vocabulary = build_vocabulary(fast(ends), 3)
    assert vocabulary.texts == ("i", "i", "</w>")
    assert vocabulary.whole.tolist() == [True, True, False]


def test_word_level_pieces_without_a_decoder_are_exact() -> None:
    tokenizer = Tokenizer(models.WordLevel({piece: token for token, piece in enumerate(HOSTILE)}, unk_token=HOSTILE[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("~", "removed")
    vocabulary = build_vocabulary(fast(tokenizer), len(HOSTILE))
    assert vocabulary.texts == tuple(HOSTILE)
    assert vocabulary.whole.all()


def test_ids_without_a_piece_are_numbers_in_angle_brackets() -> None:
    size = len(BYTE_LEVEL)
    padded = build_vocabulary(BYTE_LEVEL, size + 2)
    assert padded.texts[-2:] == (f"<{size}>", f"<{size + 1}>")
    assert not padded.whole[-2:].any()
    assert padded.texts[:size] == BYTE_LEVEL_VOCABULARY.texts
    assert build_vocabulary(BYTE_LEVEL, 4).texts == BYTE_LEVEL_VOCABULARY.texts[:4]
    holes = fast(Tokenizer(models.WordLevel({"a": 0, "c": 5}, unk_token="a")))
    assert build_vocabulary(holes, 7).texts == ("a", "<1>", "<2>", "<3>", "<4>", "c", "<6>")
    nameless = build_vocabulary(None, 3)
    assert nameless.texts == ("<0>", "<1>", "<2>")
    assert not nameless.whole.any()
    assert nameless.whole.dtype == np.bool_


def test_slow_tokenizers_keep_leading_spaces() -> None:
    slow = SlowTokenizer(["<unk>", "▁the", "ing", "<0x41>", "<0xF0>", "##ed", "▁", "\n"])
    vocabulary = build_vocabulary(slow, 9)
    assert vocabulary.texts == ("<unk>", " the", "ing", "A", "<0xF0>", "ed", " ", "\n", "<8>")
    assert vocabulary.whole.tolist() == [True, True, True, True, False, True, True, True, False]


def test_a_tokenizer_with_parts_in_python_is_read_as_a_slow_one() -> None:
    class Splitter:
        def pre_tokenize(self, text) -> None:
            text.split(lambda _, piece: [piece])

    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "▁a": 1}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.PreTokenizer.custom(Splitter())
    wrapped = SlowTokenizer(["<unk>", "▁a"])
    wrapped.backend_tokenizer = tokenizer  # type: ignore[attr-defined]
    assert build_vocabulary(wrapped, 2).texts == ("<unk>", " a")


def test_pieces_of_tokenizers_without_a_decoder() -> None:
    """The model's own marks and what cut the text say what a piece stands for."""
    wordpiece = Tokenizer(models.WordPiece({"<unk>": 0, "sing": 1, "##ing": 2}, unk_token="<unk>"))
    assert build_vocabulary(fast(wordpiece, unk_token="<unk>"), 3).texts == ("<unk>", "sing", "ing")
    bpe = Tokenizer(models.BPE({"<unk>": 0, "\u2581the": 1, "<0xC3>": 2}, [], unk_token="<unk>", byte_fallback=True))
    bpe.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(" ", "\u2581")])
    vocabulary = build_vocabulary(fast(bpe, unk_token="<unk>"), 3)
    assert vocabulary.texts == ("<unk>", " the", "<0xC3>") and vocabulary.raw == (b"", b"", b"\xc3")


def test_slow_tokenizers_that_join_halves_of_characters() -> None:
    class Halves(SlowTokenizer):
        def convert_tokens_to_string(self, pieces: list[str]) -> str:
            return "".join(pieces).replace("H", "\ufffd")

    vocabulary = build_vocabulary(Halves(["<unk>", "aHb", "a"]), 3)
    assert vocabulary.texts == ("<unk>", "aHb", "a") and vocabulary.whole.tolist() == [True, False, True]
    assert vocabulary.raw[1] == b"aHb"
