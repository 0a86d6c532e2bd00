"""How a run is cut: layers, batches, and groups that fit the scratch budget."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ffnscope.core.activations import budget as module
from ffnscope.core.activations.budget import GIB, Plan, make_plan
from ffnscope.core.activations.forward import make_groups
from ffnscope.core.activations.scratch import LayerScratch
from ffnscope.core.run.request import choose_batch_size, parse_layers
from ffnscope.store.errors import UserError

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("all", range(12)),
        (" all ", range(12)),
        ("0", [0]),
        ("11", [11]),
        ("0-5,8", [0, 1, 2, 3, 4, 5, 8]),
        ("8, 0-2, 1", [0, 1, 2, 8]),
        ("3-3", [3]),
    ],
)
def test_layers(text: str, expected: list[int]) -> None:
    assert parse_layers(text, 12) == tuple(expected)


@pytest.mark.parametrize(
    "text", ["", "12", "-1", "0-12", "5-3", "1,,2", "a", "1-", "-", "1.5", "0-5-7", "all,1", "\x1b[2J"]
)
def test_layers_that_are_none(text: str) -> None:
    with pytest.raises(UserError, match="--layers") as caught:
        parse_layers(text, 12)
    assert "\n" not in str(caught.value)


def test_batches() -> None:
    assert choose_batch_size(3, 2048, CPU) == 3
    assert choose_batch_size(None, 2048, CPU) * 2048 <= 4096
    assert choose_batch_size(None, 100_000, CPU) == 1
    with pytest.raises(UserError, match="--batch-size 0"):
        choose_batch_size(0, 16, CPU)


def plan(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    layers: tuple[int, ...],
    *,
    free: int = 1 << 50,
    scratch_gb: float | None = None,
    group_layers: int | None = None,
) -> Plan:
    """100 windows of 13 positions, 24 neurons, width 16, two bytes a value, on a disk with ``free`` bytes."""
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    return make_plan(
        layers,
        100,
        13,
        layer_bytes=LAYER,
        width=16,
        itemsize=2,
        folder=folder,
        scratch_gb=scratch_gb,
        group_layers=group_layers,
    )


LAYER = LayerScratch.bytes_needed(100, 24, 13)
HIDDEN = 2 * 100 * 13 * 16 * 2


def test_bytes_of_a_layer_are_bits_sums_and_maxima() -> None:
    assert LAYER == 100 * 24 * (2 + 4 + 4)


def test_one_group_where_all_fits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert plan(monkeypatch, tmp_path, tuple(range(12))) == Plan(12, 1, 12 * LAYER)
    assert plan(monkeypatch, tmp_path, (0, 4)) == Plan(5, 1, 2 * LAYER)
    assert plan(monkeypatch, tmp_path / "not" / "yet" / "there", (0,)).groups == 1


@pytest.mark.parametrize(
    ("budget", "size"), [(12 * LAYER, 12), (12 * LAYER - 1, 11), (HIDDEN + 4 * LAYER, 4), (HIDDEN + 4 * LAYER - 1, 3)]
)
def test_the_largest_group_that_fits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, budget: int, size: int) -> None:
    # Eleven layers and the hidden states must not fit where twelve layers alone just do not.
    expected = max((s for s in range(1, 12) if s * LAYER + HIDDEN <= budget), default=0) if budget < 12 * LAYER else 12
    found = plan(monkeypatch, tmp_path, tuple(range(12)), scratch_gb=budget / GIB)
    assert found.group_layers == expected
    assert found.scratch_bytes <= budget
    assert found.groups == math.ceil(12 / expected)
    if budget != 12 * LAYER - 1:
        assert expected == size


def test_what_is_free_is_left_in_part(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert plan(monkeypatch, tmp_path, tuple(range(12)), free=12 * LAYER).group_layers < 12
    assert plan(monkeypatch, tmp_path, tuple(range(12)), free=15 * LAYER).group_layers == 12


def test_less_than_one_layer_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for options in ({"scratch_gb": (LAYER + HIDDEN - 1) / GIB}, {"free": LAYER}):
        with pytest.raises(UserError, match=r"of scratch are needed.*--scratch.*--scratch-gb.*--max-tokens") as caught:
            plan(monkeypatch, tmp_path, tuple(range(12)), **options)
        assert "\n" not in str(caught.value)
    assert plan(monkeypatch, tmp_path, tuple(range(12)), scratch_gb=(LAYER + HIDDEN) / GIB).groups == 12


def test_more_than_the_disk_has_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--scratch-gb 5: .*1.0 GiB free"):
        plan(monkeypatch, tmp_path, (0,), free=GIB, scratch_gb=5)


def test_a_group_size_that_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert plan(monkeypatch, tmp_path, tuple(range(12)), group_layers=5) == Plan(5, 3, 5 * LAYER + HIDDEN)
    assert plan(monkeypatch, tmp_path, tuple(range(12)), group_layers=99) == Plan(12, 1, 12 * LAYER)


@given(
    layers=st.sets(st.integers(0, 19), min_size=1).map(sorted),
    size=st.integers(1, 25),
    first=st.integers(0, 19),
)
@settings(max_examples=200)
def test_groups_run_every_layer_once_and_record_what_is_wanted(layers: list[int], size: int, first: int) -> None:
    first = min(first, layers[-1])
    groups = make_groups(layers, size, first)
    assert [layer for group in groups for layer in range(group.first, group.last)] == list(range(first, layers[-1] + 1))
    assert [layer for group in groups for layer in group.recorded] == [layer for layer in layers if layer >= first]
    assert all(group.first <= layer < group.last for group in groups for layer in group.recorded)
    done = set(layers[::2])
    for group, fewer in zip(groups, make_groups(layers, size, first, done=done), strict=True):
        assert fewer.recorded == tuple(layer for layer in group.recorded if layer not in done)
        assert (fewer.first, fewer.last, fewer.final) == (group.first, group.last, group.final)
    assert [group.final for group in groups] == [False] * (len(groups) - 1) + [True]
    assert all(group.last - group.first <= size for group in groups)
