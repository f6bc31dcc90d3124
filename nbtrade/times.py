"""Convert times from text and objects to ns. Spans need no pandas, so that a run starts without it."""

import re
from typing import Any

import numpy as np

UNITS = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "min": 60_000_000_000,
    "h": 3_600_000_000_000,
}
SPAN = re.compile(r"\s*(-?\d+(?:\.\d*)?|\.\d+)\s*([a-z]+)\s*")


def ns_of(span: str | int) -> int:
    """ns of a time span: an int (ns), or a number with ns, us, ms, s, min (m) or h, as in "100ms" and "6.5h".

    Raises ValueError for anything else.
    """
    if isinstance(span, (int, np.integer)) and not isinstance(span, bool):
        return int(span)
    match = SPAN.fullmatch(span) if isinstance(span, str) else None
    if match is None or match[2] not in UNITS:
        raise ValueError(f"{span!r} is not a time span: give ns as an int, or a number with {', '.join(UNITS)}, as in '100ms'")
    return round(float(match[1]) * UNITS[match[2]])


def to_ns(ts: Any) -> int:
    """ns since the epoch of an integer (already ns), a string, datetime, datetime64 or Timestamp (UTC unless it has a time zone)."""
    if isinstance(ts, (int, np.integer)):
        return int(ts)
    import pandas as pd

    try:
        stamp = pd.Timestamp(ts)
    except (ValueError, TypeError):
        raise ValueError(f"{ts!r} is not a time: give text such as '2025-01-06 14:30' (UTC), a datetime, or ns since the epoch") from None
    if stamp is pd.NaT:
        raise ValueError(f"{ts!r} is not a time: give text such as '2025-01-06 14:30' (UTC), a datetime, or ns since the epoch")
    stamp = stamp.tz_localize("UTC") if stamp.tz is None else stamp.tz_convert("UTC")
    return int(stamp.as_unit("ns").value)


def all_to_ns(ts: Any) -> np.ndarray:
    """Apply `to_ns` to every item of a sequence: i8 of the same shape."""
    array = np.asarray(ts)
    if array.dtype.kind in "iu":
        return array.astype(np.int64)
    if array.dtype.kind == "M":
        return array.astype("M8[ns]").astype(np.int64)
    return np.array([to_ns(one) for one in array.reshape(-1)], np.int64).reshape(array.shape)
