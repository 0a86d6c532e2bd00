"""An SVG picture of the screen (Textual's export) as cells, so that pictures are compared by what they show."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from rich.cells import cell_len

_SVG = "{http://www.w3.org/2000/svg}"
_CELL, _LINE = 12.2, 24.4  # px a cell in Rich's export

Cell = tuple[str, str, str]  # character, its style, the colour behind it


def normalised(svg: str) -> str:
    """The picture without what differs from run to run, and without the addresses of web fonts."""
    svg = re.sub(r"terminal-\d+", "terminal", svg)
    return re.sub(r"@font-face\s*\{[^}]*\}\s*", "", svg)


def cells(svg: str) -> dict[tuple[int, int], Cell]:
    """(row, column) -> cell of everything that is drawn, blank cells on the plain ground left out.

    Runs may be cut in any way and styles numbered in any order: only what a reader sees counts.
    """
    root = ET.fromstring(svg)
    styles = dict(re.findall(r"\.([\w-]+-r\d+)\s*\{\s*([^}]*?)\s*\}", "".join(root.itertext())))
    behind: dict[tuple[int, int], str] = {}
    for rect in root.iter(f"{_SVG}rect"):
        if rect.get("shape-rendering") == "crispEdges":
            row, column = round(float(rect.get("y", 0)) / _LINE), round(float(rect.get("x", 0)) / _CELL)
            for at in range(round(float(rect.get("width", 0)) / _CELL)):
                behind[row, column + at] = rect.get("fill", "")
    out: dict[tuple[int, int], Cell] = {place: (" ", "", fill) for place, fill in behind.items()}
    for text in root.iter(f"{_SVG}text"):
        if not text.get("clip-path"):
            continue
        row, column = int(text.get("clip-path", "").rpartition("-")[2].rstrip(")")), float(text.get("x", 0)) / _CELL
        at = round(column)
        for char in text.text or "":
            if char not in " \xa0":
                out[row, at] = (char, styles[text.get("class", "")], behind.get((row, at), ""))
            at += cell_len(char)
    return out


def differences(one: str, other: str, most: int = 12) -> list[str]:
    """What differs between two pictures, the first cells of it in words."""
    left, right = cells(one), cells(other)
    places = sorted(place for place in {*left, *right} if left.get(place) != right.get(place))
    return [
        f"row {row} column {column}: {left.get((row, column))} is now {right.get((row, column))}"
        for row, column in places[:most]
    ]
