"""Most similar and most opposed output rows of drawn neurons, and of layers that repeat them."""

from __future__ import annotations

import numpy as np

from ffnscope.store.format.schema import ABSENT, SIMILAR

SIMILAR_NAMES = ("similar", "similar_cosine", "opposed", "opposed_cosine")


def nearest(rows: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays `similar` ... `opposed_cosine` of rows [F, d], ties by lower neuron."""
    count = len(rows)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    out = {
        name: np.full((count, SIMILAR), np.nan, np.float32)
        if name.endswith("cosine")
        else np.full((count, SIMILAR), ABSENT, np.uint32)
        for name in SIMILAR_NAMES
    }
    kept = min(SIMILAR, count - 1)
    for own in range(count):
        cosines = np.clip(unit @ unit[own], -1, 1)
        for name, sign in (("similar", -1), ("opposed", 1)):
            keys = sign * cosines
            keys[own] = np.inf
            near = np.argpartition(keys, kept - 1)[:kept] if kept else np.zeros(0, np.int64)
            near = near[np.lexsort((near, keys[near]))]
            out[name][own, :kept], out[f"{name}_cosine"][own, :kept] = near, cosines[near]
    return out


def spread(pool: dict[str, np.ndarray], drawn: np.ndarray, size: int) -> dict[str, np.ndarray]:
    """The same for a layer whose neuron i repeats row ``drawn[i]`` of a pool of ``size`` neurons: what is similar to a
    neuron are its copies, then the copies of what is similar to it in the pool."""
    by = np.argsort(drawn, kind="stable")
    ends = np.searchsorted(drawn[by], np.arange(size + 1))
    copies = [by[ends[i] : min(ends[i + 1], ends[i] + SIMILAR + 1)].tolist() for i in range(size)]
    out: dict[str, np.ndarray] = {}
    for name in ("similar", "opposed"):
        ids = np.full((size, SIMILAR + 1), ABSENT, np.uint32)
        values = np.full((size, SIMILAR + 1), np.nan, np.float32)
        for i in np.unique(drawn).tolist():
            near = [(n, 1.0) for n in copies[i]] if name == "similar" else []
            for other, cosine in zip(pool[name][i].tolist(), pool[f"{name}_cosine"][i].tolist(), strict=True):
                if len(near) > SIMILAR:
                    break
                near += [(n, cosine) for n in (copies[other] if other != ABSENT else ())]
            for k, (n, cosine) in enumerate(near[: SIMILAR + 1]):
                ids[i, k], values[i, k] = n, cosine
        of, cosines = ids[drawn], values[drawn]
        own = of == np.arange(len(drawn))[:, None]
        # The neuron itself goes last, out of what is kept.
        order = np.argsort(own, axis=1, kind="stable")[:, :SIMILAR]
        out[name] = np.take_along_axis(of, order, axis=1)
        out[f"{name}_cosine"] = np.take_along_axis(cosines, order, axis=1)
    return out
