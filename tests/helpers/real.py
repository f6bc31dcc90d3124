"""Real Databento files as model records, with the simplest possible readers.

The files are in ../shared/data from the project's root, or in the folder NBTRADE_TEST_DATA; they are
never part of the project. `folder(name)` skips the calling test, with the reason, if they are missing.

    DBN file   "DBN" version:u1 length:u4 metadata[length] record*     zstd: the same, compressed
    MBO record 56 bytes, rtype 160, the same layout in DBN versions 1 to 3
"""

import csv
import io
import os
import struct
from datetime import UTC, datetime
from pathlib import Path

import pytest

from model import UNDEF_PRICE, Record

ROOT = Path(os.environ.get("NBTRADE_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
ARL = "databento_xnas_arl", "ARL_2025-07-17_mbo.csv"
ARL_MBP10 = "databento_xnas_arl", "ARL_2025-07-17_mbp10_expected.csv"
CLX5 = "databento_glbx_clx5", "CLX5_mbo.dbn"
CLX5_FINAL = "databento_glbx_clx5", "CLX5_thirdparty_final_result.json"
ESM4 = "databento_glbx_esm4", "ESM4_2024-05-08_mbo.dbn.zst"

MBO = struct.Struct("<BBHIQQqIBBccQiI")
RTYPE_MBO = 160
ZSTD_MAGIC = bytes.fromhex("28b52ffd")


def real_path(folder, name):
    """Return the path of a real file, or skip the test with the reason."""
    path = ROOT / folder / name
    if not path.exists():
        pytest.skip(f"real data absent: {path} (set NBTRADE_TEST_DATA to the folder that holds {folder})")
    return path


def dbn_records(path, instrument_id=None):
    """Return the MBO records of one instrument (the first one seen unless named)."""
    data = _plain(path.read_bytes())
    if data[:3] != b"DBN":
        raise ValueError(f"{path}: starts with {data[:4]!r}, not a DBN file")
    at = 8 + int.from_bytes(data[4:8], "little")
    records = []
    while at < len(data):
        if data[at + 1] == RTYPE_MBO:
            instrument, record = _record(data, at)
            instrument_id = instrument if instrument_id is None else instrument_id
            if instrument == instrument_id:
                records.append(record)
        at += 4 * data[at]
    return records


def _plain(data):
    if data[:4] != ZSTD_MAGIC:
        return data
    zstandard = pytest.importorskip("zstandard")
    stream = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True)
    return stream.read()


def _record(data, at):
    fields = MBO.unpack_from(data, at)
    _, _, _, instrument, ts_event, order_id, price, size, flags, _, action, side, ts_recv, _, _ = fields
    action, side = action.decode(), side.decode()
    return instrument, Record(ts_event, ts_recv, order_id, price, size, flags, action, side)


def csv_rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def record_of_row(row):
    """Return the record of one row of Databento's MBO CSV (ISO times, decimal prices)."""
    return Record(
        ns_of(row["ts_event"]),
        ns_of(row["ts_recv"]),
        int(row["order_id"]),
        price_of(row["price"]),
        int(row["size"]),
        int(row["flags"]),
        row["action"],
        row["side"],
    )


def ns_of(text):
    """Return ns since the epoch of "2025-07-17T08:05:03.360842448Z", without a float in between."""
    seconds, fraction = text.rstrip("Z").split(".")
    moment = datetime.fromisoformat(seconds).replace(tzinfo=UTC)
    return int(moment.timestamp()) * 10**9 + int(fraction.ljust(9, "0"))


def price_of(text):
    """Return "5.51" as 5_510_000_000; an empty field is UNDEF_PRICE."""
    if not text:
        return UNDEF_PRICE
    whole, _, fraction = text.partition(".")
    return int(whole + fraction.ljust(9, "0"))
