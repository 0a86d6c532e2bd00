"""The line that asks for a set of positions: completed, and checked while it is typed; nothing is searched for yet."""

from __future__ import annotations

from collections.abc import Sequence

from ffnscope.store.query.positions import parse_query
from ffnscope.store.query.query_completion import complete_query
from ffnscope.tui.drawing.lines import Line, line
from ffnscope.tui.screens.input_line import InputLine
from ffnscope.tui.state.session import Session

HINT = r"text:/\b(19|20)\d\d\b/  token:school  prev:the  concept:digit  -position:0     tab completes, ctrl+o lists all"


def query_input(session: Session, label: str, value: str = "", *, empty: bool = False) -> InputLine:
    """Asks for a query; `empty`: none is fine too."""
    domains = [domain.name for domain in session.store.run.corpus.counted_domains]

    def answer(text: str) -> Sequence[Line]:
        query = parse_query(text, domains)
        if not query.terms:
            return [line((HINT, "dim"))]
        return [line(("enter looks for the positions where ", "dim"), ("all of it holds", "text"))]

    def accept(text: str) -> str | None:
        if not parse_query(text, domains).terms and not empty:
            return "give a query, such as token:school"
        return None

    return InputLine(
        label,
        value + (" " if value else ""),
        glyphs=session.glyphs,
        hint=HINT,
        answer=answer,
        accept=accept,
        complete=lambda text: complete_query(text, domains, session.store.kept.labels),
        recall=session.queries,
    )
