"""Whole screens as text, compared with tests/screens; FFNSCOPE_GOLDENS=1 writes them again (read the difference)."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tiny_models as tm
from prompt_store import collect
from screens import LARGE, SMALL, press, screen_text
from synthetic import make_store

from ffnscope.tui.app import FfnscopeApp
from ffnscope.tui.drawing.glyphs import ASCII, UNICODE, Glyphs
from ffnscope.tui.overview.figures import COVERING, FIGURES
from ffnscope.tui.overview.grid import PANEL
from ffnscope.tui.state.remembered import filters_path, save_filter

GOLDENS = Path(__file__).parents[1] / "screens"
POSITIONAL = next(number for number, figure in enumerate(FIGURES) if figure.number == "8")
Station = tuple[str, tuple[str, ...], tuple[str, ...]]  # golden ("" for none), keys to it, keys from it


def _figure(number: int) -> str:
    return (FIGURES[number].number or FIGURES[number].name) if number < len(FIGURES) else "panel"


FIGURE = tuple((f"overview-{number + 1}-{_figure(number)}", ("l",), ()) for number in range(1, PANEL))
ONE: dict[tuple[int, int], tuple[Station, ...]] = {
    SMALL: (
        ("layers", (), ()),
        ("overview-1-1a", ("o",), ()),
        *FIGURE,
        ("", ("q", "enter"), ()),
    ),
    LARGE: (
        ("", ("h",), ()),
        ("layers", (), ()),
        ("overview", ("o",), ()),
        ("overview-covering", (*("l" * COVERING[0]), "z"), ("z",)),
        ("overview-positional", (*("h" * (COVERING[0] - POSITIONAL)), "z"), ("z", "q")),
        ("", ("enter",), ()),
    ),
}
THEN: tuple[Station, ...] = (
    ("neurons", ("j",), ()),
    ("neuron", ("enter",), ()),
    ("neuron-bigrams", ("l",), ("h",)),
    ("neuron-lists", ("ctrl+d", "ctrl+d"), ("escape",)),
    ("columns", (">",) * 5, ("<",) * 5),
    ("contexts", ("c", "j"), ()),
    ("contexts-read", ("enter",), ("q", "q")),
    ("position", ("z", "l", "l"), ()),
    ("position-zoomed", ("+", "d"), ("q",)),
    ("help", ("?",), ()),
    ("help-2", ("ctrl+d",), ("q",)),
    ("search", ("/", "text:s", "down"), ("escape",)),
    ("search-nothing", ("/", "text:qqq"), ("escape",)),
    ("promotes", ("t", "text:s"), ()),
    ("suppresses", ("tab",), ("escape",)),
    ("goto", (":", "text:L9", "enter"), ("escape",)),
    ("note", ("a",), ("text:fires on schools", "enter")),
    ("marked", ("space", "space", "k"), ()),
    ("export", ("e",), ("escape",)),
    ("filter", ("f",), ()),
    ("filter-completion", ("text:kind:t", "tab"), ()),
    ("filter-hits", ("text:oken uni<=2",), ()),
    ("filter-wrong", ("text: knid:x", "enter"), ("ctrl+u", "text:kind:token uni<=2", "enter")),
    ("filtered", (), ()),
    ("sort", ("s",), ("escape",)),
    ("save-filter", ("W",), ("escape",)),
    ("saved-filters", ("F", "j"), ()),
    ("help-saved", ("?",), ("q", "escape")),
    ("help-line", ("/", "ctrl+o"), ("q", "escape")),
    ("empty", ("f", "ctrl+u", "text:kind:token freq>0.9", "enter"), ()),
)
ASCII_WALK: tuple[Station, ...] = (
    ("ascii-layers", (), ()),
    ("ascii-overview", ("o",), ("q", "enter")),
    ("ascii-neuron", ("enter",), ("escape",)),
    ("ascii-contexts", ("c",), ("q",)),
    ("ascii-search", ("/", "text:s"), ("escape",)),
)
TWO: tuple[Station, ...] = (
    ("beside", ("B",), ("q",)),
    ("overview-compare", ("o", "b"), ("q",)),
)
PROMPT: tuple[Station, ...] = (
    ("prompt-line", ("p", "text:the of and to in is was for that on"), ()),
    ("prompt", ("enter",), ()),
    ("prompt-along", ("h", "h", "j", "v"), ("q",)),
)
LIVE: tuple[Station, ...] = (("live", (), ()),)
WALKS: dict[str, tuple[dict[tuple[int, int], tuple[Station, ...]], Glyphs]] = {
    # First: a collector that has not been heard of for a minute is said to be quiet.
    "live": ({SMALL: LIVE, LARGE: LIVE}, UNICODE),
    "one": ({size: (*first, *THEN) for size, first in ONE.items()}, UNICODE),
    "ascii": ({SMALL: ASCII_WALK, LARGE: ASCII_WALK}, ASCII),
    "two": ({SMALL: TWO, LARGE: TWO}, UNICODE),
    "prompt": ({SMALL: PROMPT, LARGE: PROMPT}, UNICODE),
}
EVERY = [
    pytest.param(walk, size, name, id=f"{name}-{size[0]}x{size[1]}")
    for walk, (sizes, _) in WALKS.items()
    for size, stations in sizes.items()
    for name, _, _ in stations
    if name
]


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """The stores of each walk, always the same."""
    folder = tmp_path_factory.mktemp("screens")
    demo = make_store(folder / "demo.ffn", layers=6, neurons=60, seed=3)
    model, _ = tm.rule_model(folder / "model", 24, 16, tm.default_rules(24, 16), tokenizer=True)
    return {
        "one": [demo],
        "ascii": [shutil.copytree(demo, folder / "plain.ffn")],
        "two": [
            shutil.copytree(demo, folder / "one.ffn"),
            make_store(folder / "two.ffn", layers=6, neurons=60, seed=4),
        ],
        "prompt": [collect(model, folder, 16, tm.random_text(np.random.default_rng(1), 6000, 24))],
        "live": [make_store(folder / "live.ffn", layers=6, neurons=60, seed=3, complete=False)],
    }


async def _walk(
    stores: Sequence[Path], size: tuple[int, int], glyphs: Glyphs, walk: Sequence[Station]
) -> dict[str, str]:
    app = FfnscopeApp(stores, glyphs)
    session = app.sessions[0]
    session.neurons.set_marks(list(session.neurons.marks), False)
    session.neurons.set_note((0, 34), "")
    out = {}
    try:
        async with app.run_test(size=size) as pilot:
            await press(pilot, (), 0.4)
            for name, keys, back in walk:
                await press(pilot, keys)
                out[name] = screen_text(app)
                await press(pilot, back)
    finally:
        app.close()
    return out


@pytest.fixture(scope="module")
def seen(
    stores: dict[str, list[Path]], tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, int], dict[str, str]]:
    """The text of every station, by walk and width of the terminal."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        save_filter(filters_path(), "few", "kind:token uni<=2")
        save_filter(filters_path(), "by position", "pos:oscillatory|both mi>0.1")
        out = {}
        for name, (sizes, glyphs) in WALKS.items():
            for size, walk in sizes.items():
                out[name, size[0]] = asyncio.run(_walk(stores[name], size, glyphs, walk))
    return out


@pytest.mark.parametrize(("walk", "size", "name"), EVERY)
def test_screen(seen: dict[tuple[str, int], dict[str, str]], walk: str, size: tuple[int, int], name: str) -> None:
    text = seen[walk, size[0]][name]
    golden = GOLDENS / f"{name}-{size[0]}x{size[1]}.txt"
    if os.environ.get("FFNSCOPE_GOLDENS"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


def test_no_golden_is_left_over() -> None:
    names = {f"{parameter.id}.txt" for parameter in EVERY}
    assert {path.name for path in GOLDENS.glob("*.txt")} == names
