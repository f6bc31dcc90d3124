"""What a user stores and gets back: bytes or arrays, with metadata, plain or zstd.

    value   -> stored bytes, kind, how, raw size, meta      `stored_form`
    bytes, entry -> value                                   `value_of`

meta is JSON: {"dtype": ..., "shape": [...], "user": {...}}, empty for bytes without metadata. Arrays keep dtype (structured and
aligned ones too) and shape, and come back C-contiguous. Compression that does not make a block smaller is dropped.
"""

import json
from functools import lru_cache
from typing import Any

import numpy as np
import zstandard

from nbtrade.errors import BlockFileError
from nbtrade.storage.blockfile.layout import ARRAY, BYTES, ZSTD, Entry

Value = "bytes | bytearray | memoryview | np.ndarray"


def stored_form(value: Any, metadata: dict[str, Any] | None, level: int | None) -> tuple[Any, int, int, int, bytes]:
    """(buffer of bytes, kind, how, raw size, meta) of a value. The buffer may be the value's own memory."""
    if isinstance(value, np.ndarray):
        kind, meta = ARRAY, _array_meta(value, metadata)
        data = memoryview(np.ascontiguousarray(value).reshape(-1).view(np.uint8))
    else:
        kind, meta = BYTES, json.dumps({"user": metadata}).encode() if metadata else b""
        data = value if type(value) is bytes else _as_bytes(value)  # type: ignore[assignment]
    raw = len(data)
    if level is not None and raw:
        packed = zstandard.ZstdCompressor(level=level).compress(data)
        if len(packed) < raw:
            return packed, kind, ZSTD, raw, meta
    return data, kind, 0, raw, meta


def _as_bytes(value: Any) -> memoryview:
    try:
        return memoryview(value).cast("B")
    except TypeError:
        raise TypeError(f"a block is bytes or a NumPy array, not {type(value).__name__}: encode it first") from None


def _array_meta(array: np.ndarray, metadata: dict[str, Any] | None) -> bytes:
    if array.dtype.hasobject:
        raise TypeError(f"an array of {array.dtype} holds Python objects: convert it to numbers or fixed-length strings first")
    plain = _plain_meta(array.dtype, array.shape)
    return plain if not metadata else plain[:-1] + b', "user": ' + json.dumps(metadata).encode() + b"}"


@lru_cache(maxsize=256)
def _plain_meta(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    return json.dumps({"dtype": _dtype_spec(dtype), "shape": shape}).encode()


def _dtype_spec(dtype: np.dtype) -> Any:
    """A dtype as JSON: a string, or fields with their offsets, or a subarray."""
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return {"base": _dtype_spec(base), "shape": shape}
    if dtype.names is None:
        return dtype.str
    fields = [dtype.fields[name] for name in dtype.names]  # type: ignore[index]
    return {
        "names": dtype.names,
        "formats": [_dtype_spec(field[0]) for field in fields],
        "offsets": [field[1] for field in fields],
        "itemsize": dtype.itemsize,
        "aligned": dtype.isalignedstruct,
    }


def _dtype_of(spec: Any) -> np.dtype:
    if isinstance(spec, str):
        return np.dtype(spec)
    if "base" in spec:
        return np.dtype((_dtype_of(spec["base"]), tuple(spec["shape"])))
    formats = [_dtype_of(one) for one in spec["formats"]]
    parts = {"names": spec["names"], "formats": formats, "offsets": spec["offsets"], "itemsize": spec["itemsize"]}
    return np.dtype(parts, align=spec["aligned"])  # type: ignore[call-overload]


@lru_cache(maxsize=1024)
def shape_of(meta: bytes) -> tuple[np.dtype, tuple[int, ...]]:
    """dtype and shape of an array's metadata."""
    parsed = json.loads(meta)
    return _dtype_of(parsed["dtype"]), tuple(parsed["shape"])


def metadata_of(meta: bytes) -> dict[str, Any]:
    """The user's metadata."""
    return (json.loads(meta).get("user") or {}) if meta else {}


def value_of(data: Any, entry: Entry, name: str) -> Any:
    """The value of verified stored bytes. `data` is kept by an array that is not compressed."""
    if entry.how & ZSTD:
        data = decompressed(data, entry.raw, name)
    if entry.kind == ARRAY:
        dtype, shape = shape_of(entry.meta)
        flat = np.frombuffer(data, np.uint8, entry.raw)
        array = np.ndarray(shape, dtype, flat) if entry.raw else np.empty(shape, dtype)
        array.flags.writeable = False
        return array
    return data if type(data) is bytes else bytes(data)


def decompressed(data: Any, n_bytes: int, name: str) -> bytes:
    """The bytes of a zstd block. Raises BlockFileError when they are not what the registry says."""
    try:
        raw = zstandard.ZstdDecompressor().decompress(data, max_output_size=n_bytes)
    except zstandard.ZstdError as error:
        raise BlockFileError(f"block {name!r} has the right checksum but is no zstd frame ({error}). It was written so.") from None
    if len(raw) != n_bytes:
        raise BlockFileError(f"block {name!r} unpacks to {len(raw):,} bytes, its entry says {n_bytes:,}. It was written so.")
    return raw
