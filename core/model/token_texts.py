"""What each token is written as: the text it stands for, or the tokenizer's own piece where it is not text by itself."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SENTENCEPIECE_SPACE = "▁"

Decode = Callable[[str], str | bytes]


@dataclass(frozen=True)
class Vocabulary:
    """texts: what every token is written as, by id; two tokens may be written alike.

    whole: bool `[V]`, True where the token is valid UTF-8 text by itself; False where the tokenizer's own piece is
    shown (half a character), or `<id>` where the tokenizer has no piece for it (padded embedding rows, no tokenizer).

    raw: the bytes that a token which is not whole stands for in a text, b"" for the whole ones. Where the tokenizer does
    not say, they are those of what the token is written as.
    """

    texts: tuple[str, ...]
    whole: np.ndarray
    raw: tuple[bytes, ...]


def build_vocabulary(tokenizer: Any | None, size: int) -> Vocabulary:
    """The texts of ids 0 .. size - 1 of a Hugging Face tokenizer, fast or slow; None writes every id as `<id>`.

    A leading space stays a space; special tokens are their own spelling; `##ing` of WordPiece and `ing</w>` are `ing`.
    """
    texts = [f"<{token}>" for token in range(size)]
    whole = np.zeros(size, dtype=bool)
    raw = [text.encode() for text in texts]
    if tokenizer is not None:
        rules = _rules(tokenizer)
        literal = _literal_tokens(tokenizer, rules)
        decode = _decoder(rules) if rules else _slow_decoder(tokenizer)
        # a slow tokenizer answers with its unknown token beyond its end, a fast one with None, and may have holes
        known = size if rules else min(size, len(tokenizer))
        for token in range(size):
            if token in literal:
                texts[token], whole[token], raw[token] = literal[token], True, b""
            elif token < known and (piece := _piece(tokenizer, token)):
                texts[token], whole[token], raw[token] = _written(piece, decode)
    return Vocabulary(tuple(texts), whole, tuple(raw))


def _piece(tokenizer: Any, token: int) -> str | None:
    try:
        return tokenizer.convert_ids_to_tokens(token)
    except (IndexError, KeyError, ValueError, OverflowError):  # slow tokenizers have holes in their ids too
        return None


def _written(piece: str, decode: Decode) -> tuple[str, bool, bytes]:
    text = decode(piece)
    if isinstance(text, bytes):
        raw = text
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            return piece, False, raw
    elif "\ufffd" in text and "\ufffd" not in piece:
        return piece, False, piece.encode("utf-8", "surrogatepass")
    return (text, True, b"") if text else (piece, False, b"")


def _literal_tokens(tokenizer: Any, rules: dict[str, Any]) -> dict[int, str]:
    """Added tokens by id: those are matched in the text as they are spelled.

    Ordinary pieces that are listed as added too (Gemma's runs of `▁`) are left out: they come from ordinary text.
    """
    added = getattr(tokenizer, "added_tokens_decoder", None) or {}
    model = rules.get("model", {}).get("vocab", {})
    ordinary = set(model) if isinstance(model, dict) else {entry[0] for entry in model}
    literal = {}
    for token, content in added.items():
        spelled = getattr(content, "content", str(content))
        if spelled and (getattr(content, "special", True) or spelled not in ordinary):
            literal[int(token)] = spelled
    return literal


def _rules(tokenizer: Any) -> dict[str, Any]:
    """A fast tokenizer's rules as in tokenizer.json; empty for a slow one, or one with parts written in Python."""
    try:
        return json.loads(tokenizer.backend_tokenizer.to_str())
    except Exception:
        return {}


def _decoder(rules: dict[str, Any]) -> Decode:
    """Piece -> text or bytes, from the structure of the tokenizer's own decoder, but for what depends on neighbours.

    Calling the decoder itself on single tokens would lose leading spaces and turn half characters into U+FFFD.
    """
    steps = _flat(rules.get("decoder"), "decoders")
    kinds = {step["type"] for step in steps}
    if not kinds & {"ByteLevel", "Metaspace", "WordPiece", "BPEDecoder", "Replace"}:
        # no decoder that says how pieces relate to text: what cut the text does
        steps += [step for step in _flat(rules.get("pre_tokenizer"), "pretokenizers") if step["type"] in _STEPS]
        steps += [step for step in _flat(rules.get("normalizer"), "normalizers") if _writes_spaces(step)]
    if rules["model"].get("byte_fallback") and "ByteFallback" not in kinds:
        steps.insert(0, {"type": "ByteFallback"})
    prefix = rules["model"].get("continuing_subword_prefix")
    if prefix and "WordPiece" not in kinds:
        steps.insert(0, {"type": "WordPiece", "prefix": prefix})
    suffix = rules["model"].get("end_of_word_suffix")
    if suffix and "BPEDecoder" not in kinds:
        steps.insert(0, {"type": "BPEDecoder", "suffix": suffix})
    # a byte token holds no other piece's marks, and must not be taken for text by a step before it
    steps.sort(key=lambda step: step["type"] != "ByteFallback")
    functions = [_STEPS[step["type"]](step) for step in steps if step["type"] in _STEPS]

    def decode(piece: str) -> str | bytes:
        text: str | bytes = piece
        for function in functions:
            if isinstance(text, bytes):
                break
            text = function(text)
        return text

    return decode


def _flat(step: dict[str, Any] | None, children: str) -> list[dict[str, Any]]:
    if step is None:
        return []
    if step["type"] == "Sequence":
        return [inner for child in step[children] for inner in _flat(child, children)]
    return [step]


def _writes_spaces(step: dict[str, Any]) -> bool:
    return step["type"] == "Replace" and step.get("content") == _SENTENCEPIECE_SPACE


def _byte_table() -> dict[str, int]:
    """Byte-level BPE's letters for bytes: printable Latin-1 as itself, the others from U+0100 on in order."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + n): byte for n, byte in enumerate(others)}


_BYTES = _byte_table()


def _byte_level(step: dict[str, Any]) -> Decode:
    def decode(piece: str) -> str | bytes:
        try:
            return bytes([_BYTES[letter] for letter in piece])
        except KeyError:  # not written in those letters, so it stands for itself, as in the library's decoder
            return piece

    return decode


def _byte_fallback(step: dict[str, Any]) -> Decode:
    def decode(piece: str) -> str | bytes:
        match = _BYTE_PIECE.fullmatch(piece)
        return bytes([int(match[1], 16)]) if match else piece

    return decode


def _metaspace(step: dict[str, Any]) -> Decode:
    return lambda piece: piece.replace(step["replacement"], " ")


def _replace(step: dict[str, Any]) -> Decode:
    pattern = step["pattern"]
    if step.get("content") == _SENTENCEPIECE_SPACE:  # a normalizer's rule, read backwards
        return lambda piece: piece.replace(_SENTENCEPIECE_SPACE, " ")
    if "String" in pattern:
        return lambda piece: piece.replace(pattern["String"], step["content"])
    try:
        regex = re.compile(pattern["Regex"])
    except re.error:  # a dialect that Python lacks
        return lambda piece: piece
    return lambda piece: regex.sub(lambda _: step["content"], piece)


def _word_piece(step: dict[str, Any]) -> Decode:
    return lambda piece: piece.removeprefix(step["prefix"]) or piece


def _word_end(step: dict[str, Any]) -> Decode:
    # punctuation carries the mark with no space behind it, so the mark stands for no text
    return lambda piece: piece.removesuffix(step["suffix"])


_STEPS: dict[str, Callable[[dict[str, Any]], Decode]] = {
    "ByteLevel": _byte_level,
    "ByteFallback": _byte_fallback,
    "Metaspace": _metaspace,
    "Replace": _replace,
    "WordPiece": _word_piece,
    "BPEDecoder": _word_end,
}


def _slow_decoder(tokenizer: Any) -> Decode:
    """For tokenizers written in Python, by the marks in their pieces, else the tokenizer's own joining."""
    byte_of = getattr(tokenizer, "byte_decoder", None)
    join = getattr(tokenizer, "convert_tokens_to_string", None)

    def decode(piece: str) -> str | bytes:
        match = _BYTE_PIECE.fullmatch(piece)
        if match:
            return bytes([int(match[1], 16)])
        if isinstance(byte_of, dict) and all(letter in byte_of for letter in piece):
            return bytes([byte_of[letter] for letter in piece])
        if _SENTENCEPIECE_SPACE in piece:  # joining would strip the space
            return piece.replace(_SENTENCEPIECE_SPACE, " ")
        if len(piece) > 2 and piece.startswith("##"):
            return piece[2:]
        if piece.endswith("</w>"):
            return piece.removesuffix("</w>")
        if piece.isspace() or join is None:
            return piece
        return join([piece]) or piece

    return decode
