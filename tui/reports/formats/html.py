"""A report as one self-contained page: no network, plots as SVG, tables that sort."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from ffnscope.tui.drawing.glyphs import UNICODE
from ffnscope.tui.drawing.text import visible
from ffnscope.tui.reports.document import Document
from ffnscope.tui.reports.formats.svg import svg
from ffnscope.tui.reports.formats.values import exact, shown

if TYPE_CHECKING:
    from jinja2 import Template

_FOLDER = Path(__file__).parent


def page(document: Document) -> str:
    """The whole page, the same for the same document. Every text of the store in it is escaped and printable."""
    style, script = (Markup((_FOLDER / name).read_text("utf-8")) for name in ("report.css", "report.js"))
    return _template().render(document=document, style=style, script=script)


@cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        finalize=_printable,
        undefined=StrictUndefined,
        keep_trailing_newline=False,
    )
    environment.filters |= {"svg": svg, "exact": exact, "shown": shown, "token": lambda text: visible(text, UNICODE)}
    return environment.get_template("report.html.j2")


def _printable(value: Any) -> Any:
    """What an expression gives, printable; autoescape then makes it text. Markup is made by ``svg`` and files of ours."""
    return visible(value, UNICODE, spaces=False) if isinstance(value, str) and not isinstance(value, Markup) else value
