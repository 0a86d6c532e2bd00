"""Descriptions by concepts (ours): how many neurons of a layer have one, and what they begin with."""

from __future__ import annotations

from ffnscope.store.figures.layers import LayerFigures
from ffnscope.tui.drawing.numbers import count
from ffnscope.tui.reports.document import Category, Column
from ffnscope.tui.reports.figures import Figure, Heading, Layers, Series, layer_csv


def _sentence(layer: LayerFigures, layers: Layers) -> str:
    if not layer.concepts:
        return "no neuron has a description"
    most = ", ".join(f"{name} {count(number)}" for name, number in layer.concepts[:4])
    return f"{count(layer.described)} of {count(layer.alive)} alive neurons have a description, most often {most}"


DESCRIPTIONS = Figure(
    heading=Heading(
        "Descriptions: formulas of concepts that say where neurons are activated",
        lambda store: (
            "Chosen on even windows; f1 of at least 0.2 on the odd ones. A neuron is counted at the concept that its "
            "description begins with (core/CONCEPTS.md). `ffnscope export STORE --where concept:digit` lists them."
        ),
        "Counts, not shares: larger layers have larger ones.",
    ),
    name="descriptions",
    title="neurons with a description",
    curves=Series((Category("d", "described", "token"),), lambda x: (x.described,)),
    value=lambda x: x.described / x.alive if x.alive else None,
    value_unit="share",
    value_name="described",
    value_title="alive neurons with a description, share",
    brief=lambda x: f"{count(x.described)} of {count(x.alive)}",
    sentence=_sentence,
    columns=(
        Column("described", "neurons with a description"),
        Column("most often", "the concept that most of them begin with", "text"),
    ),
    cells=lambda x: (x.described, x.concepts[0][0] if x.concepts else ""),
    csv=layer_csv(
        "descriptions",
        "Descriptions by concept",
        (
            Column("concept", "the concept that a description begins with; - before one that is negated", "text"),
            Column("neurons", "neurons whose description begins with it"),
        ),
        lambda x: x.concepts or (),
    ),
    needs="concepts",
    missing="this store has no descriptions; they come with kept activation bits (collect --keep)",
)
