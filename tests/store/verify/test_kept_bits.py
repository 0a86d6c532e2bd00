"""Whatever is changed in kept bits is found; a reader says one clear line of what it can't read."""

from __future__ import annotations

import lmdb
import numpy as np
import pytest
from damage import change, flip, problems, put
from synthetic import make_store

import ffnscope.store
from ffnscope.store.errors import UserError
from ffnscope.store.format import kept_bits as layout
from ffnscope.store.format.encoding import decode_array, encode_array, encode_json
from ffnscope.store.format.keys import INDEX_KEY, LAYER_KEY

TILE, COUNTS = layout.BITS_KEY.pack(0, 1, 0), layout.BITS_KEY.pack(0, layout.COUNTS_BLOCK, 0)
SPANS = {"fact": np.ones((40, 64), bool)}


@pytest.fixture
def path(tmp_path):
    return make_store(tmp_path / "s.ffn", layers=1, neurons=600, keep=20, labels=SPANS)


def resealed(value, place, bit):
    """A tile with a bit of its rows changed and the checksum right."""
    value = bytearray(value)
    words, rows = np.frombuffer(value, "<u4", 2)[1], np.frombuffer(value, "<u8", 2)[1]
    value[layout.HEAD_BYTES + place] ^= bit
    layout.seal_tile(value, int(rows), int(words))
    return bytes(value)


@pytest.mark.parametrize("keep", [1, 17, 40])
def test_a_whole_store_is_right(tmp_path, keep):
    assert problems(make_store(tmp_path / "s.ffn", neurons=130, hostile=True, count_only=("x",), keep=keep)) == []


def test_bits_of_a_layer_that_is_not_there_yet(tmp_path):
    path = make_store(tmp_path / "s.ffn", layers=3, neurons=64, complete=False, written=1, keep=20)
    put(path, "bits", layout.BITS_KEY.pack(2, 0, 0), b"left by a run that was stopped")
    assert problems(path) == []
    put(path, "bits", layout.BITS_KEY.pack(3, 0, 0), b"of no layer of the run")
    assert len(problems(path)) == 1


@pytest.mark.parametrize(
    ("database", "key", "work", "says"),
    [
        ("bits", TILE, flip, "checksum differs"),
        ("bits", TILE, lambda value: value[:-8], "checksum differs"),
        ("bits", TILE, lambda value: b"", "checksum differs"),
        ("bits", TILE, lambda value: resealed(value, 0, 1), "not as many as their counts say: 1 neurons, L0N512"),
        ("bits", TILE, lambda value: resealed(value, 15, 128), "bits of neurons that do not exist"),
        ("bits", COUNTS, flip, "checksum differs"),
        ("bits", COUNTS, lambda value: encode_array(decode_array(value) + np.uint32(99999)), "more kept activations"),
        ("bits", COUNTS, lambda value: encode_array(decode_array(value)[:-1]), "not those of the layer"),
        ("bits", layout.label_key(0), flip, "positions of a label: checksum differs"),
        ("vocabulary", INDEX_KEY.pack(0) + b"raw", flip, "checksum differs"),
        (
            "vocabulary",
            INDEX_KEY.pack(0) + b"raw_ends",
            lambda value: encode_array(decode_array(value)[:-1]),
            "are not the bytes",
        ),
        (
            "vocabulary",
            INDEX_KEY.pack(0) + b"raw_ends",
            lambda value: encode_array(decode_array(value)[::-1]),
            "ends that are out of order",
        ),
        ("meta", b"labels", flip, "labels: checksum differs"),
        ("meta", b"labels", lambda value: encode_json(["fact", 3]), "its labels entry"),
    ],
)
def test_what_is_changed_is_found(path, database, key, work, says):
    change(path, database, key, work)
    found = problems(path)
    assert found and all("\n" not in line for line in found) and any(says in line for line in found), found


@pytest.mark.parametrize(
    ("database", "key"),
    [
        ("bits", TILE),
        ("bits", COUNTS),
        ("bits", layout.label_key(0)),
        ("vocabulary", INDEX_KEY.pack(0) + b"raw"),
        ("meta", b"labels"),
    ],
)
def test_what_is_missing_or_too_much_is_found(path, database, key):
    put(path, database, key, None)
    assert any("1 missing" in line for line in problems(path))
    put(path, "bits", layout.BITS_KEY.pack(0, 7, 0), b"")
    assert any(" unknown: " in line for line in problems(path))


def test_a_query_of_damaged_bits_is_one_clear_line(path):
    change(path, "bits", TILE, lambda value: value[:-8])
    with ffnscope.store.open(path) as store:
        with pytest.raises(UserError, match=r"damaged \(bits of layer 0 from neuron 512 on") as error:
            store.ask("token:the")
        assert "ffnscope verify" in str(error.value)
        assert store.kept.neuron(0, 3).any()
    put(path, "bits", TILE, None)
    with ffnscope.store.open(path) as store, pytest.raises(UserError, match=r"from neuron 512 on, tile 0: are missing"):
        store.kept.neuron(0, 599)


@pytest.mark.parametrize("keep", [-1, 41, True, "all", 1.5])
def test_a_number_of_windows_that_cannot_be(path, keep):
    from ffnscope.store.format.encoding import decode_json, encode_json

    def other(value):
        run = decode_json(value)
        return encode_json(run | {"settings": run["settings"] | {"keep": keep}})

    change(path, "meta", b"run", other)
    with pytest.raises(UserError, match="setting keep"):
        ffnscope.store.open(path)


def test_bits_that_are_said_to_be_there(tmp_path):
    from ffnscope.store.format.encoding import decode_json, encode_json

    path = make_store(tmp_path / "s.ffn", layers=1, neurons=20)
    run = lambda value: encode_json((old := decode_json(value)) | {"settings": old["settings"] | {"keep": 3}})  # noqa: E731
    change(path, "meta", b"run", run)
    with pytest.raises(UserError, match="databases are missing"):
        ffnscope.store.open(path)


def test_the_layer_is_written_after_its_bits(path):
    with lmdb.open(str(path), readonly=True, max_dbs=8, lock=False) as environment:
        with environment.begin() as transaction:
            columns = environment.open_db(b"columns", transaction, create=False)
            assert transaction.get(LAYER_KEY.pack(0) + b"kind", db=columns) is not None
