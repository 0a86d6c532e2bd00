"""A store of every format there ever was is read by this version, to the byte of its export."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path

import lmdb
import numpy as np
import pytest

from ffnscope import store as notebook
from ffnscope.store.errors import UserError
from ffnscope.store.export.write import EXPLAINED, write
from ffnscope.store.format.encoding import decode_json
from ffnscope.store.format.schema import FORMAT_VERSION, GROUPS
from ffnscope.store.query.select import select
from ffnscope.store.reader import Store
from ffnscope.store.verify.check import verify

GOLDEN = Path(__file__).parents[1] / "data"
FORMATS = sorted(path.stem for path in GOLDEN.glob("format-*.csv"))


def test_there_is_a_store_of_every_format() -> None:
    assert {f"format-{version}" for version in range(1, FORMAT_VERSION + 1)} <= set(FORMATS)
    groups = set()
    for name in FORMATS:
        if name.startswith(f"format-{FORMAT_VERSION}"):
            with lmdb.open(str(GOLDEN / name), readonly=True, lock=False, max_dbs=8) as environment:
                with environment.begin(db=environment.open_db(b"meta", create=False)) as transaction:
                    groups |= set(decode_json(transaction.get(b"format"))["arrays"])
    assert groups == set(GROUPS)


@pytest.mark.parametrize("name", FORMATS)
def test_a_golden_store_is_whole_and_exports_the_same_bytes(name: str, tmp_path: Path) -> None:
    folder = shutil.copytree(GOLDEN / name, tmp_path / name)
    golden = (GOLDEN / f"{name}.csv").read_bytes().decode()
    with Store.open(folder) as store, io.StringIO(newline="") as out:
        assert list(verify(store)) == []
        write(store, out, columns=next(csv.reader(io.StringIO(golden, newline=""))))
        assert out.getvalue() == golden


def test_what_an_older_store_lacks_is_empty_and_a_filter_on_it_says_so(tmp_path: Path) -> None:
    folder = shutil.copytree(GOLDEN / "format-1", tmp_path / "old")
    with notebook.open(folder) as store, io.StringIO(newline="") as out:
        assert store.format_version == 1 and not store.groups
        write(store, out)
        rows = list(csv.DictReader(io.StringIO(out.getvalue(), newline="")))
        assert rows and all(row[name] == "" for row in rows for name in EXPLAINED)
        assert store.neuron(0, 0).token_explained is None and store.neuron(0, 0).token_set_size is None
        assert np.isnan(store.table(0, ["token_explained", "token_set_size"])["token_explained"]).all()
        assert len(select(store, sort="-token_explained")) == len(rows)
        for text in ("token_explained>.5", "token_set_size>1", "token_set:a", "-token_f1<.5"):
            with pytest.raises(UserError, match="before that was counted"):
                store.select(text)


@pytest.mark.parametrize("name", FORMATS)
def test_every_neuron_of_a_golden_store_reads(name: str, tmp_path: Path) -> None:
    folder = shutil.copytree(GOLDEN / name, tmp_path / name)
    with Store.open(folder) as store:
        neurons = list(store.iterate())
        assert len(neurons) == sum(map(store.neurons, store.layers())) > 0
        assert (
            {neuron.kind for neuron in neurons} >= {"other"}
            if "-" in name.removeprefix("format-")
            else {"dead", "token"}
        )
        assert all(neuron.curve.sum() <= neuron.activations for neuron in neurons)


@pytest.mark.parametrize("name", [name for name in FORMATS if name.removeprefix("format-").count("-")])
def test_kept_bits_of_every_kind_of_run_answer(name: str, tmp_path: Path) -> None:
    folder = shutil.copytree(GOLDEN / name, tmp_path / name)
    with notebook.open(folder) as store:
        members = (store.kept.position_of >= 3) & (store.kept.position_of <= 9)
        answer = store.ask("position:3-9")
        assert answer.matches == members.sum() and len(answer)
        for layer, neuron, hits in zip(answer["layer"], answer["neuron"], answer["hits"], strict=True):
            assert hits == (store.kept.neuron(int(layer), int(neuron)) & members).sum()
