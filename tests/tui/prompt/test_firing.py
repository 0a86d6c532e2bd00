"""What the prompt screen shows of a text: the neurons that fire at a token, drawn as visible lines."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tiny_models as tm
from prompt_store import collect_hostile, collect_rules
from synthetic_bits import byte_vocabulary

from ffnscope.core.prompt import PromptModel
from ffnscope.store.reader import Store
from ffnscope.tui.drawing.glyphs import ASCII, UNICODE
from ffnscope.tui.drawing.text import visible
from ffnscope.tui.prompt.firing import Labels, PromptView


@pytest.fixture(scope="module")
def rules(tmp_path_factory):
    return collect_rules(tmp_path_factory.mktemp("rules"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    return collect_hostile(tmp_path_factory.mktemp("hostile"))


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
        view, labels = PromptView(result, store.vocabulary, glyphs), Labels(store)
        for at in range(len(result.tokens)):
            firings = labels.firings(result, at, result.layers)
            lines = view.tokens(at, 60, 5, [True] * len(result.tokens))
            lines += [view.firing(each, 60, False) for each in firings]
            lines += view.along((0, 1), at, 60, 10)
            assert all(each.width <= 60 for each in lines)
            for each in [*lines, view.count_line(at, firings)]:
                assert each.text == visible(each.text, glyphs, spaces=False)


def test_characters_split_over_tokens_are_drawn_whole(hostile):
    with Store.open(hostile) as store:
        result = PromptModel.load(store.run).run("a")
        result = replace(result, tokens=np.frombuffer("é 你".encode(), np.uint8).astype(np.int64))
        view = PromptView(result, byte_vocabulary(), UNICODE)
        drawn = [view.tokens(at, 60, 1, [False, True, False, True, False, False])[0] for at in range(6)]
        # The token looked at is written by itself; a detector that fires at the beginning of a character marks it.
        texts = ["Ã© 你", "Ã© 你", "é␣你", "é ä½ł", "é ä½ł", "é ä½ł"]
        assert [line.text.strip() for line in drawn] == texts
        assert [("é", "token") in line.parts for line in drawn] == [False, False, True, True, True, True]
        assert [("你", "token") in line.parts for line in drawn] == [True, True, True, False, False, False]


def test_neurons_that_are_dead_in_the_store_come_first(rules):
    with Store.open(rules[0]) as store:
        result = PromptModel.load(store.run).run("the of and")
        labels, dead = Labels(store), int(np.flatnonzero(store.column(1, "activations") == 0)[0])
        result.active[1][2, dead], result.values[1][2, dead] = True, 0.53
        others = [each for each in labels.firings(result, 2, (1,)) if not each.order and not each.position]
        assert others[0].neuron == dead
        view = PromptView(result, store.vocabulary, UNICODE)
        assert view.firing(others[0], 60, False).text.split() == [f"L1N{dead}", "0.53", *["dead", "in", "the", "store"]]
        pinned = labels.firing(1, dead, result, 1, pinned=True)
        assert "dead" not in view.firing(pinned, 60, False).text
