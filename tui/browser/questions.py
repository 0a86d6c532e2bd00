"""The browser's prompts: what each asks, says while one types, and accepts."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection
from pathlib import Path

from ffnscope.store.atomic_write import check_writable
from ffnscope.store.errors import UserError
from ffnscope.store.notes import MAX_NOTE
from ffnscope.store.query.filter_completion import complete
from ffnscope.tui.drawing.lines import Line, line
from ffnscope.tui.drawing.text import visible
from ffnscope.tui.screens.input_line import InputLine
from ffnscope.tui.state.neuron_list import Key
from ffnscope.tui.state.session import Session

FILTER_HINT = (
    "kind:token  freq<0.01  pos:oscillatory  detects:school  marked  -kind:dead     tab completes, ctrl+o lists all"
)


def filter_input(session: Session) -> InputLine:
    """Asks for a filter, counting its hits here and in all layers."""
    model = session.neurons

    def answer(text: str) -> list[Line]:
        if not text.strip():
            return [line((FILTER_HINT, "dim"))]
        matches = model.matches(text)
        if model.layer < 0:
            return [line(("no layer is finished yet", "dim"))]
        lines = [line((f"{matches:,}", "bright"), (f" of {model.total:,} neurons in layer {model.layer}", "text"))]
        total = session.matches_everywhere(text)
        rest = (f", {total:,} in {len(session.layers)} layers", "text")
        return [Line((*lines[0].parts, rest))]

    def accept(text: str) -> str | None:
        model.matches(text)
        return None

    return InputLine(
        "filter",
        model.filter_text + (" " if model.filter_text else ""),
        glyphs=session.glyphs,
        hint=FILTER_HINT,
        answer=answer,
        accept=accept,
        complete=lambda text: complete(text, model.domains),
        recall=session.filters,
    )


def filter_name_input(session: Session, taken: Collection[str]) -> InputLine:
    """Asks for the name of a filter; one that is taken needs a second `enter`."""
    warned: list[str] = []

    def accept(name: str) -> str | None:
        if name.strip() in taken and name.strip() not in warned:
            warned.append(name.strip())
            return f"{name.strip()} already exists; enter again to replace it"
        return None

    return InputLine(
        "save filter as",
        glyphs=session.glyphs,
        hint=visible(session.neurons.filter_text, session.glyphs, spaces=False),
        accept=accept,
    )


def goto_input(session: Session, jump: Callable[[int, int | None], None]) -> InputLine:
    """Asks for a neuron and goes there."""

    def accept(text: str) -> str | None:
        if text.strip():
            try:
                jump(*session.neurons.parse_goto(text))
            except UserError as error:
                reason = str(error).removeprefix(f"{session.store.path}: ")
                return f"this store {reason}" if reason.startswith("has ") else reason
        return None

    return InputLine(
        ":", glyphs=session.glyphs, hint="a neuron L5N123, a layer L5, or a neuron N123 of this layer", accept=accept
    )


def note_input(session: Session, key: Key) -> InputLine:
    """Asks for the note on a neuron."""

    def accept(text: str) -> str | None:
        long = len(text.strip())
        return f"a note holds at most {MAX_NOTE:,} characters, this has {long:,}" if long > MAX_NOTE else None

    return InputLine(
        f"note on L{key[0]}N{key[1]}",
        session.neurons.note(key),
        glyphs=session.glyphs,
        hint="enter keeps it, an empty note is deleted, esc changes nothing",
        accept=accept,
    )


def export_path(text: str) -> Path:
    """The file that was meant: `~` is the home folder."""
    return Path(os.path.expanduser(text.strip()))  # noqa: PTH111


def export_input(session: Session, how_many: int, what: str) -> InputLine:
    """Asks for a file name; a file that is there takes a second `enter`."""
    warned: list[Path] = []

    def accept(text: str) -> str | None:
        path = export_path(text)
        if not text.strip():
            return "give a file name"
        try:
            check_writable(path, overwrite=True)
        except UserError as error:
            return str(error).removeprefix(f"{path}: ")
        if not path.parent.is_dir():
            return f"{path.parent}: no such folder"
        if path.is_file() and path not in warned:
            warned.append(path)
            return f"{path} already exists; enter again to replace it"
        return None

    stem = re.sub(r"[^\w.-]", "_", session.store.path.stem) or "ffnscope"
    layer = "" if what == "marked" else f"-L{session.neurons.layer}"
    return InputLine(
        f"export {how_many:,} {what} neurons to",
        f"{stem}{layer}-{what}.csv",
        glyphs=session.glyphs,
        hint="a CSV file, the columns as `ffnscope export` writes them",
        accept=accept,
    )
