"""Marks and notes survive, are shared between processes, and go elsewhere where the store is read-only."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffnscope.store.errors import UserError
from ffnscope.store.notes import MAX_NOTE, Notes


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "s.ffn"
    path.mkdir()
    return path


def test_reading_makes_nothing(folder):
    with Notes.open(folder) as notes:
        assert notes.marks() == frozenset() and notes.notes() == {} and notes.note(0, 1) == ""
        notes.set_mark(0, 1, False)
        notes.set_note(0, 1, "")
    assert list(folder.iterdir()) == []


def test_what_was_written_is_there_the_next_time(folder):
    with Notes.open(folder) as notes:
        notes.set_marks([(0, 1), (47, 36_863), (0, 2)], True)
        notes.set_mark(0, 2, False)
        notes.set_note(3, 4, "fires on \x1b[31m\n漢字 \ud800")
        notes.set_note(3, 5, "gone soon")
        notes.set_note(3, 5, "  ")
        assert notes.marks() == {(0, 1), (47, 36_863)}
    with Notes.open(folder) as notes:
        assert notes.marks() == {(0, 1), (47, 36_863)}
        assert notes.notes() == {(3, 4): "fires on \x1b[31m\n漢字 \ud800"}
        assert notes.note(3, 4).startswith("fires") and notes.note(3, 5) == ""
    assert {path.name for path in folder.iterdir()} == {"notes"}


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.booleans()), max_size=30))
@settings(max_examples=25)
def test_marks_are_a_set(tmp_path_factory, steps):
    folder, expected = tmp_path_factory.mktemp("marks"), set()
    with Notes.open(folder) as notes:
        for layer, neuron, on in steps:
            notes.set_mark(layer, neuron, on)
            (expected.add if on else expected.discard)((layer, neuron))
            assert notes.marks() == expected


def test_a_note_has_a_longest_length(folder):
    with Notes.open(folder) as notes:
        notes.set_note(0, 0, "x" * MAX_NOTE)
        with pytest.raises(UserError, match="L0N0: a note holds at most 10,000 characters"):
            notes.set_note(0, 0, "x" * (MAX_NOTE + 1))
        assert len(notes.note(0, 0)) == MAX_NOTE


def other_process(folder, code):
    prelude = (
        f"from pathlib import Path\nfrom ffnscope.store.notes import Notes\nn = Notes.open(Path({str(folder)!r}))\n"
    )
    done = subprocess.run([sys.executable, "-c", prelude + code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_two_processes_see_each_other(folder):
    with Notes.open(folder) as notes:
        notes.set_mark(0, 1, True)
        assert notes.marks() == {(0, 1)}
        assert other_process(
            folder, "n.set_mark(2, 3, True); n.set_note(2, 3, 'theirs'); print(sorted(n.marks()))"
        ) == ("[(0, 1), (2, 3)]")
        assert notes.marks() == {(0, 1), (2, 3)} and notes.note(2, 3) == "theirs"


def test_a_store_that_cannot_be_written_to_keeps_its_notes_in_the_state_folder(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: not Path(path).is_relative_to(folder) and access(path, mode))
    for reader in (1, 2):
        with Notes.open(folder) as notes:
            notes.set_mark(5, reader, True)
            assert (5, 1) in notes.marks()
            assert notes.folder.is_relative_to(tmp_path / "state" / "ffnscope" / "notes")
    assert list(folder.iterdir()) == []
    other = tmp_path / "other.ffn"
    other.mkdir()
    with Notes.open(other) as notes:
        assert notes.marks() == frozenset()


def test_a_state_folder_that_cannot_be_made_is_said(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with Notes.open(folder) as notes:
        assert notes.marks() == frozenset()
        with pytest.raises(UserError, match="cannot be kept there"):
            notes.set_mark(0, 0, True)
