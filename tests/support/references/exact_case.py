"""One model and corpus to be compared with the reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tiny_models as tm


@dataclass(frozen=True)
class Case:
    """Windows of each domain, the count-only ones last, and how they are collected."""

    seq_len: int
    windows: tuple[int, ...]
    count_only: int = 0
    bos_id: int | None = tm.BOS_ID
    layers: tuple[int, ...] | None = None
    zipf: bool = True
    dtype: str = "float32"
    min_occurrences: int = 5
    batch_size: int | None = 7
    top_k: int = 50
    group_layers: int | None = None
    offload: bool = False


def windows_of(case: Case, vocabulary: int) -> dict[str, np.ndarray]:
    """Random windows a domain; int32 and int64 in turn."""
    rng = np.random.default_rng(case.seq_len * 1000 + sum(case.windows))
    return {
        f"domain{number}": tm.random_windows(rng, count, case.seq_len, vocabulary, case.bos_id, case.zipf).astype(
            np.int32 if number % 2 else np.int64
        )
        for number, count in enumerate(case.windows)
    }
