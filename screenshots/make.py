"""Makes the pictures of the pages from the real program on the demo store.

    python screenshots/make.py [STORE]

STORE (default ./demo.ffn) is what `ffnscope demo` collects. Needs cairosvg (libcairo2) and the DejaVu fonts.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from svg_to_png import svg_to_png

from ffnscope.tui.app import FfnscopeApp
from ffnscope.tui.drawing.glyphs import UNICODE

HERE = Path(__file__).parent
WIDE, SMALL = (160, 48), (80, 24)
# Picture, size of the terminal, keys pressed before it.
WALKS: tuple[tuple[str, tuple[int, int], tuple[str, ...]], ...] = (
    ("browser", WIDE, (":", *"L2N34", "enter")),
    ("layers-80x24", SMALL, ()),
    ("neuron-80x24", SMALL, (":", *"L2N34", "enter", "enter", "enter")),
    ("search", WIDE, ("t", *"country")),
    ("contexts", WIDE, (":", *"L2N34", "enter", "c")),
    ("position", WIDE, (":", *"L1N494", "enter", "z")),
    ("overview", WIDE, ("o",)),
    ("overview-80x24", SMALL, ("o",)),
    ("help", WIDE, ("question_mark",)),
)


async def picture(store: Path, name: str, size: tuple[int, int], keys: tuple[str, ...]) -> None:
    """Walk to a screen and save it as PNG."""
    app = FfnscopeApp([store], UNICODE)
    with tempfile.TemporaryDirectory() as folder:
        async with app.run_test(size=size) as pilot:
            await pilot.pause(1.5)
            for key in keys:
                await pilot.press("colon" if key == ":" else key)
                await pilot.pause(0.15)
            await pilot.pause(1.5)
            svg = Path(app.save_screenshot("screen.svg", path=folder))
        svg_to_png(svg, HERE / f"{name}.png")
    app.close()


def main() -> None:
    """Make all of them."""
    store = Path(sys.argv[1] if len(sys.argv) > 1 else "demo.ffn")
    for name, size, keys in WALKS:
        asyncio.run(picture(store, name, size, keys))
        print(f"{name}.png")


if __name__ == "__main__":
    main()
