"""The overview's figures: what they draw and say, and where they stand."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic import make_store

from ffnscope.store.definitions import POSITION_STRENGTHS, POSITION_TYPES
from ffnscope.store.figures.layers import POSITIONAL, model_figures
from ffnscope.store.reader import Store
from ffnscope.tui.drawing.glyphs import ASCII, UNICODE
from ffnscope.tui.drawing.numbers import percent
from ffnscope.tui.drawing.text import visible
from ffnscope.tui.overview.compare import curves, names, says
from ffnscope.tui.overview.data import Overview, read_ranges
from ffnscope.tui.overview.figures import COMPARED, FIGURES
from ffnscope.tui.overview.grid import PANEL, Drawer, make_grid
from ffnscope.tui.overview.layer_axis import (
    LEFT,
)
from ffnscope.tui.reports.catalogue.detectors import NEW_TOKENS
from ffnscope.tui.reports.catalogue.positions import POSITIONAL_TYPES
from ffnscope.tui.reports.catalogue.sparsity import BINS

GLYPHS = pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=["unicode", "ascii"])


def overview_of(opened, glyphs=UNICODE):
    """An overview that has read everything."""
    run = opened.run
    out = Overview(glyphs, run.layers, run.model.neurons, run.corpus.seq_len)
    out.take(model_figures(opened), opened.layers())
    out.ranges = {layer: read_ranges(opened, layer) for layer in opened.layers()}
    return out


def test_a_type_and_a_strength_have_a_letter_of_their_own():
    assert len({each.letter for each in POSITIONAL_TYPES}) == len(POSITIONAL_TYPES) == len(POSITIONAL)
    assert len({each.letter for each in BINS}) == len(BINS)
    for category, (_, strength) in zip(POSITIONAL_TYPES, POSITIONAL, strict=True):
        assert category.letter.isupper() == (strength == "strong")


def test_new_tokens_add_up_to_the_detected(opened):
    seen, before = set(), set()
    for each in model_figures(opened).layers:
        order = opened.column(each.layer, "order")[opened.column(each.layer, "detected_neuron")]
        tokens = set(opened.column(each.layer, "detected_tokens")[order == 1, 0].tolist())
        expected = (len(tokens - seen), len((tokens & seen) - before), len(tokens & before))
        if each.layer == 0:
            expected = (len(tokens), 0, 0)
        assert NEW_TOKENS.stack.values(each) == expected
        seen, before = seen | tokens, tokens


@GLYPHS
@pytest.mark.parametrize("size", [(38, 10), (53, 14), (80, 22), (158, 45), (20, 6), (9, 3)])
def test_every_figure_fits_its_place(opened, glyphs, size):
    overview = overview_of(opened, glyphs)
    drawer = Drawer(overview)
    for slot in range(PANEL + 1):
        for cursor in range(len(overview.layers)):
            drawn = drawer.figure(slot, cursor, *size, chosen=True)
            assert len(drawn) == size[1]
            for each in drawn:
                assert each.text == visible(each.text, glyphs, spaces=False)
                assert size[0] < 38 or each.width <= size[0], (slot, each.text)


def test_letters_of_figure_8_count_the_positional_neurons(opened):
    overview = overview_of(opened)
    lines = Drawer(overview).figure(6, 0, 158, 45, chosen=False)
    body = "".join(each.text[LEFT:] for each in lines[2:-1])
    for index, category in enumerate(POSITIONAL_TYPES):
        assert body.count(category.letter) == sum(each.positional[index] for each in overview.known())
    assert sum(each.positional_neurons for each in overview.known()) > 10


def test_what_is_said_are_the_layers_numbers(opened):
    overview = overview_of(opened)
    drawer = Drawer(overview)
    for cursor, layer in enumerate(overview.layers):
        dead = int((opened.column(layer, "activations") == 0).sum())
        assert f"layer {layer} {dead} of 160 neurons dead" in drawer.says(0, cursor).text
        token = int((opened.column(layer, "order") == 1).sum())
        assert f"{token} token," in drawer.says(2, cursor).text
        alive = opened.column(layer, "unigrams_95")[opened.column(layer, "activations") > 0]
        panel = [each.text for each in drawer.figure(PANEL, cursor, 40, 16, chosen=False)]
        assert next(each for each in panel if each.startswith(" a ")).split()[2] == str((alive == 1).sum())
        assert next(each for each in panel if each.startswith(" c ")).split()[2] == str(
            ((alive > 3) & (alive < 6)).sum()
        )


def test_ranges_are_those_of_the_strong_oscillatory(opened):
    found = 0
    for layer in opened.layers():
        strong = opened.column(layer, "position_strength") == POSITION_STRENGTHS.index("strong")
        oscillatory = opened.column(layer, "position_type") == POSITION_TYPES.index("oscillatory")
        read = read_ranges(opened, layer)
        assert {each.neuron for each in read} == set(np.flatnonzero(strong & oscillatory).tolist())
        starts = [each.ranges for each in read]
        assert starts == sorted(starts)
        for each in read:
            curve = opened.position_frequency(layer, each.neuron)
            inside = np.zeros(len(curve), bool)
            for first, stop in each.ranges:
                inside[first:stop] = True
            assert curve[inside].mean() > curve[~inside].mean() + 0.5
            found += 1
    assert found


@pytest.mark.parametrize("layers", [1, 6, 12, 24, 32, 48, 64, 100])
@pytest.mark.parametrize("size", [(120, 24), (160, 48), (240, 60)])
def test_figures_in_a_grid_do_not_overlap_and_the_chosen_one_is_there(layers, size):
    width, height = size[0], size[1] - 3
    for chosen in range(PANEL + 1):
        grid = make_grid(width, height, layers, chosen)
        taken = set()
        assert sorted(grid.slots) == list(range(PANEL + 1))
        assert chosen in {place.slot for place in grid.places}
        for place in grid.places:
            cells = {
                (x, y) for x in range(place.x, place.x + place.width) for y in range(place.y, place.y + place.height)
            }
            assert not cells & taken and all(x < width and y < height for x, y in cells)
            taken |= cells


def test_curves_of_stores_are_over_relative_depth(opened, tmp_path):
    with Store.open(make_store(tmp_path / "deep.ffn", layers=9, neurons=48, seed=4)) as other:
        stores = [("[/]", overview_of(opened)), ("deep", overview_of(other))]
        for number in COMPARED:
            drawn = curves(FIGURES[number], stores, 60, 12, UNICODE)
            assert len(drawn) == 12 and all(each.width == 60 for each in drawn)
        text = "\n".join(each.text for each in curves(FIGURES[0], stores, 60, 12, UNICODE))
        assert "a" in text and "b" in text and "relative depth" in text
        first, second = model_figures(opened).layers[2], model_figures(other).layers[4]
        said = says(FIGURES[0], stores, 0.5).text
        assert (
            f"a {percent(first.dead_share)} (layer 2)" in said and f"b {percent(second.dead_share)} (layer 4)" in said
        )
        assert "".join(text for text, _ in names(stores, UNICODE)).split() == ["a", "[/]", "b", "deep"]
