"""How many windows are kept, and that both halves are among them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ffnscope.core.run.keep import check_room, choose_keep, describe_keep, is_balanced, kept_bytes
from ffnscope.core.run.kept_bits import KeptWindows, kept_values
from ffnscope.store.errors import UserError
from ffnscope.store.format.kept_bits import BLOCK, kept_windows

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
    sizes = (3_140_000, 99_900_000, 100_000_000, 1_234_000_000)
    written = [describe_keep(333, (1000,), size).rpartition(", ")[2] for size in sizes]
    assert written == ["3.1 MB", "99.9 MB", "0.10 GB", "1.23 GB"]


def test_all_are_kept_where_they_fit() -> None:
    assert choose_keep(None, 20.5 * ONE, (11, 9), **SHAPE) == 20
    assert choose_keep(None, 15.5 * ONE, (11, 9), **SHAPE) == 0
    assert choose_keep(None, 3.5 * ONE, (3,), **SHAPE) == 3


def test_more_than_the_disk_has_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ffnscope.core.run.keep.shutil.disk_usage", lambda _: SimpleNamespace(free=3 * 10**9))
    check_room(tmp_path / "not" / "yet", 3 * 10**9)
    with pytest.raises(UserError, match=r"kept activation bits take 3\.50 GB and 3\.00 GB are free; keep fewer"):
        check_room(tmp_path / "not" / "yet", 35 * 10**8)


def test_bits_that_nobody_waits_for_are_given_up() -> None:
    class Bits:
        neurons = 9 * BLOCK

        def window(self, window: int, first: int, last: int) -> np.ndarray:
            return np.zeros((last - first, 2), np.uint8)

    def proceed() -> None:
        asked.append(1)
        if len(asked) == 5:
            raise KeyboardInterrupt

    asked: list[int] = []
    kept = KeptWindows.choose(np.ones((6, 16), np.int32), (6,), 6, None)
    with pytest.raises(KeyboardInterrupt):
        list(kept_values(0, Bits(), kept, 2, proceed))
