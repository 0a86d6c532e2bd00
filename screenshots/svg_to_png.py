"""A Textual screenshot (SVG) as PNG: `python screenshots/svg_to_png.py screen.svg [screen.png]`.

Textual lays text out in Fira Code and stretches each run with `textLength`, which SVG renderers follow
differently, so columns drift apart. Here every character gets the x of its own cell and a font that is on the
machine. Needs cairosvg (libcairo2) and the DejaVu fonts.
"""

from __future__ import annotations

import re
import sys
import unicodedata
import xml.etree.ElementTree as ET
from pathlib import Path

from rich.cells import cell_len

_SVG = "http://www.w3.org/2000/svg"
_CELL = 12.2  # px a cell in Textual's export (20 px font)
_ABOVE, _LINE = 18.5, 24.65  # px from a line's top to its baseline, and its height
_MONO, _OTHER = "DejaVu Sans Mono", "DejaVu Sans"
# Glyphs of neighbouring cells leave seams: (left, width, height) in cells of the blocks drawn as rectangles.
_BLOCKS = {"▐": (0.5, 0.5, 1.0), **{chr(0x2590 - eighths): (0.0, eighths / 8, 1.0) for eighths in range(1, 9)}}
_BLOCKS |= {chr(0x2580 + eighths): (0.0, 1.0, eighths / 8) for eighths in range(1, 8)}


def svg_to_png(svg_path: Path | str, png_path: Path | str, scale: float = 1.0) -> None:
    """Write a Textual SVG screenshot as PNG, `scale` pixels a px. Raises OSError and ET.ParseError."""
    import cairosvg

    svg = Path(svg_path).read_text(encoding="utf-8")
    cairosvg.svg2png(bytestring=per_cell(svg).encode(), write_to=str(png_path), scale=scale)


def per_cell(svg: str) -> str:
    """The SVG with each `<text>` split into one `<text>` a character at its own cell, in the DejaVu fonts."""
    ET.register_namespace("", _SVG)
    root = ET.fromstring(svg)
    style = root.find(f".//{{{_SVG}}}style")
    if style is not None and style.text:
        # Web fonts would be fetched from a server.
        style.text = re.sub(r"@font-face\s*\{[^}]*\}", "", style.text).replace("Fira Code", _MONO)
    for parent in list(root.iter()):
        for index, child in reversed(list(enumerate(parent))):
            if child.tag == f"{{{_SVG}}}text" and child.get("textLength"):
                parent[index : index + 1] = _characters(child)
    return ET.tostring(root, encoding="unicode")


def _characters(text: ET.Element) -> list[ET.Element]:
    drawn: list[ET.Element] = []
    x = float(text.get("x", "0"))
    common = {name: value for name, value in text.attrib.items() if name not in ("x", "textLength")}
    for char in text.text or "":
        if unicodedata.combining(char) and drawn:
            drawn[-1].text = f"{drawn[-1].text}{char}"
            continue
        if not char.isspace():
            drawn.append(_block(char, x, common) if char in _BLOCKS else _glyph(char, x, common))
        x += _CELL * cell_len(char)
    return drawn


def _block(char: str, x: float, common: dict[str, str]) -> ET.Element:
    left, width, height = _BLOCKS[char]
    box = {
        "x": f"{x + left * _CELL:.2f}",
        "y": f"{float(common['y']) - _ABOVE + (1 - height) * _LINE:.2f}",
        "width": f"{width * _CELL + 0.25:.2f}",
        "height": f"{height * _LINE:.2f}",
        "shape-rendering": "crispEdges",
    }
    return ET.Element(f"{{{_SVG}}}rect", {**common, **box})


def _glyph(char: str, x: float, common: dict[str, str]) -> ET.Element:
    one = ET.Element(f"{{{_SVG}}}text", {**common, "x": f"{x:.2f}"})
    one.text = char
    if "\u0590" <= char <= "\u06ff" or "\u2800" <= char <= "\u28ff" or char >= "\U0001f000":
        one.set("style", f"font-family: {_OTHER}")
    return one


def main() -> None:
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: svg_to_png.py SVG [PNG]")
    source = Path(sys.argv[1])
    target = Path(sys.argv[2]) if len(sys.argv) == 3 else source.with_suffix(".png")
    try:
        svg_to_png(source, target)
    except (OSError, ET.ParseError) as error:
        sys.exit(f"{source}: {error}")
    print(target)


if __name__ == "__main__":
    main()
