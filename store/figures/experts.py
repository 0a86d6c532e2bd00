"""How often each routed expert of a mixture is chosen, and what its neurons are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ffnscope.store.definitions import KINDS
from ffnscope.store.reader import Store


@dataclass(frozen=True)
class ExpertFigures:
    """One routed expert of a layer. Shares are of positions that were routed to it: of all, and of each domain's; they
    add up to the experts per token. ``frequency``: activated positions of an average neuron / positions routed to it,
    None for an expert that was never chosen."""

    expert: int
    positions: int
    share: float
    domain_shares: tuple[float, ...]
    first: int  # its first neuron
    neurons: int
    dead: int
    detectors: int
    frequency: float | None


def expert_figures(store: Store, layer: int) -> tuple[ExpertFigures, ...]:
    """The routed experts of a layer in order; none in a dense layer. Raises UserError where the layer is not in the store."""
    if not store.has("expert_positions"):
        return ()
    chosen = store.column(layer, "expert_positions")
    expert = store.column(layer, "expert").astype(np.int64)
    kind, order = store.column(layer, "kind"), store.column(layer, "order")
    activations = store.column(layer, "activations")
    sizes = [max(domain.windows * store.run.corpus.seq_len, 1) for domain in store.run.corpus.domains]
    figures = []
    for number, per_domain in enumerate(chosen.tolist()):
        own = np.flatnonzero(expert == number)
        positions = sum(per_domain)
        fired = int(activations[own].sum())
        figures.append(
            ExpertFigures(
                expert=number,
                positions=positions,
                share=positions / store.run.corpus.positions,
                domain_shares=tuple(count / size for count, size in zip(per_domain, sizes, strict=True)),
                first=int(own[0]) if len(own) else 0,
                neurons=len(own),
                dead=int(np.count_nonzero(kind[own] == KINDS.index("dead"))),
                detectors=int(np.count_nonzero(order[own] > 0)),
                frequency=fired / (positions * len(own)) if positions and len(own) else None,
            )
        )
    return tuple(figures)
