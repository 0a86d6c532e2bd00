"""Neurons that have to do with one: detectors of the same n-grams, and those whose output rows point the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ffnscope.store.query.detector_index import Hit, TokenIndex
from ffnscope.store.records import Neuron
from ffnscope.tui.drawing.lines import Line, Part, Writer, line, rule
from ffnscope.tui.drawing.numbers import percent
from ffnscope.tui.neuron.data import PageData

MOST = 12
Shared = list[tuple[Hit, int]]  # (detector, shared tokens)
Pointing = list[tuple[Neuron, float]]  # (neuron of the same layer, cosine of the output rows)


@dataclass(frozen=True)
class Related:
    """What is related to a neuron; ``same`` None where it detects no token."""

    similar: Pointing
    opposed: Pointing
    same: Shared | None = None


def quoted(text: str) -> str:
    """A token's text as a search for exactly it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def detectors_of(index: TokenIndex, text: str, limit: int | None = None) -> list[Hit]:
    """The token detectors of exactly one token, strongest first."""
    return index.search(quoted(text), limit, order=1)


def same_tokens(index: TokenIndex, page: PageData) -> Shared:
    """(detector, how many of the neuron's detected tokens it detects too) of token detectors, most shared first."""
    hits: dict[tuple[int, int], tuple[Hit, int]] = {}
    own = (page.neuron.layer, page.neuron.neuron)
    if page.neuron.order != 1:
        return []
    for ngram in page.neuron.detected:
        for hit in detectors_of(index, page.text(ngram.tokens[0])):
            key = (hit.layer, hit.neuron)
            if key != own:
                hits[key] = (hit, hits[key][1] + 1 if key in hits else 1)
    ranked = sorted(hits.values(), key=lambda entry: (-entry[1], -entry[0].matched, entry[0].layer, entry[0].neuron))
    return ranked[:MOST]


def pointing(page: PageData, read: Callable[[int, int], Neuron]) -> Related:
    """The neurons with the most similar and the most opposed output rows, read with ``read(layer, neuron)``."""

    def every(listed: Iterable[tuple[int, float]]) -> Pointing:
        return [(read(page.neuron.layer, number), cosine) for number, cosine in listed]

    return Related(every(page.neuron.similar), every(page.neuron.opposed))


def related_lines(related: Related, page: PageData, width: int) -> list[Line]:
    """The sections at the end of a page."""
    out: list[Line] = []
    if related.same is not None:
        title: list[Part] = [("other detectors of these tokens", "dim")]
        rows = [_shared(hit, shared, page, width) for hit, shared in related.same]
        out += [rule(title, width, page.glyphs, "shared, neuron, detects"), *(rows or [line((" none", "dim"))])]
    for what, listed in (("similar", related.similar), ("opposed", related.opposed)):
        rows = [_pointing(neuron, cosine, page, width) for neuron, cosine in listed]
        title = [(f"most {what} output rows of the layer", "dim")]
        out += [rule(title, width, page.glyphs, "cosine, neuron, promotes"), *(rows or [line((" none", "dim"))])]
    return out


def _shared(hit: Hit, shared: int, page: PageData, width: int) -> Line:
    row = Writer(page.glyphs).add(f" {shared:>3}  L{hit.layer}N{hit.neuron:<6} {percent(hit.covered):>4}  ")
    return row.tokens(hit.detected, "text", width, dim=False).line()


def _pointing(neuron: Neuron, cosine: float, page: PageData, width: int) -> Line:
    row = Writer(page.glyphs).add(f" {cosine:+.3f}  L{neuron.layer}N{neuron.neuron:<6} ")
    row.add(f"{neuron.kind:<11}", "dim")
    return row.tokens((page.text(token) for token, _ in neuron.promoted), "text", width, dim=False).line()
