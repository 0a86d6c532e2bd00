"""Anything at all as input: what was written comes back, or one kind of error says that it cannot."""

from __future__ import annotations

import csv
import io
import json
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import lmdb
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from synthetic import make_store

from ffnscope.store.errors import UserError
from ffnscope.store.escaping import json_text
from ffnscope.store.export.float_text import float_texts
from ffnscope.store.export.write import write
from ffnscope.store.format.encoding import (
    DTYPES,
    DamagedValueError,
    decode_array,
    decode_json,
    encode_array,
    encode_json,
    row_of,
)
from ffnscope.store.format.keys import INDEX_KEY, LAYER_KEY, NEURON_KEY
from ffnscope.store.format.meta_pages import DamagedFileError, read_metas
from ffnscope.store.query.filter import parse_filter
from ffnscope.store.query.filter_completion import complete
from ffnscope.store.reader import Store
from ffnscope.store.records import Progress, RunInfo
from ffnscope.store.verify.pages import walk

WORDS = [
    "kind:",
    "layer:",
    "freq",
    "mi",
    "uni",
    "pos:",
    "detects:",
    "promotes:",
    "marked",
    "noted",
    "-",
    "|",
    '"',
    "\\",
]
WORDS += [
    "<",
    ">=",
    "=",
    "!=",
    "0.05",
    "1e999",
    "5%",
    "0-5",
    "token",
    "strong",
    "nan",
    "\x1b",
    "\ud800",
    " ",
    "𝟙",
    "٣",
    "_",
]
any_text = st.text(alphabet=st.characters(), max_size=30)  # lone surrogates too
terms = st.lists(st.sampled_from(WORDS) | any_text, max_size=8).map("".join)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with hostile tokens."""
    return make_store(tmp_path_factory.mktemp("fuzz") / "s.ffn", layers=1, neurons=48, hostile=True)


@given(terms)
@settings(max_examples=400)
@example("layer:" + "9" * 5000)
@example("freq<" + "1" * 5000)
@example("-" * 3000 + "marked")
@example("detects:" + "a|" * 3000)
@example('detects:="\\')
def test_a_filter_is_read_or_refused(store: Path, text: str) -> None:
    complete(text, ("wiki", "code"))
    try:
        parsed = parse_filter(text, ("wiki", "code"))
    except UserError as error:
        assert "\n" not in str(error) or "\n" in text
        return
    with Store.open(store) as opened:
        mask = parsed.mask(opened, 0)
        assert mask.shape == (48,) and mask.dtype == np.bool_
        parsed.layers((0, 1, 65535))


@given(any_text)
@settings(max_examples=300)
def test_a_text_in_json_comes_back_and_is_printable(text: str) -> None:
    written = json_text(text)
    assert json.loads(written) == text and written.isprintable()


@given(st.lists(any_text, max_size=6))
def test_texts_in_csv_come_back(texts: list[str]) -> None:
    out = io.StringIO()
    cell = "[" + ",".join(map(json_text, texts)) + "]"
    csv.writer(out, lineterminator="\n").writerow([cell, "x"])
    assert out.getvalue().count("\n") == 1
    rows = list(csv.reader(io.StringIO(out.getvalue(), newline="")))
    assert json.loads(rows[0][0]) == texts and rows[0][1:] == ["x"]


@given(arrays.arrays(np.float32, st.integers(0, 30), elements=st.floats(width=32)))
@settings(max_examples=300)
def test_floats_in_csv_come_back(values: np.ndarray) -> None:
    for value, text in zip(values, float_texts(values), strict=True):
        if np.isfinite(value):
            assert np.float32(float(text)).tobytes() == value.tobytes()
        else:
            assert text == "null"


def test_an_export_comes_back(store: Path) -> None:
    with Store.open(store) as opened, io.StringIO() as out:
        write(opened, out)
        rows = list(csv.DictReader(io.StringIO(out.getvalue(), newline="")))
        for row, neuron in zip(rows, opened.iterate(), strict=True):
            assert (int(row["layer"]), int(row["neuron"]), row["kind"]) == (neuron.layer, neuron.neuron, neuron.kind)
            assert int(row["activations"]) == neuron.activations
            assert np.float32(float(row["position_mi"])) == np.float32(neuron.position_mi)
            promoted = [[opened.vocabulary.text(token), float(np.float32(value))] for token, value in neuron.promoted]
            assert [[text, float(np.float32(value))] for text, value in json.loads(row["promoted"])] == promoted
            listed = json.loads(row["detected_tokens"])
            assert [count for _, count, _ in listed] == [ngram.count for ngram in neuron.detected]


pairs = st.tuples(st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1))


@given(st.lists(pairs, min_size=1, max_size=20, unique=True), st.lists(st.integers(0, 2**32 - 1), unique=True))
def test_the_order_of_keys_is_the_order_of_numbers(neurons: list[tuple[int, int]], windows: list[int]) -> None:
    assert [NEURON_KEY.unpack(key) for key in sorted(NEURON_KEY.pack(*pair) for pair in neurons)] == sorted(neurons)
    assert [INDEX_KEY.unpack(key)[0] for key in sorted(map(INDEX_KEY.pack, windows))] == sorted(windows)
    layers = sorted({layer for layer, _ in neurons})
    assert [LAYER_KEY.unpack(key)[0] for key in sorted(map(LAYER_KEY.pack, reversed(layers)))] == layers


@given(neurons=st.lists(pairs, min_size=1, max_size=40, unique=True))
@settings(max_examples=20)
def test_lmdb_gives_keys_in_that_order(
    tmp_path_factory: pytest.TempPathFactory, neurons: list[tuple[int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("keys")
    with lmdb.open(str(folder), sync=False) as environment:
        with environment.begin(write=True) as transaction:
            for pair in neurons:
                transaction.put(NEURON_KEY.pack(*pair), b"x" * (pair[1] % 5000))
        with environment.begin() as transaction:
            assert [NEURON_KEY.unpack(key) for key, _ in transaction.cursor()] == sorted(neurons)
    metas = read_metas(folder / "data.mdb")
    assert metas is not None
    walk(folder / "data.mdb", max(metas, key=lambda meta: meta.transaction))


any_array = st.sampled_from(sorted(DTYPES)).flatmap(
    lambda code: arrays.arrays(np.dtype(code), arrays.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=5))
)


@given(any_array, st.booleans(), st.data())
@settings(max_examples=300)
def test_a_mutated_array_is_refused_or_the_same(array: np.ndarray, compress: bool, data: st.DataObject) -> None:
    value = bytearray(encode_array(array, compress))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(value)))
        how = data.draw(st.sampled_from(["flip", "cut", "insert", "double"]))
        if how == "flip" and at < len(value):
            value[at] ^= data.draw(st.integers(1, 255))
        elif how == "cut":
            del value[at:]
        elif how == "insert":
            value[at:at] = data.draw(st.binary(min_size=1, max_size=4))
        else:
            value += value[at:]
    try:
        back = decode_array(bytes(value))
    except DamagedValueError:
        pass
    else:
        assert back.tobytes() == array.tobytes() and back.shape == array.shape
    # The same under a right checksum: any array may come of it, no other exception and no huge one.
    sealed = zlib.crc32(bytes(value[4:])).to_bytes(4, "little") + bytes(value[4:])
    with suppress(DamagedValueError):
        assert decode_array(sealed).nbytes <= 1032 * len(sealed) + 64
    for row in (0, 3, -1, 2**40):
        with suppress(DamagedValueError):
            row_of(memoryview(sealed), row)


@given(json_values, st.data())
@settings(max_examples=200)
def test_a_mutated_json_value_is_refused(value: object, data: st.DataObject) -> None:
    encoded = bytearray(encode_json(value))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(DamagedValueError):
        decode_json(bytes(encoded))


@given(json_values)
@settings(max_examples=300)
def test_any_json_is_a_record_or_refused(value: object) -> None:
    for record in (Progress, RunInfo):
        with suppress(TypeError, KeyError, AttributeError, ValueError):
            record.from_json(value)  # type: ignore[arg-type]
    with suppress(TypeError, KeyError):
        assert 0 <= Progress.from_json({"state": "collecting", "fraction": value}).fraction < 2**62


@given(st.binary(max_size=300), st.binary(max_size=300))
@settings(max_examples=150)
def test_any_file_in_place_of_the_data_is_refused(tmp_path_factory: pytest.TempPathFactory, a: bytes, b: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any.mdb"
    magic = struct.pack("=QHHHHII", 0, 0, 8, 0, 0, 0xBEEFC0DE, 1)
    for data in (a, magic + a, (magic + a).ljust(4096, b"\0") + magic + b):
        file.write_bytes(data)
        try:
            metas = read_metas(file)
        except DamagedFileError:
            continue
        for meta in metas or ():
            with pytest.raises(DamagedFileError):
                walk(file, type(meta)(meta.page_size, 1, meta.transaction, meta.free, meta.main))
