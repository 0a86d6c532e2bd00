"""Answers of the terminal are not taken for keys: device attributes, colours, versions and the like may come late, in pieces,
and to a program that never asked, as when tmux is attached over SSH.

Textual takes an escape sequence that it does not know for the keys it is spelled with. Here whole sequences are told
apart before Textual sees them: keys, the mouse, pastes and the reports that Textual reads go on, all others are dropped.
"""

from __future__ import annotations

import re
from collections.abc import Callable

ESC = "\x1b"
PASTE, PASTE_END = "\x1b[200~", "\x1b[201~"
KEY_DELAY = 0.1  # seconds after which an escape that nothing followed is the key
PATIENCE = 3.0  # seconds that an answer's next piece may take
LONGEST = 1 << 16  # characters of an answer: one with the clipboard is long

_WANTED = re.compile(
    r"\x1b\[(?:<[-\d;]+[mM]|[-\d;]+[mM]|M"  # the mouse
    r"|[\d:;]*[u~ABCDEFHPQRSZIO]"  # keys, pastes, focus, the cursor's position
    r"|\?\d+;\d\$y|48;[\d:;]+t)"  # the modes and sizes that Textual asks for
)
_CSI = re.compile(r"\x1b\[(?:\[|[0-?]*[ -/]*)")
# Their first characters, after Escape and one of ] P _ ^ X; Alt and that character is a key.
_STRINGS = {"]": re.compile(r"[\d;lL]"), "P": re.compile(r"[\d;>!$+|]"), "_": re.compile(r"G"), "^": None, "X": None}


class ReplyFilter:
    """Takes what the terminal sends, piece by piece, and gives back what is not an answer.

    `is_key`: whether an escape sequence is a key's. `now`: a clock in seconds.
    """

    def __init__(self, is_key: Callable[[str], bool], now: Callable[[], float]):
        self._is_key, self._now = is_key, now
        self._begun = ""  # the beginning of a sequence
        self._since = 0.0
        self._pasting = False
        self._tail = ""  # of a paste, what may be its end

    def keep(self, data: str) -> str:
        """The part of everything up to `data` that Textual should see by now."""
        if not (self._begun or self._pasting or ESC in data):
            return data
        kept: list[str] = []
        for character in data:
            if self._pasting:
                kept.append(self._paste(character))
            elif self._begun:
                kept.append(self._add(character))
            elif character == ESC:
                self._begun = ESC
            else:
                kept.append(character)
        self._since = self._now()
        return "".join(kept)

    def expired(self) -> str:
        """What was kept and is a key after all, because nothing followed it; an answer without an end is dropped."""
        if not self._begun:
            return ""
        is_answer = len(self._begun) > 2 or self._begun[1:] == "["
        if self._now() - self._since < (PATIENCE if is_answer else KEY_DELAY):
            return ""
        pending, self._begun = self._begun, ""
        return "" if is_answer else pending

    def _add(self, character: str) -> str:
        """Keep a further character, or give what is kept as keys, or drop a complete answer."""
        pending = self._begun + character
        self._begun = ""
        if len(pending) == 2:
            if character == ESC:
                self._begun = ESC
                return ESC
            if character != "[" and character not in _STRINGS:
                return pending
        elif pending[1] == "[":
            return self._sequence(pending, character)
        elif len(pending) == 3 and not self._begins_string(pending):
            self._begun = ESC if character == ESC else ""
            return pending[:2] if character == ESC else pending
        elif character == "\x07" or pending.endswith("\x1b\\") or len(pending) > LONGEST:
            return ""
        elif pending[-2] == ESC:  # the string was cut off, another sequence has begun
            self._begun = ESC
            return self._add(character)
        self._begun = pending
        return ""

    def _paste(self, character: str) -> str:
        """The same within a paste: its escapes are left out, since Textual would take them for its end."""
        tail = self._tail + character
        if PASTE_END.startswith(tail):
            self._pasting = tail != PASTE_END
            self._tail = tail if self._pasting else ""
            return "" if self._pasting else tail
        self._tail = ESC if character == ESC else ""
        return tail.replace(ESC, "")

    def _begins_string(self, pending: str) -> bool:
        start = _STRINGS[pending[1]]
        return start is not None and bool(pending[2]) and start.fullmatch(pending[2]) is not None

    def _sequence(self, pending: str, character: str) -> str:
        """The same for a sequence that begins with Escape and [."""
        if character == ESC:
            self._begun = ESC
            return ""
        if self._is_key(pending) or _WANTED.fullmatch(pending):
            self._pasting = pending == PASTE
            return pending
        if _CSI.fullmatch(pending):
            self._begun = pending
        return ""
