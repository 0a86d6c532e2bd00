"""How one value of the store is laid out: arrays and JSON, each under its own checksum."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

import numpy as np

RAW, DEFLATED = 0, 1
DTYPES = frozenset({"|u1", "<u2", "<u4", "<u8", "<f4", "<f8", "<i2"})
MAX_DIMENSIONS = 4
MAX_ARRAY_BYTES = 1 << 36
MAX_JSON_BYTES = 1 << 26
MOST_INFLATED = 1032  # bytes that one byte of a zlib stream can stand for
_HEAD = struct.Struct("<IBB3sx")  # crc32, codec, dimensions, dtype


class DamagedValueError(Exception):
    """A value of the store does not hold what was written: checksum, length or type is wrong."""


def encode_array(array: np.ndarray, compress: bool = False) -> bytes:
    """One array as bytes: checksum, codec, number of dimensions, dtype, shape, then the items little-endian.

    Raises ValueError for a dtype that the format does not know.
    """
    array = np.asarray(array)
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    code = array.dtype.str
    if code not in DTYPES or array.ndim > MAX_DIMENSIONS:
        raise ValueError(f"the store keeps no arrays of type {code} with {array.ndim} dimensions")
    payload = array.tobytes()
    if compress:
        payload = zlib.compress(payload, 1)
    shape = struct.pack(f"<{array.ndim}Q", *array.shape)
    rest = _HEAD.pack(0, DEFLATED if compress else RAW, array.ndim, code.encode("ascii"))[4:] + shape + payload
    return struct.pack("<I", zlib.crc32(rest)) + rest


def array_header(value: bytes | memoryview) -> tuple[int, np.dtype, tuple[int, ...], int]:
    """Codec, dtype, shape and offset of the items of an encoded array, from its first bytes and its length alone.

    Raises DamagedValueError, for a length that cannot be that of the shape too.
    """
    if len(value) < _HEAD.size:
        raise DamagedValueError("shorter than its header")
    _, codec, ndim, code = _HEAD.unpack_from(value)
    name = code.decode("ascii", "replace")
    if codec not in (RAW, DEFLATED) or ndim > MAX_DIMENSIONS or name not in DTYPES:
        raise DamagedValueError("an unknown header")
    offset = _HEAD.size + 8 * ndim
    if len(value) < offset:
        raise DamagedValueError("shorter than its shape")
    shape = struct.unpack_from(f"<{ndim}Q", value, _HEAD.size)
    dtype = np.dtype(name)
    size = span = dtype.itemsize
    for length in shape:
        size *= length
        span *= max(length, 1)  # numpy refuses an empty array too where the other lengths are huge
    stored = len(value) - offset
    fits = (
        size == stored if codec == RAW else stored <= size + size // 1000 + 64 and size <= MOST_INFLATED * stored + 64
    )
    if span > MAX_ARRAY_BYTES or not fits:
        raise DamagedValueError("its length does not fit its shape")
    return codec, dtype, shape, offset


def decode_array(value: bytes | memoryview) -> np.ndarray:
    """The array that ``encode_array`` wrote, read-only where it can share the bytes.

    Raises DamagedValueError where checksum, type or length is wrong.
    """
    codec, dtype, shape, offset = array_header(value)
    view = memoryview(value)
    if zlib.crc32(view[4:]) != struct.unpack_from("<I", value)[0]:
        raise DamagedValueError("checksum differs")
    if codec == RAW:
        return np.frombuffer(view, dtype, offset=offset).reshape(shape)
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    inflate = zlib.decompressobj()
    try:
        payload = inflate.decompress(view[offset:], size + 1)
    except zlib.error as error:
        raise DamagedValueError("cannot be decompressed") from error
    if len(payload) != size:
        raise DamagedValueError("its length does not fit its shape")
    return np.frombuffer(payload, dtype).reshape(shape)


def row_of(value: memoryview, row: int) -> np.ndarray:
    """Row ``row`` of an uncompressed encoded array, copied, touching only that row's pages.

    The checksum covers the whole value and is not looked at here: ``ffnscope verify`` does.
    Raises DamagedValueError for a wrong header or a row out of range.
    """
    codec, dtype, shape, offset = array_header(value)
    if codec != RAW or not shape or not 0 <= row < shape[0]:
        raise DamagedValueError(f"has no row {row}")
    items = int(np.prod(shape[1:], dtype=np.int64))
    start = offset + row * items * dtype.itemsize
    return np.frombuffer(value, dtype, count=items, offset=start).reshape(shape[1:]).copy()


def encode_json(value: Any) -> bytes:
    """JSON as bytes: checksum, then UTF-8 text with sorted keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    payload = text.encode("utf-8", "surrogatepass")
    return struct.pack("<I", zlib.crc32(payload)) + payload


def decode_json(value: bytes | memoryview) -> Any:
    """What ``encode_json`` wrote. Raises DamagedValueError."""
    if not 4 <= len(value) <= MAX_JSON_BYTES:
        raise DamagedValueError("its length is out of range")
    payload = bytes(value[4:])
    if zlib.crc32(payload) != struct.unpack_from("<I", value)[0]:
        raise DamagedValueError("checksum differs")
    try:
        return json.loads(payload.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise DamagedValueError("is not JSON") from error
