"""Conversion between values (bytes or arrays, with metadata) and stored bytes (plain or zstd).

    value   -> stored bytes, kind, how, raw size, meta      `stored_form`
    bytes, entry -> value                                   `value_of`

meta is JSON: {"dtype": ..., "shape": [...], "user": {...}}, empty for bytes without metadata. Arrays keep their dtype (structured
and aligned ones too) and shape, and are returned C-contiguous. Blocks that zstd does not shrink are stored plain.
"""

import json
from functools import lru_cache
from typing import Any

import numpy as np
import zstandard

from nbtrade.errors import BlockFileError, CorruptBlock
from nbtrade.storage import dtypes
from nbtrade.storage.blockfile.layout import ARRAY, BYTES, ZSTD, Entry

MOST_RATIO = 1 << 16  # of zstd: a block of 128 KiB of one byte takes 4 bytes
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
        raise TypeError(f"a block must be bytes or a NumPy array, not {type(value).__name__}: encode it first") from None


def _array_meta(array: np.ndarray, metadata: dict[str, Any] | None) -> bytes:
    if array.dtype.hasobject:
        raise TypeError(f"an array of {array.dtype} holds Python objects: convert it to numbers or fixed-length strings first")
    if array.ndim > dtypes.MOST_DIMS:
        raise TypeError(f"an array of {array.ndim} dimensions cannot be stored: the maximum is {dtypes.MOST_DIMS}. Reshape it first")
    plain = _plain_meta(array.dtype, array.shape)
    return plain if not metadata else plain[:-1] + b', "user": ' + json.dumps(metadata).encode() + b"}"


@lru_cache(maxsize=256)
def _plain_meta(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    return json.dumps({"dtype": dtypes.to_json(dtype), "shape": shape}).encode()


@lru_cache(maxsize=1024)
def _array_form(meta: bytes) -> tuple[np.dtype, tuple[int, ...], int]:
    """dtype, shape and bytes of an array's metadata. Raises MalformedError."""
    found = dtypes.parsed(meta)
    if not isinstance(found, dict) or not {"dtype", "shape"} <= set(found):
        raise dtypes.MalformedError("an array's metadata has its dtype and shape")
    dtype = dtypes.from_json(found["dtype"])
    n = dtypes.n_bytes(found["shape"], dtype)
    return dtype, tuple(found["shape"]), n


def shape_of(entry: Entry, name: str) -> tuple[np.dtype, tuple[int, ...]]:
    """dtype and shape of an array's entry. Raises CorruptBlock if they do not match its size."""
    try:
        dtype, shape, n = _array_form(entry.meta)
    except dtypes.MalformedError as error:
        raise _bad_metadata(name, error) from None
    if n != entry.raw:
        raise _bad_metadata(name, f"{dtype} of shape {shape} takes {n:,} bytes, the block has {entry.raw:,}")
    return dtype, shape


def metadata_of(meta: bytes, name: str) -> dict[str, Any]:
    """The user's metadata. Raises CorruptBlock."""
    if not meta:
        return {}
    try:
        found = dtypes.parsed(meta)
    except dtypes.MalformedError as error:
        raise _bad_metadata(name, error) from None
    user = (found.get("user") or {}) if isinstance(found, dict) else None
    if not isinstance(user, dict):
        raise _bad_metadata(name, "it is not a dict")
    return user


def _bad_metadata(name: str, reason: object) -> CorruptBlock:
    return CorruptBlock(f"block {name!r} has metadata that cannot be read: {reason}. Put it again, or restore the file.", name)


def value_of(data: Any, entry: Entry, name: str) -> Any:
    """The value of verified stored bytes. An uncompressed array keeps a reference to `data`. Raises CorruptBlock."""
    if entry.how & ZSTD:
        data = decompressed(data, entry.raw, name)
    if len(data) != entry.raw:
        raise CorruptBlock(
            f"block {name!r} has {len(data):,} bytes, not {entry.raw:,} as listed. It was written incorrectly.", name, entry.offset
        )
    if entry.kind == ARRAY:
        dtype, shape = shape_of(entry, name)
        array = np.ndarray(shape, dtype, np.frombuffer(data, np.uint8)) if entry.raw else np.empty(shape, dtype)
        array.flags.writeable = False
        return array
    return data if type(data) is bytes else bytes(data)


def decompressed(data: Any, n_bytes: int, name: str) -> bytes:
    """The bytes of a zstd block. Raises CorruptBlock if they contradict the catalog, without allocating an impossible size."""
    try:
        size = zstandard.get_frame_parameters(data).content_size
        if n_bytes > len(data) * MOST_RATIO or size != n_bytes:
            raise CorruptBlock(
                f"block {name!r} is a zstd frame of {size:,} bytes, not {n_bytes:,} as listed. It was written incorrectly.", name
            )
        raw = zstandard.ZstdDecompressor().decompress(data, max_output_size=n_bytes)
    except zstandard.ZstdError as error:
        raise CorruptBlock(
            f"block {name!r} has the right checksum but is not a zstd frame ({error}). It was written incorrectly.", name
        ) from None
    except MemoryError:
        raise BlockFileError(f"block {name!r} decompresses to {n_bytes:,} bytes, more than the available memory.") from None
    if len(raw) != n_bytes:
        raise CorruptBlock(
            f"block {name!r} decompresses to {len(raw):,} bytes, not {n_bytes:,} as listed. It was written incorrectly.", name
        )
    return raw
