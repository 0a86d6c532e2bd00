"""Whole screens as text, compared with tests/goldens; FFNSCOPE_GOLDENS=1 writes them anew (read the difference)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from synthetic import make_store

from ffnscope.tui.app import FfnscopeApp
from ffnscope.tui.text import ASCII, UNICODE, Glyphs
from ffnscope.tui.widgets.pane import Pane

GOLDENS = Path(__file__).parent / "goldens"
SCREENS = [
    ("layers-80x24", (80, 24), UNICODE, []),
    ("neurons-80x24", (80, 24), UNICODE, ["enter", "j"]),
    ("neuron-80x24", (80, 24), UNICODE, ["enter", "enter"]),
    ("neuron-ascii-80x24", (80, 24), ASCII, ["enter", "enter"]),
    ("contexts-80x24", (80, 24), UNICODE, ["enter", "c", "j"]),
    ("promotes-80x24", (80, 24), UNICODE, ["enter", "t", "s"]),
    ("sort-80x24", (80, 24), UNICODE, ["enter", "s"]),
    ("browser-160x48", (160, 48), UNICODE, ["j"]),
    ("help-160x48", (160, 48), UNICODE, ["question_mark"]),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2 layers of 60 neurons, always the same."""
    return make_store(tmp_path_factory.mktemp("screens") / "demo.ffn", layers=2, neurons=60, seed=3)


def _text(app: FfnscopeApp, width: int, height: int) -> str:
    """The panes of the screen, each line where it is drawn."""
    rows = [[" "] * width for _ in range(height)]
    for screen in app.screen_stack:
        for pane in screen.query(Pane):
            if pane.display and pane.region.width:
                for y, line in enumerate(pane.shown, pane.region.y):
                    rows[y][pane.region.x : pane.region.x + len(line)] = line
    return "\n".join("".join(row).rstrip() for row in rows) + "\n"


@pytest.mark.parametrize(("name", "size", "glyphs", "keys"), SCREENS, ids=[each[0] for each in SCREENS])
async def test_screen(store: Path, name: str, size: tuple[int, int], glyphs: Glyphs, keys: list[str]) -> None:
    app = FfnscopeApp([store], glyphs)
    async with app.run_test(size=size) as pilot:
        await pilot.press(*keys)
        await app.workers.wait_for_complete()
        await pilot.pause(0.3)
        text = _text(app, *size)
    app.close()
    golden = GOLDENS / f"{name}.txt"
    if os.environ.get("FFNSCOPE_GOLDENS"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")
