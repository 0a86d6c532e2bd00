"""Neurons that have to do with one: detectors of the same n-grams, found in the token index."""

from __future__ import annotations

from ffnscope.store.search import Hit, TokenIndex
from ffnscope.tui.facts import PageData
from ffnscope.tui.lines import Line, Part, Writer, line, rule
from ffnscope.tui.text import percent

MOST = 12
Related = list[tuple[Hit, int]]  # (detector, shared tokens)


def quoted(text: str) -> str:
    """A token's text as a search for exactly it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def detectors_of(index: TokenIndex, text: str, limit: int | None = None) -> list[Hit]:
    """The token detectors of exactly one token, strongest first."""
    return [hit for hit in index.search(quoted(text), limit) if hit.order == 1]


def same_tokens(index: TokenIndex, page: PageData, limit: int = MOST) -> Related:
    """(detector, how many of the neuron's detected tokens it detects too) of token detectors, most shared first."""
    found: dict[tuple[int, int], tuple[Hit, int]] = {}
    own = (page.neuron.layer, page.neuron.neuron)
    if page.neuron.order != 1:
        return []
    for ngram in page.neuron.detected:
        for hit in detectors_of(index, page.text(ngram.tokens[0]), 200):
            key = (hit.layer, hit.neuron)
            if key != own:
                found[key] = (hit, found[key][1] + 1 if key in found else 1)
    return sorted(found.values(), key=lambda each: (-each[1], -each[0].matched, each[0].layer, each[0].neuron))[:limit]


def related_lines(related: Related, page: PageData, width: int) -> list[Line]:
    """The section of a token detector's page on others of the same tokens."""
    title: list[Part] = [("other detectors of these tokens", "dim")]
    out = [rule(title, width, page.glyphs, "shared, neuron, detects")]
    for hit, shared in related:
        row = Writer(page.glyphs).add(f" {shared:>3}  L{hit.layer}N{hit.neuron:<6} {percent(hit.covered):>4}  ")
        for text in hit.detected:
            if row.width >= width:
                break
            row.token(text, "text", dim=False).add(" ")
        out.append(row.line())
    if len(out) == 1:
        out.append(line((" none", "dim")))
    return out
