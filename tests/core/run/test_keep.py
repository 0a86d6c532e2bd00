"""How many windows are kept, and that both halves are among them."""

from __future__ import annotations

import pytest

from ffnscope.core.run.keep import choose_keep, describe_keep, is_balanced, kept_bytes
from ffnscope.store.format.kept_bits import kept_windows

SHAPE = {"seq_len": 64, "neurons": 64, "layers": 2}
ONE = kept_bytes(1, **SHAPE) / 1e9  # GB of a window


@pytest.mark.parametrize("sizes", [(1000,), (400, 400), (600, 300, 100)])
@pytest.mark.parametrize("fitting", [100, 125, 250, 499, 500])
def test_by_default_both_halves_are_kept(sizes: tuple[int, ...], fitting: int) -> None:
    keep = choose_keep(None, (fitting + 0.5) * ONE, sizes, **SHAPE)
    odd = int((kept_windows(sizes, keep) % 2).sum())
    assert fitting * 7 // 8 <= keep <= fitting and 3 * min(odd, keep - odd) >= keep


def test_a_number_asked_for_is_kept_and_what_it_lacks_is_said() -> None:
    keep = choose_keep("250", 1.0, (1000,), **SHAPE)
    assert keep == 250 and not is_balanced((1000,), keep)
    assert "250 of them have an even number and 0 an odd one" in describe_keep(keep, (1000,), 0)
    assert "odd" not in describe_keep(333, (1000,), 0)


def test_all_are_kept_where_they_fit() -> None:
    assert choose_keep(None, 20.5 * ONE, (11, 9), **SHAPE) == 20
    assert choose_keep(None, 15.5 * ONE, (11, 9), **SHAPE) == 0
    assert choose_keep(None, 3.5 * ONE, (3,), **SHAPE) == 3
