"""The store gives back what was written, in this process and others, and refuses what is not a store."""

from __future__ import annotations

import subprocess
import sys
import zlib
from contextlib import suppress

import numpy as np
import pytest
from damage import alive, change, flip
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from synthetic import make_store
from synthetic_bits import byte_vocabulary

from ffnscope.store.errors import UserError
from ffnscope.store.format import schema
from ffnscope.store.format.encoding import (
    DTYPES,
    DamagedValueError,
    decode_array,
    decode_json,
    encode_array,
    encode_json,
    row_of,
)
from ffnscope.store.format.environment import open_environment
from ffnscope.store.format.keys import INDEX_KEY, LAYER_KEY, NEURON_KEY
from ffnscope.store.format.limits import check_chunk
from ffnscope.store.reader import Store
from ffnscope.store.records import Progress
from ffnscope.store.vocabulary import CHUNK, RAW_PARTS, TEXT_PARTS, Vocabulary, pack_chunks, pack_raw
from ffnscope.store.writer import StoreWriter, remove_store

any_array = st.sampled_from(sorted(DTYPES)).flatmap(
    lambda code: arrays.arrays(np.dtype(code), arrays.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=6))
)


@given(any_array, st.booleans())
def test_arrays_come_back(array, compress):
    back = decode_array(encode_array(array, compress))
    assert back.dtype == array.dtype and back.shape == array.shape and back.tobytes() == array.tobytes()


@given(any_array.filter(lambda array: array.ndim and len(array)), st.data())
def test_one_row_comes_back(array, data):
    row = data.draw(st.integers(0, len(array) - 1))
    value = memoryview(encode_array(array))
    assert row_of(value, row).tobytes() == array[row].tobytes()
    for outside in (-1, len(array)):
        with pytest.raises(DamagedValueError):
            row_of(value, outside)


@given(any_array, st.booleans(), st.data())
@settings(max_examples=200)
def test_a_changed_byte_is_found(array, compress, data):
    value = bytearray(encode_array(array, compress))
    at = data.draw(st.integers(0, len(value) - 1))
    value[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(DamagedValueError):
        decode_array(bytes(value))


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_any_bytes_are_refused_or_read(value):
    for read in (decode_array, decode_json):
        with pytest.raises(DamagedValueError):
            read(value)
    # The same bytes under a right checksum: no length or type in them is trusted.
    sealed = zlib.crc32(value).to_bytes(4, "little") + value
    with suppress(DamagedValueError):
        decode_array(sealed)


@pytest.mark.parametrize("array", [np.zeros(3, np.int64), np.zeros(3, bool), np.array(["x"]), np.zeros((1,) * 5, "u1")])
def test_no_other_arrays_are_kept(array):
    with pytest.raises(ValueError, match="keeps no arrays"):
        encode_array(array)


def test_fewer_bytes_than_the_shape_says_are_refused():
    header = bytearray(encode_array(np.zeros(4, np.uint8))[4:-4])
    header[0] = 1
    value = bytes(header) + zlib.compress(bytes(3))
    with pytest.raises(DamagedValueError, match="its length does not fit its shape"):
        decode_array(zlib.crc32(value).to_bytes(4, "little") + value)


def test_a_length_beyond_all_memory_is_refused():
    rest = encode_array(np.zeros(4, np.uint8), compress=True)[4:]
    huge = bytearray(rest)
    huge[8 - 2 : 8 - 2 + 8] = (1 << 62).to_bytes(8, "little")
    with pytest.raises(DamagedValueError):
        decode_array(zlib.crc32(bytes(huge)).to_bytes(4, "little") + bytes(huge))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(alphabet=st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(alphabet=st.characters()), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_json_comes_back(value):
    assert decode_json(encode_json(value)) == value


@given(st.lists(st.text(alphabet=st.characters(), max_size=8), max_size=50), st.integers(0, 2))
def test_token_texts_come_back(some, chunks):
    texts = tuple(some + [f"{i}" for i in range(chunks * CHUNK)])
    whole = np.arange(len(texts)) % 3 > 0
    raw = [b"" if text else bytes([index % 256]) for index, text in enumerate(whole.tolist())]
    packed = {
        INDEX_KEY.pack(index) + part: array
        for index, arrays in enumerate(zip(pack_chunks(texts, whole), pack_raw(raw), strict=True))
        for part, array in zip(TEXT_PARTS + RAW_PARTS, [*arrays[0], *arrays[1]], strict=True)
    }
    vocabulary = Vocabulary(packed.get, UserError, len(texts), raw=True)
    assert vocabulary.all_texts() == list(texts)
    for token in range(0, len(texts), 97):
        assert vocabulary.text(token) == texts[token] and vocabulary.whole(token) == whole[token]
        text = texts[token].encode("utf-8", "surrogatepass")
        assert vocabulary.encoded(token) == (text if whole[token] else raw[token])
    assert vocabulary.text(len(texts)) == f"<{len(texts)}>" and vocabulary.text(-1) == "<-1>"


@given(st.text(max_size=12), st.binary(max_size=3), st.integers(0, 40))
def test_running_text_puts_together_what_tokens_split(text, damaged, alone):
    vocabulary, tokens = byte_vocabulary(), list(text.encode())
    running = vocabulary.running(tokens)
    assert "".join(running) == text
    # A character is written at its last byte, so that every prefix of the tokens has its whole characters.
    for end in range(len(tokens) + 1):
        assert "".join(running[:end]) == bytes(tokens[:end]).decode(errors="ignore")
    split = vocabulary.running(tokens, alone)
    assert len(split) == len(tokens)
    if alone < len(tokens):
        assert split[alone] == vocabulary.text(tokens[alone])
        assert split[:alone] == vocabulary.running(tokens[:alone])
        assert split[alone + 1 :] == vocabulary.running(tokens[alone + 1 :])
    # Every byte is in a character that is whole, or is written by itself.
    group = b""
    for byte, part in zip(damaged, vocabulary.running(damaged), strict=True):
        group += bytes([byte])
        if part:
            assert part.encode() == group if len(group) > 1 else part == vocabulary.text(byte)
            group = b""
    assert not group


def test_running_text_of_a_store_without_bytes_is_that_of_its_tokens():
    vocabulary = byte_vocabulary()
    vocabulary._has_raw = False
    assert vocabulary.running(list("é".encode())) == vocabulary.texts(list("é".encode())) == ["Ã", "©"]


def test_texts_that_are_cut_within_a_character_are_refused():
    joined, whole = np.frombuffer("aé".encode(), np.uint8), np.ones(2, np.uint8)
    check_chunk(np.array([1, 3], np.uint32), whole, joined, 2)
    with pytest.raises(DamagedValueError, match="are cut within a character"):
        check_chunk(np.array([2, 3], np.uint32), whole, joined, 2)


@pytest.fixture
def path(tmp_path):
    return make_store(tmp_path / "s.ffn", neurons=40, count_only=("extra",))


def test_a_neuron_is_its_row_of_every_column(path):
    with Store.open(path) as store:
        assert store.layers() == (0, 1) and store.complete and store.neurons(1) == 40
        columns = {name: store.column(1, name) for name in schema.LAYER_ARRAYS}
        for neuron in store.iterate(1):
            i = neuron.neuron
            for name in ("activations", "bos_activations", "unigrams_95", "position_mi", "order"):
                assert getattr(neuron, name) == columns[name][i]
            mine = columns["detected_neuron"] == i
            assert [n.count for n in neuron.detected] == columns["detected_count"][mine].tolist()
            assert [n.rank for n in neuron.detected] == columns["detected_rank"][mine].tolist()
            assert [t for t, _ in neuron.promoted] == columns["promoted"][i].tolist()
            assert np.array_equal(neuron.curve, store.curves(1, i)) and neuron.curve.shape == (2, 64)
            assert neuron.curve.sum() == columns["domain_activations"][i, :2].sum()
            assert store.position_frequency(1, i).sum() * 40 == pytest.approx(neuron.curve.sum())
            assert len(neuron.strongest) == min(schema.CONTEXTS, neuron.curve.sum())
            for context in neuron.strongest:
                assert neuron.curve[:, context.position].sum() > 0 and store.window(context.window).shape == (64,)


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda s: s.column(5, "kind"), "no layer 5; it has layers 0, 1"),
        (lambda s: s.neuron(5, 0), "no layer 5"),
        (lambda s: s.neurons(70_000 % 65_536), "no layer 4464"),
        (lambda s: s.neuron(0, 40), "no neuron 40 in layer 0; it has 0 to 39"),
        (lambda s: s.neuron(0, -1), "no neuron -1"),
        (lambda s: s.column(0, "nope"), "no array 'nope'"),
        (lambda s: s.curves(0, 40), "no neuron 40 in layer 0"),
        (lambda s: s.column(1 << 16, "kind"), "no layer 65536"),
        (lambda s: s.window(10_000), "no window 10000"),
        (lambda s: s.layer_info(9), "no layer 9"),
    ],
)
def test_what_is_not_there_is_said(path, ask, says):
    with Store.open(path) as store, pytest.raises(UserError, match=says):
        ask(store)


def test_folders_that_are_no_store(tmp_path, path):
    with pytest.raises(UserError, match=r"nope: no such store; `ffnscope collect"):
        Store.open(tmp_path / "nope")
    with pytest.raises(UserError, match="not an ffnscope store"):
        Store.open(tmp_path)
    with open_environment(tmp_path, write=True) as other, other.begin(write=True) as transaction:
        transaction.put(b"a", b"b" * 100_000)
    with pytest.raises(UserError, match="something else"):
        Store.open(tmp_path)
    with pytest.raises(UserError, match="damaged"):
        remove_store(tmp_path)
    (path / "data.mdb").write_bytes(b"no database at all" * 1000)
    with pytest.raises(UserError, match="cannot be opened as a store"):
        Store.open(path)


def test_a_newer_format_is_refused_in_a_sentence(path):
    change(path, "meta", b"format", lambda _: encode_json({"version": 99}))
    with pytest.raises(UserError, match=r"format 99 is newer than this ffnscope reads \(2\); install a newer ffnscope"):
        Store.open(path)


def test_a_damaged_value_is_named_and_the_rest_still_reads(path):
    change(path, "columns", LAYER_KEY.pack(1) + b"activations", flip)
    neuron = alive(path)
    change(path, "curves", NEURON_KEY.pack(0, neuron), flip)
    with Store.open(path) as store:
        with pytest.raises(UserError, match=r"damaged .*activations of layer 1: checksum.*verify"):
            store.column(1, "activations")
        with pytest.raises(UserError, match=f"damaged .*L0N{neuron}"):
            store.curves(0, neuron)
        assert store.column(0, "activations").any() and store.column(1, "kind").any()
    change(path, "curves", NEURON_KEY.pack(0, neuron), lambda _: encode_array(np.zeros((2, 3), np.uint8)))
    with Store.open(path) as store, pytest.raises(UserError, match=r"is uint8\[2, 3\], not unsigned integers of shape"):
        store.curves(0, neuron)
    change(path, "meta", b"run", flip)
    with pytest.raises(UserError, match="damaged"):
        Store.open(path)


READER = """
import sys
from ffnscope.store.reader import Store
with Store.open(sys.argv[1]) as store:
    for line in sys.stdin:
        print(store.layers(), store.progress().state, flush=True)
"""


def test_another_process_sees_each_layer_as_it_lands(path, tmp_path):
    with Store.open(path) as store:
        run = store.run
        texts, whole = tuple(store.vocabulary.all_texts()), np.ones(run.model.vocabulary)
        windows = np.stack([store.window(i) for i in range(run.corpus.counted_windows)])
        layers = [{name: store.column(layer, name) for name in schema.LAYER_ARRAYS} for layer in (0, 1)]
        totals = store.unigram_totals()
    copy = tmp_path / "copy.ffn"
    with StoreWriter.open(copy) as writer:
        assert not writer.begun
        with pytest.raises(UserError):
            Store.open(copy)
        writer.begin(run, texts, whole, windows, totals)
        assert writer.begun and writer.layers() == ()
        with subprocess.Popen(
            [sys.executable, "-c", READER, str(copy)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as reader:

            def sees():
                reader.stdin.write("\n")
                reader.stdin.flush()
                return reader.stdout.readline().strip()

            assert sees() == "() collecting"
            writer.write_layer(1, layers[1], [], {})
            assert sees() == "(1,) collecting" and writer.layers() == (1,)
            writer.write_layer(0, layers[0], [], {})
            writer.write_progress(Progress("complete"))
            assert sees() == "(0, 1) complete"
            reader.stdin.close()
    with Store.open(copy) as store:
        assert np.array_equal(store.column(0, "promoted"), layers[0]["promoted"])


def test_a_layer_that_is_not_of_the_format_is_not_written(path):
    with Store.open(path) as store:
        arrays_ = {name: store.column(0, name) for name in schema.LAYER_ARRAYS}
    with StoreWriter.open(path) as writer:
        for wrong in (
            {name: array for name, array in arrays_.items() if name != "order"},
            arrays_ | {"order": arrays_["order"].astype(np.uint32)},
            arrays_ | {"unigrams_95": arrays_["unigrams_95"][:-1]},
        ):
            with pytest.raises(ValueError, match="format"):
                writer.write_layer(5, wrong, [], {})
        assert writer.layers() == (0, 1)


def test_two_writers_never_both_write(path):
    with StoreWriter.open(path):
        for attempt in (StoreWriter.open, remove_store):
            with pytest.raises(UserError, match="another collector is writing it"):
                attempt(path)
    with StoreWriter.open(path) as writer:
        assert writer.layers() == (0, 1)


def test_overwriting_leaves_everything_else_alone(path):
    (path / "notes").mkdir()
    (path / "notes" / "data.mdb").write_text("mine")
    (path / "readme.txt").write_text("mine too")
    remove_store(path)
    assert (path / "notes" / "data.mdb").read_text() == "mine" and (path / "readme.txt").exists()
    assert not (path / "data.mdb").exists()
    (path / "collector.lock").unlink()
    with pytest.raises(UserError, match="not an ffnscope store"):
        remove_store(path)
