"""A prompt: the store's model on a text, against Hugging Face's own forward pass, and its screen."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event

import numpy as np
import pytest
import reference_forward as fwd
import tiny_models as tm
from exact import run
from prompt_store import collect
from synthetic import make_store
from textual.events import Paste
from textual.widgets import Input

from ffnscope.core.corpus.sources import DomainSource
from ffnscope.core.prompt import PromptModel
from ffnscope.store.errors import UserError
from ffnscope.store.reader import Store
from ffnscope.tui.app import FfnscopeApp
from ffnscope.tui.drawing.glyphs import ASCII, UNICODE
from ffnscope.tui.drawing.pane import Pane
from ffnscope.tui.drawing.text import visible
from ffnscope.tui.prompt.firing import Labels, PromptView
from ffnscope.tui.prompt.screen import PromptScreen


@pytest.fixture(scope="module")
def rules(tmp_path_factory):
    """Neurons that fire by known rules: (store, rules by layer)."""
    folder = tmp_path_factory.mktemp("rules")
    model, rules = tm.rule_model(folder / "model", 24, 16, tm.default_rules(24, 16), tokenizer=True)
    text = tm.random_text(np.random.default_rng(1), 6000, 24)
    return collect(model, folder, 16, text), rules


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A store whose every token is hostile, and its text."""
    folder = tmp_path_factory.mktemp("hostile")
    size = len(dict.fromkeys(["<s>", "</s>", "<unk>", *tm.HOSTILE, *tm.words(20), *tm.INVALID_BYTES]))
    model = tm.tiny("opt", folder, vocab_size=size, max_position_embeddings=96)
    tm.tiny_tokenizer(model, hostile=True)
    return collect(model, folder, 32, "".join(tm.HOSTILE).replace("\0", "") * 40)


def load(path):
    with Store.open(path) as store:
        return PromptModel.load(store.run)


@pytest.mark.parametrize("family", ["opt", "opt350", "gpt2", "llama", "gemma3", "gptj"])
def test_activations_are_those_of_the_ordinary_forward_pass(family, tmp_path):
    folder = tm.tiny(family, tmp_path, tokenizer=True)
    model = load(collect(folder, tmp_path / "data", 16))
    result = model.run("the school of music and water and the word5")
    ids = result.tokens
    assert ids[0] == tm.BOS_ID and len(ids) == 10 and not result.left_out
    reference = fwd.forward_all(fwd.load_model(folder), ids[None])
    assert result.layers == tuple(range(len(reference)))
    for layer, (before, after) in enumerate(reference):
        assert result.active[layer].dtype == bool and result.values[layer].dtype == np.float32
        np.testing.assert_array_equal(result.active[layer], before[0] > 0)
        np.testing.assert_allclose(result.values[layer], np.where(before[0] > 0, after[0], 0), rtol=1e-5, atol=1e-6)


def test_a_window_of_the_corpus_gives_the_activations_in_the_store(rules):
    path, _ = rules
    with Store.open(path) as store:
        model = PromptModel.load(store.run)
        window = store.window(3)
        result = model.run(" ".join(store.vocabulary.texts(window[1:].tolist())))
        np.testing.assert_array_equal(result.tokens, window)
        checked = 0
        for layer in store.layers():
            for neuron in store.iterate(layer):
                for context in (*neuron.strongest, *neuron.drawn):
                    if context.window == 3:
                        assert result.active[layer][context.position, neuron.neuron]
                        checked += 1
        assert checked


def test_neurons_fire_where_their_rules_say(rules):
    path, expected = rules
    result = load(path).run("the of and to in is was for that on the of")
    for layer, of_layer in enumerate(expected):
        for neuron, rule in enumerate(of_layer):
            fires = rule.fires(result.tokens[None])[0]
            np.testing.assert_array_equal(result.active[layer][:, neuron], fires, err_msg=f"L{layer}N{neuron}")


def test_only_the_collected_layers_are_run(tmp_path):
    folder = tm.tiny("opt", tmp_path, tokenizer=True)
    result = load(collect(folder, tmp_path / "data", 16, layers="1")).run("the school")
    assert result.layers == (1,)


def test_a_text_longer_than_the_window_is_said(rules):
    model = load(rules[0])
    result = model.run(" ".join(["the"] * 40))
    assert len(result.tokens) == 16 and result.left_out == 25
    fitting = model.run(" ".join(["the"] * 15))
    assert len(fitting.tokens) == 16 and fitting.left_out == 0
    np.testing.assert_array_equal(fitting.active[0], result.active[0])


def test_windows_without_bos_get_none(tmp_path):
    folder = tm.tiny("opt", tmp_path)
    tm.tiny_tokenizer(folder, vocab=tm.words(61), bos=False, eos=False)
    result = load(collect(folder, tmp_path / "data", 8)).run(" ".join(["the"] * 9))
    assert len(result.tokens) == 8 and result.left_out == 1 and tm.BOS_ID not in result.tokens


def test_an_empty_text_is_refused(rules):
    with pytest.raises(UserError, match="no tokens"):
        load(rules[0]).run("   ")


def test_a_model_that_is_not_here_is_said(rules, tmp_path):
    with Store.open(rules[0]) as store:
        run = store.run
    gone = replace(run, settings=run.settings | {"model_path": str(tmp_path / "gone")})
    with pytest.raises(UserError, match="not on this machine"):
        PromptModel.load(gone)
    # A hub id is looked for in the cache only: this test would hang or fail on a machine without network otherwise.
    with pytest.raises(UserError, match="not on this machine"):
        PromptModel.load(replace(run, settings=run.settings | {"model_path": "nobody/nothing-of-the-kind"}))
    with pytest.raises(UserError, match="does not record"):
        PromptModel.load(replace(run, settings={}))


def test_another_model_in_its_place_is_refused(tmp_path):
    folder = tm.tiny("opt", tmp_path, tokenizer=True)
    path = collect(folder, tmp_path / "data", 16)
    other = tm.tiny("opt", tmp_path / "other", seed=1, tokenizer=True)
    with Store.open(path) as store:
        run = replace(store.run, settings=store.run.settings | {"model_path": str(other)})
    with pytest.raises(UserError, match="not the model that this store was collected from"):
        PromptModel.load(run)


def test_a_model_without_a_tokenizer_is_refused(tmp_path):
    folder = tm.tiny("opt", tmp_path)
    np.save(tmp_path / "w.npy", np.arange(48).reshape(6, 8) % tm.VOCAB)
    path = run(folder, (DomainSource("w", tmp_path / "w.npy"),), tmp_path / "s.ffn")
    with pytest.raises(UserError, match="no tokenizer"):
        load(path)


def test_the_list_holds_exactly_what_fires(rules):
    path, _ = rules
    with Store.open(path) as store:
        result = PromptModel.load(store.run).run("the of and to in is was")
        labels, expected = Labels(store), 0
        for at in range(len(result.tokens)):
            listed = labels.firings(result, at, result.layers)
            assert [each.layer for each in listed] == sorted(each.layer for each in listed)
            for layer in result.layers:
                known = {
                    neuron.neuron
                    for neuron in store.iterate(layer)
                    if (neuron.order or neuron.position_type) and result.active[layer][at, neuron.neuron]
                }
                assert {e.neuron for e in listed if e.layer == layer and (e.order or e.position)} == known
            for each in listed:
                assert each.value == result.values[each.layer][at, each.neuron]
                record = store.neuron(*each.key)
                assert set(each.ngrams) == {ngram.tokens for ngram in record.detected}
                here = tuple(result.tokens[max(at - each.order + 1, 0) : at + 1].tolist())
                assert each.expected == (here in each.ngrams)
                expected += each.expected
        assert expected


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
def test_hostile_tokens_are_drawn_as_one_visible_line(hostile, glyphs):
    with Store.open(hostile) as store:
        result = PromptModel.load(store.run).run("".join(tm.HOSTILE[:31]))
        view, labels = PromptView(result, store.vocabulary.text, glyphs), Labels(store)
        for at in range(len(result.tokens)):
            firings = labels.firings(result, at, result.layers)
            lines = view.tokens(at, 60, 5, [True] * len(result.tokens))
            lines += [view.firing(each, 60, False) for each in firings]
            lines += view.along((0, 1), at, 60, 10)
            assert all(each.width <= 60 for each in lines)
            for each in [*lines, view.count_line(at, firings)]:
                assert each.text == visible(each.text, glyphs, spaces=False)


def test_two_texts_at_once_get_numbers_of_their_own(rules):
    model = load(rules[0])
    texts = ["the of and to in is", "was for that on the of", "to in", "and is was for"] * 4
    alone = [model.run(text) for text in texts]
    with ThreadPoolExecutor(4) as pool:
        for one, other in zip(pool.map(model.run, texts), alone, strict=True):
            np.testing.assert_array_equal(one.tokens, other.tokens)
            for layer in other.layers:
                np.testing.assert_array_equal(one.active[layer], other.active[layer])
                np.testing.assert_array_equal(one.values[layer], other.values[layer])


def test_a_text_that_nobody_waits_for_is_given_up_between_layers(rules):
    model = load(rules[0])
    whole = model.run("the of and")
    asked = iter((False, True))
    assert model.run("the of and", lambda: next(asked)) is None
    after = model.run("the of and")
    for layer in whole.layers:
        np.testing.assert_array_equal(after.active[layer], whole.active[layer])


def test_neurons_that_are_dead_in_the_store_come_first(rules):
    result = load(rules[0]).run("the of and")
    with Store.open(rules[0]) as store:
        labels, dead = Labels(store), int(np.flatnonzero(store.column(1, "activations") == 0)[0])
        result.active[1][2, dead], result.values[1][2, dead] = True, 0.53
        others = [each for each in labels.firings(result, 2, (1,)) if not each.order and not each.position]
        assert others[0].neuron == dead
        view = PromptView(result, store.vocabulary.text, UNICODE)
        assert view.firing(others[0], 60, False).text.split() == [f"L1N{dead}", "0.53", *["dead", "in", "the", "store"]]
        pinned = labels.firing(1, dead, result, 1, pinned=True)
        assert "dead" not in view.firing(pinned, 60, False).text


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
import sys, time
import torch
from ffnscope.tui import cli
from ffnscope.tui.state.background import start

def forever():
    layer, values = torch.nn.Linear(64, 64), torch.zeros(64, 64)
    layer.register_forward_hook(lambda *_: None)
    while True:
        layer(values)

start(forever)
time.sleep(0.3)
sys.argv = ["ffnscope", *sys.argv[1:]]
sys.exit(cli.program())
"""


@pytest.mark.parametrize(("arguments", "code"), [(["--version"], 0), (["info", "/nowhere"], 2)])
def test_a_text_that_still_runs_does_not_spoil_the_end(arguments, code):
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", ENDLESS, *arguments], capture_output=True, text=True)
        assert done.returncode == code and (done.stdout or done.stderr.count("\n") == 1)


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
