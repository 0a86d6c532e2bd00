r"""Texts of tokens, corpora and paths, which may hold anything, as texts that act on nothing; and back again.

Every rule of escaping stands here: one safe line (``escape``, ``unescape``), quoted texts of filters and searches
(``quoted``), JSON (``json_text``), terminals (``escape_controls``), spreadsheets (``spreadsheet_text``). What a screen
draws in place of a character is drawing's matter; how it writes one as an escape (``escape_character``) is not.
"""

from __future__ import annotations

import re

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # all that acts on a terminal
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPE = re.compile(r'\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([nrt"\\]))')
_NAMED = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_LETTERS = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}
_JSON = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}
_FORMULA = ("=", "+", "-", "@")  # a spreadsheet takes a cell that begins with one of these for a formula


def escape(text: str) -> str:
    r"""A text on one line: what is not printable becomes an escape that ``unescape`` reads. Backslashes stay: a text
    with some of its own comes back only if they are doubled first, as ``escape_typed`` does."""
    return text if text.isprintable() else "".join(char if char.isprintable() else _unicode(char) for char in text)


def escape_typed(text: str) -> str:
    """A text as one would type it where escapes are read: ``unescape`` gives exactly it, backslashes too."""
    return escape(text.replace("\\", "\\\\"))


def unescape(text: str) -> str:
    r"""The text that an escaped one stands for: ``\n``, ``\r``, ``\t``, ``\"``, ``\\``, ``\x1b``, ``\u202e`` and
    ``\U0001f600`` are characters, any other backslash is itself."""

    def character(match: re.Match[str]) -> str:
        hexadecimal = match[1] or match[2] or match[3]
        if not hexadecimal:
            return _LETTERS[match[4]]
        code = int(hexadecimal, 16)
        return chr(code) if code < 0x110000 else match[0]

    return _ESCAPE.sub(character, text)


def quoted(text: str) -> str | None:
    """The text within double quotes, unescaped, where ``text`` is one quoted text and nothing else; None where not."""
    match = _QUOTED.fullmatch(text)
    return unescape(match[1]) if match else None


def quoted_parts(text: str) -> str:
    """The quoted texts in ``text``, unescaped and joined."""
    return "".join(map(unescape, _QUOTED.findall(text)))


def escape_controls(text: str, keep: str = "") -> str:
    """A text whose control characters, but those in ``keep``, are escapes: for a terminal that draws the rest itself."""
    return CONTROL.sub(lambda match: match[0] if match[0] in keep else _unicode(match[0]), text)


def spreadsheet_text(text: str) -> str:
    """A text for a cell that spreadsheets open: no control characters, and never a formula (a quote mark goes before it)."""
    safe = escape_controls(text)
    return f"'{safe}" if safe.startswith(_FORMULA) else safe


def escape_character(char: str) -> str:
    r"""One character in the shortest escape: `\x1b`, `\u202e`, `\U0001f1e6`."""
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else _hexadecimal(code)


def json_text(text: str) -> str:
    r"""A text as a JSON string of the same meaning in which everything unprintable is escaped, ``\u001b`` for one.

    Control characters of both sets, bidi controls, joiners, lone surrogates: none of them is written raw.
    """
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return '"' + "".join(char if char.isprintable() and char not in '"\\' else _json(char) for char in text) + '"'


def _hexadecimal(code: int) -> str:
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _unicode(char: str) -> str:
    return _NAMED.get(char) or _hexadecimal(ord(char))


def _json(char: str) -> str:
    if char in _JSON:
        return _JSON[char]
    code = ord(char)
    if code < 0x10000:
        return _hexadecimal(code)
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
