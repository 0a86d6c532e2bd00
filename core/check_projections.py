"""Compute a store's projections again from the model, independently of how they were collected."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from ffnscope.core.model.device import choose_dtype
from ffnscope.core.model.load import load_model
from ffnscope.core.model.source import fingerprint, open_model
from ffnscope.store.errors import UserError
from ffnscope.store.reader import Store

BLOCK = 64  # neurons whose projections on the whole vocabulary are in memory at a time
ROUNDING = 2e-5  # of |w| |E[v]|: what two orders of summing float32 products may differ by
_EXAMPLES = 3


@torch.inference_mode()
def check_projections(
    store: Store,
    name: str,
    neurons: int = 0,
    trust_remote_code: bool = False,
    progress: Callable[[str, float], None] = lambda what, share: None,
) -> Iterator[str]:
    """Load the model ``name`` and yield one line for each difference from the model of a store:
    another fingerprint, or projections that differ by more than rounding.

    Of each layer ``neurons`` evenly spread neurons are computed again, all with 0. Raises UserError where the model
    cannot be loaded.
    """
    run = store.run
    source = open_model(name, trust_remote_code)
    if fingerprint(source) != run.model.fingerprint:
        yield f"{name}: another model than the store's {run.model.name} (fingerprint {run.model.fingerprint[:16]})"
        return
    device = torch.device("cpu")
    model = load_model(source, device, choose_dtype(str(run.settings.get("dtype", "auto")), source, device))
    if model.layer_neurons != tuple(map(run.model.neurons_of, range(run.model.layers))):
        raise UserError(f"{name}: has {model.count} layers of {model.neurons} neurons, unlike the store")
    unembedding = model.unembedding().float()
    longest = float(unembedding.norm(dim=1).max())
    layers = store.layers()
    for done, layer in enumerate(layers):
        progress(f"layer {layer} against the model", done / len(layers))
        rows = model.output_rows(layer).float()
        count = len(rows)
        chosen = np.unique(np.linspace(0, count - 1, min(neurons or count, count)).astype(np.int64))
        bad = [
            neuron
            for start in range(0, len(chosen), BLOCK)
            for neuron in _differing(store, layer, chosen[start : start + BLOCK], rows, unembedding, longest)
        ]
        if bad:
            named = ", ".join(f"L{layer}N{neuron}" for neuron in bad[:_EXAMPLES])
            more = " ..." if len(bad) > _EXAMPLES else ""
            yield f"layer {layer}: projections are not the model's: {len(bad)} of {len(chosen)} neurons, {named}{more}"


def _differing(
    store: Store, layer: int, chosen: np.ndarray, rows: torch.Tensor, unembedding: torch.Tensor, longest: float
) -> list[int]:
    """Which of ``chosen`` [n] neurons have other projections [n, V] than the store says."""
    outputs = rows[torch.from_numpy(chosen)]
    projections = (outputs @ unembedding.T).numpy()
    slack = ROUNDING * longest * outputs.norm(dim=1).numpy()[:, None] + 1e-30
    vocabulary = projections.shape[1]
    bad = np.zeros(len(chosen), np.bool_)
    for name, largest in (("promoted", True), ("suppressed", False)):
        tokens = store.column(layer, name)[chosen].astype(np.int64)
        stored = store.column(layer, f"{name}_projection")[chosen]
        inside = (tokens < vocabulary).all(axis=1)
        own = np.take_along_axis(projections, np.minimum(tokens, vocabulary - 1), axis=1)
        kept = tokens.shape[1]
        best = np.sort(projections, axis=1)
        best = best[:, ::-1][:, :kept] if largest else best[:, :kept]
        twice = (np.diff(np.sort(tokens, axis=1), axis=1) == 0).any(axis=1)
        bad |= (
            ~inside
            | twice
            | ~(np.abs(own - stored) <= slack).all(axis=1)
            | ~(np.abs(best - stored) <= slack).all(axis=1)
        )
    owner = store.column(layer, "detected_neuron").astype(np.int64)
    listed = store.column(layer, "detected_tokens")
    order = store.column(layer, "order")
    stored, ranks = store.column(layer, "detected_projection"), store.column(layer, "detected_rank")
    for i, neuron in enumerate(chosen.tolist()):
        for at in range(*np.searchsorted(owner, [neuron, neuron + 1])):
            token = int(listed[at, order[neuron] - 1])
            row, margin = projections[i], slack[i, 0]
            if token >= vocabulary or not abs(row[token] - stored[at]) <= margin:
                bad[i] = True
            else:
                fewest, most = ((row < row[token] + step).sum() for step in (-margin, margin))
                bad[i] |= not fewest <= ranks[at] <= most
    return chosen[bad].tolist()
