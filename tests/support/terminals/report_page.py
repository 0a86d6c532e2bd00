"""Running `ffnscope report`, its document and text, and an HTML page of it as what a browser would show."""

from __future__ import annotations

import io
from html.parser import HTMLParser

from rich.console import Console

from ffnscope.store.reader import Store
from ffnscope.tui.cli import main
from ffnscope.tui.drawing.glyphs import UNICODE
from ffnscope.tui.reports.formats.terminal import show
from ffnscope.tui.reports.reading import gather
from ffnscope.tui.reports.sections import report_document

VOID = {"meta", "link", "br"}


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def document(path):
    with Store.open(path) as opened:
        return report_document(gather(opened, every_range=True))


def drawn(path, width, glyphs=UNICODE):
    out = io.StringIO()
    show(document(path), Console(file=out, width=width, markup=False, emoji=False, highlight=False), glyphs)
    return out.getvalue()


class Page(HTMLParser):
    """A page taken apart: tags balanced, what stands in scripts and attributes, the text."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.stack, self.tags, self.attributes, self.text, self.scripts = [], [], [], "", []
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *each) for each in attrs]
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *each) for each in attrs]

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if self.stack and self.stack[-1] == "script":
            self.scripts.append(data)
        else:
            self.text += data
