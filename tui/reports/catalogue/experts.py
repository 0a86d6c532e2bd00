"""How tokens are routed in a mixture of experts (ours): only in reports on such models."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ffnscope.store.figures.experts import ExpertFigures
from ffnscope.store.figures.layers import LayerFigures
from ffnscope.tui.reports.document import Category, Column, Value
from ffnscope.tui.reports.figures import DEPTH, LAYER, CsvTable, Figure, Heading, Series
from ffnscope.tui.reports.reading import Gathered


def _shares(layer: LayerFigures) -> tuple[float | None, float | None]:
    shares = [expert.share for expert in layer.experts]
    return (max(shares), min(shares)) if shares else (None, None)


def _neurons(layer: LayerFigures) -> tuple[Value, ...]:
    shares = _shares(layer)
    never = sum(not expert.positions for expert in layer.experts)
    return (len(layer.experts), *shares, never, sum(expert.neurons for expert in layer.experts))


def _rows(store: Gathered) -> Iterable[Sequence[Value]]:
    domains = [domain.name for domain in store.store.run.corpus.domains]
    for layer in store.figures.layers:
        for expert in layer.experts:
            yield _row(layer, expert, "", expert.share)
            for domain, share in zip(domains, expert.domain_shares, strict=True):
                yield _row(layer, expert, domain, share)


def _row(layer: LayerFigures, expert: ExpertFigures, domain: str, share: float) -> tuple[Value, ...]:
    figures = (expert.neurons, expert.dead, expert.detectors, expert.frequency)
    return (layer.layer, layer.depth, expert.expert, domain, share, *figures)


EXPERTS = Figure(
    heading=Heading(
        "Experts: how often each is chosen",
        lambda store: (
            "Share of the positions that are routed to an expert; the shares of a layer's experts add up to the experts per "
            f"token ({store.store.run.model.experts_per_token}). A neuron of an expert cannot be activated elsewhere."
        ),
        "Share of the most and the least chosen expert.",
    ),
    title="positions routed to the most and the least chosen expert, share of all",
    unit="share",
    curves=Series((Category("M", "most chosen", "token"), Category("L", "least chosen", "position")), _shares),
    columns=(
        Column("experts", "routed experts of the layer"),
        Column("most chosen", "largest share of positions routed to one of them", "share"),
        Column("least chosen", "smallest share", "share"),
        Column("never chosen", "experts to which no position is routed"),
        Column("neurons", "neurons of the routed experts"),
    ),
    cells=_neurons,
    csv=CsvTable(
        "experts",
        "Experts",
        (
            LAYER,
            DEPTH,
            Column("expert", "routed expert, from 0", "layer"),
            Column("domain", "domain; empty: all of them", "text"),
            Column("share", "share of its positions that are routed to the expert", "share"),
            Column("neurons", "neurons of the expert"),
            Column("dead", "those never activated"),
            Column("detectors", "those that are detectors"),
            Column("frequency", "mean over its neurons: activated / routed positions; empty: never chosen", "share"),
        ),
        _rows,
    ),
)
