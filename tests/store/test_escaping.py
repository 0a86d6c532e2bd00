"""Texts that may hold anything act on nothing once they are escaped, and come back as they were."""

from __future__ import annotations

import json

from hypothesis import example, given, settings
from hypothesis import strategies as st

from ffnscope.store.escaping import (
    CONTROL,
    escape,
    escape_character,
    escape_controls,
    escape_typed,
    json_text,
    quoted,
    quoted_parts,
    spreadsheet_text,
    unescape,
)

ANY = st.text(st.characters(), max_size=30)  # lone surrogates too
CHARACTER = st.characters()


def test_escapes_are_read():
    assert unescape(r"a\nb\tc\\n\d") == "a\nb\tc\\n\\d"
    assert unescape(r"\x1b[\u202e\U0001f600\"") == '\x1b[\u202e\U0001f600"'
    assert unescape(r"\U99999999 \x1 \u12") == r"\U99999999 \x1 \u12"


@given(st.text(st.characters(exclude_characters="\\")))
def test_what_is_not_printable_is_kept_as_escapes(text):
    assert escape(text).isprintable() and unescape(escape(text)) == text


@given(ANY)
@example("\\n")
def test_what_is_typed_comes_back_with_its_backslashes(text):
    assert escape_typed(text).isprintable() and unescape(escape_typed(text)) == text


@given(CHARACTER)
def test_one_character_comes_back(char):
    assert escape_character(char).isascii() and unescape(escape_character(char)) == char


@given(ANY)
@settings(max_examples=200)
def test_json_reads_back_and_holds_nothing_unprintable(text):
    written = json_text(text)
    assert json.loads(written) == text and written.isprintable()


@given(ANY)
def test_a_quoted_text_is_read_back(text):
    written = '"' + escape_typed(text).replace('"', '\\"') + '"'
    assert quoted(written) == quoted_parts(written) == text


def test_only_one_whole_quoted_text_is_one():
    assert quoted('"') is quoted("a") is quoted('"a') is quoted('"a\\"') is quoted('"a""b"') is None
    assert quoted('""') == "" and quoted('" a\n"') == " a\n"
    assert quoted_parts('"a""b"') == "ab" and quoted_parts("") == ""


@given(ANY)
@example("\x1b]52;c;AAAA\x07\x9b2J\n")
def test_no_control_character_is_left(text):
    assert not CONTROL.search(escape_controls(text))
    assert "\\" in text or unescape(escape_controls(text)) == text
    assert not CONTROL.search(escape_controls(text, keep="\n").replace("\n", ""))
    assert escape_controls(text, keep="\n").count("\n") == text.count("\n")


@given(ANY)
@example('=HYPERLINK("x")')
@example("-1+1")
@example("\t=1")
def test_no_cell_is_a_formula_or_acts_on_a_terminal(text):
    cell = spreadsheet_text(text)
    assert not CONTROL.search(cell) and not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert cell.removeprefix("'" if cell != escape_controls(text) else "") == escape_controls(text)
