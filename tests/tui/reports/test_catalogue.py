"""The catalogue of figures: one entry is a figure in the overview, in reports and comparisons, and in CSV files."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from pathlib import Path

import pytest
from synthetic import make_store

from ffnscope.store.figures.layers import LayerFigures
from ffnscope.store.reader import Store
from ffnscope.tui.drawing.glyphs import ASCII, UNICODE
from ffnscope.tui.overview.charts import body, legend_lines
from ffnscope.tui.overview.data import Overview
from ffnscope.tui.overview.layer_axis import LEFT, make_axis
from ffnscope.tui.reports import held_out
from ffnscope.tui.reports.catalogue import FIGURES
from ffnscope.tui.reports.comparison import comparison_document
from ffnscope.tui.reports.document import Category, Column, LinePlot, StackPlot
from ffnscope.tui.reports.figures import Figure, Heading, Series, layer_csv
from ffnscope.tui.reports.formats.html import page
from ffnscope.tui.reports.reading import gather
from ffnscope.tui.reports.sections import report_document

PAGE = Path(__file__).parents[3] / "tui" / "reports" / "FIGURES.md"
NAMES = ("token", "bigram", "position")


@dataclass(frozen=True)
class Explained(LayerFigures):
    """A layer of a store that may hold one number more per name."""

    decided: tuple[float, ...] | None = None


NEW = Figure(
    heading=Heading("Explained", lambda store: "What decides activation.", "Over relative depth."),
    name="explained",
    title="what explains activation",
    unit="share",
    curves=Series(
        lambda layers: tuple(Category(name[0], name, "token") for name in NAMES), lambda x: x.decided or (None,) * 3
    ),
    value=lambda x: x.decided[0] if x.decided else None,
    needs="decided",
    missing="this store has no numbers for what explains activation",
    csv=layer_csv(
        "explained",
        "Explained",
        [Column("by", "what explains", "text"), Column("explained", "share", "share")],
        lambda x: zip(NAMES, x.decided or (), strict=False),
    ),
)
STACK = replace(NEW, heading=Heading("Stacked", lambda store: "", ""), curves=None, stack=NEW.curves, csv=None)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """A store with the new numbers and one without."""
    folder = tmp_path_factory.mktemp("catalogue")
    with (
        Store.open(make_store(folder / "a.ffn", layers=3, neurons=40)) as first,
        Store.open(make_store(folder / "b.ffn", layers=3, neurons=40, seed=2)) as second,
    ):
        yield (
            explained(gather(first, "a"), ((0.9, 0.5, 0.1), (0.5, 0.6, 0.2), (0.1, 0.7, 0.3))),
            explained(gather(second, "b")),
        )


def explained(store, numbers=(None,) * 3):
    layers = tuple(
        Explained(**{field.name: getattr(layer, field.name) for field in fields(LayerFigures)}, decided=of_layer)
        for layer, of_layer in zip(store.figures.layers, numbers, strict=True)
    )
    return replace(store, figures=replace(store.figures, layers=layers))


def test_one_entry_is_a_figure_in_the_report(stores):
    made = report_document(stores[0], [*FIGURES, NEW, STACK])
    section, stacked = made.sections[-2:]
    (plot,), (table,), (tidy,) = section.plots, section.shown, section.tidy
    assert isinstance(plot, LinePlot) and [name for name, _, _ in plot.series] == list(NAMES)
    assert plot.series[0][2] == [0.9, 0.5, 0.1] and plot.style == "share"
    assert [column.name for column in table.columns] == ["layer", *NAMES] and table.rows[1] == (1, 0.5, 0.6, 0.2)
    assert tidy.key == "explained" and tidy.rows[:2] == [(0, 0.0, "token", 0.9), (0, 0.0, "bigram", 0.5)]
    assert isinstance(stacked.plots[0], StackPlot) and stacked.plots[0].names == NAMES
    text = page(made)
    assert "what explains activation" in text and "90.0%" in text


def test_a_store_without_the_numbers_leaves_the_figure_out_and_says_so(stores):
    section = report_document(stores[1], [*FIGURES, NEW]).sections[-1]
    assert (section.plots, section.shown, section.tidy) == ((), (), ())
    assert section.note == "Left out: this store has no numbers for what explains activation."


def test_stores_are_compared_by_its_one_number(stores):
    made = comparison_document(stores, [*FIGURES, NEW])
    section = next(section for section in made.sections if section.title == "Explained")
    assert [ys for _, _, ys in section.plots[0].series] == [[0.9, 0.5, 0.1]]
    assert [tuple(row) for row in section.shown[0].rows] == [(0, 0.9), (1, 0.5), (2, 0.1)]
    assert section.tidy[0].rows[0] == ("a", 0, 0.0, "token", 0.9)
    assert "b: this store has no numbers for what explains activation." in section.note


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=["unicode", "ascii"])
def test_the_overview_draws_its_letters_at_their_heights(stores, glyphs):
    store = stores[0]
    overview = Overview(glyphs, store.layers, 40, 16)
    overview.take(store.figures, store.layers)
    axis = make_axis(store.layers, 40, 0)
    lines = [line.text.ljust(40) for line in body(NEW, overview, axis, 0, 10)]
    # From the bottom up, a tenth of the highest share a line.
    columns = ["".join(line[LEFT + axis.cell * i] for line in reversed(lines)) for i in range(3)]
    assert columns == [" p   b   t", "  p  tb   ", " t p   b  "] and lines[0].strip().startswith("90%")
    first = store.figures.layers
    assert [line.text for line in legend_lines(NEW.key(first), 80, glyphs)] == ["t token  b bigram  p position"]
    assert NEW.short(first[0]) == "90%" and NEW.long(first[0], first) == "token 90%, bigram 50%, position 10%"


def test_the_overview_says_that_a_store_lacks_the_numbers(stores):
    reasons = [NEW.empty(store.figures.layers) for store in stores]
    assert reasons == ["", "this store has no numbers for what explains activation"]


def test_every_csv_column_is_on_the_page(stores):
    """FIGURES.md says what every column means, in the words that --json has."""
    text = PAGE.read_text("utf-8")
    tables = [figure.csv for figure in FIGURES if figure.csv]
    assert len({table.key for table in tables}) == len(tables) == 12
    described = {table.key: table.columns for table in tables} | {"split_detectors": held_out.COLUMNS}
    for table in comparison_document(stores).tables:
        described.setdefault(table.key, table.columns)
    assert len(described) == 19
    for key, columns in described.items():
        section = re.search(rf"^### {key}\.csv$(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
        rows = [f"| `{column.name}` | {column.meaning} |" for column in columns]
        assert section and [line for line in section[1].splitlines() if line.startswith("| `")] == rows, key
