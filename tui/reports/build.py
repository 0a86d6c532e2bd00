"""A store's report put together."""

from __future__ import annotations

from ffnscope.tui.reports.about import about, warnings
from ffnscope.tui.reports.document import Document
from ffnscope.tui.reports.findings import findings
from ffnscope.tui.reports.reading import Gathered
from ffnscope.tui.reports.sections import sections


def report_document(read: Gathered) -> Document:
    """The report on one store."""
    return Document(
        f"ffnscope report: {read.store.run.model.name}",
        about(read.store),
        warnings(read.store, read.figures, read.state),
        findings(read.figures),
        sections(read),
    )
