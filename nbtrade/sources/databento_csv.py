"""Databento's CSV form of MBO: `.csv` and `.csv.zst`, prices as decimals or integers, times as ISO 8601 or ns.

Read with pandas in chunks; prices are rounded to the 1e-9 they were written with, which is exact below 9 million.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nbtrade.errors import SourceError
from nbtrade.sources.source import BATCH_RECORDS, Progress, Source
from nbtrade.schema import PRICE_SCALE, RECORD, UNDEF_PRICE

NEEDED = ("ts_event", "action", "side", "price", "size", "order_id", "flags")
DEFAULTS = {"rtype": 160, "publisher_id": 0, "instrument_id": 0, "channel_id": 0, "ts_in_delta": 0, "sequence": 0}


def open_csv(path: Path) -> Source:
    """Check a CSV file's header line. Raises SourceError when it is not Databento's MBO form."""
    import pandas as pd

    try:
        head = pd.read_csv(path, nrows=1)
    except (ValueError, OSError, RuntimeError) as error:
        raise SourceError(f"{path} cannot be read as CSV: {error}") from None
    missing = [name for name in NEEDED if name not in head]
    if missing:
        raise SourceError(
            f"{path} is not Databento's MBO CSV: column {missing[0]!r} is missing (it has {', '.join(head.columns[:8])}, ...). "
            "Export with schema mbo."
        )
    source = Source(path, "CSV", "", path.stat().st_size, lambda progress: _batches(source, progress))
    if "symbol" in head and len(head):
        number = int(head["instrument_id"].iloc[0]) if "instrument_id" in head else 0
        source.symbols[number] = str(head["symbol"].iloc[0])
    return source


def _batches(source: Source, progress: Progress) -> Iterator[np.ndarray]:
    import pandas as pd

    n = 0
    with open(source.path, "rb") as file:
        compression = "zstd" if source.path.suffix == ".zst" else None
        text = {"action": "str", "side": "str", "symbol": "str", "ts_event": "str", "ts_recv": "str"}
        frames = pd.read_csv(file, chunksize=BATCH_RECORDS, compression=compression, dtype=text)  # type: ignore[call-overload]
        at = 0
        for frame in frames:
            try:
                yield _records(frame)
            except (ValueError, TypeError, OverflowError) as error:
                raise SourceError(f"{source.path}: rows {n + 2:,} to {n + len(frame) + 1:,}: {error}") from None
            if "symbol" in frame and "instrument_id" in frame:
                pairs = frame[["instrument_id", "symbol"]].drop_duplicates()
                source.symbols |= {int(i): str(s) for i, s in pairs.itertuples(index=False)}
            n += len(frame)
            progress(file.tell() - at)
            at = file.tell()


def _times(column: "np.ndarray") -> np.ndarray:
    import pandas as pd

    values = pd.Series(column)
    if values.isna().any():
        raise ValueError(f"column {column.name} has an empty time")  # type: ignore[attr-defined]
    if values.str.isdigit().all():
        return values.astype("int64").to_numpy()
    return pd.to_datetime(values, utc=True).dt.as_unit("ns").astype("int64").to_numpy()


def _prices(column: "np.ndarray") -> np.ndarray:
    values = np.asarray(column)
    if values.dtype.kind in "iu":
        return values.astype(np.int64)
    undefined = np.isnan(values)
    units = np.rint(np.where(undefined, 0, values) * PRICE_SCALE).astype(np.int64)
    units[undefined] = UNDEF_PRICE
    return units


def _letters(column: "np.ndarray") -> np.ndarray:
    return np.array([ord(text[0]) if isinstance(text, str) and text else ord("N") for text in column], np.uint8)


def _records(frame) -> np.ndarray:
    """RECORD[n] of one chunk."""
    out = np.zeros(len(frame), RECORD).view(np.recarray)
    out["length"] = RECORD.itemsize // 4
    for name, default in DEFAULTS.items():
        out[name] = frame[name] if name in frame else default
    out["size"], out["flags"] = frame["size"].fillna(0), frame["flags"]
    out["order_id"] = frame["order_id"].astype("uint64").to_numpy().view(np.int64)
    out["price"] = _prices(frame["price"])
    out["action"], out["side"] = _letters(frame["action"]), _letters(frame["side"])
    out["ts_event"] = _times(frame["ts_event"])
    out["ts_recv"] = _times(frame["ts_recv"]) if "ts_recv" in frame else out["ts_event"]
    return out
