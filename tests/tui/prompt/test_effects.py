"""The prompt screen's effects: next-token distributions, neurons taken away, direct effects; never in the way of a key."""

from __future__ import annotations

import asyncio
from threading import Event

import numpy as np
import pytest
import tiny_models as tm
from prompt_store import collect, collect_hostile
from textual.widgets import Input

from ffnscope.core.effects import next_tokens
from ffnscope.core.prompt import PromptModel
from ffnscope.store.errors import UserError
from ffnscope.store.reader import Store
from ffnscope.tui.app import FfnscopeApp
from ffnscope.tui.drawing.glyphs import ASCII, UNICODE
from ffnscope.tui.drawing.pane import Pane
from ffnscope.tui.drawing.text import visible
from ffnscope.tui.prompt.effects import EffectRows, _parts
from ffnscope.tui.prompt.firing import Labels
from ffnscope.tui.prompt.predictions import prediction_lines
from ffnscope.tui.prompt.screen import PromptScreen

TEXT = "the of and to in is was for"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("effects")
    return collect(tm.tiny("opt", folder, tokenizer=True), folder / "data", 16)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    return collect_hostile(tmp_path_factory.mktemp("hostile"))


def shown(app):
    return [line for pane in app.screen.query(Pane) if pane.display for line in pane.shown]


def on_screen(store, act, size=(80, 24), text=TEXT, glyphs=UNICODE):
    """What ``act(app, pilot, screen, settled)`` returns on the prompt screen with a text that was run."""

    async def go():
        app = FfnscopeApp([store], glyphs)
        try:
            return await walk(app)
        finally:
            app.close()

    async def walk(app):
        async with app.run_test(size=size) as pilot:
            await pilot.pause(0.3)
            screen = PromptScreen(app.sessions[0], text, lambda *_: None)
            app.push_screen(screen)

            async def settled(ready=lambda: screen.view):
                for _ in range(600):
                    if ready() or screen.failed or (screen.effects and screen.effects.failed):
                        break
                    await pilot.pause(0.05)
                await pilot.pause(0.1)
                return screen

            await settled()
            return await act(app, pilot, screen, settled)

    return asyncio.run(go())


@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
def test_the_distribution_and_what_taking_a_neuron_away_changes(store, size):
    async def act(app, pilot, screen, settled):
        await pilot.press("p", "h", "h")
        await settled(lambda: screen.effects.prediction)
        before = shown(app)
        await pilot.press("x")
        await settled(lambda: screen.effects.change)
        key, change, after = screen.firings[screen.cursor].key, screen.effects.change, shown(app)
        assert screen.effects.taken == {key} and change.taken == (key,)
        await pilot.press("x")  # again: given back
        await pilot.pause(0.2)
        assert not screen.effects.taken and screen.effects.change is None
        await pilot.press("j", "x", "j", "x")
        await settled(lambda: screen.effects.change and len(screen.effects.change.taken) == 2)
        assert any("without 2 neurons" in line for line in shown(app))
        await pilot.press("X")
        await pilot.pause(0.1)
        assert not screen.effects.taken and not any("without" in line for line in shown(app)[1:-1])
        return screen.view.result.tokens, screen.at, key, change, before, after

    tokens, at, key, change, before, after = on_screen(store, act, size)
    with Store.open(store) as opened:
        model = PromptModel.load(opened.run)._model
        old, new = (np.exp(next_tokens(model, tokens, taken)) for taken in ((), [key]))
        best = np.argsort(-old[at])[:10]
        assert change.before.top[at].tolist() == best.tolist()
        np.testing.assert_allclose(change.top_after[at], new[at][best], rtol=1e-4)
        text = "\n".join(before)
        assert "next token after" in text and f"rank {change.before.next_rank[at]}" in text
        assert all(opened.vocabulary.text(token).strip() in text for token in best.tolist())
        text = "\n".join(after)
        assert f"without L{key[0]}N{key[1]}: KL" in text and " rose " in text and " fell " in text and "→" in text
    assert all(len(line) <= size[0] for line in [*before, *after])


def test_all_marked_neurons_are_taken_where_the_one_under_the_cursor_is(store):
    async def act(app, pilot, screen, settled):
        marks = app.sessions[0].neurons.marks
        app.sessions[0].neurons.set_marks(list(marks), False)
        await pilot.press("j", "space", "space")  # marks move on
        assert len(marks) == 2
        await pilot.press("x")
        await settled(lambda: screen.effects.change)
        assert len(screen.effects.taken) == 1 and not screen.effects.taken & marks
        await pilot.press("X", "p", "k", "x")
        await settled(lambda: screen.effects.change)
        assert screen.effects.taken == marks
        app.sessions[0].neurons.set_marks(list(marks), False)

    on_screen(store, act)


def test_neurons_by_their_direct_effect(store):
    async def act(app, pilot, screen, settled):
        await pilot.press("t")
        app.screen.query_one(Input).value = '"is" - the'
        await pilot.press("enter")
        await settled(lambda: screen.effects.direct)
        lines, values = shown(app), screen.firings.values.copy()
        direct, towards = screen.effects.direct, screen.effects.towards
        assert [abs(v) for v in values] == sorted((abs(v) for v in values), reverse=True)
        top = screen.firings[0]
        assert direct.neurons[top.layer][screen.at, top.neuron] == np.float32(top.effect)
        await pilot.press("G")
        assert screen.cursor == len(screen.firings) - 1
        await pilot.press("h")
        assert screen.cursor == 0 and (screen.firings.values != values).any()
        await pilot.press("T")
        await pilot.pause(0.1)
        assert any("fires here" in line for line in shown(app)) and isinstance(screen.firings, list)
        return screen.view.result.tokens, lines, direct, towards

    tokens, lines, direct, towards = on_screen(store, act)
    text = "\n".join(lines)
    assert "direct effects on is minus the" in text and "logit" in text and "attention" in text
    with Store.open(store) as opened:
        model = PromptModel.load(opened.run)
        assert towards == (model.token("is"), model.token("the"))
        logs = next_tokens(model._model, tokens)
        np.testing.assert_allclose(direct.logits, logs[:, towards[0]] - logs[:, towards[1]], atol=1e-4)


@pytest.mark.parametrize(
    ("typed", "says"),
    [("the of and", "is not a single token"), ("a - b - c", "write one token"), ("zzz", "is not a single token")],
)
def test_what_is_no_token_is_said(store, typed, says):
    async def act(app, pilot, screen, settled):
        await pilot.press("t")
        app.screen.query_one(Input).value = typed
        await pilot.press("enter")
        await settled(lambda: screen.effects.failed)
        assert any(says in line for line in shown(app))
        await pilot.press("p")  # and the screen goes on
        await settled(lambda: screen.effects.prediction)
        assert not screen.effects.failed and any("next token" in line for line in shown(app))

    on_screen(store, act)


def test_parts_of_a_difference():
    assert _parts(" the") == [" the"] and _parts('" the"') == [" the"]
    assert _parts('" the" - " a"') == [" the", " a"] and _parts("the - a") == ["the", "a"]
    assert _parts("-") == ["-"] and _parts('"') == ['"']
    for text in ("", "  ", "a - b - c"):
        with pytest.raises(UserError):
            _parts(text)


def test_keys_work_while_the_model_runs(store, monkeypatch):
    release, begun = Event(), Event()
    plain = PromptModel.states

    def slow(self, *arguments):
        begun.set()
        release.wait(60)
        return plain(self, *arguments)

    monkeypatch.setattr(PromptModel, "states", slow)

    async def act(app, pilot, screen, settled):
        await pilot.press("x")
        await settled(begun.is_set)
        await pilot.press("h", "j", "p")
        assert screen.at == 7 and screen.cursor == 1 and screen.effects.busy
        await pilot.press("X")
        release.set()
        await pilot.press("p")
        await settled(lambda: screen.effects.prediction)
        assert screen.effects.change is None and screen.effects.prediction is not None

    on_screen(store, act)


def test_a_failure_of_the_model_is_one_line(store, monkeypatch):
    def broken(self, *arguments):
        raise RuntimeError("[/]\x1b[2J boom")

    monkeypatch.setattr(PromptModel, "states", broken)

    async def act(app, pilot, screen, settled):
        await pilot.press("x")
        await settled(lambda: screen.effects.failed)
        assert any("the model failed (RuntimeError: [/]" in line and "\x1b" not in line for line in shown(app))

    on_screen(store, act)


def test_hostile_tokens(hostile):
    async def act(app, pilot, screen, settled):
        lines = []
        await pilot.press("h", "x")
        await settled(lambda: screen.effects.change)
        lines += shown(app)
        screen.effects.ask_direct("[/]")
        await settled(lambda: screen.effects.direct)
        await pilot.press("p")
        await pilot.pause(0.1)
        return [*lines, *shown(app)], screen.effects.change

    for glyphs in (UNICODE, ASCII):
        lines, change = on_screen(hostile, act, text="".join(tm.HOSTILE[:25]), glyphs=glyphs)
        with Store.open(hostile) as opened:
            for at in range(len(change.kl)):
                for token in (None, int(change.rose[at, 0])):
                    for width in (20, 40, 80):
                        made = prediction_lines(change.before, change, token, at, width, opened.vocabulary.text, glyphs)
                        assert all(each.width <= width for each in made)
                        lines += [each.text for each in made]
        assert all(line == visible(line, glyphs, spaces=False) for line in lines)


def test_effect_rows_are_made_when_asked_for(store):
    with Store.open(store) as opened:
        model = PromptModel.load(opened.run)
        result = model.run(TEXT)
        direct = model.direct_effects(result.tokens, 7)
        rows = EffectRows(Labels(opened), result, direct, 3, result.layers)
        assert len(rows) == tm.LAYERS * tm.NEURONS
        assert [row.key for row in rows[:3]] == [rows[i].key for i in range(3)]
        assert {row.key for row in rows} == {(layer, n) for layer in range(tm.LAYERS) for n in range(tm.NEURONS)}
        assert len(EffectRows(Labels(opened), result, direct, 3, ())) == 0
        with pytest.raises(IndexError):
            rows[len(rows)]
