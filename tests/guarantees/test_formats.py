"""A store of every format there ever was is read by this version, to the byte of its export."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest

from ffnscope.store.export.write import write
from ffnscope.store.format.schema import FORMAT_VERSION
from ffnscope.store.reader import Store
from ffnscope.store.verify.check import verify

GOLDEN = Path(__file__).parents[1] / "data"
FORMATS = sorted(path.stem for path in GOLDEN.glob("format-*.csv"))


def test_there_is_a_store_of_every_format() -> None:
    assert [f"format-{version}" for version in range(1, FORMAT_VERSION + 1)] == FORMATS


@pytest.mark.parametrize("name", FORMATS)
def test_a_golden_store_is_whole_and_exports_the_same_bytes(name: str, tmp_path: Path) -> None:
    folder = shutil.copytree(GOLDEN / name, tmp_path / name)
    with Store.open(folder) as store, io.StringIO() as out:
        assert list(verify(store)) == []
        write(store, out)
        assert out.getvalue().encode() == (GOLDEN / f"{name}.csv").read_bytes()


@pytest.mark.parametrize("name", FORMATS)
def test_every_neuron_of_a_golden_store_reads(name: str, tmp_path: Path) -> None:
    folder = shutil.copytree(GOLDEN / name, tmp_path / name)
    with Store.open(folder) as store:
        neurons = list(store.iterate())
        assert len(neurons) == len(store.layers()) * store.run.model.neurons > 0
        assert {neuron.kind for neuron in neurons} >= {"dead", "token"}
        assert all(neuron.curve.sum() <= neuron.activations for neuron in neurons)
