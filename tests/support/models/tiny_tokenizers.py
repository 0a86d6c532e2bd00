"""Real tokenizers with tiny vocabularies, tame or hostile, saved as a model folder needs them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

SPECIAL = ["<s>", "</s>", "<unk>"]
BOS_ID, EOS_ID, UNK_ID = 0, 1, 2

HOSTILE = [
    "[/]", "[red]x", "[bold", "[/red]", "[@click=app.bell]y",
    "\x1b[31m", "\x1b]0;x\x07", "\x1b[2J", "\x9b31m", "\x07", "\x08", "\x7f",
    "\n", "\r", "\r\n", "\t", "\x0b", "\x0c", "\x00", "\x85", "\u2028",
    ",", '"', "'", "\\", "|", ";", '","', '"\n"',
    "漢字", "ｗｉｄｅ", "👨‍👩‍👧‍👦", "🇫🇷", "👍🏽", "e\u0301", "a\u0300\u0301\u0302\u0303\u0304", "\u0301", "ก็",
    "שלום", "مرحبا", "\u202eabc", "\u202c", "\u2066", "\u200b", "\u200d", "\ufeff", "\u00ad",
    "<script>", "<script>alert(1)</script>", "&amp;", "=cmd()", "+1", "-1", "@SUM(A1)", "$(id)", "%s", "{x}",
    " ", "  ", " lead", "trail ", "\ufffd", "\U000e0041", "\ue000", "x" * 200,
]  # fmt: skip
"""Pieces that break careless output: markup, escape sequences, control, wide, joined and right-to-left text,
CSV and HTML metacharacters, spreadsheet formulas."""

INVALID_BYTES = ["<0xE6>", "<0xC3>", "<0xFF>", "<0xED>"]
"""Byte-fallback pieces that are not valid UTF-8 by themselves (0xED opens the encodings of lone surrogates)."""

_COMMON_WORDS = """
    the of and to in is was for that on with as by at from it an be are this his which or had not
    but were one all their also has who new two first its time more when after other into some
    school music water house city river state year war work line play game team world light night
    stone paper green black white north south east west field model layer number letter woman child
    king book story road train ship bird tree fire iron gold salt
"""
WORDS = _COMMON_WORDS.split()


def words(count: int) -> list[str]:
    """The first `count` words of an endless list of distinct words."""
    return WORDS[:count] + [f"word{i}" for i in range(len(WORDS), count)]


def _exactly(pieces: Sequence[str]) -> Regex:
    """A pattern for any of the pieces, the longest first, that is safe for every character."""
    longest_first = sorted(pieces, key=lambda piece: (-len(piece), piece))
    return Regex("|".join("".join(f"\\x{{{ord(c):x}}}" for c in piece) for piece in longest_first))


def _word_level(pieces: Sequence[str], split: pre_tokenizers.PreTokenizer) -> Tokenizer:
    vocab = {piece: token for token, piece in enumerate(dict.fromkeys([*SPECIAL, *pieces]))}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = split
    return tokenizer


def _hostile() -> Tokenizer:
    """Word-level: every hostile piece is one token, and a text that joins them is cut back into them."""
    pieces = [*HOSTILE, *words(20)]
    tokenizer = _word_level([*pieces, *INVALID_BYTES], pre_tokenizers.Split(_exactly(pieces), "isolated"))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def _hostile_bytes() -> Tokenizer:
    """Byte-level BPE as GPT-2's: every hostile piece is one token, and so is each of its prefixes of bytes, many of
    them invalid UTF-8."""
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    split = pre_tokenizers.Split(_exactly([*HOSTILE, *words(20)]), "isolated")
    vocab = {piece: token for token, piece in enumerate([*SPECIAL, *sorted(byte_level.alphabet())])}
    merges: list[tuple[str, str]] = []
    for text in [*HOSTILE, *words(20)]:
        letters = byte_level.pre_tokenize_str(text)[0][0]
        for end in range(2, len(letters) + 1):
            if letters[:end] not in vocab:
                vocab[letters[:end]] = len(vocab)
                merges.append((letters[: end - 1], letters[end - 1]))
    # Emoji share bytes, so that the merges of one piece break another: whole pieces are looked up first.
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _trained(texts: Sequence[str], size: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def tiny_tokenizer(
    directory: Path,
    texts: Sequence[str] | None = None,
    vocab: Sequence[str] | None = None,
    hostile: bool | str = False,
    size: int = 320,
    bos: bool = True,
    eos: bool = True,
) -> PreTrainedTokenizerFast:
    """Saves a tokenizer into `directory` and returns it; ids 0, 1, 2 are `<s>`, `</s>`, `<unk>`.

    `texts`: byte-level BPE trained on them, `size` tokens at most. `vocab`: word-level over these pieces, texts are
    cut at white space. `hostile=True`: word-level over `HOSTILE`; `hostile="bytes"`: byte-level BPE over them.
    Nothing: word-level over common words. `bos=False`, `eos=False`: the tokenizer names no such token.
    """
    if hostile:
        tokenizer = _hostile_bytes() if hostile == "bytes" else _hostile()
    elif texts is not None:
        tokenizer = _trained(texts, size)
    else:
        tokenizer = _word_level(vocab if vocab is not None else words(61), pre_tokenizers.WhitespaceSplit())
    named = {"unk_token": "<unk>"} | ({"bos_token": "<s>"} if bos else {}) | ({"eos_token": "</s>"} if eos else {})
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named)
    directory.mkdir(parents=True, exist_ok=True)
    wrapped.save_pretrained(directory)
    return wrapped
