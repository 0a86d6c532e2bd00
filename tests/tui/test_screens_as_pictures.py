"""A few screens as pictures (tests/screens/*.svg), for colours and emphasis; FFNSCOPE_GOLDENS=1 writes them again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from screens import LARGE, SMALL, press
from svg_cells import cells, differences, normalised
from synthetic import make_store

from ffnscope.tui.app import FfnscopeApp
from ffnscope.tui.drawing.glyphs import UNICODE

GOLDENS = Path(__file__).parents[1] / "screens"
PICTURES = {
    "browser-dark": (LARGE, "ffnscope", ("space", "j")),
    "browser-light": (SMALL, "ffnscope-light", ("enter", "space", "j")),
    "browser-16-colours": (SMALL, "ansi-dark", ("enter", "space", "j")),
    "contexts-dark": (SMALL, "ffnscope", ("enter", "c", "j")),
    "overview-positional-dark": (SMALL, "ffnscope", ("o", *"llllll")),
    "search-dark": (SMALL, "ffnscope", ("enter", "/", "text:s", "down")),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Always the same."""
    return make_store(tmp_path_factory.mktemp("style") / "demo.ffn", layers=3, neurons=60, seed=3)


@pytest.mark.parametrize("name", PICTURES)
async def test_picture(store: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("COLORTERM", "NO_COLOR", "TEXTUAL_COLOR_SYSTEM", "TEXTUAL_THEME"):
        monkeypatch.delenv(variable, raising=False)
    size, theme, keys = PICTURES[name]
    app = FfnscopeApp([store], UNICODE, theme)
    app.sessions[0].neurons.set_marks(list(app.sessions[0].neurons.marks), False)
    async with app.run_test(size=size) as pilot:
        await press(pilot, (), 0.4)
        await press(pilot, keys)
        svg = normalised(app.export_screenshot(title="ffnscope"))
    app.close()
    golden = GOLDENS / f"{name}.svg"
    if os.environ.get("FFNSCOPE_GOLDENS"):
        golden.write_text(svg, encoding="utf-8")
    wanted = golden.read_text(encoding="utf-8")
    assert len(cells(wanted)) > 500
    assert not differences(wanted, svg)


def test_no_picture_is_left_over() -> None:
    assert {path.stem for path in GOLDENS.glob("*.svg")} == set(PICTURES)


def test_a_changed_colour_or_character_is_told() -> None:
    svg = (GOLDENS / "browser-dark.svg").read_text(encoding="utf-8")
    assert differences(svg, svg.replace("#ffd787", "#ffd788")) and differences(svg, svg.replace("layers", "layer ", 1))
    assert not differences(svg, svg.replace("terminal-", "other-"))
