"""A report as one self-contained page: no network, plots as SVG, tables that sort."""

from __future__ import annotations

from ffnscope.tui.reports.document import Document, DotPlot, Finding, Section, Table, Value
from ffnscope.tui.reports.formats.svg import safe, svg
from ffnscope.tui.reports.formats.values import exact, shown

# Nothing may be loaded, whatever a token tries: only what stands in the page itself.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
_DOTS = (("oscillatory", "oscillatory"), ("both", "both extremes"), ("one", "one extreme"), ("other", "other"))


def page(document: Document) -> str:
    """The whole page, the same for the same document. Every text of the store in it is escaped and printable."""
    title = safe(document.title)
    body = [f"<h1>{title}</h1>", _about(document)]
    body += [f'<p class="warning">{safe(warning)}</p>' for warning in document.warnings]
    if document.findings:
        body.append("<h2>What the data say</h2>")
        body.append(f'<dl class="findings">{"".join(map(_finding, document.findings))}</dl>')
    body += [_section(section) for section in document.sections]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="icon" href="data:,">\n<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n'
        + "\n".join(body)
        + f"\n<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    )


def _about(document: Document) -> str:
    rows = "".join(f"<tr><th>{safe(name)}</th><td>{safe(value)}</td></tr>" for name, value in document.about)
    return f'<table class="about">{rows}</table>'


def _finding(finding: Finding) -> str:
    kind = finding.verdict.replace(" ", "-")
    return (
        f'<dt>{safe(finding.claim)}</dt><dd><span class="verdict {kind}">{safe(finding.verdict)}</span> '
        f"{safe(finding.text)}</dd>"
    )


def _section(section: Section) -> str:
    parts = [f"<section><h2>{safe(section.title)}</h2>", f"<p>{safe(section.note)}</p>"]
    for plot in section.plots:
        if isinstance(plot, DotPlot):
            note = " ".join(f'<span class="key {kind}">{word}</span>' for kind, word in _DOTS) + " (pale: weak)"
        else:
            note = safe(getattr(plot, "note", ""))
        caption = f"<figcaption>{safe(plot.title)}{'. ' if note else ''}{note}</figcaption>"
        parts.append(f'<figure><div class="plot">{svg(plot)}</div>{caption}</figure>')
    parts += map(_table, section.shown)
    return "\n".join([*parts, "</section>"])


def _table(table: Table) -> str:
    caption = f"<caption>{safe(table.title)}</caption>" if table.title else ""
    head = "".join(
        f'<th scope="col" title="{safe(column.meaning)}"><button type="button">{safe(column.name)}</button></th>'
        for column in table.columns
    )
    body = "\n".join(
        "<tr>" + "".join(_cell(value, column.style) for value, column in zip(row, table.columns, strict=True)) + "</tr>"
        for row in table.rows
    )
    return (
        f'<div class="wide"><table class="sortable">{caption}<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _cell(value: Value, style: str) -> str:
    if isinstance(value, tuple):
        tokens = " ".join(f"<code>{safe_token(token)}</code>" for token in value)
        return f'<td class="text tokens">{tokens}</td>'
    if isinstance(value, str):
        return f'<td class="text">{safe(value)}</td>'
    return f'<td data-value="{exact(value)}">{safe(shown(value, style).strip())}</td>'


def safe_token(token: str) -> str:
    """A token for HTML, its spaces visible."""
    from ffnscope.tui.drawing.glyphs import UNICODE
    from ffnscope.tui.drawing.text import visible

    return safe(visible(token, UNICODE))


_SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#7f7f7f")
_BINS = (
    *("#bbb", "#440154", "#482878", "#3e4989", "#31688e", "#26828e"),
    *("#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"),
)
_STYLE = (
    """
:root { color-scheme: light dark; --line: #8885; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 2.2em; border-bottom: 1px solid var(--line); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .4em 0; white-space: nowrap; } .wide { margin: 1em 0; }
th, td { padding: .1em .7em; text-align: right; border-bottom: 1px solid var(--line); }
td.text { text-align: left; overflow-wrap: anywhere; } td.tokens { min-width: 13em; } .about { font-size: .9em; }
.about th { text-align: left; vertical-align: top; font-weight: 600; white-space: nowrap; }
.about td { text-align: left; overflow-wrap: anywhere; }
th button { font: inherit; font-weight: 600; color: inherit; background: none; border: 0; padding: 0; cursor: pointer; }
th[aria-sort=ascending] button::after { content: " \\25b2"; } th[aria-sort=descending] button::after { content: " \\25bc"; }
code { background: #8882; padding: 0 .25em; border-radius: 3px; white-space: pre-wrap; }
.warning { border-left: 4px solid #e69f00; padding-left: .8em; } dt { font-weight: 600; margin-top: .7em; }
.verdict { font-size: .85em; font-weight: 600; border: 1px solid var(--line); border-radius: 3px; padding: 0 .4em; }
.agrees { background: #009e7333; } .differs { background: #d55e0033; } .partly { background: #e69f0033; }
.wide, .plot { overflow-x: auto; } figure { margin: 1.2em 0; } figcaption { font-size: .9em; opacity: .85; }
svg { max-width: 100%; height: auto; font: 12px system-ui, sans-serif; } svg text { fill: currentColor; }
svg .grid { stroke: #8884; } polyline { fill: none; stroke-width: 1.6; } svg .dim { opacity: .7; }
.oscillatory { fill: #7b3294; --dot: #7b3294; } .both { fill: #d7301f; --dot: #d7301f; } .one { fill: #238b45; --dot: #238b45; }
.other { fill: #e0a800; --dot: #e0a800; } .weak { opacity: .4; }
.key::before { content: "\\25cf "; color: var(--dot); } .key { white-space: nowrap; margin-right: .5em; }
"""
    + "".join(f".s{i} {{ fill: {c}; stroke: {c}; }}\n" for i, c in enumerate(_SERIES * 4))
    + "".join(f".b{i} {{ fill: {c}; }}\n" for i, c in enumerate(_BINS))
)
_SCRIPT = """
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "descending" ? 1 : -1;
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down < 0 ? "descending" : "ascending");
      const key = (row) => {
        const cell = row.cells[column];
        if (!("value" in cell.dataset)) return cell.textContent;
        return cell.dataset.value === "" ? null : Number(cell.dataset.value);
      };
      const rows = [...body.rows].map((row, at) => [key(row), at, row]);
      rows.sort(([a, i], [b, j]) => {
        if (a === null || b === null) return (a === null) - (b === null) || i - j;
        return (a < b ? -1 : a > b ? 1 : 0) * down || i - j;
      });
      body.append(...rows.map(([, , row]) => row));
    });
  });
}
"""
