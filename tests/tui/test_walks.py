"""The recorded walks in tests/screens/walks, replayed through Textual's pilot and in a pseudo-terminal."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path

import pytest
import walks
from pty_browser import PtyBrowser
from screens import screen_text
from textual.widgets import Input

from ffnscope.tui.app import FfnscopeApp
from ffnscope.tui.drawing.glyphs import UNICODE

README = Path(__file__).parents[2] / "README.md"
WALKS = pytest.mark.parametrize("name", sorted(path.stem for path in walks.FOLDER.glob("*.txt")))
PATIENCE = 45.0  # seconds; a prompt imports torch and loads the model


@pytest.fixture
def store(demo_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the demo: a walk leaves marks and notes."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return shutil.copytree(demo_store, tmp_path / "demo.ffn")


@WALKS
async def test_by_pilot(name: str, store: Path, tmp_path: Path) -> None:
    size, steps = walks.read(walks.FOLDER / f"{name}.txt")
    app = FfnscopeApp([store], UNICODE)
    try:
        async with app.run_test(size=size) as pilot:
            for step in steps:
                text = step.text.replace("{folder}", str(tmp_path))
                if step.command == "press":
                    await pilot.press(*step.keys)
                elif step.command == "type":
                    app.screen.query_one(Input).insert_text_at_cursor(text)
                elif step.command in ("see", "not"):
                    deadline = time.monotonic() + PATIENCE
                    while (text in screen_text(app)) != (step.command == "see"):
                        assert time.monotonic() < deadline, f"{name}:{step.number}: {step}\n{screen_text(app)}"
                        await pilot.pause(0.05)
    finally:
        app.close()


@WALKS
def test_in_a_terminal(name: str, store: Path, tmp_path: Path) -> None:
    (columns, rows), steps = walks.read(walks.FOLDER / f"{name}.txt")
    with PtyBrowser(store, columns, rows) as browser:
        browser.wait_for("ffnscope")
        for step in steps:
            text = step.text.replace("{folder}", str(tmp_path))
            if step.command == "press":
                for key in step.keys:
                    browser.press(walks.sent(key), 0.25 if key == "escape" else 0.1)
            elif step.command == "type":
                browser.press(text, 0.1)
            elif step.command in ("see", "not"):
                deadline = time.monotonic() + PATIENCE
                while (text in browser.text) != (step.command == "see"):
                    assert time.monotonic() < deadline, f"{name}:{step.number}: {step}\n{browser.text}"
                    browser.read(0.1)


@WALKS
def test_what_it_quotes_stands_in_the_readme(name: str) -> None:
    readme = re.sub(r"\s+", " ", README.read_text(encoding="utf-8"))
    for step in walks.read(walks.FOLDER / f"{name}.txt")[1]:
        assert step.command != "readme" or step.text in readme, f"{name}:{step.number}"


def test_the_tour_goes_through_the_whole_of_the_readmes() -> None:
    readme = README.read_text(encoding="utf-8")
    tour = readme.partition("## Five minutes in the browser")[2].partition("\n\nIt works from 80x24")[0]
    keys = {key for key in re.findall(r"`([^`]+)`", tour) if len(key) == 1 or key in ("esc", "enter", "tab", "space")}
    pressed = {key for step in walks.read(walks.FOLDER / "tour.txt")[1] if step.command == "press" for key in step.keys}
    assert len(keys) > 20
    assert {"escape" if key == "esc" else key for key in keys} - pressed == {"?"}  # narrow.txt presses it
