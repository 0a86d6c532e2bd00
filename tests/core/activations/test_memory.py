"""What a run says of its memory before it starts, and that it refuses what does not fit."""

from __future__ import annotations

import numpy as np
import pytest

from ffnscope.core.activations import budget as plan
from ffnscope.core.statistics.counts import counting_bytes
from ffnscope.core.statistics.ngrams import ngram_tables
from ffnscope.core.statistics.tables import CorpusTables
from ffnscope.store.errors import UserError


def tables(windows: int, seq_len: int = 64) -> CorpusTables:
    tokens = np.random.default_rng(0).integers(0, 50, (windows, seq_len))
    bits = np.zeros((windows, seq_len // 8), np.uint8)
    return CorpusTables(seq_len, np.array([0, windows]), 1, ngram_tables(tokens, None, 50), bits)


def test_memory_grows_with_positions_and_threads() -> None:
    small, large = tables(10), tables(40)
    assert counting_bytes(large, 100, 2) > counting_bytes(small, 100, 2)
    assert counting_bytes(small, 100, 3) > counting_bytes(small, 100, 2)
    assert counting_bytes(small, 100, 2, on_device=True) > counting_bytes(small, 100, 2)


def test_more_than_there_is_is_refused_with_the_option_that_lowers_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "available_memory", lambda: 1 << 30)
    plan.check_memory(1 << 30)
    with pytest.raises(UserError, match="--max-tokens"):
        plan.check_memory((1 << 30) + 1)


def test_the_system_says_how_much_there_is() -> None:
    available = plan.available_memory()
    assert available is None or available > 1 << 20
