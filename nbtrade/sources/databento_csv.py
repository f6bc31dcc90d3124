"""Databento's MBO in CSV: `.csv` and `.csv.zst`, prices as decimals or integers, times as ISO 8601 or ns.

Read with pandas in chunks; prices are rounded to multiples of 1e-9, which is exact below 9 million.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nbtrade.errors import SourceError
from nbtrade.schema import PRICE_SCALE, RECORD, RTYPE_MBO, UNDEF_PRICE
from nbtrade.sources.base import BATCH_RECORDS, Progress, Source
from nbtrade.sources.zstd_frames import end_of_frames
from nbtrade.storage.system import map_whole

if TYPE_CHECKING:
    import pandas as pd

NEEDED = ("ts_event", "action", "side", "price", "size", "order_id", "flags")
DEFAULTS = {"rtype": 160, "publisher_id": 0, "instrument_id": 0, "channel_id": 0, "ts_in_delta": 0, "sequence": 0}


def open_csv(path: Path) -> Source:
    """Check a CSV file's header line. Raises SourceError if the file is not Databento's MBO schema."""
    import pandas as pd

    _check_end(path)
    try:
        head = pd.read_csv(path, nrows=1)
    except Exception as error:  # pandas raises ValueErrors of many kinds and its decompressors' errors
        raise SourceError(f"{path} cannot be read as CSV: {error}") from None
    missing = [name for name in NEEDED if name not in head]
    if missing:
        raise SourceError(
            f"{path} is not Databento's MBO CSV: column {missing[0]!r} is missing (it has {', '.join(head.columns[:8])}, ...). "
            "Export with schema mbo."
        )
    _check_rtype(path, head)
    return (source := Source(path, "CSV", "", path.stat().st_size, lambda progress: _batches(source, progress)))


def _check_rtype(path: Path, head: "pd.DataFrame") -> None:
    """Raise SourceError if the first row belongs to another schema: some have all columns of MBO."""
    if len(head) and "rtype" in head and head["rtype"][0] != RTYPE_MBO:
        raise SourceError(
            f"{path} has records of rtype {head['rtype'][0]}; nbtrade needs {RTYPE_MBO}, schema mbo (every order), from which the other "
            "schemas can be derived. Request the file with schema='mbo'."
        )


def _check_end(path: Path) -> None:
    """Raise SourceError if a file ends inside a line or a zstd frame: a truncated number still looks like a number."""
    if path.stat().st_size == 0:
        raise SourceError(f"{path} is empty (0 bytes). Was the download finished?")
    with open(path, "rb") as file, map_whole(file) as data:
        if path.suffix != ".zst":
            if data[-1:] != b"\n":
                raise SourceError(f"{path} is cut short: its last line has no line break. Download or copy it again.")
        elif (end := end_of_frames(data)) < len(data):
            raise SourceError(f"{path} is cut short or damaged: its last complete zstd frame ends at byte {end:,} of {len(data):,}.")


def _batches(source: Source, progress: Progress) -> Iterator[np.ndarray]:
    import pandas as pd

    n, at = 0, 0
    text = dict.fromkeys(("action", "side", "symbol", "ts_event", "ts_recv", "price"), "str") | {"order_id": "uint64"}
    with open(source.path, "rb") as file:
        compression = "zstd" if source.path.suffix == ".zst" else None
        try:
            for frame in pd.read_csv(file, chunksize=BATCH_RECORDS, compression=compression, dtype=text):
                if "symbol" in frame and "instrument_id" in frame:  # before the records: their consumer may ask for the name
                    pairs = frame[["instrument_id", "symbol"]].drop_duplicates()
                    source.symbols |= {int(i): str(s) for i, s in pairs.itertuples(index=False)}
                yield _records(frame)
                n += len(frame)
                progress(file.tell() - at)
                at = file.tell()
        except Exception as error:  # as above
            raise SourceError(f"{source.path}: one of the {BATCH_RECORDS:,} rows after row {n + 1:,} is invalid: {error}") from None


def _times(column: "np.ndarray") -> np.ndarray:
    import pandas as pd

    values = pd.Series(column)
    if values.isna().any():
        raise ValueError(f"column {column.name} has an empty time")  # type: ignore[attr-defined]
    if values.str.isdigit().all():
        return values.astype("int64").to_numpy()
    return pd.to_datetime(values, utc=True).dt.as_unit("ns").astype("int64").to_numpy()


def _prices(column: "pd.Series") -> np.ndarray:
    """Decimals in currency, or integers of 1e-9 if no price has a decimal point; an empty price is undefined."""
    undefined = column.isna().to_numpy()
    values = column.where(~undefined, "0")
    if values.str.contains(".", regex=False).any():
        units = np.rint(values.astype("float64").to_numpy() * PRICE_SCALE).astype(np.int64)
    else:
        units = values.astype("int64").to_numpy(copy=True)
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
