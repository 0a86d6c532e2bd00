"""How much of the neurons the token, the tokens before it and the position explain: detectors without a cut (ours)."""

from __future__ import annotations

from ffnscope.store.figures.layers import EXPLAINED_BY, LayerFigures
from ffnscope.tui.reports.document import Category, Column
from ffnscope.tui.reports.figures import Figure, Heading, Layers, Series, layer_csv
from ffnscope.tui.reports.formats.values import axis_text

_STYLES = ("token", "trigger", "mark", "position")
BY = tuple(map(Category, "123p", EXPLAINED_BY, _STYLES))
_MISSING = "collected before this was counted"
_MEANING = {
    "token": "share that the token explains: 1 - sum of D(p) / sum of D(p0) over the alive neurons",
    "bigram": "share that the token and the one before explain",
    "trigram": "share that the token and two before explain",
    "position": "share that the position explains; below 0: worse than the rate",
}


def _shares(layer: LayerFigures) -> tuple[float | None, ...]:
    return layer.explained or (None,) * len(EXPLAINED_BY)


def _sentence(layer: LayerFigures, layers: Layers) -> str:
    shares = _shares(layer)
    if shares[0] is None:
        return _MISSING
    pairs = zip(EXPLAINED_BY, shares, strict=True)
    return "explained by " + ", ".join(f"{name} {axis_text(share, 'share')}" for name, share in pairs)


_COLUMNS = tuple(Column(name, _MEANING[name], "share") for name in EXPLAINED_BY)
EXPLAINED = Figure(
    heading=Heading(
        "Explained: how much the token, the tokens before and the position say",
        lambda store: (
            "Chances of activation counted on even windows, judged on odd ones: 100% where they decide every activation, "
            "0 where they are no better than the neuron's rate, below 0 where they are worse. Ours, for models without "
            "detectors too."
        ),
        "Explained by the token, over relative depth.",
    ),
    name="explained",
    title="explained, share of the layer's activations in nats",
    unit="share",
    curves=Series(BY, _shares),
    value=lambda x: _shares(x)[0],
    value_name="explained by the token",
    value_title="explained by the token",
    sentence=_sentence,
    columns=_COLUMNS,
    cells=_shares,
    csv=layer_csv("explained", "Explained", _COLUMNS, lambda x: [_shares(x)]),
    needs="explained",
    missing=_MISSING,
)
