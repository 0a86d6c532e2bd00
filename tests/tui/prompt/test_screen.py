"""The prompt screen: a text typed or pasted, run in a thread, and what fires in it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from threading import Event

import pytest
from prompt_store import collect_hostile, collect_rules
from synthetic import make_store
from textual.events import Paste
from textual.widgets import Input

from ffnscope.core.prompt import PromptModel
from ffnscope.store.reader import Store
from ffnscope.tui.app import FfnscopeApp
from ffnscope.tui.drawing.glyphs import ASCII, UNICODE
from ffnscope.tui.drawing.pane import Pane
from ffnscope.tui.drawing.text import visible
from ffnscope.tui.prompt.firing import Labels
from ffnscope.tui.prompt.screen import PromptScreen


@pytest.fixture(scope="module")
def rules(tmp_path_factory):
    return collect_rules(tmp_path_factory.mktemp("rules"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    return collect_hostile(tmp_path_factory.mktemp("hostile"))


def test_all_of_what_is_pasted_is_run(rules, monkeypatch):
    async def go():
        app = FfnscopeApp([rules[0]], UNICODE)
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.pause(0.3)
            await pilot.press("p")
            field = app.screen.query_one(Input)
            field.post_message(Paste("the\r\nof\u200c\\n\rand\r"))
            await pilot.pause(0.1)
            assert field.value == r"the\nof\u200c\\n\nand"
            await pilot.press("enter")
            await pilot.pause(0.1)
            assert app.screen.prompt == "the\nof\u200c\\n\nand"
        app.close()

    monkeypatch.setattr(PromptScreen, "_run_prompt", lambda screen: None)
    asyncio.run(go())


def test_quitting_does_not_wait_for_a_text(rules, monkeypatch):
    release, running, ended, said = Event(), Event(), Event(), []

    def slow(self, text, unwanted):
        running.set()
        release.wait(60)
        said.append(unwanted())
        ended.set()

    monkeypatch.setattr(PromptModel, "run", slow)

    async def go():
        app = FfnscopeApp([rules[0]], UNICODE)
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.pause(0.3)
            for key in TYPED:
                await pilot.press(key)
            for _ in range(600):
                if running.is_set():
                    break
                await pilot.pause(0.05)
            assert running.is_set()
            await pilot.press("q")
            await pilot.pause(0.1)
        app.close()

    asyncio.run(go())
    assert not ended.is_set()
    release.set()
    assert ended.wait(60) and said == [True]


ENDLESS = """
import os, sys, time
import torch
from ffnscope.tui import cli
from ffnscope.tui.state.background import start

def forever():
    layer, values = torch.nn.Linear(64, 64), torch.zeros(64, 64)
    layer.register_forward_hook(lambda *_: None)
    while True:
        layer(values)

for code, *arguments in 3 * ((0, "--version"), (2, "info", "/nowhere")):  # importing torch takes long: one start for all
    process = os.fork()
    if not process:
        start(forever)
        time.sleep(0.2)
        sys.argv = ["ffnscope", *arguments]
        sys.exit(cli.program())
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == code, arguments
"""


def test_a_text_that_still_runs_does_not_spoil_the_end():
    done = subprocess.run([sys.executable, "-c", ENDLESS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == done.stderr.count("\n") == 3


def walk(store, size, *keys, glyphs=UNICODE):
    """The screen's text lines after typing a prompt and keys, and the app's last screen name."""

    async def go():
        app = FfnscopeApp([store], glyphs)
        async with app.run_test(size=size) as pilot:
            await pilot.pause(0.3)
            for key in keys:
                await pilot.press(key)
                await pilot.pause(0.05)
                screen = app.screen
                if isinstance(screen, PromptScreen):
                    for _ in range(600):
                        if screen.view or screen.failed:
                            break
                        await pilot.pause(0.05)
                    await pilot.pause(0.1)
            await pilot.pause(0.2)
            shown = [line for pane in app.screen.query(Pane) if pane.display for line in pane.shown]
            where = app.sessions[0].neurons.key
            name = type(app.screen).__name__
        app.close()
        return shown, name, where

    return asyncio.run(go())


TYPED = ("p", *"the", "space", *"of", "space", *"and", "enter")


@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
def test_the_screen_says_what_fires_and_goes_there(rules, size):
    shown, name, _ = walk(rules[0], size, *TYPED, "h", "h")
    text = "\n".join(shown)
    assert name == "PromptScreen"
    assert "prompt 4 tokens" in text and "token 1 the" in text and "the browser's neuron" in text
    assert "layer 0" in text and " token " in text
    _, name, where = walk(rules[0], size, *TYPED, "j", "enter")
    assert name == "Browser"
    with Store.open(rules[0]) as store:
        result = PromptModel.load(store.run).run("the of and")
        assert where == Labels(store).firings(result, 3, result.layers)[0].key


def test_a_narrow_screen_turns_to_the_bars(rules):
    shown, _, _ = walk(rules[0], (80, 24), *TYPED, "v")
    assert any("along the text" in line for line in shown) and not any("fires here" in line for line in shown)


def test_the_screen_says_what_was_left_out(rules):
    shown, _, _ = walk(rules[0], (80, 24), "p", *("a space " * 20).split(), "enter")
    assert "left out: the window has 16" in shown[0]


def test_the_screen_says_that_the_model_is_not_here(tmp_path):
    store = make_store(tmp_path / "s.ffn", layers=2, neurons=32)
    shown, name, _ = walk(store, (80, 24), "p", "x", "enter")
    assert name == "PromptScreen" and any("does not record where its model" in line for line in shown)


def test_a_failure_of_the_model_does_not_end_the_browser(rules, monkeypatch):
    def broken(self, text, unwanted):
        raise RuntimeError("[/] out of memory\x1b[2J")

    monkeypatch.setattr(PromptModel, "run", broken)
    shown, name, _ = walk(rules[0], (80, 24), *TYPED)
    assert name == "PromptScreen" and any("the model failed (RuntimeError: [/] out of memory" in line for line in shown)


def test_hostile_tokens_on_the_screen(hostile):
    for glyphs in (UNICODE, ASCII):
        shown, name, _ = walk(hostile, (80, 24), "p", *"[/]=-1", "enter", *"hhjjvj", glyphs=glyphs)
        assert name == "PromptScreen"
        for each in shown:
            assert each == visible(each, glyphs, spaces=False)


def test_opening_a_store_imports_no_torch(tmp_path):
    store = make_store(tmp_path / "s.ffn", layers=2, neurons=32)
    code = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from ffnscope.tui.app import FfnscopeApp\n"
        "from ffnscope.tui.drawing.text import UNICODE\n"
        "async def go():\n"
        "    app = FfnscopeApp([Path(sys.argv[1])], UNICODE)\n"
        "    async with app.run_test(size=(160, 48)) as pilot:\n"
        "        await pilot.pause(0.5)\n"
        "        await pilot.press('o')\n"
        "        await pilot.pause(0.5)\n"
        "    app.close()\n"
        "asyncio.run(go())\n"
        "print(sorted({'torch', 'transformers', 'numba'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(store)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
