"""NumPy dtypes and other JSON in file headers: the only code that turns bytes of a file into a dtype.

    dtype  --to_json-->  "<i8" | [base, [2, 3]] | {"names", "formats", "offsets", "itemsize", "aligned"}  --from_json-->  dtype

A dtype determines how memory is read. One with Python objects would turn bytes of a file into pointers, and following those crashes the
process or runs code chosen by the file's author. So readers accept a fixed list and nothing else: booleans, integers, floats,
complex numbers, byte and text strings of fixed size, times, plain bytes (void), and structures and sub-arrays of these, whose fields
are inside the item and do not overlap. Writers check the same list, so every file that can be written can be read.

A checksum does not protect against a wrong header, because its author can compute the checksum too.
"""

import json
import math
import re
from typing import Any

import numpy as np

MOST_BYTES = 1 << 30  # of one item
MOST_DIMS = 32
MOST_DEPTH = 16  # of nested structures
MOST_ELEMENTS = 1 << 62  # bytes of an array: NumPy counts them in 63 bits

_UNIT = r"(\[([1-9]\d{0,8})?(Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?"
_PLAIN = re.compile(rf"[<>|](b1|[iu][1248]|f(2|4|8|12|16)|c(8|16|24|32)|[SUV][1-9]\d{{0,9}}|[mM]8{_UNIT})", re.ASCII)
_FIELDS = {"names", "formats", "offsets", "itemsize", "aligned"}


class MalformedError(ValueError):
    """A header is invalid. Readers of files convert it to their own error, with the path."""


def is_count(value: Any, most: int = (1 << 63) - 1) -> bool:
    """Whether a value from JSON is an int from 0 to `most`; True and False are not."""
    return type(value) is int and 0 <= value <= most


def parsed(text: bytes | str) -> Any:
    """JSON from a file. Raises MalformedError."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"it is not JSON ({error})") from None


# --- to JSON -------------------------------------------------------------------------------------------------
def to_json(dtype: np.dtype) -> Any:
    """A dtype as JSON: exact, with offsets, padding and alignment. Raises TypeError for one that no reader accepts."""
    description = _described(dtype)
    try:
        from_json(description)
    except MalformedError as error:
        raise TypeError(f"{dtype} cannot be stored: {error}. Use numbers, times and strings of fixed size, in separate fields") from None
    return description


def _described(dtype: np.dtype) -> Any:
    if dtype.hasobject or dtype.itemsize == 0:
        raise TypeError(f"rows of {dtype} cannot be stored: they need a fixed dtype without Python objects")
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return [_described(base), list(shape)]
    if dtype.names is None:
        return dtype.str
    fields: list[tuple[Any, ...]] = [dtype.fields[name] for name in dtype.names]  # type: ignore[index]
    titles = [field[2] for field in fields if len(field) > 2]
    if titles:
        raise TypeError(f"{dtype} has the field titles {titles}, which cannot be stored. Use field names only.")
    return {
        "names": list(dtype.names),
        "formats": [_described(field[0]) for field in fields],
        "offsets": [field[1] for field in fields],
        "itemsize": dtype.itemsize,
        "aligned": bool(dtype.isalignedstruct),
    }


# --- from JSON -----------------------------------------------------------------------------------------------
def from_json(description: Any) -> np.dtype:
    """The dtype described in a file. Raises MalformedError unless it is on the list."""
    try:
        dtype = _dtype(description, 0)
    except (TypeError, ValueError, OverflowError, MemoryError) as error:
        if isinstance(error, MalformedError):
            raise
        raise MalformedError(f"NumPy rejects the dtype ({error})") from None
    if dtype.hasobject:  # not on the list; this is the last check before memory is read
        raise MalformedError(f"{dtype} has Python objects")
    return dtype


def _dtype(description: Any, depth: int) -> np.dtype:
    if depth > MOST_DEPTH:
        raise MalformedError(f"a dtype nested more than {MOST_DEPTH} deep")
    if isinstance(description, str):
        dtype = _scalar(description)
    elif isinstance(description, list):
        dtype = _sub_array(description, depth)
    elif isinstance(description, dict):
        dtype = _structure(description, depth)
    else:
        raise MalformedError(f"a dtype must be text, a list or a structure, not {_shown(description)}")
    if not 0 < dtype.itemsize <= MOST_BYTES:
        raise MalformedError(f"an item of {dtype.itemsize:,} bytes; the limits are 1 and {MOST_BYTES:,}")
    return dtype


def _scalar(text: str) -> np.dtype:
    if not _PLAIN.fullmatch(text):
        raise MalformedError(f"the dtype {_shown(text)} is not a fixed-size dtype without Python objects")
    kind, size = text[1], text[2:]
    if kind in "SUV" and int(size) * (4 if kind == "U" else 1) > MOST_BYTES:
        raise MalformedError(f"an item of {text}; the limit is {MOST_BYTES:,} bytes")
    dtype = np.dtype(text)
    if dtype.str != text:
        raise MalformedError(f"the dtype {_shown(text)} must be spelled {dtype.str!r}")
    return dtype


def _sub_array(description: list[Any], depth: int) -> np.dtype:
    if len(description) != 2 or not isinstance(description[1], list) or not description[1]:
        raise MalformedError(f"a sub-array must be [dtype, [lengths]], not {_shown(description)}")
    base, shape = _dtype(description[0], depth + 1), description[1]
    if 0 in shape or n_bytes(shape, base) > MOST_BYTES:
        raise MalformedError(f"a sub-array of shape {_shown(shape)} of {base}; it must have 1 to {MOST_BYTES:,} bytes")
    return np.dtype((base, tuple(shape)))


def _structure(description: dict[str, Any], depth: int) -> np.dtype:
    if set(description) != _FIELDS:
        raise MalformedError(f"a structure must have {', '.join(sorted(_FIELDS))}, not {_shown(sorted(description))}")
    names, offsets, itemsize = description["names"], description["offsets"], description["itemsize"]
    formats, aligned = description["formats"], description["aligned"]
    if not all(isinstance(one, list) and len(one) == len(names) for one in (names, formats, offsets)) or not names:
        raise MalformedError("a structure's names, formats and offsets must be lists of equal length")
    if not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
        raise MalformedError(f"field names must be distinct text: {_shown(names)}")
    if not is_count(itemsize, MOST_BYTES) or type(aligned) is not bool:
        raise MalformedError(f"a structure of {_shown(itemsize)} bytes, aligned: {_shown(aligned)}")
    parts = [_dtype(one, depth + 1) for one in formats]
    _check_places(names, offsets, parts, itemsize)
    fields: dict[str, Any] = {"names": names, "formats": parts, "offsets": offsets, "itemsize": itemsize}
    return np.dtype(fields, align=aligned)  # type: ignore[call-overload]


def _check_places(names: list[str], offsets: list[Any], parts: list[np.dtype], itemsize: int) -> None:
    """Raise MalformedError for fields that overlap or extend beyond the item."""
    if not all(is_count(offset, itemsize) for offset in offsets):
        raise MalformedError(f"fields start at {_shown(offsets)} in an item of {itemsize:,} bytes")
    end = 0
    for offset, size, name in sorted((offset, part.itemsize, name) for offset, part, name in zip(offsets, parts, names, strict=True)):
        if offset < end or offset + size > itemsize:
            raise MalformedError(
                f"the field {_shown(name)} takes bytes {offset} to {offset + size}: it overlaps another or extends beyond the item"
            )
        end = offset + size


# --- arrays --------------------------------------------------------------------------------------------------
def n_bytes(shape: Any, dtype: np.dtype) -> int:
    """Bytes of an array of this shape. Raises MalformedError for an invalid shape, or a size that NumPy cannot count."""
    if not isinstance(shape, (list, tuple)) or len(shape) > MOST_DIMS or not all(is_count(n) for n in shape):
        raise MalformedError(f"a shape must have up to {MOST_DIMS} non-negative int lengths; this one is {_shown(shape)}")
    if math.prod(n or 1 for n in shape) * dtype.itemsize > MOST_ELEMENTS:
        raise MalformedError(f"an array of shape {_shown(shape)} of {dtype} is larger than any memory")
    return math.prod(shape) * dtype.itemsize


def _shown(value: Any) -> str:
    """A value from a file, short enough for a message."""
    try:
        text = repr(value)
    except RecursionError:
        text = "a deeply nested value"
    return text if len(text) <= 80 else text[:77] + "..."
