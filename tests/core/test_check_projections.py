"""``verify --model``: the projections of a store are those of the model, or it says which are not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models as tm
from damage import change
from exact import run, sources_of

from ffnscope.core.check_projections import check_projections
from ffnscope.store.errors import UserError
from ffnscope.store.format.encoding import decode_array, encode_array
from ffnscope.store.format.keys import LAYER_KEY
from ffnscope.store.reader import Store
from ffnscope.tui.cli import main


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model and its store."""
    folder = tmp_path_factory.mktemp("reproject")
    model = tm.tiny("opt", folder)
    windows = tm.random_windows(np.random.default_rng(0), 12, 16, tm.VOCAB, 0)
    sources = sources_of(folder, {"all": windows})
    return model, run(model, sources, folder / "run.ffn", bos_id=tm.BOS_ID, min_occurrences=1, top_k=9)


@pytest.fixture
def path(made: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy to be spoiled."""
    return shutil.copytree(made[1], tmp_path / "s.ffn")


def lines(path: Path, model: Path, neurons: int = 0) -> list[str]:
    with Store.open(path) as store:
        return list(check_projections(store, str(model), neurons))


@pytest.mark.parametrize("family", tm.FAMILIES)
def test_a_store_agrees_with_its_model(family: str, tmp_path: Path) -> None:
    model = tm.tiny(family, tmp_path / "model")
    sources = sources_of(tmp_path, {"all": tm.random_windows(np.random.default_rng(0), 4, 8, tm.VOCAB, 0)})
    assert lines(run(model, sources, tmp_path / "run.ffn", bos_id=tm.BOS_ID, min_occurrences=1), model) == []


def swap(array: np.ndarray) -> None:
    array[3, [0, 1]] = array[3, [1, 0]]


def add(array: np.ndarray) -> None:
    array[3] += np.float32(1e-3)


def most(array: np.ndarray) -> None:
    array[0] = array[0] + 40


@pytest.mark.parametrize(
    ("name", "work"),
    [
        ("promoted", swap),
        ("suppressed", swap),
        ("promoted_projection", add),
        ("suppressed_projection", add),
        ("detected_projection", most),
        ("detected_rank", most),
    ],
)
def test_what_is_not_the_models_is_named(
    path: Path, made: tuple[Path, Path], name: str, work: Callable[[np.ndarray], Any]
) -> None:
    def value(before: bytes) -> bytes:
        array = decode_array(before).copy()
        assert len(array)
        work(array)
        return encode_array(array)

    change(path, "columns", LAYER_KEY.pack(1) + name.encode(), value)
    found = lines(path, made[0])
    assert len(found) == 1 and found[0].startswith("layer 1: projections are not the model's: 1 of ")


def test_the_command(path: Path, made: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(path), "--model", str(made[0]), "--neurons", "5"]) == 0
    assert "nothing wrong" in capsys.readouterr().out
    other = tm.tiny("opt", tmp_path / "other", seed=1)
    assert main(["verify", str(path), "--model", str(other)]) == 1
    assert "another model than the store's" in capsys.readouterr().out
    assert main(["verify", str(path), "--model", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_store_that_says_another_shape_than_its_model_is_refused(path: Path, made: tuple[Path, Path]) -> None:
    with Store.open(path) as store:
        store.run = replace(store.run, model=replace(store.run.model, layers=2))
        with pytest.raises(UserError, match="unlike the store"):
            list(check_projections(store, str(made[0])))
