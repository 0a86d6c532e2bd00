"""Text that nobody vouches for, as one safe line; and back again."""

from __future__ import annotations

import re

_ESCAPE = re.compile(r'\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([nrt"\\]))')
_NAMED = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_LETTERS = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}
_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}


def escape(text: str) -> str:
    """A text on one line: what is not printable is written as an escape that ``unescape`` reads. Backslashes stay."""

    def one(char: str) -> str:
        code = ord(char)
        return _NAMED.get(char) or (f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")

    return "".join(char if char.isprintable() else one(char) for char in text)


def unescape(text: str) -> str:
    r"""The text that a quoted one stands for: ``\n``, ``\r``, ``\t``, ``\"``, ``\\``, ``\x1b``, ``\u202e`` and
    ``\U0001f600`` are characters, any other backslash is itself."""

    def one(match: re.Match[str]) -> str:
        hexadecimal = match[1] or match[2] or match[3]
        if not hexadecimal:
            return _LETTERS[match[4]]
        code = int(hexadecimal, 16)
        return chr(code) if code < 0x110000 else match[0]

    return _ESCAPE.sub(one, text)


def json_text(text: str) -> str:
    r"""A text as a JSON string of the same meaning in which everything unprintable is escaped, ``\u001b`` for one.

    Control characters of both sets, bidi controls, joiners, lone surrogates: none of them is written raw.
    """
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return '"' + "".join(char if char.isprintable() and char not in '"\\' else _escape(char) for char in text) + '"'


def _escape(char: str) -> str:
    if char in _SHORT:
        return _SHORT[char]
    code = ord(char)
    if code < 0x10000:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
